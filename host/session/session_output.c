/* session_output.c -- what is written, once for each event; keep-alive. */
#include "session/session_fields.h"

enum {
  HAND_ON_BYTES = 256 * 1024, /* given to the engine at a time */
  EARLY_MESSAGES = 32,        /* written before the event has ended */
  FEW_ANSWERS = 8             /* libmosquitto may hear of them later */
};

void session_flush_later(iotops_session *session) {
  iotops_task_late(session->context, &session->flush);
}

/* ----------------------------------------------------------- writing -- */

bool session_write(iotops_session *session) {
  iotops_stream *stream = session->stream;
  iotops_text waiting = packet_filter_pending(&session->filter);

  while (waiting.size > 0) {
    ptrdiff_t n = stream->ops->write(stream, waiting.data, waiting.size);

    if (n < 0) {
      iotops_error err = *stream->ops->last_error(stream);

      session_lost(session, &err, RECONNECT_RETRY, false);
      return false;
    }
    if (n == 0) {
      session->blocked = true;
      break;
    }
    packet_filter_wrote(&session->filter, (size_t)n);
    session->last_write_ms = iotops_mono_ms(session->context);
    waiting = packet_filter_pending(&session->filter);
  }
  return true;
}

void session_writable(void *user) {
  iotops_session *session = user;

  session->blocked = false;
  if (!session->stream)
    return;
  if (!session->connected) /* the rest of a CONNECT */
    session_write(session);
  else
    session_flush_later(session);
}

/* ----------------------------------------------------------- packets -- */

static void write_acks(iotops_session *session) {
  packet_buffer *out = packet_filter_begin(&session->filter);
  uint16_t packet_id;

  /* The room first: an id that was taken out of the queue must be written. */
  while (packet_buffer_reserve(out, 4) &&
         ack_queue_next(&session->acks, &packet_id)) {
    packet_write_puback(out, packet_id);
    session->metrics.acks_sent++;
    session->filter.packets_out++;
  }
  if (packet_filter_end(&session->filter))
    session->filter.packets_out--; /* end has counted one of them */
}

/* The packet id of a PUBLISH that libmosquitto wrote with QoS 1. */
static uint16_t publish_id(const packet *packet) {
  const uint8_t *at = packet->body;

  at += 2 + (at[0] << 8 | at[1]);
  return (uint16_t)(at[0] << 8 | at[1]);
}

bool session_outgoing(void *user, const packet *packet, uint64_t end) {
  iotops_session *session = user;

  if (iotops_log_enabled(session->context, IOTOPS_LOG_DEBUG))
    iotops_log(session->context, IOTOPS_LOG_DEBUG, "session",
               "sending packet type %d, flags %d, %zu bytes", packet->type,
               packet->flags, packet->size);
  if (packet->type != PACKET_PUBLISH)
    return false;
  if ((packet->flags & 6) == 0) {
    outbox_placed(&session->outbox, end);
    return false;
  }
  if (!outbox_wrote(&session->outbox, publish_id(packet)))
    session->strangers++;
  /*
  ** What a narrower window than the last connection's holds back, libmosquitto
  ** sends later as if for the first time.
  */
  return !(packet->flags & PACKET_DUP) && session->metrics.connects > 1 &&
         outbox_repeats(&session->outbox, publish_id(packet));
}

/* Gives one operation to the engine; 0, or -1. */
static int hand_on(iotops_session *session, outbox_op *op, uint16_t *packet_id,
                   iotops_error *err) {
  switch (op->kind) {
  case OUTBOX_PUBLISH:
    return engine_publish(session->engine, op->message, packet_id, err);
  case OUTBOX_SUBSCRIBE:
    return engine_subscribe(
        session->engine, op->filter->text, op->options,
        session->limits.subscription_id ? (uint32_t)op->filter->by_id.id : 0,
        packet_id, err);
  case OUTBOX_UNSUBSCRIBE:
    return engine_unsubscribe(session->engine, op->filter->text, packet_id,
                              err);
  }
  return -1;
}

static bool may_go(const iotops_session *session, outbox_class class) {
  uint16_t next;

  if (class == OUTBOX_QOS0)
    return true;
  if (class == OUTBOX_QOS1 &&
      session->outbox.in_flight[OUTBOX_QOS1].count >= session->limits.window)
    return false;
  /* libmosquitto does not look whether the id it takes next is in use. */
  next = (uint16_t)(engine_last_id(session->engine) + 1);
  return !outbox_uses(&session->outbox, next ? next : 1);
}

static bool has_backlog(const iotops_session *session) {
  return packet_filter_pending(&session->filter).size >= SESSION_OUT_BACKLOG;
}

bool session_hand_on(iotops_session *session) {
  bool any = false;

  if (session->disconnect_written || session->blocked || has_backlog(session))
    return false;
  for (int class = 0; class < OUTBOX_CLASSES; class ++) {
    outbox_list *queue = &session->outbox.queues[class];

    while (queue->first && session->handed_on < HAND_ON_BYTES &&
           may_go(session, (outbox_class) class)) {
      outbox_op *op = queue->first;
      uint16_t packet_id;
      iotops_error err;

      if (session_check_limits(session, op, &err) != 0 ||
          hand_on(session, op, &packet_id, &err) != 0) {
        outbox_end_op(&session->outbox, op, OUTBOX_FAILED, &err);
        session_report_later(session);
        continue;
      }
      session->handed_on += op->size;
      any = true;
      outbox_sent(&session->outbox, op, packet_id);
    }
  }
  return any;
}

/* Reports QoS 0 publishes whose last byte the transport has taken. */
static bool report_written(iotops_session *session) {
  outbox_op *op;

  while (!session->freed &&
         (op = outbox_written(&session->outbox, session->filter.written)))
    session_answered(session, op, 0, NULL);
  return !session->freed;
}

static void tell_room(iotops_session *session) {
  if (!session->outbox.was_full || !outbox_has_room(&session->outbox))
    return;
  session->outbox.was_full = false;
  session_tell_writable(session);
}

/* Answers that libmosquitto has not heard of; a PUBACK has four bytes. */
static size_t unheard(const iotops_session *session) {
  return (session->filter.library.end - session->filter.library.start) / 4;
}

/*
** The broker need not wait for libmosquitto to hear of a few answers.  Of many
** it hears before it is given more: each packet costs it a walk over all that
** it has in flight.  Nor must the answers be missing in its window.
*/
static bool hears_first(const iotops_session *session) {
  return unheard(session) > FEW_ANSWERS ||
         session->outbox.in_flight[OUTBOX_QOS1].count + FEW_ANSWERS >=
             session->limits.window;
}

/* One round of session_flush; false when the connection was lost. */
static bool flush_once(iotops_session *session, bool *more) {
  iotops_error err;

  /* A backlog holds the queues back only until it has been written. */
  *more = has_backlog(session);
  write_acks(session);
  session_leave_if_due(session);
  if (hears_first(session) &&
      engine_give(session->engine, &session->filter, &err) != 0)
    goto lost;
  *more = session_hand_on(session) || *more;
  session->handed_on = 0;
  if (engine_take(session->engine, &session->filter, &err) != 0)
    goto lost;
  if (!session->blocked && !session_write(session))
    return false;
  if (engine_give(session->engine, &session->filter, &err) != 0)
    goto lost;
  if (session->blocked)
    *more = false;
  else if (engine_wants_take(session->engine))
    *more = true;
  return true;

lost:
  session_lost(session, &err, RECONNECT_RETRY, false);
  return false;
}

/*
** Short of memory, libmosquitto leaves out what it is to send, or to send
** again, and says nothing.  On the next connection it tries once more.
*/
static bool has_forgotten(const iotops_session *session) {
  const outbox *outbox = &session->outbox;

  return outbox->unwritten > 0 && session->connected && session->stream &&
         !session->blocked && !has_backlog(session) && unheard(session) == 0 &&
         !engine_wants_take(session->engine) &&
         outbox->in_flight[OUTBOX_QOS1].count - outbox->unwritten +
                 session->strangers <
             session->limits.window;
}

void session_flush(iotops_task *task) {
  iotops_session *session = task->user;
  bool more = true;

  while (more && session->connected && session->stream)
    if (!flush_once(session, &more))
      return;
  if (has_forgotten(session)) {
    iotops_error err;

    (void)iotops_error_memory(&err);
    session_lost(session, &err, RECONNECT_RETRY, false);
    return;
  }
  if (!report_written(session))
    return;
  session_unpause(session);
  tell_room(session);
  if (!session->freed)
    session_leave_if_done(session);
}

/* How many publishes of the queues may go now. */
static size_t sendable(const iotops_session *session) {
  const outbox *outbox = &session->outbox;
  size_t waiting = outbox->queues[OUTBOX_QOS1].count;
  size_t in_flight = outbox->in_flight[OUTBOX_QOS1].count;
  size_t room = session->limits.window > in_flight
                    ? session->limits.window - in_flight
                    : 0;

  return outbox->queues[OUTBOX_QOS0].count + (waiting < room ? waiting : room);
}

void session_flush_early(iotops_session *session) {
  if (session->connected && !session->blocked && !has_backlog(session) &&
      sendable(session) >= EARLY_MESSAGES)
    session_flush(&session->flush);
}

/* -------------------------------------------------------- keep-alive -- */

static uint64_t pong_timeout(const iotops_session *session) {
  uint64_t interval = session->limits.keep_alive_s * (uint64_t)1000;
  uint64_t timeout = session->config.ping_timeout_ms;

  return timeout < interval ? timeout : interval;
}

void session_ping(iotops_timer *timer) {
  iotops_session *session = timer->user;
  uint64_t interval = session->limits.keep_alive_s * (uint64_t)1000;
  uint64_t idle = iotops_mono_ms(session->context) - session->last_write_ms;

  if (!session->connected)
    return;
  if (idle < interval) {
    iotops_timer_start(session->context, timer, interval - idle);
    return;
  }
  packet_write_pingreq(packet_filter_begin(&session->filter));
  packet_filter_end(&session->filter);
  /* While we do not read, an answer cannot be seen: its clock waits too. */
  if (!session->awaiting_pong && !session->paused)
    iotops_timer_start(session->context, &session->pong, pong_timeout(session));
  session->awaiting_pong = true;
  iotops_timer_start(session->context, timer, interval);
  session_flush_later(session);
}

void session_pong_missing(iotops_timer *timer) {
  iotops_session *session = timer->user;
  iotops_error err;

  session_error(&err, IOTOPS_MQTT_ERROR, -1,
                "ping timeout: no answer from the broker within %llu ms",
                (unsigned long long)pong_timeout(session));
  session_lost(session, &err, RECONNECT_RETRY, false);
}
