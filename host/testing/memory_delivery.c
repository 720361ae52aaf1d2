#include "testing/memory_delivery.h"

#include <string.h>

typedef struct memory_receiver memory_receiver;
struct memory_receiver {
  memory_receiver *next;
  iotops_on_message on_message; /* NULL: removed */
  void *user;
  bool takes_rest; /* has no filter */
  char filter[];
};

typedef struct memory_delivery memory_delivery;
struct memory_delivery {
  memory_delivery *next;
  memory_publish *publish; /* borrowed */
  uint8_t qos;
  bool retain, dup;
  uint32_t seq;  /* once it was delivered */
  size_t left;   /* receivers that have not settled */
  size_t shares; /* receivers that were given it */
  bool *settled; /* owned; by share */
  char *shared;  /* owned; the shared subscription that it came by, or NULL */
};

static memory_client *client_of(iotops_mqtt_client *base) {
  return (memory_client *)base;
}

/* ------------------------------------------------------------ receivers -- */

int memory_add_receiver(iotops_mqtt_client *base, iotops_text filter,
                        iotops_on_message on_message, void *user,
                        iotops_receiver **receiver, iotops_error *err) {
  memory_client *client = client_of(base);
  memory_receiver *made =
      iotops_zalloc(base->context, sizeof *made + filter.size + 1);
  if (made == NULL)
    return iotops_error_memory(err);
  if (filter.data == NULL)
    made->takes_rest = true;
  else
    memcpy(made->filter, filter.data, filter.size);
  made->on_message = on_message;
  made->user = user;
  memory_receiver **last = &client->receivers;
  while (*last != NULL)
    last = &(*last)->next;
  *last = made;
  *receiver = (iotops_receiver *)made;
  return 0;
}

static void sweep(memory_client *client) {
  memory_receiver **at = &client->receivers;
  while (client->dispatching == 0 && *at != NULL) {
    memory_receiver *receiver = *at;
    if (receiver->on_message != NULL) {
      at = &receiver->next;
      continue;
    }
    *at = receiver->next;
    iotops_free(client->base.context, receiver);
  }
}

void memory_remove_receiver(iotops_mqtt_client *base,
                            iotops_receiver *receiver) {
  ((memory_receiver *)receiver)->on_message = NULL;
  sweep(client_of(base));
}

/* ------------------------------------------------------------- delivery -- */

static void free_delivery(memory_client *client, memory_delivery *delivery) {
  iotops_free(client->base.context, delivery->settled);
  iotops_free(client->base.context, delivery->shared);
  iotops_free(client->base.context, delivery);
}

bool memory_client_give(memory_client *client, memory_publish *publish,
                        const memory_subscription *subscription,
                        bool was_retained) {
  iotops_context *context = client->base.context;
  const iotops_message *message = publish->message;
  uint8_t qos = message->qos < subscription->options.qos
                    ? message->qos
                    : subscription->options.qos;
  if (client->ended || (!client->connected && qos == 0))
    return true;
  memory_delivery *made = iotops_zalloc(context, sizeof *made);
  if (made == NULL)
    return false;
  if (strncmp(subscription->filter, "$share/", 7) == 0) {
    size_t size = strlen(subscription->filter) + 1;
    if ((made->shared = iotops_zalloc(context, size)) == NULL) {
      iotops_free(context, made);
      return false;
    }
    memcpy(made->shared, subscription->filter, size);
  }
  made->publish = publish;
  made->qos = qos;
  made->retain = was_retained ||
                 (message->retain && subscription->options.retain_as_published);
  publish->deliveries += qos > 0;
  *client->last_waiting = made;
  client->last_waiting = &made->next;
  iotops_task_soon(context, &client->deliver);
  return true;
}

/* PUBACKs leave from the head, in the order of receipt. */
static void acknowledge(memory_client *client) {
  while (client->unacked != NULL && client->unacked->left == 0) {
    memory_delivery *head = client->unacked;
    client->unacked = head->next;
    if (client->unacked == NULL)
      client->last_unacked = &client->unacked;
    head->publish->acknowledged++;
    free_delivery(client, head);
  }
}

bool memory_settle(iotops_mqtt_client *base, iotops_ack ack) {
  memory_client *client = client_of(base);
  if (ack.epoch == 0 || ack.epoch != client->epoch)
    return false;
  memory_delivery *at = client->unacked;
  while (at != NULL && at->seq != ack.seq)
    at = at->next;
  if (at == NULL || ack.share >= at->shares || at->settled[ack.share])
    return false;
  at->settled[ack.share] = true;
  at->left--;
  /* While it is handed out the deliverer looks. */
  if (client->dispatching == 0)
    acknowledge(client);
  return true;
}

static bool is_for(const memory_receiver *receiver,
                   const memory_delivery *delivery) {
  bool shared = strncmp(receiver->filter, "$share/", 7) == 0;
  if (receiver->on_message == NULL || receiver->takes_rest)
    return false;
  if (delivery->shared != NULL)
    return strcmp(receiver->filter, delivery->shared) == 0;
  return !shared &&
         iotops_topic_filter_matches(iotops_text_of(receiver->filter),
                                     delivery->publish->message->topic);
}

/* Counts the receivers of a delivery; marks whether the rest takes it. */
static size_t count_shares(const memory_client *client,
                           const memory_delivery *delivery, bool *rest) {
  size_t matched = 0, others = 0;
  for (const memory_receiver *at = client->receivers; at != NULL;
       at = at->next) {
    matched += is_for(at, delivery);
    others += at->on_message != NULL && at->takes_rest;
  }
  *rest = matched == 0;
  return matched > 0 ? matched : others;
}

/* False when it has expired; else the message as it is delivered. */
static bool fill_in(memory_client *client, const memory_delivery *delivery,
                    iotops_message *message) {
  *message = *delivery->publish->message;
  message->qos = delivery->qos;
  message->retain = delivery->retain;
  message->dup = delivery->dup;
  message->packet_id = 0;
  if (!message->has_expiry)
    return true;
  int64_t age_ms =
      iotops_wall_ms(client->base.context) - delivery->publish->wall_ms;
  uint64_t age_s = age_ms > 0 ? (uint64_t)age_ms / 1000 : 0;
  if (age_s >= message->expiry_s)
    return delivery->dup; /* delivered once: it is delivered again */
  message->expiry_s -= (uint32_t)age_s;
  return true;
}

static void hand_over(memory_client *client, memory_delivery *delivery,
                      const iotops_message *message, bool rest, size_t shares) {
  uint32_t share = 0, epoch = client->epoch, seq = delivery->seq;
  bool acked = delivery->qos > 0;
  for (memory_receiver *at = client->receivers; at != NULL && share < shares;
       at = at->next) {
    if (rest ? !at->takes_rest || at->on_message == NULL
             : !is_for(at, delivery))
      continue;
    iotops_ack ack = {acked ? epoch : 0, seq, share++};
    at->on_message(at->user, message, ack);
  }
  /* Receivers that were removed meanwhile have nothing to settle. */
  for (; acked && epoch == client->epoch && share < shares; share++)
    memory_settle(&client->base, (iotops_ack){epoch, seq, share});
}

static void dispatch(memory_client *client, memory_delivery *delivery) {
  iotops_context *context = client->base.context;
  iotops_message message;
  bool rest = false;
  size_t shares = count_shares(client, delivery, &rest);
  if (!fill_in(client, delivery, &message)) {
    delivery->publish->acknowledged += delivery->qos > 0;
    free_delivery(client, delivery);
    return;
  }
  if (delivery->qos > 0) {
    bool *settled = iotops_zalloc(context, shares + 1);
    if (settled == NULL)
      shares = 0;
    iotops_free(context, delivery->settled);
    delivery->settled = settled;
    delivery->shares = shares;
    /* Without memory it comes again with the next connection. */
    delivery->left = settled != NULL ? shares : 1;
    delivery->seq = ++client->seq;
    if (++client->packet_id == 0)
      client->packet_id = 1;
    message.packet_id = client->packet_id;
    *client->last_unacked = delivery;
    client->last_unacked = &delivery->next;
  }
  client->dispatching++;
  hand_over(client, delivery, &message, rest, shares);
  client->dispatching--;
  sweep(client);
  if (delivery->qos == 0)
    free_delivery(client, delivery);
  acknowledge(client);
}

void memory_deliver(iotops_task *task) {
  memory_client *client = task->user;
  while (client->waiting != NULL && client->connected && !client->ended &&
         !client->broker->flooded) {
    memory_delivery *next = client->waiting;
    client->waiting = next->next;
    if (client->waiting == NULL)
      client->last_waiting = &client->waiting;
    next->next = NULL;
    dispatch(client, next);
  }
}

void memory_delivery_lose(memory_client *client) {
  client->epoch++;
  for (memory_delivery *at = client->unacked; at != NULL; at = at->next)
    at->dup = true;
  if (client->unacked == NULL)
    return;
  *client->last_unacked = client->waiting;
  if (client->waiting == NULL)
    client->last_waiting = client->last_unacked;
  client->waiting = client->unacked;
  client->unacked = NULL;
  client->last_unacked = &client->unacked;
}

static void free_deliveries(memory_client *client, memory_delivery *first) {
  while (first != NULL) {
    memory_delivery *next = first->next;
    free_delivery(client, first);
    first = next;
  }
}

void memory_delivery_free(memory_client *client) {
  while (client->receivers != NULL) {
    memory_receiver *next = client->receivers->next;
    iotops_free(client->base.context, client->receivers);
    client->receivers = next;
  }
  free_deliveries(client, client->waiting);
  free_deliveries(client, client->unacked);
}
