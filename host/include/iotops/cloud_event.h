/*
** cloud_event.h -- CloudEvents 1.0 in MQTT v5 binary content mode
** (protocol.md section 11).
*/
#ifndef IOTOPS_CLOUD_EVENT_H
#define IOTOPS_CLOUD_EVENT_H

#include "iotops/message.h"

/*
** Attributes.  When sending, an absent attribute takes its default; when
** received, absent means that the message did not carry it.  All borrowed.
*/
typedef struct iotops_cloud_event {
  size_t size;        /* IOTOPS_CLOUD_EVENT_INIT */
  iotops_text source; /* required */
  iotops_text type;
  iotops_text spec_version;
  iotops_text id;
  iotops_text time; /* RFC 3339 */
  iotops_text subject;
  iotops_text data_schema;
  iotops_text data_content_type; /* received, and generic messages only */
  bool no_time;                  /* sending: leave `time` out */
  bool no_subject;               /* sending: leave `subject` out */
} iotops_cloud_event;

#define IOTOPS_CLOUD_EVENT_INIT                                                \
  { .size = sizeof(iotops_cloud_event) }

#ifdef __cplusplus
extern "C" {
#endif

/*
** Reads the event out of a received message's user properties and content
** type (section 11.4); views into them.  Fails with invalid header, naming
** the attribute, when a required one is missing or one is malformed.
*/
IOTOPS_API int iotops_cloud_event_from(const iotops_user_property *properties,
                                       size_t count, iotops_text content_type,
                                       iotops_cloud_event *event,
                                       iotops_error *err);

/*
** Checks an event for sending (section 11.1) with the content type that the
** message will have.  Fails with invalid configuration, `cloud_event`.
*/
IOTOPS_API int iotops_cloud_event_check(const iotops_cloud_event *event,
                                        iotops_text content_type,
                                        iotops_error *err);

/* True when `name` is one of the attributes' user property names. */
IOTOPS_API bool iotops_cloud_event_is_attribute(iotops_text name);

/*
** The generic message helper (section 11.3): a copy of `message` that carries
** `event`; `type` is required, there is no default subject, and
** data_content_type replaces the content type.  Free with iotops_free().
** NULL on failure.
*/
IOTOPS_API iotops_message *
iotops_cloud_event_set(iotops_context *context, const iotops_message *message,
                       const iotops_cloud_event *event, iotops_error *err);

#ifdef __cplusplus
}
#endif

#endif
