#include "runtime/script_client.h"

#include "iotops/topic.h"

typedef struct held_message held_message;
struct held_message {
  iotops_message *message; /* owned */
  iotops_ack ack;
  held_message *next;
};

typedef struct client_receiver client_receiver;
struct client_receiver {
  script_client *client;  /* borrowed */
  iotops_receiver *inner; /* owned: the session's */
  iotops_on_message on_message;
  void *user;
  bool holding;
  bool endpoint;
  held_message *first, **last; /* owned */
  client_receiver *next, *previous;
};

typedef struct client_publish client_publish;
struct client_publish {
  script_client *client; /* borrowed */
  iotops_mqtt_done done;
  void *user;
  client_publish *next;
};

static script_client *client_of(iotops_mqtt_client *base) {
  return (script_client *)base;
}

static const char *client_id(iotops_mqtt_client *base) {
  return iotops_mqtt_client_id(client_of(base)->session);
}

/* ------------------------------------------------------------ publish -- */

static void published(void *user, const iotops_mqtt_result *result) {
  client_publish *publish = user;
  script_client *client = publish->client;
  iotops_mqtt_done done = publish->done;
  void *done_user = publish->user;
  if (result->error == NULL && result->reason_code < 0x80)
    client->counters.sent++;
  else
    client->counters.refused++;
  client->publishing--;
  publish->next = client->spare;
  client->spare = publish;
  if (done != NULL)
    done(done_user, result);
}

static int publish(iotops_mqtt_client *base, const iotops_message *message,
                   iotops_mqtt_done done, void *user, iotops_operation *op,
                   iotops_error *err) {
  script_client *client = client_of(base);
  client_publish *entry = client->spare;
  if (entry != NULL)
    client->spare = entry->next;
  else if ((entry = iotops_zalloc(base->context, sizeof *entry)) == NULL)
    return iotops_error_memory(err);
  entry->client = client;
  entry->done = done;
  entry->user = user;
  if (iotops_mqtt_publish(client->session, message, published, entry, op,
                          err) != 0) {
    entry->next = client->spare;
    client->spare = entry;
    return -1;
  }
  client->publishing++;
  return 0;
}

/* ------------------------------------------------------ subscriptions -- */

static int subscribe(iotops_mqtt_client *base, iotops_text filter,
                     const iotops_subscribe_options *options,
                     iotops_mqtt_done done, void *user, iotops_operation *op,
                     iotops_error *err) {
  return iotops_mqtt_subscribe(client_of(base)->session, filter, options, done,
                               user, op, err);
}

static int unsubscribe(iotops_mqtt_client *base, iotops_text filter,
                       iotops_mqtt_done done, void *user, iotops_operation *op,
                       iotops_error *err) {
  return iotops_mqtt_unsubscribe(client_of(base)->session, filter, done, user,
                                 op, err);
}

static void cancel(iotops_mqtt_client *base, iotops_operation op) {
  iotops_mqtt_cancel(client_of(base)->session, op);
}

/* ---------------------------------------------------------- receivers -- */

static bool settle(iotops_mqtt_client *base, iotops_ack ack) {
  script_client *client = client_of(base);
  bool settled = iotops_mqtt_settle(client->session, ack);
  if (settled)
    client->counters.acknowledged++;
  else if (ack.epoch != 0)
    client->counters.stale++;
  return settled;
}

static void hold(client_receiver *receiver, const iotops_message *message,
                 iotops_ack ack) {
  script_client *client = receiver->client;
  iotops_context *context = client->base.context;
  held_message *held = iotops_zalloc(context, sizeof *held);
  if (held != NULL)
    held->message = iotops_message_copy(context, message);
  if (held == NULL || held->message == NULL) {
    /* Unacknowledged, it comes again; a crash would lose more. */
    iotops_free(context, held);
    iotops_log(context, IOTOPS_LOG_ERROR, "host",
               "out of memory while holding a message for a reload");
    return;
  }
  held->ack = ack;
  *receiver->last = held;
  receiver->last = &held->next;
}

static void on_message(void *user, const iotops_message *message,
                       iotops_ack ack) {
  client_receiver *receiver = user;
  script_client *client = receiver->client;
  if (client->shut && receiver->endpoint)
    return;
  if (receiver->holding) {
    hold(receiver, message, ack);
    return;
  }
  client->counters.received++;
  receiver->on_message(receiver->user, message, ack);
}

static int add_receiver(iotops_mqtt_client *base, iotops_text filter,
                        iotops_on_message callback, void *user,
                        iotops_receiver **receiver, iotops_error *err) {
  script_client *client = client_of(base);
  client_receiver *added = iotops_zalloc(base->context, sizeof *added);
  if (added == NULL)
    return iotops_error_memory(err);
  added->client = client;
  added->on_message = callback;
  added->user = user;
  added->holding = client->holding;
  added->endpoint = client->endpoint;
  added->last = &added->first;
  if (iotops_mqtt_add_receiver(client->session, filter, on_message, added,
                               &added->inner, err) != 0) {
    iotops_free(base->context, added);
    return -1;
  }
  added->next = client->receivers;
  if (added->next != NULL)
    added->next->previous = added;
  client->receivers = added;
  *receiver = (iotops_receiver *)added;
  return 0;
}

static void remove_receiver(iotops_mqtt_client *base,
                            iotops_receiver *receiver) {
  script_client *client = client_of(base);
  client_receiver *removed = (client_receiver *)receiver;
  iotops_mqtt_remove_receiver(client->session, removed->inner);
  if (removed->next != NULL)
    removed->next->previous = removed->previous;
  if (removed->previous != NULL)
    removed->previous->next = removed->next;
  else
    client->receivers = removed->next;
  while (removed->first != NULL) {
    held_message *held = removed->first;
    removed->first = held->next;
    if (held->ack.epoch != 0)
      settle(base, held->ack);
    iotops_free(base->context, held->message);
    iotops_free(base->context, held);
  }
  iotops_free(base->context, removed);
}

static bool matches_any(const iotops_message *message,
                        const char *const *filters, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (iotops_topic_filter_matches(iotops_text_of(filters[i]), message->topic))
      return true;
  return false;
}

/*
** Hands over the first held message of the first receiver that has one.  The
** handler may remove receivers, so nothing is remembered in between.
*/
static bool release_one(script_client *client, const char *const *filters,
                        size_t filter_count) {
  iotops_context *context = client->base.context;
  client_receiver *receiver = client->receivers;
  while (receiver != NULL && receiver->first == NULL)
    receiver = receiver->next;
  if (receiver == NULL)
    return false;
  held_message *held = receiver->first;
  receiver->first = held->next;
  if (receiver->first == NULL)
    receiver->last = &receiver->first;
  if (matches_any(held->message, filters, filter_count)) {
    if (held->ack.epoch != 0)
      settle(&client->base, held->ack);
  } else {
    client->counters.received++;
    receiver->on_message(receiver->user, held->message, held->ack);
  }
  iotops_free(context, held->message);
  iotops_free(context, held);
  return true;
}

void script_client_release(script_client *client, const char *const *filters,
                           size_t filter_count) {
  client_receiver *receiver = NULL;
  client->holding = false;
  for (receiver = client->receivers; receiver != NULL;
       receiver = receiver->next)
    receiver->holding = false;
  while (release_one(client, filters, filter_count))
    ;
}

void script_client_shut(script_client *client) {
  client->shut = true;
}

/* --------------------------------------------------------- connection -- */

static void observe(iotops_mqtt_client *base, iotops_mqtt_observer *observer) {
  iotops_mqtt_observe(client_of(base)->session, observer);
}

static void unobserve(iotops_mqtt_client *base,
                      iotops_mqtt_observer *observer) {
  iotops_mqtt_unobserve(client_of(base)->session, observer);
}

static bool is_connected(iotops_mqtt_client *base) {
  return iotops_mqtt_is_connected(client_of(base)->session);
}

static const iotops_mqtt_client_ops script_client_ops = {
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

void script_client_init(script_client *client, iotops_mqtt_client *session) {
  *client = (script_client){0};
  client->base.ops = &script_client_ops;
  client->base.context = session->context;
  client->session = session;
}

void script_client_close(script_client *client) {
  while (client->spare != NULL) {
    client_publish *publish = client->spare;
    client->spare = publish->next;
    iotops_free(client->base.context, publish);
  }
}
