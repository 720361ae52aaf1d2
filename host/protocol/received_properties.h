/*
** received_properties.h -- the user properties of a received message, taken
** apart in one pass (protocol.md section 3.3): the protocol's, where the last
** of a name wins, and the user data that the application sees.
**
** All texts are views into the message; only the array of user data is
** memory, kept for the next message, so that reading allocates nothing once
** it has grown to the usual number.
*/
#ifndef PROTOCOL_RECEIVED_PROPERTIES_H
#define PROTOCOL_RECEIVED_PROPERTIES_H

#include "iotops/message.h"

typedef enum message_kind {
  MESSAGE_TELEMETRY,
  MESSAGE_REQUEST,
  MESSAGE_RESPONSE
} message_kind;

typedef struct received_properties {
  iotops_context *context; /* borrowed */
  bool keeps_service;      /* $partition and the like stay in the user data */

  /* Absent when the message does not have it. */
  iotops_text version;   /* __protVer */
  iotops_text source;    /* __srcId */
  iotops_text timestamp; /* __ts */

  /* Order and duplicates kept. */
  iotops_user_property *user_data; /* owned; the texts are views */
  size_t user_data_count, capacity;
} received_properties;

/* Prepares it; allocates nothing. */
void received_properties_init(received_properties *properties,
                              iotops_context *context);
void received_properties_clear(received_properties *properties);

/*
** Reads `message`.  Protocol names that do not belong to `kind` are left out
** with a warning of `component`.  -1 when memory is short.
*/
int received_properties_read(received_properties *properties,
                             const iotops_message *message, message_kind kind,
                             const char *component);

#endif
