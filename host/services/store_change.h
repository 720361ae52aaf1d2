/*
** store_change.h -- reading key notifications (services.md section 3.9).
** Views of what is read; nothing is allocated.
*/
#ifndef IOTOPS_STORE_CHANGE_H
#define IOTOPS_STORE_CHANGE_H

#include "iotops/state_store.h"

/* Longest observable key (section 3.12): its topic must fit in MQTT. */
enum { STORE_NOTIFY_KEY_MAX = 32000 };

/*
** The key that the last level of a notification's topic names, written to
** `bytes`; absent when that is not hexadecimal, empty or too long.
*/
iotops_text store_change_key(iotops_text topic,
                             char bytes[STORE_NOTIFY_KEY_MAX]);

/* Reads a payload into `deleted` and `value`; false when it is malformed. */
bool store_change_read(iotops_text payload, iotops_store_notification *what);

#endif
