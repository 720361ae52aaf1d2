/*
** stub_session.c -- level 1: a session without MQTT (see stub.h).
**
** Does what protocol.md section 1 asks of a session, S1 to S8, in the fewest
** lines: what it gets wrong shows in the cases about acknowledgement order,
** topic filtering and reconnection, which at this level test the stub.
*/
#include <stdlib.h>
#include <string.h>

#include "iotops/topic.h"
#include "stub.h"

enum { MAX_SHARES = 64 }; /* receivers of one message */

typedef struct operation {
  struct operation *next;
  iotops_operation id;
  metl_packet_kind kind;
  iotops_mqtt_done done;
  void *user;
  char *filter;            /* owned; NULL for a publish */
  iotops_message *message; /* owned; NULL unless a publish */
  iotops_subscribe_options options;
  bool sent;     /* waits for an answer */
  bool dropped;  /* ... that `push-acks` withheld */
  bool answered; /* only its callback is due */
  bool cancelled;
  uint8_t reason_code;
  iotops_task task;
  struct stub_session *session;
} operation;

/* A message that came on this connection and is not acknowledged yet. */
typedef struct entry {
  uint32_t seq;
  uint16_t packet_id;
  uint64_t pending; /* one bit a receiver that has not settled */
} entry;

struct iotops_receiver {
  char *filter; /* owned */
  iotops_on_message on_message;
  void *user;
  bool removed; /* kept until the end: it may be on its way to a message */
};

typedef struct stub_session {
  metl_stub stub;
  iotops_mqtt_client client;
  operation *operations; /* owned; in the order of the calls */
  iotops_operation last_operation;
  iotops_receiver **receivers; /* owned, each too */
  size_t receiver_count;
  char **subscriptions; /* owned, each too; a filter once for each owner */
  size_t subscription_count;
  iotops_message **inbox; /* owned, each too; not delivered yet */
  size_t inbox_count;
  entry *entries; /* owned; in the order of receipt */
  size_t entry_count;
  uint32_t epoch, last_seq;
  uint16_t last_sent_id; /* of the client's publishes */
  bool connected;
  iotops_mqtt_observer *observers; /* borrowed */
  iotops_task cut, resume, receive;
} stub_session;

static stub_session *session_of(iotops_mqtt_client *client) {
  return (stub_session *)((char *)client - offsetof(stub_session, client));
}

static uint64_t now(const stub_session *session) {
  return iotops_mono_ms(session->stub.context);
}

static char *copy_text(iotops_text text) {
  char *copy = metl_resize(NULL, text.size + 1);
  memcpy(copy, text.data, text.size);
  copy[text.size] = '\0';
  return copy;
}

/* --------------------------------------------------- what is wanted -- */

static void unlink_operation(operation *gone) {
  operation **link = &gone->session->operations;
  while (*link != gone) {
    link = &(*link)->next;
  }
  *link = gone->next;
}

static void complete(iotops_task *task) {
  operation *ended = task->user;
  iotops_error cancelled;
  iotops_mqtt_result result = {.reason_code = ended->reason_code};
  if (ended->cancelled) {
    iotops_error_set(&cancelled, IOTOPS_CANCELLATION, "cancelled");
    result.error = &cancelled;
  }
  unlink_operation(ended);
  ended->done(ended->user, &result);
  free(ended->filter);
  iotops_free(ended->session->stub.context, ended->message);
  free(ended);
}

static void answer(operation *op, uint8_t reason_code) {
  op->answered = true;
  op->reason_code = reason_code;
  iotops_task_soon(op->session->stub.context, &op->task);
}

static size_t owners(const stub_session *session, const char *filter) {
  size_t count = 0;
  for (size_t i = 0; i < session->subscription_count; i++) {
    count += strcmp(session->subscriptions[i], filter) == 0;
  }
  return count;
}

static void add_owner(stub_session *session, const char *filter) {
  session->subscriptions =
      metl_resize(session->subscriptions, (session->subscription_count + 1) *
                                              sizeof *session->subscriptions);
  session->subscriptions[session->subscription_count++] =
      copy_text(iotops_text_of(filter));
}

static void drop_owner(stub_session *session, const char *filter) {
  for (size_t i = 0; i < session->subscription_count; i++) {
    if (strcmp(session->subscriptions[i], filter) == 0) {
      free(session->subscriptions[i]);
      session->subscriptions[i] =
          session->subscriptions[--session->subscription_count];
      return;
    }
  }
}

static void send_publish(stub_session *session, operation *op) {
  bool again = op->sent;
  if (!again && op->message->qos > 0) {
    op->message->packet_id = ++session->last_sent_id;
  }
  op->sent = true;
  op->message->dup = again;
  metl_log_publish(&session->stub.log, true, op->message, now(session));
  metl_push_ack said = metl_push_acks_take(&session->stub.publish_acks);
  if (op->message->qos == 0) {
    answer(op, 0);
    return;
  }
  op->dropped = said == METL_DROP;
  if (!op->dropped) {
    metl_packet *packet = metl_log_add(&session->stub.log, METL_ANSWER, false,
                                       "PUBACK", now(session));
    packet->packet_id = op->message->packet_id;
    packet->reason_code = said == METL_FAIL ? 0x80 : 0;
    answer(op, (uint8_t)packet->reason_code);
  }
}

/* SUBSCRIBE or UNSUBSCRIBE. */
static void send_control(stub_session *session, operation *op) {
  bool subscribing = op->kind == METL_SUBSCRIBE;
  size_t before = owners(session, op->filter);
  if (subscribing ? before > 0 : before > 1) { /* somebody else's as well */
    if (subscribing) {
      add_owner(session, op->filter);
    } else {
      drop_owner(session, op->filter);
    }
    answer(op, subscribing ? op->options.qos : 0);
    return;
  }
  op->sent = true;
  metl_log_filter(&session->stub.log, op->kind, iotops_text_of(op->filter),
                  now(session));
  metl_push_ack said =
      metl_push_acks_take(subscribing ? &session->stub.subscribe_acks
                                      : &session->stub.unsubscribe_acks);
  op->dropped = said == METL_DROP;
  if (op->dropped) {
    return;
  }
  metl_packet *packet =
      metl_log_add(&session->stub.log, METL_ANSWER, false,
                   subscribing ? "SUBACK" : "UNSUBACK", now(session));
  packet->reason_code = subscribing ? op->options.qos : 0;
  if (said == METL_FAIL) {
    packet->reason_code = 0x80;
  } else if (subscribing) {
    add_owner(session, op->filter);
  } else {
    drop_owner(session, op->filter);
  }
  answer(op, (uint8_t)packet->reason_code);
}

static void send_operation(stub_session *session, operation *op) {
  if (op->kind == METL_PUBLISH) {
    send_publish(session, op);
  } else {
    send_control(session, op);
  }
}

static operation *add_operation(stub_session *session, metl_packet_kind kind,
                                iotops_mqtt_done done, void *user,
                                iotops_operation *id) {
  operation *op = metl_resize(NULL, sizeof *op);
  *op = (operation){.id = ++session->last_operation,
                    .kind = kind,
                    .done = done,
                    .user = user,
                    .task = {.run = complete},
                    .session = session};
  op->task.user = op;
  operation **link = &session->operations;
  while (*link) {
    link = &(*link)->next;
  }
  *link = op;
  if (id) {
    *id = op->id;
  }
  return op;
}

/* ------------------------------------------- the client's operations -- */

static const char *get_client_id(iotops_mqtt_client *client) {
  return session_of(client)->stub.client_id;
}

static int publish(iotops_mqtt_client *client, const iotops_message *message,
                   iotops_mqtt_done done, void *user, iotops_operation *id,
                   iotops_error *err) {
  stub_session *session = session_of(client);
  if (message->qos > 1 || !iotops_topic_name_valid(message->topic)) {
    return iotops_error_configuration(err, "topic", message->topic,
                                      "invalid topic name or QoS");
  }
  iotops_message *copy = iotops_message_copy(client->context, message);
  if (!copy) {
    return iotops_error_memory(err);
  }
  operation *op = add_operation(session, METL_PUBLISH, done, user, id);
  op->message = copy;
  if (session->connected) {
    send_operation(session, op);
  }
  return 0;
}

static int control(iotops_mqtt_client *client, metl_packet_kind kind,
                   iotops_text filter, const iotops_subscribe_options *options,
                   iotops_mqtt_done done, void *user, iotops_operation *id,
                   iotops_error *err) {
  stub_session *session = session_of(client);
  if (!iotops_topic_filter_valid(filter)) {
    return iotops_error_configuration(err, "filter", filter,
                                      "invalid topic filter");
  }
  operation *op = add_operation(session, kind, done, user, id);
  op->filter = copy_text(filter);
  if (options) {
    op->options = *options;
  }
  if (session->connected) {
    send_operation(session, op);
  }
  return 0;
}

static int subscribe(iotops_mqtt_client *client, iotops_text filter,
                     const iotops_subscribe_options *options,
                     iotops_mqtt_done done, void *user, iotops_operation *id,
                     iotops_error *err) {
  return control(client, METL_SUBSCRIBE, filter, options, done, user, id, err);
}

static int unsubscribe(iotops_mqtt_client *client, iotops_text filter,
                       iotops_mqtt_done done, void *user, iotops_operation *id,
                       iotops_error *err) {
  return control(client, METL_UNSUBSCRIBE, filter, NULL, done, user, id, err);
}

static void cancel(iotops_mqtt_client *client, iotops_operation id) {
  for (operation *op = session_of(client)->operations; op; op = op->next) {
    if (op->id == id && !op->answered) {
      op->cancelled = true;
      answer(op, 0);
    }
  }
}

static int add_receiver(iotops_mqtt_client *client, iotops_text filter,
                        iotops_on_message on_message, void *user,
                        iotops_receiver **receiver, iotops_error *err) {
  stub_session *session = session_of(client);
  if (!iotops_topic_filter_valid(filter)) {
    return iotops_error_configuration(err, "filter", filter,
                                      "invalid topic filter");
  }
  iotops_receiver *added = metl_resize(NULL, sizeof *added);
  *added = (iotops_receiver){
      .filter = copy_text(filter), .on_message = on_message, .user = user};
  session->receivers =
      metl_resize(session->receivers,
                  (session->receiver_count + 1) * sizeof *session->receivers);
  session->receivers[session->receiver_count++] = added;
  *receiver = added;
  return 0;
}

static void remove_receiver(iotops_mqtt_client *client,
                            iotops_receiver *receiver) {
  (void)client;
  receiver->removed = true;
}

/* ----------------------------------------------------------- messages -- */

static void send_pubacks(stub_session *session) {
  while (session->entry_count > 0 && session->entries[0].pending == 0) {
    metl_packet *packet = metl_log_add(&session->stub.log, METL_PUBACK, true,
                                       "PUBACK", now(session));
    packet->packet_id = session->entries[0].packet_id;
    session->entry_count--;
    memmove(session->entries, session->entries + 1,
            session->entry_count * sizeof *session->entries);
  }
}

static bool settle(iotops_mqtt_client *client, iotops_ack ack) {
  stub_session *session = session_of(client);
  if (ack.epoch != session->epoch || ack.share >= MAX_SHARES) {
    return false;
  }
  for (size_t i = 0; i < session->entry_count; i++) {
    uint64_t bit = UINT64_C(1) << ack.share;
    if (session->entries[i].seq == ack.seq) {
      bool live = (session->entries[i].pending & bit) != 0;
      session->entries[i].pending &= ~bit;
      send_pubacks(session);
      return live;
    }
  }
  return false;
}

/* False when the same delivery is still pending. */
static bool remember(stub_session *session, uint16_t packet_id) {
  for (size_t i = 0; i < session->entry_count; i++) {
    if (session->entries[i].packet_id == packet_id) {
      return false;
    }
  }
  session->entries = metl_resize(
      session->entries, (session->entry_count + 1) * sizeof *session->entries);
  session->entries[session->entry_count++] =
      (entry){.seq = ++session->last_seq, .packet_id = packet_id};
  return true;
}

static void dispatch(stub_session *session, const iotops_message *message) {
  iotops_receiver *takers[MAX_SHARES];
  uint32_t count = 0;
  for (size_t i = 0; i < session->receiver_count; i++) {
    iotops_receiver *receiver = session->receivers[i];
    if (!receiver->removed && count < MAX_SHARES &&
        iotops_topic_filter_matches(iotops_text_of(receiver->filter),
                                    message->topic)) {
      takers[count++] = receiver;
    }
  }
  iotops_ack ack = {0};
  if (message->qos > 0) {
    if (!remember(session, message->packet_id)) {
      return;
    }
    ack.epoch = session->epoch;
    ack.seq = session->last_seq;
    session->entries[session->entry_count - 1].pending =
        count == MAX_SHARES ? UINT64_MAX : (UINT64_C(1) << count) - 1;
  }
  for (ack.share = 0; ack.share < count; ack.share++) {
    if (takers[ack.share]->removed) {
      settle(&session->client, ack);
    } else {
      takers[ack.share]->on_message(takers[ack.share]->user, message, ack);
    }
  }
  send_pubacks(session);
}

static void receive(iotops_task *task) {
  stub_session *session = task->user;
  while (session->connected && session->inbox_count > 0) {
    iotops_message *message = session->inbox[0];
    session->inbox_count--;
    memmove(session->inbox, session->inbox + 1,
            session->inbox_count * sizeof *session->inbox);
    metl_log_publish(&session->stub.log, false, message, now(session));
    dispatch(session, message);
    free(message);
  }
}

/* --------------------------------------------------------- connection -- */

static void observe(iotops_mqtt_client *client,
                    iotops_mqtt_observer *observer) {
  stub_session *session = session_of(client);
  observer->previous = NULL;
  observer->next = session->observers;
  if (observer->next) {
    observer->next->previous = observer;
  }
  session->observers = observer;
}

static void unobserve(iotops_mqtt_client *client,
                      iotops_mqtt_observer *observer) {
  stub_session *session = session_of(client);
  if (observer->previous) {
    observer->previous->next = observer->next;
  } else {
    session->observers = observer->next;
  }
  if (observer->next) {
    observer->next->previous = observer->previous;
  }
}

static bool is_connected(iotops_mqtt_client *client) {
  return session_of(client)->connected;
}

static void cut(iotops_task *task) {
  stub_session *session = task->user;
  session->connected = false;
  session->entry_count = 0;
  metl_log_add(&session->stub.log, METL_DISCONNECT, false,
               "the connection ends", now(session));
  iotops_task_soon(session->stub.context, &session->resume);
  iotops_mqtt_observer *next;
  for (iotops_mqtt_observer *o = session->observers; o; o = next) {
    next = o->next;
    if (o->disconnected) {
      o->disconnected(o);
    }
  }
}

static void resume(iotops_task *task) {
  stub_session *session = task->user;
  session->connected = true;
  session->epoch++;
  metl_log_add(&session->stub.log, METL_CONNECT, true, "CONNECT", now(session));
  iotops_mqtt_observer *next_observer;
  for (iotops_mqtt_observer *o = session->observers; o; o = next_observer) {
    next_observer = o->next;
    if (o->connected) {
      o->connected(o);
    }
  }
  operation *next;
  for (operation *op = session->operations; op; op = next) {
    next = op->next;
    if (!op->answered) {
      send_operation(session, op);
    }
  }
  iotops_task_soon(session->stub.context, &session->receive);
}

/* ----------------------------------------------------------- the stub -- */

static iotops_mqtt_client *get_client(metl_stub *stub) {
  return &((stub_session *)stub)->client;
}

static int connect_session(metl_stub *stub, iotops_error *err) {
  (void)err;
  iotops_task_soon(stub->context, &((stub_session *)stub)->resume);
  return 0;
}

static void drain(metl_stub *stub) {
  iotops_context_drain(stub->context);
}

static void deliver(metl_stub *stub, const iotops_message *message) {
  stub_session *session = (stub_session *)stub;
  session->inbox = metl_resize(session->inbox, (session->inbox_count + 1) *
                                                   sizeof *session->inbox);
  session->inbox[session->inbox_count++] = metl_message_copy(message);
  iotops_task_soon(stub->context, &session->receive);
}

static void disconnect(metl_stub *stub, bool say, size_t most) {
  (void)say;
  (void)most;
  iotops_task_soon(stub->context, &((stub_session *)stub)->cut);
}

static void throttle(metl_stub *stub, size_t in, size_t out) {
  (void)stub;
  (void)in;
  (void)out;
}

static void relent(metl_stub *stub) {
  for (operation *op = ((stub_session *)stub)->operations; op; op = op->next) {
    if (op->dropped && !op->answered) {
      answer(op, 0);
    }
  }
}

static void leftovers(metl_stub *stub, metl_bytes *report) {
  stub_session *session = (stub_session *)stub;
  for (operation *op = session->operations; op; op = op->next) {
    metl_report(report, "an operation has not completed: %s %s",
                op->filter ? "filter" : "publish to",
                op->filter ? op->filter : op->message->topic.data);
  }
  for (size_t i = 0; i < session->subscription_count; i++) {
    metl_report(report, "a subscription is left: %s",
                session->subscriptions[i]);
  }
  for (size_t i = 0; i < session->entry_count; i++) {
    metl_report(report, "a message is not acknowledged: packet %u",
                (unsigned)session->entries[i].packet_id);
  }
}

static void free_session(metl_stub *stub, metl_bytes *report) {
  stub_session *session = (stub_session *)stub;
  iotops_task_cancel(stub->context, &session->cut);
  iotops_task_cancel(stub->context, &session->resume);
  iotops_task_cancel(stub->context, &session->receive);
  for (operation *op = session->operations; op; op = op->next) {
    cancel(&session->client, op->id);
  }
  drain(stub);
  for (size_t i = 0; i < session->receiver_count; i++) {
    if (!session->receivers[i]->removed) {
      metl_report(report, "a receiver is left: %s",
                  session->receivers[i]->filter);
    }
    free(session->receivers[i]->filter);
    free(session->receivers[i]);
  }
  if (session->observers) {
    metl_report(report, "an observer of the connection is left");
  }
  for (size_t i = 0; i < session->subscription_count; i++) {
    free(session->subscriptions[i]);
  }
  for (size_t i = 0; i < session->inbox_count; i++) {
    free(session->inbox[i]);
  }
  free(session->receivers);
  free(session->subscriptions);
  free(session->inbox);
  free(session->entries);
  metl_stub_release(stub);
  free(session);
}

metl_stub *metl_stub_session_new(iotops_context *context, metl_clock *clock,
                                 const char *client_id, iotops_error *err) {
  static const metl_stub_ops stub_ops = {.client = get_client,
                                         .connect = connect_session,
                                         .drain = drain,
                                         .deliver = deliver,
                                         .disconnect = disconnect,
                                         .throttle = throttle,
                                         .relent = relent,
                                         .leftovers = leftovers,
                                         .free = free_session};
  static const iotops_mqtt_client_ops client_ops = {
      .client_id = get_client_id,
      .publish = publish,
      .subscribe = subscribe,
      .unsubscribe = unsubscribe,
      .cancel = cancel,
      .add_receiver = add_receiver,
      .remove_receiver = remove_receiver,
      .settle = settle,
      .observe = observe,
      .unobserve = unobserve,
      .is_connected = is_connected};
  (void)err;
  stub_session *session = metl_resize(NULL, sizeof *session);
  *session = (stub_session){.client = {.ops = &client_ops, .context = context},
                            .cut = {.run = cut, .user = session},
                            .resume = {.run = resume, .user = session},
                            .receive = {.run = receive, .user = session}};
  metl_stub_init(&session->stub, &stub_ops, context, clock, client_id);
  return &session->stub;
}
