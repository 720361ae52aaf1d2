/*
** payload_check.h -- a payload that is about to be sent (protocol.md sections
** 3.2 and 3.5).
*/
#ifndef PROTOCOL_PAYLOAD_CHECK_H
#define PROTOCOL_PAYLOAD_CHECK_H

#include "iotops/payload.h"

/*
** Fails with invalid configuration, `content_type` or `format_indicator`.
*/
int payload_check(const iotops_payload *payload, iotops_error *err);

/* Puts it into `message`; an empty content type is left out. */
void payload_put(const iotops_payload *payload, iotops_message *message);

/* The payload of a received message; views. */
iotops_payload payload_of(const iotops_message *message);

#endif
