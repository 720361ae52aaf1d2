/*
** expiry.h -- message expiry intervals (protocol.md section 3.6): whole
** seconds, at least one, rounded up.
*/
#ifndef PROTOCOL_EXPIRY_H
#define PROTOCOL_EXPIRY_H

#include "iotops/error.h"

/*
** The interval for `us` microseconds.  Fails with invalid configuration,
** `property`, when it is not positive or exceeds 4294967295 seconds.
*/
int expiry_from_us(int64_t us, const char *property, uint32_t *seconds,
                   iotops_error *err);

/* Seconds until `deadline_ms`, both on mono_ms; 0 when it has passed. */
uint32_t expiry_left(uint64_t deadline_ms, uint64_t now_ms);

#endif
