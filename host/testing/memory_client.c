#include "testing/memory_delivery.h"

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

void memory_broker_connect(iotops_mqtt_client *base, bool connected) {
  memory_client *client = client_of(base);
  iotops_mqtt_observer *next = NULL;
  if (client->connected == connected || client->ended)
    return;
  client->connected = connected;
  if (!connected)
    memory_delivery_lose(client);
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
    .add_receiver = memory_add_receiver,
    .remove_receiver = memory_remove_receiver,
    .settle = memory_settle,
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
  client->deliver.run = memory_deliver;
  client->deliver.user = client;
  if ((client->id = iotops_zalloc(broker->context, size)) == NULL) {
    iotops_free(broker->context, client);
    return NULL;
  }
  memcpy(client->id, id, size);
  return client;
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
  memory_delivery_free(client);
  iotops_free(context, client->id);
  iotops_free(context, client);
}
