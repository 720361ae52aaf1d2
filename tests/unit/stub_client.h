/*
** stub_client.h -- an iotops_mqtt_client for unit tests.
**
** It keeps what was asked of it until the test says how it ends, delivers
** messages to the receivers whose filters match and records what is settled.
** Completions run from tasks of the context, never inside the test's call:
** drain the context afterwards.
*/
#ifndef UNIT_STUB_CLIENT_H
#define UNIT_STUB_CLIENT_H

#include "iotops/mqtt_client.h"

typedef enum stub_kind {
  STUB_PUBLISH,
  STUB_SUBSCRIBE,
  STUB_UNSUBSCRIBE
} stub_kind;

/* One operation that was asked for, in the order of the calls. */
typedef struct stub_operation {
  stub_kind kind;
  iotops_message *message; /* owned; of a publish */
  char *filter;            /* owned; of the others */
  iotops_subscribe_options options;
  iotops_mqtt_done done;
  void *user;
  bool ended; /* the completion has run or is on its way */
  bool cancelled;
  struct stub_client *client;
  iotops_task task;
  iotops_error error;
  bool failed;
  uint8_t reason_code;
} stub_operation;

typedef struct stub_receiver {
  char *filter; /* owned */
  iotops_on_message on_message;
  void *user;
  bool removed;
} stub_receiver;

/* A message that was delivered with QoS 1 to one receiver. */
typedef struct stub_delivery {
  uint16_t packet_id;
  unsigned settled; /* times */
} stub_delivery;

typedef struct stub_client {
  iotops_mqtt_client client; /* first */
  const char *id;            /* borrowed */
  bool connected;
  bool automatic; /* every operation succeeds by itself */
  /* The next operation fails at once with this; kind IOTOPS_NO_ERROR: not. */
  iotops_error refuse;

  stub_operation **operations; /* owned, as are the operations */
  size_t operation_count, operation_capacity;
  stub_receiver **receivers; /* owned */
  size_t receiver_count, receiver_capacity;
  stub_delivery *deliveries; /* owned; number seq - 1 is delivery seq */
  size_t delivery_count, delivery_capacity;
  uint16_t *acks; /* owned: packet ids in the order they were settled */
  size_t ack_count, ack_capacity;
  uint32_t epoch;
  iotops_mqtt_observer *observers;
} stub_client;

/* Makes a connected client; `id` is borrowed. */
stub_client *stub_client_new(iotops_context *context, const char *id);
void stub_client_free(stub_client *stub);

/* Operations of `kind` so far, and the n-th (from 0) of them; NULL: none. */
size_t stub_count(const stub_client *stub, stub_kind kind);
stub_operation *stub_nth(const stub_client *stub, stub_kind kind, size_t n);

/* Lets an operation end, from a task: answered, or failed. */
void stub_answer(stub_operation *operation, uint8_t reason_code);
void stub_fail(stub_operation *operation, iotops_error_kind kind,
               const char *message);

/*
** Delivers to every receiver whose filter matches; returns how many.  With
** QoS 1 `message->packet_id` names the message in the records.
*/
size_t stub_deliver(stub_client *stub, const iotops_message *message);

/* Acks of earlier connections are stale from now on. */
void stub_disconnect(stub_client *stub);

/* Value of the n-th occurrence (from 0) of a property; absent: none. */
iotops_text stub_property(const iotops_message *message, const char *name,
                          size_t n);

/* Occurrences of a property. */
size_t stub_property_count(const iotops_message *message, const char *name);

#endif
