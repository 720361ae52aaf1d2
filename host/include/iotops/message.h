/*
** message.h -- an MQTT v5 application message (MQTT v5 section 3.3).
**
** iotops_message is a view: everything it points to belongs to someone else
** and, in a callback, dies when the callback returns.  iotops_message_copy()
** makes one that owns all it points to.
*/
#ifndef IOTOPS_MESSAGE_H
#define IOTOPS_MESSAGE_H

#include "iotops/context.h"

typedef struct iotops_user_property {
  iotops_text name;
  iotops_text value;
} iotops_user_property;

typedef struct iotops_message {
  iotops_text topic;
  iotops_text payload;
  uint8_t qos; /* 0 or 1 */
  bool retain;
  bool dup;             /* received only */
  uint16_t packet_id;   /* received with QoS 1 only */
  int format_indicator; /* 0, 1; -1: absent */
  bool has_expiry;
  uint32_t expiry_s;        /* Message Expiry Interval, with has_expiry */
  iotops_text content_type; /* absent when data is NULL; so for the next */
  iotops_text response_topic;
  iotops_text correlation_data;
  const iotops_user_property *user_properties;
  size_t user_property_count;
  const uint32_t *subscription_ids; /* received only */
  size_t subscription_id_count;
} iotops_message;

#define IOTOPS_MESSAGE_INIT                                                    \
  { .format_indicator = -1 }

#ifdef __cplusplus
extern "C" {
#endif

/*
** A copy that owns everything, in one allocation; NULL when memory is short.
** Free it with iotops_free(context, copy).
*/
IOTOPS_API iotops_message *iotops_message_copy(iotops_context *context,
                                               const iotops_message *message);

/*
** The value of the last user property called `name` (protocol.md section
** 3.3); absent when there is none.
*/
IOTOPS_API iotops_text iotops_message_property(const iotops_message *message,
                                               const char *name);

#ifdef __cplusplus
}
#endif

#endif
