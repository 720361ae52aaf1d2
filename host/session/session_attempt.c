/* session_attempt.c -- connecting, losing the connection, ending. */
#include <stdio.h>
#include <string.h>

#include "session/session_fields.h"

static void attempt_timed_out(iotops_timer *timer) {
  iotops_session *session = timer->user;
  iotops_error err;

  session_error(&err, IOTOPS_MQTT_ERROR, -1,
                engine_is_open(session->engine)
                    ? "no answer to CONNECT within %llu ms; does an MQTT "
                      "broker listen on this tcp_port?"
                    : "no connection within %llu ms",
                (unsigned long long)session->config.connection_timeout_ms);
  session_lost(session, &err, RECONNECT_RETRY, false);
}

static void retry_due(iotops_timer *timer) {
  session_connect(timer->user);
}

void session_attempt_init(iotops_session *session) {
  session->attempt.fire = attempt_timed_out;
  session->attempt.user = session;
  session->retry.fire = retry_due;
  session->retry.user = session;
}

/* -------------------------------------------------------- connecting -- */

static void stream_failed(void *user, const iotops_error *err) {
  iotops_session *session = user;
  iotops_error copy = *err;

  session_lost(session, &copy, RECONNECT_RETRY, false);
}

/* For failures found while nobody may be called. */
static void fail_later(iotops_session *session, const iotops_error *err) {
  session->failing = true;
  session->failure = *err;
  session_report_later(session);
}

static void renew_config(iotops_session *session) {
  if (!session->renewed)
    return;
  session_config_renew(&session->config, session->renewed);
  iotops_settings_free(session->renewed);
  session->renewed = NULL;
}

void session_connect(iotops_session *session) {
  iotops_error err;

  renew_config(session);
  session->stream_events = (iotops_stream_events){
      .opened = session_opened,
      .readable = session_readable,
      .writable = session_writable,
      .failed = stream_failed,
      .user = session,
  };
  session->state = IOTOPS_SESSION_CONNECTING;
  iotops_log(session->context, IOTOPS_LOG_INFO, "session",
             "connecting as \"%s\" (attempt %u, clean start %d)",
             session->config.client_id, session->reconnect.failures + 1,
             session->config.clean_start && !session->ever_connected);
  packet_filter_reset(&session->filter);
  session->blocked = session->paused = false;
  iotops_timer_start(session->context, &session->attempt,
                     session->config.connection_timeout_ms);
  if (session->transport.open(session->transport.user, session->context,
                              session->config.settings, &session->stream_events,
                              &session->stream, &err) != 0) {
    session->stream = NULL;
    fail_later(session, &err);
  }
}

static void fill_connect(iotops_session *session) {
  const session_config *config = &session->config;
  packet_connect *connect = &session->connect;

  memset(connect, 0, sizeof *connect);
  connect->version = config->version;
  connect->client_id = iotops_text_of(config->client_id);
  connect->clean_start = config->clean_start && !session->ever_connected;
  connect->keep_alive_s = config->keep_alive_s;
  connect->has_session_expiry = true;
  connect->session_expiry_s = config->session_expiry_s;
  connect->receive_max = config->receive_max;
  connect->packet_size_max = config->packet_size_max;
  connect->user_properties = config->user_properties;
  connect->user_property_count = config->user_property_count;
  connect->will = config->settings->will;
  connect->will_delay_s = config->settings->will_delay_s;
}

void session_opened(void *user) {
  iotops_session *session = user;
  iotops_error err;

  if (session->state != IOTOPS_SESSION_CONNECTING || !session->stream)
    return;
  fill_connect(session);
  if (session_auth_begin(session, &err) != 0 ||
      engine_open(session->engine, &err) != 0 ||
      engine_pump(session->engine, &session->filter, &err) != 0) {
    session_lost(session, &err, RECONNECT_RETRY, false);
    return;
  }
  session_write(session);
}

void session_connected(iotops_session *session, const packet_reply *reply) {
  uint64_t idle, interval;
  char most[24] = "unlimited";

  if (session->limits.packet_size_max > 0)
    (void)snprintf(most, sizeof most, "%lu",
                   (unsigned long)session->limits.packet_size_max);
  iotops_log(session->context, IOTOPS_LOG_INFO, "session",
             "connected: session present %d, receive maximum %u, maximum "
             "packet size %s, keep-alive %u s",
             reply->session_present, session->limits.window, most,
             session->limits.keep_alive_s);
  iotops_timer_stop(session->context, &session->attempt);
  session->state = IOTOPS_SESSION_CONNECTED;
  session->connected = session->ever_connected = true;
  session->connected_at_ms = iotops_mono_ms(session->context);
  session->awaiting_pong = false;
  reconnect_connected(&session->reconnect, session->connected_at_ms);
  ack_queue_begin(&session->acks);
  session->metrics.connects++;
  /* The broker counts from our CONNECT, however late it answered. */
  idle = session->connected_at_ms - session->last_write_ms;
  interval = session->limits.keep_alive_s * (uint64_t)1000;
  if (interval > 0)
    iotops_timer_start(session->context, &session->ping,
                       idle < interval ? interval - idle : 0);
  session_auth_check(session);
  session_flush_later(session);
  session_tell_connected(session, reply);
}

/* ------------------------------------------------------------ losing -- */

void session_close_stream(iotops_session *session, bool graceful) {
  iotops_context *context = session->context;
  iotops_stream *stream = session->stream;
  iotops_error ignored;

  /* Every PUBACK that came counts: what keeps its message sends it again. */
  if (engine_is_open(session->engine) &&
      session->filter.library.start < session->filter.library.end)
    (void)engine_give(session->engine, &session->filter, &ignored);
  iotops_timer_stop(context, &session->attempt);
  iotops_timer_stop(context, &session->ping);
  iotops_timer_stop(context, &session->pong);
  iotops_timer_stop(context, &session->turn);
  session_auth_reset(session);
  session->stream = NULL;
  if (stream)
    stream->ops->close(stream, graceful);
  engine_close(session->engine);
  packet_filter_reset(&session->filter);
  ack_queue_reset(&session->acks);
  outbox_lost(&session->outbox);
  session->awaiting_pong = session->blocked = session->paused = false;
  session->disconnect_written = session->parting = false;
  session->handed_on = session->strangers = 0;
  if (session->connected)
    session->metrics.connected_ms +=
        iotops_mono_ms(context) - session->connected_at_ms;
}

static bool is_fatal(const iotops_session *session, reconnect_class class) {
  return class == RECONNECT_FATAL || (class == RECONNECT_CREDENTIALS &&
                                      !session->config.credentials_renewable);
}

/* The policy gave up, or was not asked: what the session ends with. */
static void end_for(iotops_session *session, const iotops_error *cause,
                    bool fatal) {
  iotops_error err = *cause;

  if (!fatal)
    session_error(&err, IOTOPS_MQTT_ERROR, cause->reason_code,
                  "reconnect halted: %s", cause->message);
  session_end(session, &err);
}

static void log_loss(const iotops_session *session, const iotops_error *cause,
                     bool was_connected, uint32_t failures, int64_t delay) {
  if (was_connected)
    iotops_log(session->context, IOTOPS_LOG_WARN, "session", "disconnected: %s",
               cause->message);
  else /* where a setting is to blame, somebody has to look after it */
    iotops_log(session->context,
               cause->property_name[0] != '\0' ? IOTOPS_LOG_ERROR
                                               : IOTOPS_LOG_WARN,
               "session", "attempt %u to connect failed: %s", failures,
               cause->message);
  if (delay >= 0)
    iotops_log(session->context, IOTOPS_LOG_DEBUG, "session",
               "next attempt in %lld ms", (long long)delay);
}

void session_lost(iotops_session *session, const iotops_error *cause,
                  reconnect_class class, bool final) {
  iotops_reconnect_question question = {
      .cause = cause,
      .fatal = is_fatal(session, class),
      .ever_connected = session->ever_connected,
  };
  bool was_connected = session->connected;
  bool disconnect_sent = session->disconnect_written &&
                         packet_filter_pending(&session->filter).size == 0;
  uint64_t now = iotops_mono_ms(session->context);
  int64_t delay = -1;

  if (session->freed || session->state == IOTOPS_SESSION_ENDED)
    return;
  session_close_stream(session, session->parting);
  session->connected = false;
  if (was_connected)
    session->metrics.disconnects++;
  else
    session->metrics.failed_attempts++;
  if (session->leaving != SESSION_STAYS) {
    session_tell_disconnected(session, cause, false);
    session_end(session, disconnect_sent || session->leaving == SESSION_DETACHES
                             ? NULL
                             : cause);
    return;
  }
  question.failures = was_connected ? reconnect_lost(&session->reconnect, now)
                                    : reconnect_failed(&session->reconnect);
  if (!final)
    delay = session->options.reconnect(session->options.reconnect_user,
                                       session->context, &question);
  if (session->freed)
    return;
  log_loss(session, cause, was_connected, question.failures, delay);
  if (delay >= 0) {
    session->state = IOTOPS_SESSION_WAITING;
    if (delay > 0) {
      iotops_timer_start(session->context, &session->retry, (uint64_t)delay);
    } else {
      session->connecting_due = true;
      session_report_later(session);
    }
  }
  if (was_connected)
    session_tell_disconnected(session, cause, delay >= 0);
  if (delay < 0 && !session->freed && session->state != IOTOPS_SESSION_ENDED)
    end_for(session, cause, final || question.fatal);
}

/* ------------------------------------------------------------ ending -- */

void session_end(iotops_session *session, const iotops_error *err) {
  if (session->state == IOTOPS_SESSION_ENDED || session->freed)
    return;
  if (err)
    iotops_log(session->context, IOTOPS_LOG_ERROR, "session",
               "the session has ended: %s", err->message);
  else
    iotops_log(session->context, IOTOPS_LOG_INFO, "session",
               "the session has ended as asked for");
  session->state = IOTOPS_SESSION_ENDED;
  session->connected = session->connecting_due = false;
  session->has_end_error = err != NULL;
  if (err)
    session->end_error = *err;
  iotops_timer_stop(session->context, &session->retry);
  iotops_timer_stop(session->context, &session->drain);
  iotops_timer_stop(session->context, &session->leave);
  session_close_stream(session, false);
  session_auth_close(session);
  outbox_end_all(&session->outbox);
  session->ended_due = true;
  session_report_later(session);
}
