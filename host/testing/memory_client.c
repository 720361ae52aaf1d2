#include "testing/memory_client.h"

#include <string.h>

typedef enum operation_kind { PUBLISH, SUBSCRIBE, UNSUBSCRIBE } operation_kind;

typedef struct memory_operation memory_operation;
struct memory_operation {
  memory_operation *next;
  iotops_operation number;
  operation_kind kind;
  bool cancelled;
  iotops_message *message; /* owned; of a publish */
  iotops_subscribe_options options;
  iotops_mqtt_done done;
  void *user;
  char filter[];
};

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

/* ----------------------------------------------------------- operations -- */

static memory_operation *add_operation(memory_client *client,
                                       operation_kind kind, iotops_text filter,
                                       iotops_mqtt_done done, void *user,
                                       iotops_operation *number) {
  memory_operation *made =
      iotops_zalloc(client->base.context, sizeof *made + filter.size + 1);
  if (made == NULL)
    return NULL;
  if (filter.size > 0)
    memcpy(made->filter, filter.data, filter.size);
  made->kind = kind;
  made->number = ++client->last_operation;
  made->done = done;
  made->user = user;
  *client->last = made;
  client->last = &made->next;
  if (number != NULL)
    *number = made->number;
  iotops_task_soon(client->base.context, &client->work);
  return made;
}

static int publish(iotops_mqtt_client *base, const iotops_message *message,
                   iotops_mqtt_done done, void *user, iotops_operation *op,
                   iotops_error *err) {
  memory_client *client = client_of(base);
  if (!iotops_topic_name_valid(message->topic))
    return iotops_error_configuration(err, "topic", message->topic,
                                      "not a topic name");
  iotops_message *copy = iotops_message_copy(base->context, message);
  memory_operation *made =
      copy != NULL
          ? add_operation(client, PUBLISH, (iotops_text){0}, done, user, op)
          : NULL;
  if (made == NULL) {
    iotops_free(base->context, copy);
    return iotops_error_memory(err);
  }
  made->message = copy;
  return 0;
}

static int subscribe(iotops_mqtt_client *base, iotops_text filter,
                     const iotops_subscribe_options *options,
                     iotops_mqtt_done done, void *user, iotops_operation *op,
                     iotops_error *err) {
  if (!iotops_topic_filter_valid(filter))
    return iotops_error_configuration(err, "filter", filter,
                                      "not a topic filter");
  memory_operation *made =
      add_operation(client_of(base), SUBSCRIBE, filter, done, user, op);
  if (made == NULL)
    return iotops_error_memory(err);
  made->options = *options;
  return 0;
}

static int unsubscribe(iotops_mqtt_client *base, iotops_text filter,
                       iotops_mqtt_done done, void *user, iotops_operation *op,
                       iotops_error *err) {
  return add_operation(client_of(base), UNSUBSCRIBE, filter, done, user, op) !=
                 NULL
             ? 0
             : iotops_error_memory(err);
}

static void cancel(iotops_mqtt_client *base, iotops_operation number) {
  memory_client *client = client_of(base);
  for (memory_operation *at = client->operations; at != NULL; at = at->next)
    if (at->number == number) {
      at->cancelled = true;
      iotops_task_soon(base->context, &client->work);
    }
}

static memory_subscription **find(memory_client *client, const char *filter) {
  memory_subscription **at = &client->subscriptions;
  while (*at != NULL && strcmp((*at)->filter, filter) != 0)
    at = &(*at)->next;
  return at;
}

static uint8_t grant(memory_client *client, const memory_operation *asked) {
  size_t size = strlen(asked->filter) + 1;
  uint8_t refused = memory_broker_ruling(
      client->broker, (iotops_text){asked->filter, size - 1});
  bool is_new = *find(client, asked->filter) == NULL;
  if (refused != 0)
    return refused;
  memory_subscription *made =
      iotops_zalloc(client->base.context, sizeof *made + size);
  if (made == NULL)
    return 0x80;
  memcpy(made->filter, asked->filter, size);
  made->options = asked->options;
  memory_subscription **last = &client->subscriptions;
  while (*last != NULL)
    last = &(*last)->next;
  *last = made;
  /* Equal filters are counted: the broker hears of the first alone. */
  if (is_new && strncmp(made->filter, "$share/", 7) != 0 &&
      asked->options.retain_handling != 2 &&
      !memory_broker_give_retained(client, made))
    return 0x80;
  return asked->options.qos;
}

static uint8_t withdraw(memory_client *client, const memory_operation *asked) {
  memory_subscription **at = find(client, asked->filter);
  memory_subscription *gone = *at;
  if (gone == NULL)
    return 0x11; /* no subscription existed */
  *at = gone->next;
  iotops_free(client->base.context, gone);
  return 0;
}

static void finish(memory_client *client, memory_operation *ended,
                   const iotops_mqtt_result *result) {
  if (ended->done != NULL)
    ended->done(ended->user, result);
  iotops_free(client->base.context, ended->message);
  iotops_free(client->base.context, ended);
}

static void serve(memory_client *client, memory_operation *asked) {
  iotops_mqtt_result result = {0};
  iotops_error err;
  iotops_message *message = asked->message;
  if (asked->cancelled || !client->connected) {
    iotops_error_set(&err, IOTOPS_CANCELLATION, "the operation was cancelled");
    result.error = &err;
  } else if (asked->kind == PUBLISH) {
    asked->message = NULL;
    if (memory_broker_route(client->broker, client, message,
                            &result.reason_code) != 0) {
      iotops_error_memory(&err);
      result.error = &err;
    }
  } else if (asked->kind == SUBSCRIBE) {
    result.reason_code = grant(client, asked);
  } else {
    result.reason_code = withdraw(client, asked);
  }
  finish(client, asked, &result);
}

/* The first operation that can end now, taken out; NULL: none. */
static memory_operation *take(memory_client *client) {
  memory_operation **at = &client->operations;
  bool all = client->connected || client->ended;
  while (*at != NULL && !all && !(*at)->cancelled)
    at = &(*at)->next;
  memory_operation *taken = *at;
  if (taken == NULL)
    return NULL;
  *at = taken->next;
  if (taken->next == NULL)
    client->last = at;
  return taken;
}

static void work(iotops_task *task) {
  memory_client *client = task->user;
  memory_operation *next = NULL;
  while ((!client->broker->flooded || client->ended) &&
         (next = take(client)) != NULL)
    serve(client, next);
}

/* ------------------------------------------------------------ receivers -- */

static int add_receiver(iotops_mqtt_client *base, iotops_text filter,
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

static void remove_receiver(iotops_mqtt_client *base,
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

static bool settle(iotops_mqtt_client *base, iotops_ack ack) {
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
    settle(&client->base, (iotops_ack){epoch, seq, share});
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

static void deliver(iotops_task *task) {
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

/* ----------------------------------------------------------- connection -- */

static void observe(iotops_mqtt_client *base, iotops_mqtt_observer *observer) {
  memory_client *client = client_of(base);
  observer->previous = NULL;
  observer->next = client->observers;
  if (observer->next != NULL)
    observer->next->previous = observer;
  client->observers = observer;
}

static void unobserve(iotops_mqtt_client *base,
                      iotops_mqtt_observer *observer) {
  memory_client *client = client_of(base);
  if (observer->next != NULL)
    observer->next->previous = observer->previous;
  if (observer->previous != NULL)
    observer->previous->next = observer->next;
  else
    client->observers = observer->next;
}

static bool is_connected(iotops_mqtt_client *base) {
  return client_of(base)->connected;
}

static const char *client_id(iotops_mqtt_client *base) {
  return client_of(base)->id;
}

/* What was not acknowledged is to be delivered once more, first. */
static void lose_connection(memory_client *client) {
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

void memory_broker_connect(iotops_mqtt_client *base, bool connected) {
  memory_client *client = client_of(base);
  iotops_mqtt_observer *next = NULL;
  if (client->connected == connected || client->ended)
    return;
  client->connected = connected;
  if (!connected)
    lose_connection(client);
  for (iotops_mqtt_observer *at = client->observers; at != NULL; at = next) {
    next = at->next;
    if (connected && at->connected != NULL)
      at->connected(at);
    else if (!connected && at->disconnected != NULL)
      at->disconnected(at);
  }
  iotops_task_soon(base->context, &client->work);
  iotops_task_soon(base->context, &client->deliver);
}

void memory_broker_end(iotops_mqtt_client *base) {
  memory_client *client = client_of(base);
  client->ended = true;
  iotops_task_soon(base->context, &client->work);
}

/* ----------------------------------------------------------------- life -- */

static const iotops_mqtt_client_ops operations = {
    .client_id = client_id,
    .publish = publish,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .cancel = cancel,
    .add_receiver = add_receiver,
    .remove_receiver = remove_receiver,
    .settle = settle,
    .observe = observe,
    .unobserve = unobserve,
    .is_connected = is_connected,
};

memory_client *memory_client_new(memory_broker *broker, const char *id) {
  size_t size = strlen(id) + 1;
  memory_client *client = iotops_zalloc(broker->context, sizeof *client);
  if (client == NULL)
    return NULL;
  client->base.ops = &operations;
  client->base.context = broker->context;
  client->broker = broker;
  client->connected = true;
  client->epoch = 1;
  client->last = &client->operations;
  client->last_waiting = &client->waiting;
  client->last_unacked = &client->unacked;
  client->work.run = work;
  client->work.user = client;
  client->deliver.run = deliver;
  client->deliver.user = client;
  if ((client->id = iotops_zalloc(broker->context, size)) == NULL) {
    iotops_free(broker->context, client);
    return NULL;
  }
  memcpy(client->id, id, size);
  return client;
}

static void free_deliveries(memory_client *client, memory_delivery *first) {
  while (first != NULL) {
    memory_delivery *next = first->next;
    free_delivery(client, first);
    first = next;
  }
}

void memory_client_free(memory_client *client) {
  iotops_context *context = client->base.context;
  iotops_task_cancel(context, &client->work);
  iotops_task_cancel(context, &client->deliver);
  while (client->operations != NULL) {
    memory_operation *next = client->operations->next;
    iotops_free(context, client->operations->message);
    iotops_free(context, client->operations);
    client->operations = next;
  }
  while (client->subscriptions != NULL) {
    memory_subscription *next = client->subscriptions->next;
    iotops_free(context, client->subscriptions);
    client->subscriptions = next;
  }
  while (client->receivers != NULL) {
    memory_receiver *next = client->receivers->next;
    iotops_free(context, client->receivers);
    client->receivers = next;
  }
  free_deliveries(client, client->waiting);
  free_deliveries(client, client->unacked);
  iotops_free(context, client->id);
  iotops_free(context, client);
}
