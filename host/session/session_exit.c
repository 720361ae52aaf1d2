/* session_exit.c -- the three ways out (session.md section 11). */
#include "session/session_fields.h"

static bool is_drained(const iotops_session *session) {
  const outbox *outbox = &session->outbox;

  if (session->acks.count > 0)
    return false;
  for (int i = 0; i < OUTBOX_CLASSES; i++)
    if (outbox->queues[i].count > 0 || outbox->in_flight[i].count > 0)
      return false;
  return true;
}

static void write_disconnect(iotops_session *session) {
  if (session->disconnect_written)
    return;
  iotops_timer_stop(session->context, &session->drain);
  packet_write_disconnect(packet_filter_begin(&session->filter),
                          session->config.version, 0,
                          session->leaving == SESSION_EXITS ? 0 : -1);
  packet_filter_end(&session->filter);
  session->disconnect_written = true;
  iotops_timer_start(session->context, &session->leave, SESSION_EXIT_MS);
  session_flush_later(session);
}

/* The DISCONNECT has left, or has had its time. */
static void leave(iotops_session *session) {
  iotops_error cause;

  iotops_error_set(&cause, IOTOPS_CANCELLATION, "%s",
                   session->leaving == SESSION_EXITS ? "exited" : "detached");
  session_close_stream(session, true);
  session->metrics.disconnects++;
  session->connected = false;
  session_tell_disconnected(session, &cause, false);
  session_end(session, NULL);
}

void session_leave_if_due(iotops_session *session) {
  if (session->leaving != SESSION_STAYS && !session->disconnect_written &&
      (!session->drain.running || is_drained(session)))
    write_disconnect(session);
}

void session_leave_if_done(iotops_session *session) {
  if (session->leaving == SESSION_STAYS || !session->connected)
    return;
  session_leave_if_due(session);
  if (session->disconnect_written &&
      packet_filter_pending(&session->filter).size == 0)
    leave(session);
}

void session_drain_over(iotops_timer *timer) {
  session_flush_later(timer->user);
}

void session_leave_over(iotops_timer *timer) {
  iotops_session *session = timer->user;

  if (session->connected)
    leave(session);
}

/* Begins to leave; a second call only shortens the drain. */
static void begin(iotops_session *session, session_leaving how,
                  uint64_t drain_ms) {
  if (session->disconnect_written)
    return;
  iotops_log(session->context, IOTOPS_LOG_INFO, "session", "%s",
             how == SESSION_EXITS ? "exiting" : "detaching");
  session->leaving = how;
  session->state = IOTOPS_SESSION_EXITING;
  if (drain_ms > 0)
    iotops_timer_start(session->context, &session->drain, drain_ms);
  else
    iotops_timer_stop(session->context, &session->drain);
  session_flush_later(session);
}

static uint64_t drain_of(const iotops_exit_options *options) {
  return options && options->size >= sizeof *options ? options->drain_ms : 0;
}

int iotops_session_exit(iotops_session *session,
                        const iotops_exit_options *options, iotops_error *err) {
  if (session->connected) {
    begin(session, SESSION_EXITS, drain_of(options));
    return 0;
  }
  if (session->state == IOTOPS_SESSION_ENDED)
    iotops_error_set(err, IOTOPS_INVALID_STATE,
                     "detached: the session has ended");
  else
    iotops_error_set(err, IOTOPS_INVALID_STATE,
                     "server unavailable: the session is not connected");
  return -1;
}

bool iotops_session_force_exit(iotops_session *session) {
  iotops_error err;

  if (session->connected) {
    begin(session, SESSION_EXITS, 0);
    return true;
  }
  iotops_error_set(&err, IOTOPS_CANCELLATION,
                   "force exit: the session was ended while not connected");
  session_end(session, &err);
  return false;
}

void iotops_session_detach(iotops_session *session,
                           const iotops_exit_options *options) {
  if (session->connected)
    begin(session, SESSION_DETACHES, drain_of(options));
  else
    session_end(session, NULL);
}
