/*
** memory_client.h -- one client of the broker in memory; for the broker alone.
*/
#ifndef TESTING_MEMORY_CLIENT_H
#define TESTING_MEMORY_CLIENT_H

#include "iotops/topic.h"
#include "testing/memory_broker.h"

enum { MEMORY_NO_SUBSCRIBER = 0x10 }; /* reason code of a PUBACK */

typedef struct memory_rule memory_rule;
struct memory_rule {
  memory_rule *next;
  uint8_t reason_code; /* 0: none any more */
  char filter[];
};

typedef struct memory_subscription memory_subscription;
struct memory_subscription {
  memory_subscription *next;
  iotops_subscribe_options options;
  char filter[];
};

typedef struct memory_client memory_client;
struct memory_client {
  iotops_mqtt_client base;
  memory_broker *broker; /* borrowed */
  char *id;              /* owned */
  bool connected;
  bool ended;
  uint32_t epoch, seq;
  uint16_t packet_id;
  iotops_operation last_operation;
  struct memory_operation *operations, **last; /* owned */
  memory_subscription *subscriptions;          /* owned */
  struct memory_receiver *receivers;           /* owned */
  unsigned dispatching;                        /* receivers are being walked */
  struct memory_delivery *waiting, **last_waiting; /* owned; to be delivered */
  struct memory_delivery *unacked, **last_unacked; /* owned; in order */
  iotops_mqtt_observer *observers;
  iotops_task work, deliver;
  memory_client *next;
};

struct memory_broker {
  iotops_context *context;
  memory_client *clients; /* owned */
  memory_publish **publishes;
  size_t publish_count, publish_capacity;
  const memory_publish **retained; /* owned array of borrowed */
  size_t retained_count, retained_capacity;
  memory_rule *rules; /* owned */
  size_t turn;        /* of the members of groups */
  size_t since;       /* messages since somebody last looked */
  bool flooded;
};

/* NULL when memory is short. */
memory_client *memory_client_new(memory_broker *broker, const char *id);
void memory_client_free(memory_client *client);

/* Queues a message for the client; false when memory is short. */
bool memory_client_give(memory_client *client, memory_publish *publish,
                        const memory_subscription *subscription,
                        bool was_retained);

/* Takes the message over and hands it to whoever subscribed; -1: memory. */
int memory_broker_route(memory_broker *broker, const memory_client *from,
                        iotops_message *message, uint8_t *reason_code);

/* The reason code that a topic or filter is refused with; 0: it is not. */
uint8_t memory_broker_ruling(const memory_broker *broker, iotops_text topic);

/* Queues the retained messages of a new subscription. */
bool memory_broker_give_retained(memory_client *client,
                                 const memory_subscription *subscription);

#endif
