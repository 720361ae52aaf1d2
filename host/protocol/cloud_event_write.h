/*
** cloud_event_write.h -- a CloudEvent as user properties of a message that
** is about to be sent (protocol.md section 11.2).
*/
#ifndef PROTOCOL_CLOUD_EVENT_WRITE_H
#define PROTOCOL_CLOUD_EVENT_WRITE_H

#include "iotops/cloud_event.h"
#include "protocol/property_list.h"
#include "protocol/rfc3339.h"

#define CLOUD_EVENT_TELEMETRY "ms.aio.telemetry"
#define CLOUD_EVENT_REQUEST   "ms.aio.rpc.request"
#define CLOUD_EVENT_RESPONSE  "ms.aio.rpc.response"

/* Generated attributes; must live as long as the list. */
typedef struct cloud_event_texts {
  char id[37];
  char time[RFC3339_TEXT_SIZE];
} cloud_event_texts;

/*
** Checks `event` as iotops_cloud_event_check() does, then adds its attributes
** to `list`, the defaults included: `type`, the subject `topic`, a new id,
** the time now.  Nothing is added on failure (invalid configuration,
** `cloud_event`).
*/
int cloud_event_write(const iotops_cloud_event *event, const char *type,
                      iotops_text topic, iotops_text content_type,
                      cloud_event_texts *texts, property_list *list,
                      iotops_error *err);

/*
** User data next to a CloudEvent must not carry its names (section 9 step 2).
** Fails with invalid configuration, `metadata`.
*/
int cloud_event_check_user_data(const iotops_user_property *pairs, size_t count,
                                iotops_error *err);

#endif
