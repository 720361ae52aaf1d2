#include "runtime/script_client.h"

#include <string.h>

#include "iotops/topic.h"
#include "runtime/tap.h"

enum { HELD_QOS0_MAX = 10000 };

typedef struct client_receiver client_receiver;
struct client_receiver {
  script_client *client;  /* borrowed */
  iotops_receiver *inner; /* owned: the session's */
  iotops_on_message on_message;
  void *user;
  unsigned mark;
  bool holding;
  bool endpoint;
  client_receiver *next, *previous;
  char filter[];
};

typedef struct held_message held_message;
struct held_message {
  client_receiver *receiver; /* NULL: its endpoint has no successor */
  iotops_message *message;   /* owned */
  iotops_ack ack;
  bool kept;     /* arrived while the client was keeping */
  bool put_back; /* some generation was given it and has not handled it */
  held_message *next, *previous;
};

typedef struct client_publish client_publish;
struct client_publish {
  script_client *client; /* borrowed */
  iotops_mqtt_done done;
  void *user;
  iotops_message *tapped; /* owned; what is sent, while somebody looks on */
  int64_t tapped_ms;
  client_publish *next;
};

static script_client *client_of(iotops_mqtt_client *base) {
  return (script_client *)base;
}

static const char *client_id(iotops_mqtt_client *base) {
  return iotops_mqtt_client_id(client_of(base)->session);
}

/* ---------------------------------------------------------------- tap -- */

static void note_published(client_publish *publish,
                           const iotops_mqtt_result *result) {
  script_client *client = publish->client;
  const char *outcome = "sent";
  if (result->error != NULL)
    outcome = result->error->message;
  else if (result->reason_code >= 0x80)
    outcome = iotops_reason_name(result->reason_code);
  if (client->taps != NULL)
    tap_tell(client->taps, client->base.context, publish->tapped, MESSAGE_OUT,
             publish->tapped_ms, outcome);
  iotops_free(client->base.context, publish->tapped);
  publish->tapped = NULL;
}

static void deliver(client_receiver *receiver, const iotops_message *message,
                    iotops_ack ack) {
  script_client *client = receiver->client;
  client->counters.received++;
  if (client->taps != NULL)
    tap_tell(client->taps, client->base.context, message, MESSAGE_IN,
             iotops_wall_ms(client->base.context), "received");
  receiver->on_message(receiver->user, message, ack);
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
  if (publish->tapped != NULL)
    note_published(publish, result);
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
  if (client->taps != NULL) {
    entry->tapped = iotops_message_copy(base->context, message);
    entry->tapped_ms = iotops_wall_ms(base->context);
  }
  if (iotops_mqtt_publish(client->session, message, published, entry, op,
                          err) != 0) {
    iotops_free(base->context, entry->tapped);
    entry->tapped = NULL;
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

/* Links it in after `place`; NULL: before all. */
static void link_held(script_client *client, held_message *held,
                      held_message *place) {
  held->previous = place;
  held->next = place != NULL ? place->next : client->held;
  if (held->next != NULL)
    held->next->previous = held;
  else
    client->newest = held;
  if (place != NULL)
    place->next = held;
  else
    client->held = held;
  client->held_count++;
  client->held_qos0 += held->ack.epoch == 0;
}

static void unlink_held(script_client *client, held_message *held) {
  if (held->previous != NULL)
    held->previous->next = held->next;
  else
    client->held = held->next;
  if (held->next != NULL)
    held->next->previous = held->previous;
  else
    client->newest = held->previous;
  if (client->back == held)
    client->back = held->previous;
  client->held_count--;
  client->held_qos0 -= held->ack.epoch == 0;
}

static void free_held(script_client *client, held_message *held) {
  iotops_free(client->base.context, held->message);
  iotops_free(client->base.context, held);
}

/* Acknowledged without having been handled. */
static void dismiss(script_client *client, held_message *held) {
  unlink_held(client, held);
  if (held->ack.epoch != 0)
    settle(&client->base, held->ack);
  free_held(client, held);
}

static void observe_connection(script_client *client);
static void observe_no_more(script_client *client);

static void hold(client_receiver *receiver, const iotops_message *message,
                 iotops_ack ack) {
  script_client *client = receiver->client;
  iotops_context *context = client->base.context;
  held_message *held = NULL;
  if (ack.epoch == 0 && client->held_qos0 >= HELD_QOS0_MAX) {
    client->counters.dropped++;
    return;
  }
  held = iotops_zalloc(context, sizeof *held);
  if (held != NULL)
    held->message = iotops_message_copy(context, message);
  if (held == NULL || held->message == NULL) {
    /* Unacknowledged, it comes again; a crash would lose more. */
    iotops_free(context, held);
    iotops_log(context, IOTOPS_LOG_ERROR, "host",
               "out of memory while holding a message for a reload");
    return;
  }
  held->receiver = receiver;
  held->ack = ack;
  held->kept = client->keeping;
  link_held(client, held, client->newest);
  observe_connection(client);
}

static void on_message(void *user, const iotops_message *message,
                       iotops_ack ack) {
  client_receiver *receiver = user;
  script_client *client = receiver->client;
  if (client->shut && receiver->endpoint)
    return;
  if (receiver->holding || (client->keeping && receiver->endpoint)) {
    hold(receiver, message, ack);
    return;
  }
  deliver(receiver, message, ack);
}

static int add_receiver(iotops_mqtt_client *base, iotops_text filter,
                        iotops_on_message callback, void *user,
                        iotops_receiver **receiver, iotops_error *err) {
  script_client *client = client_of(base);
  client_receiver *added =
      iotops_zalloc(base->context, sizeof *added + filter.size + 1);
  if (added == NULL)
    return iotops_error_memory(err);
  added->client = client;
  added->on_message = callback;
  added->user = user;
  added->holding = client->holding;
  added->endpoint = client->endpoint;
  added->mark = client->mark;
  memcpy(added->filter, filter.data, filter.size);
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
  for (held_message *next, *held = client->held; held != NULL; held = next) {
    next = held->next;
    if (held->receiver == removed)
      dismiss(client, held);
  }
  observe_no_more(client);
  iotops_free(base->context, removed);
}

/* ---------------------------------------------------------------- keep -- */

/* Whether the generation that serves was given the message as well. */
static bool serves_too(const script_client *client, const held_message *held) {
  const client_receiver *at = client->receivers;
  while (at != NULL && (at->holding || !at->endpoint ||
                        !iotops_topic_filter_matches(iotops_text_of(at->filter),
                                                     held->message->topic)))
    at = at->next;
  return at != NULL;
}

/*
** Drops what the broker delivers again: all of it when the connection has gone;
** when the client is shut, what no generation has handled or will.
*/
static void let_go(script_client *client, bool shut) {
  for (held_message *next, *held = client->held; held != NULL; held = next) {
    bool staged = held->receiver != NULL && held->receiver->holding;
    next = held->next;
    if (shut ? staged && serves_too(client, held) : held->ack.epoch == 0)
      continue;
    unlink_held(client, held);
    free_held(client, held);
  }
}

static void disconnected(iotops_mqtt_observer *observer) {
  let_go(observer->user, false);
}

/* From what is held first to when nothing is held any more. */
static void observe_connection(script_client *client) {
  if (client->observer.user != NULL)
    return;
  client->observer.disconnected = disconnected;
  client->observer.user = client;
  iotops_mqtt_observe(client->session, &client->observer);
}

static void observe_no_more(script_client *client) {
  if (client->observer.user == NULL || client->held != NULL)
    return;
  iotops_mqtt_unobserve(client->session, &client->observer);
  client->observer.user = NULL;
}

void script_client_keep(script_client *client) {
  client->keeping = true;
}

static client_receiver *marked(const script_client *client, unsigned mark) {
  client_receiver *receiver = client->receivers;
  while (receiver != NULL && (mark == 0 || receiver->mark != mark))
    receiver = receiver->next;
  return receiver;
}

void script_client_bequeath(script_client *client, unsigned from, unsigned to) {
  const client_receiver *old = marked(client, from);
  client_receiver *heir = marked(client, to);
  for (held_message *held = client->held; held != NULL && old != NULL;
       held = held->next)
    if (held->receiver == old)
      held->receiver = heir;
}

void script_client_put_back(script_client *client, unsigned to,
                            iotops_message *message, iotops_ack ack) {
  held_message *held = iotops_zalloc(client->base.context, sizeof *held);
  if (held == NULL) {
    iotops_log(client->base.context, IOTOPS_LOG_ERROR, "host",
               "out of memory: a message is left to the broker");
    iotops_free(client->base.context, message);
    return;
  }
  held->receiver = marked(client, to);
  held->message = message;
  held->ack = ack;
  held->put_back = true;
  link_held(client, held, client->back);
  client->back = held;
}

/* ------------------------------------------------------------- release -- */

static bool matches_any(const iotops_message *message,
                        const char *const *filters, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (iotops_topic_filter_matches(iotops_text_of(filters[i]), message->topic))
      return true;
  return false;
}

/* A receiver that was made before the commit and is given the message. */
static client_receiver *early_receiver(const script_client *client,
                                       const iotops_message *message) {
  client_receiver *receiver = client->receivers;
  while (receiver != NULL &&
         (!receiver->holding ||
          !iotops_topic_filter_matches(iotops_text_of(receiver->filter),
                                       message->topic)))
    receiver = receiver->next;
  return receiver;
}

/*
** Who is to have the message at the commit; NULL: nobody.  The generation
** before had `filters`.
*/
static client_receiver *claimant(script_client *client,
                                 const held_message *held,
                                 const char *const *filters,
                                 size_t filter_count) {
  if (held->receiver != NULL) {
    bool was_given = held->receiver->holding && !held->kept &&
                     !held->put_back &&
                     matches_any(held->message, filters, filter_count);
    return was_given ? NULL : held->receiver;
  }
  client_receiver *other = early_receiver(client, held->message);
  client->unclaimed += other == NULL;
  /* One that arrived while keeping was held for the other as well. */
  return held->put_back ? other : NULL;
}

static void hand_out(script_client *client, held_message *held,
                     client_receiver *receiver) {
  unlink_held(client, held);
  deliver(receiver, held->message, held->ack);
  free_held(client, held);
}

void script_client_release(script_client *client, const char *const *filters,
                           size_t filter_count) {
  client->holding = client->keeping = false;
  /* The handler may remove receivers: nothing is remembered in between. */
  while (client->held != NULL) {
    client_receiver *receiver =
        claimant(client, client->held, filters, filter_count);
    if (receiver != NULL)
      hand_out(client, client->held, receiver);
    else
      dismiss(client, client->held);
  }
  for (client_receiver *at = client->receivers; at != NULL; at = at->next)
    at->holding = false;
  observe_no_more(client);
}

/* The first that is held for a receiver that holds no longer. */
static held_message *first_free(const script_client *client) {
  held_message *held = client->held;
  while (held != NULL && (held->receiver == NULL || held->receiver->holding))
    held = held->next;
  return held;
}

void script_client_resume(script_client *client) {
  client->keeping = false;
  for (held_message *held; (held = first_free(client)) != NULL;)
    hand_out(client, held, held->receiver);
  observe_no_more(client);
}

void script_client_shut(script_client *client) {
  client->shut = true;
  client->keeping = false;
  let_go(client, true);
  observe_no_more(client);
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
  let_go(client, true);
  while (client->spare != NULL) {
    client_publish *publish = client->spare;
    client->spare = publish->next;
    iotops_free(client->base.context, publish);
  }
}
