/* session.c -- life of a session, its client table and its observers. */
#include <stdio.h>
#include <string.h>

#include "iotops/topic.h"
#include "session/session_fields.h"

int session_error(iotops_error *err, iotops_error_kind kind, int reason_code,
                  const char *format, ...) {
  va_list args;

  va_start(args, format);
  iotops_error_vset(err, kind, format, args);
  va_end(args);
  if (err)
    err->reason_code = reason_code;
  return -1;
}

/* ------------------------------------------------------------ client -- */

static iotops_session *of_client(iotops_mqtt_client *client) {
  return (iotops_session *)client;
}

static const char *client_id(iotops_mqtt_client *client) {
  return of_client(client)->config.client_id;
}

static size_t count_levels(iotops_text text) {
  size_t levels = 1;

  for (size_t i = 0; i < text.size; i++)
    levels += text.data[i] == '/';
  return levels;
}

static int add_receiver(iotops_mqtt_client *client, iotops_text filter,
                        iotops_on_message on_message, void *user,
                        iotops_receiver **receiver, iotops_error *err) {
  iotops_session *session = of_client(client);

  *receiver = NULL;
  if (filter.data && (!iotops_topic_filter_valid(filter) ||
                      count_levels(filter) > DISPATCH_LEVELS_MAX))
    return iotops_error_configuration(
        err, "filter", filter, "invalid topic filter \"%.*s\"",
        (int)(filter.size < 512 ? filter.size : 512), filter.data);
  *receiver = dispatcher_add(&session->dispatcher, filter, on_message, user);
  return *receiver ? 0 : iotops_error_memory(err);
}

static void remove_receiver(iotops_mqtt_client *client,
                            iotops_receiver *receiver) {
  if (receiver)
    dispatcher_remove(&of_client(client)->dispatcher, receiver);
}

static bool settle(iotops_mqtt_client *client, iotops_ack ack) {
  iotops_session *session = of_client(client);

  if (!ack_queue_settle(&session->acks, ack)) {
    if (ack.epoch != 0 && ack.epoch != session->acks.epoch)
      session->metrics.acks_dropped++;
    return false;
  }
  session_flush_later(session);
  return true;
}

static void observe(iotops_mqtt_client *client,
                    iotops_mqtt_observer *observer) {
  iotops_session *session = of_client(client);
  iotops_mqtt_observer *last = session->observers;

  while (last && last->next)
    last = last->next;
  observer->next = NULL;
  observer->previous = last;
  *(last ? &last->next : &session->observers) = observer;
}

static void unobserve(iotops_mqtt_client *client,
                      iotops_mqtt_observer *observer) {
  iotops_session *session = of_client(client);
  iotops_mqtt_observer *at = session->observers;

  while (at && at != observer)
    at = at->next;
  if (!at)
    return;
  if (session->next_observer == observer)
    session->next_observer = observer->next;
  *(observer->previous ? &observer->previous->next : &session->observers) =
      observer->next;
  if (observer->next)
    observer->next->previous = observer->previous;
  observer->next = observer->previous = NULL;
}

static bool is_connected(iotops_mqtt_client *client) {
  return of_client(client)->connected;
}

static const iotops_mqtt_client_ops client_ops = {
    .client_id = client_id,
    .publish = session_publish,
    .subscribe = session_subscribe,
    .unsubscribe = session_unsubscribe,
    .cancel = session_cancel,
    .add_receiver = add_receiver,
    .remove_receiver = remove_receiver,
    .settle = settle,
    .observe = observe,
    .unobserve = unobserve,
    .is_connected = is_connected,
};

/* ------------------------------------------------------------ events -- */

/*
** Observers may leave while they are told, so the next one is remembered in
** the session, where unobserve() can move it on.
*/
#define TELL_OBSERVERS(session, call)                                          \
  for (iotops_mqtt_observer *o = (session)->observers; o && !(session)->freed; \
       o = (session)->next_observer) {                                         \
    (session)->next_observer = o->next;                                        \
    call;                                                                      \
  }

void session_tell_connected(iotops_session *session,
                            const packet_reply *reply) {
  iotops_connected_event event = {
      .reason_code = reply->reason_code,
      .session_present = reply->session_present,
      .epoch = session->acks.epoch,
      .server_reference = reply->server_reference,
      .user_properties = reply->user_properties,
      .user_property_count = reply->user_property_count,
  };

  if (session->options.connected)
    session->options.connected(session->options.user, &event);
  TELL_OBSERVERS(session, if (o->connected) o->connected(o));
}

void session_tell_disconnected(iotops_session *session,
                               const iotops_error *cause, bool will_retry) {
  iotops_disconnected_event event = {
      .cause = cause, .epoch = session->acks.epoch, .will_retry = will_retry};

  if (session->freed)
    return;
  if (session->options.disconnected)
    session->options.disconnected(session->options.user, &event);
  TELL_OBSERVERS(session, if (o->disconnected) o->disconnected(o));
}

void session_tell_writable(iotops_session *session) {
  TELL_OBSERVERS(session, if (o->writable) o->writable(o));
}

static void tell_ended(iotops_session *session) {
  const iotops_error *err = session->has_end_error ? &session->end_error : NULL;

  if (session->ended_told || session->freed)
    return;
  session->ended_told = true;
  TELL_OBSERVERS(session, if (o->ended) o->ended(o, err));
  if (session->options.ended && !session->freed)
    session->options.ended(session->options.user, err);
}

void session_report_later(iotops_session *session) {
  iotops_task_soon(session->context, &session->report);
}

static void destroy(iotops_session *session);

/*
** Failing attempts, completions without a packet, and at last the end: in this
** order, so that the end comes when every operation has been completed.
*/
void session_report(iotops_task *task) {
  iotops_session *session = task->user;

  if (session->failing && !session->freed) {
    iotops_error failure = session->failure;

    session->failing = false;
    session_lost(session, &failure, RECONNECT_RETRY, false);
  }
  if (session->connecting_due && !session->freed) {
    session->connecting_due = false;
    session_connect(session);
  }
  session_report_ended(session);
  if (session->freed) {
    destroy(session);
    return;
  }
  if (session->ended_due)
    tell_ended(session);
}

/* -------------------------------------------------------------- life -- */

static void init_timers(iotops_session *session) {
  struct {
    iotops_timer *timer;
    void (*fire)(iotops_timer *timer);
  } const timers[] = {
      {&session->turn, session_turn},
      {&session->ping, session_ping},
      {&session->pong, session_pong_missing},
      {&session->auth, session_auth_missing},
      {&session->drain, session_drain_over},
      {&session->leave, session_leave_over},
  };

  for (size_t i = 0; i < sizeof timers / sizeof *timers; i++) {
    timers[i].timer->fire = timers[i].fire;
    timers[i].timer->user = session;
  }
  session->report.run = session_report;
  session->report.user = session;
  session->flush.run = session_flush;
  session->flush.user = session;
}

int iotops_session_new(iotops_context *context,
                       const iotops_session_options *options,
                       iotops_session **result, iotops_error *err) {
  iotops_session *session;

  *result = NULL;
  if (iotops_settings_check(options->settings, err) != 0)
    return -1;
  session = iotops_zalloc(context, sizeof *session);
  if (!session)
    return iotops_error_memory(err);
  session->client.ops = &client_ops;
  session->client.context = session->context = context;
  session->scratch.context = context;
  memcpy(&session->options, options,
         options->size < sizeof *options ? options->size : sizeof *options);
  session->transport =
      options->transport ? *options->transport : *iotops_transport_tcp();
  if (!session->options.reconnect)
    session->options.reconnect = iotops_reconnect_backoff;
  init_timers(session);
  session_attempt_init(session);
  if (session_config_init(&session->config, context, options->settings, err) !=
      0)
    goto failed;
  packet_filter_init(&session->filter, context, session->config.version,
                     session->config.packet_size_max);
  session->filter.connect = &session->connect;
  session->filter.outgoing = session_outgoing;
  session->filter.user = session;
  ack_queue_init(&session->acks, context, session->config.max_unacked);
  if (!dispatcher_init(&session->dispatcher, context)) {
    iotops_error_memory(err);
    goto failed;
  }
  outbox_init(&session->outbox, context, &session->dispatcher);
  session->outbox.limits[OUTBOX_QOS0] = session->config.queue_qos0;
  session->outbox.limits[OUTBOX_QOS1] = session->config.queue_qos1;
  session->outbox.when_full = session->config.when_full;
  if (engine_new(context, session->config.client_id, session->config.version,
                 session->config.receive_max, &session->engine, err) != 0)
    goto failed;
  *result = session;
  return 0;

failed:
  destroy(session);
  return -1;
}

static void destroy(iotops_session *session) {
  iotops_context *context = session->context;

  iotops_task_cancel(context, &session->report);
  iotops_task_cancel(context, &session->flush);
  if (session->dispatcher.root) {
    outbox_free(&session->outbox);
    dispatcher_free(&session->dispatcher);
  }
  if (session->filter.context)
    packet_filter_free(&session->filter);
  if (session->acks.context)
    ack_queue_free(&session->acks);
  packet_scratch_free(&session->scratch);
  engine_free(session->engine);
  session_config_free(&session->config);
  iotops_settings_free(session->renewed);
  iotops_free(context, session);
}

void iotops_session_free(iotops_session *session) {
  if (!session || session->freed)
    return;
  session->freed = true;
  session_close_stream(session, false);
  session_auth_close(session);
  iotops_timer_stop(session->context, &session->retry);
  iotops_timer_stop(session->context, &session->drain);
  iotops_timer_stop(session->context, &session->leave);
  iotops_task_cancel(session->context, &session->flush);
  session->connected = false;
  session->state = IOTOPS_SESSION_ENDED;
  outbox_end_all(&session->outbox);
  /* Completions come later, and code of ours may be on the stack. */
  session_report_later(session);
}

int iotops_session_reconfigure(iotops_session *session,
                               const iotops_settings *settings,
                               iotops_error *err) {
  iotops_settings *renewed;

  if (iotops_settings_check(settings, err) != 0)
    return -1;
  renewed = iotops_settings_copy(settings);
  if (!renewed)
    return iotops_error_memory(err);
  iotops_settings_free(session->renewed);
  session->renewed = renewed;
  return 0;
}

iotops_mqtt_client *iotops_session_client(iotops_session *session) {
  return &session->client;
}

int iotops_session_run(iotops_session *session, iotops_error *err) {
  if (session->state != IOTOPS_SESSION_NEW) {
    iotops_error_set(err, IOTOPS_INVALID_STATE,
                     "the session has already been run");
    if (err)
      err->is_shallow = true;
    return -1;
  }
  session_connect(session);
  return 0;
}

iotops_session_state iotops_session_get_state(const iotops_session *session) {
  return session->state;
}

bool iotops_session_was_lost(const iotops_session *session) {
  return session->state_lost;
}

void iotops_session_get_metrics(const iotops_session *session,
                                iotops_session_metrics *metrics) {
  *metrics = session->metrics;
  metrics->publishes_queued = session->outbox.queues[OUTBOX_QOS0].count +
                              session->outbox.queues[OUTBOX_QOS1].count;
  metrics->publishes_in_flight = session->outbox.in_flight[OUTBOX_QOS0].count +
                                 session->outbox.in_flight[OUTBOX_QOS1].count;
  metrics->unacked = session->acks.count;
  metrics->held_bytes = session->acks.held_bytes;
  metrics->oldest_unacked_ms = ack_queue_age(&session->acks);
  metrics->bytes_in = session->filter.bytes_in;
  metrics->bytes_out = session->filter.written;
  metrics->packets_in = session->filter.packets_in;
  metrics->packets_out = session->filter.packets_out;
  if (session->connected)
    metrics->connected_ms +=
        iotops_mono_ms(session->context) - session->connected_at_ms;
}
