/*
** command_invoker_fields.h -- an invoker, for the units that make it up:
** command_invoker.c (calls and the life of the envoy) and command_reply.c
** (responses).  Its memory outlives its last call.
*/
#ifndef PROTOCOL_COMMAND_INVOKER_FIELDS_H
#define PROTOCOL_COMMAND_INVOKER_FIELDS_H

#include "iotops/command.h"
#include "protocol/call_table.h"
#include "protocol/property_list.h"
#include "protocol/received_properties.h"
#include "protocol/subscription.h"
#include "protocol/topic_pattern.h"

struct iotops_command_invoker {
  iotops_mqtt_client *client; /* borrowed */
  iotops_context *context;    /* borrowed */
  char *name;                 /* owned: the command name, terminated */
  topic_pattern request_pattern, response_pattern;
  subscription *subscription; /* owned; NULL once freed */
  iotops_receiver *receiver;  /* owned; NULL once stopped */
  call_table calls;
  bool subscribing; /* calls wait, and on_subscribed is going to be called */
  bool freed;

  /* Memory kept from message to message. */
  text_buffer request_topic, response_topic;
  property_list properties;
  received_properties received; /* taken out while in use */
  size_t holds; /* the owner's, one a call, one a callback being run */
};

/* Drops one hold; the last one frees the invoker's memory. */
void invoker_release(iotops_command_invoker *invoker);

/* Ends a pending call; it may be gone on return. */
void invoker_complete(invoker_call *call, const iotops_response *response,
                      const iotops_error *err);

/* An iotops_on_message: a response, perhaps (section 8.3). */
void invoker_on_response(void *user, const iotops_message *message,
                         iotops_ack ack);

#endif
