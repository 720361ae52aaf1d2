/*
** mqtt_outcome.h -- the end of a publish, subscribe or unsubscribe as an
** error of the protocol (protocol.md sections 6.2 and 9).
*/
#ifndef PROTOCOL_MQTT_OUTCOME_H
#define PROTOCOL_MQTT_OUTCOME_H

#include "iotops/mqtt_client.h"

/*
** 0 when the broker accepted.  Otherwise a local error, not shallow: a
** cancellation stays one, anything else is an mqtt error.  `what` says what
** was tried, such as "publish to a/b".
*/
int mqtt_outcome(const iotops_mqtt_result *result, const char *what,
                 iotops_error *err);

#endif
