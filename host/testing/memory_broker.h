/*
** memory_broker.h -- a broker and its clients in one piece of memory.
**
** A client is an iotops_mqtt_client whose session never ends: what it is sent
** while it is disconnected waits, what it has not acknowledged comes again
** with `dup` set when it connects anew.  Acknowledgements count in the order
** of delivery, as PUBACKs leave.  Shared subscriptions, retained messages,
** expiry and No Local behave as MQTT v5 says.
**
** Everything happens in tasks of the context, in the order of the calls, so a
** history runs the same each time.  All that was published is kept.  Clients
** that answer each other without end are stopped: see memory_broker_flooded().
*/
#ifndef TESTING_MEMORY_BROKER_H
#define TESTING_MEMORY_BROKER_H

#include "iotops/mqtt_client.h"

enum { MEMORY_BROKER_FLOOD = 100000 };

/* One message that was published, in order. */
typedef struct memory_publish {
  iotops_message *message; /* owned */
  const char *from;        /* borrowed; a client's id */
  int64_t wall_ms;         /* when */
  size_t deliveries;       /* with QoS 1, to clients */
  size_t acknowledged;     /* of them */
  uint8_t reason_code;     /* what the sender was told */
} memory_publish;

typedef struct memory_broker memory_broker;

/* NULL when memory is short.  `context` outlives it. */
memory_broker *memory_broker_new(iotops_context *context);

/* Nothing may use its clients any more.  NULL is allowed. */
void memory_broker_free(memory_broker *broker);

/*
** The client called `id`, connected, made when it is first asked for; NULL
** when memory is short.  The broker owns it.
*/
iotops_mqtt_client *memory_broker_client(memory_broker *broker, const char *id);

/* Takes a client's connection away or gives it back. */
void memory_broker_connect(iotops_mqtt_client *client, bool connected);

/*
** The client's owner goes: what it asked for and cannot get completes with a
** cancellation, and nothing is delivered to it.
*/
void memory_broker_end(iotops_mqtt_client *client);

/*
** From now on messages whose topic matches `filter`, and subscriptions to it,
** are refused with `reason_code` (0: no more).  -1 when memory is short.
*/
int memory_broker_refuse(memory_broker *broker, iotops_text filter,
                         uint8_t reason_code);

/* What was published, from 0; the pointer lives as long as the broker. */
size_t memory_broker_count(const memory_broker *broker);
const memory_publish *memory_broker_nth(const memory_broker *broker, size_t n);

/*
** The n-th subscription of all, from 0, as client id and filter; false when
** there are no more.
*/
bool memory_broker_subscription(const memory_broker *broker, size_t n,
                                const char **client, const char **filter,
                                uint8_t *qos);

/*
** True, and everything stands still for ever, when more than
** MEMORY_BROKER_FLOOD messages were published since the last call that
** answered false.
*/
bool memory_broker_flooded(memory_broker *broker);

#endif
