/* session_input.c -- packets from the broker. */
#include <string.h>

#include "session/session_fields.h"

/* ---------------------------------------------------------- refusing -- */

void session_refuse(iotops_session *session, int reason, const char *what) {
  iotops_error err;

  if (reason == PACKET_NO_MEMORY) {
    iotops_error_memory(&err);
    session_lost(session, &err, RECONNECT_RETRY, false);
    return;
  }
  session_error(&err, IOTOPS_MQTT_ERROR, -1,
                "the connection was given up with reason 0x%02X (%s): %s",
                reason, iotops_reason_name(reason), what);
  if (session->config.version == 5) { /* 3.1.1 has no words for it */
    packet_write_disconnect(packet_filter_begin(&session->filter),
                            session->config.version, (uint8_t)reason, -1);
    packet_filter_end(&session->filter);
    if (!session_write(session))
      return;
    session->parting = true;
  }
  session_lost(session, &err, RECONNECT_RETRY, false);
}

/* What a peer said in its own words, for an error. */
static void refused_by_broker(iotops_error *err, const char *what,
                              const packet_reply *reply, const char *advice) {
  iotops_text reason = reply->reason_string, other = reply->server_reference;

  session_error(err, IOTOPS_MQTT_ERROR, reply->reason_code,
                "%s with reason 0x%02X (%s)%s%.*s%s%.*s%s", what,
                reply->reason_code, iotops_reason_name(reply->reason_code),
                reason.data ? ": " : "",
                (int)(reason.size < 400 ? reason.size : 400),
                reason.data ? reason.data : "",
                other.data ? "; it names another server: " : "",
                (int)(other.size < 200 ? other.size : 200),
                other.data ? other.data : "", advice);
}

/* ----------------------------------------------------------- CONNACK -- */

/* What to look at, where the broker's code says which settings it disliked. */
static const char *advice_on(int reason_code) {
  switch (reason_code) {
  case 0x85:
    return "; check client_id";
  case 0x86:
  case 0x87:
    return "; check username, password_file, sat_file and cert_file";
  default:
    return "";
  }
}

static void take_limits(iotops_session *session, const packet_reply *reply) {
  session_limits *limits = &session->limits;

  limits->window = reply->receive_max < session->config.max_inflight
                       ? reply->receive_max
                       : session->config.max_inflight;
  limits->packet_size_max = reply->packet_size_max;
  limits->maximum_qos = reply->maximum_qos;
  limits->retain = reply->retain_available;
  limits->wildcard = reply->wildcard_available;
  limits->shared = reply->shared_available;
  limits->subscription_id = reply->subscription_id_available;
  limits->keep_alive_s = packet_has(reply, PROPERTY_SERVER_KEEP_ALIVE)
                             ? reply->server_keep_alive_s
                             : session->config.keep_alive_s;
}

static void session_state_lost(iotops_session *session) {
  iotops_error err;

  session->state_lost = true;
  session_error(&err, IOTOPS_MQTT_ERROR, -1,
                "session lost: the broker has no state for \"%s\" any more",
                session->config.client_id);
  packet_write_disconnect(packet_filter_begin(&session->filter),
                          session->config.version, 0, 0);
  packet_filter_end(&session->filter);
  if (!session_write(session))
    return;
  session->parting = true;
  session_lost(session, &err, RECONNECT_FATAL, true);
}

static void on_connack(iotops_session *session, const packet_reply *reply) {
  iotops_error err;

  if (session->connected) {
    session_refuse(session, PACKET_PROTOCOL_ERROR, "a second CONNACK");
    return;
  }
  if (reply->reason_code >= 0x80) {
    refused_by_broker(&err, "connection refused", reply,
                      advice_on(reply->reason_code));
    session_lost(session, &err, reconnect_class_connack(reply->reason_code),
                 false);
    return;
  }
  if (reply->reason_code != 0) {
    session_refuse(session, PACKET_PROTOCOL_ERROR,
                   "CONNACK with a reason code that is not legal");
    return;
  }
  if (reply->session_present && session->connect.clean_start) {
    session_refuse(session, PACKET_PROTOCOL_ERROR,
                   "a session is present although a clean start was asked for");
    return;
  }
  if (!reply->session_present && session->ever_connected) {
    session_state_lost(session);
    return;
  }
  if (reply->assigned_client_id.data) {
    session_refuse(session, PACKET_PROTOCOL_ERROR,
                   "a client id was assigned although one had been sent");
    return;
  }
  if (packet_has(reply, PROPERTY_SESSION_EXPIRY) &&
      reply->session_expiry_s == 0)
    iotops_log(session->context, IOTOPS_LOG_WARN, "session",
               "the broker ends the session with the connection");
  take_limits(session, reply);
  /* What libmosquitto sends again goes first (row 12): it is queued here. */
  if (!packet_filter_tell_connack(&session->filter, reply->session_present,
                                  session->limits.window)) {
    session_refuse(session, PACKET_NO_MEMORY, "");
    return;
  }
  if (engine_pump(session->engine, &session->filter, &err) != 0) {
    session_lost(session, &err, RECONNECT_RETRY, false);
    return;
  }
  session_connected(session, reply);
}

/* ----------------------------------------------------------- PUBLISH -- */

static void deliver(iotops_session *session, const iotops_message *message) {
  dispatcher *dispatcher = &session->dispatcher;
  bool acknowledged = message->qos > 0;

  if (!dispatcher_match(dispatcher, message->topic, message->subscription_ids,
                        message->subscription_id_count)) {
    session_refuse(session, PACKET_NO_MEMORY, "");
    return;
  }
  if (dispatcher->matched_count == 0) {
    session->metrics.unmatched++;
    iotops_log(session->context, IOTOPS_LOG_WARN, "session",
               "no receiver for a message on topic \"%.*s\"",
               (int)(message->topic.size < 512 ? message->topic.size : 512),
               message->topic.data);
  }
  for (size_t i = 0; i < dispatcher->matched_count && !session->freed; i++) {
    iotops_receiver *receiver = dispatcher->matched[i];
    iotops_ack ack = {0};

    if (receiver->removed)
      continue;
    if (acknowledged && !ack_queue_share(&session->acks, &ack)) {
      dispatcher_end(dispatcher);
      session_refuse(session, PACKET_NO_MEMORY, "");
      return;
    }
    receiver->on_message(receiver->user, message, ack);
  }
  dispatcher_end(dispatcher);
  if (acknowledged) {
    ack_queue_seal(&session->acks);
    session_flush_later(session);
  }
}

/*
** Some brokers send what has queued up regardless of Receive Maximum
** (mosquitto 2.0.11, after the first PUBACK).
*/
static void tell_excess(iotops_session *session) {
  if (session->acks.count <= session->config.receive_max ||
      session->excess_epoch == session->acks.epoch)
    return;
  session->excess_epoch = session->acks.epoch;
  iotops_log(session->context, IOTOPS_LOG_WARN, "session",
             "the broker ignores Receive Maximum: more than %u messages are "
             "not acknowledged yet",
             session->config.receive_max);
}

static void on_publish(iotops_session *session, const packet *packet) {
  iotops_message message;
  int rc = packet_decode_publish(packet, session->config.version,
                                 &session->scratch, &message);

  if (rc) {
    session_refuse(session, rc, "a PUBLISH that is not well-formed");
    return;
  }
  if (message.qos > 1) {
    session_refuse(session, 0x9b, "a PUBLISH with QoS 2");
    return;
  }
  session->metrics.received++;
  /* Nothing new is begun while leaving: the broker keeps what it sends. */
  if (session->leaving != SESSION_STAYS)
    return;
  if (message.qos == 0) {
    deliver(session, &message);
    return;
  }
  switch (ack_queue_enter(&session->acks, message.packet_id, packet->size)) {
  case ACK_ENTERED:
    tell_excess(session);
    deliver(session, &message);
    break;
  case ACK_DUPLICATE:
    if (!message.dup) {
      session_refuse(session, PACKET_PROTOCOL_ERROR,
                     "a packet id that is still in use");
      break;
    }
    session->metrics.duplicates++;
    iotops_log(session->context, IOTOPS_LOG_WARN, "session",
               "packet %u came again before it was acknowledged",
               message.packet_id);
    break;
  case ACK_FULL:
    session_refuse(session, 0x93, "more messages than were asked for");
    break;
  case ACK_NO_MEMORY:
    session_refuse(session, PACKET_NO_MEMORY, "");
    break;
  }
}

/* ------------------------------------------------------------ others -- */

static void on_answer(iotops_session *session, packet_type type,
                      const packet_reply *reply) {
  outbox_kind kind = type == PACKET_PUBACK   ? OUTBOX_PUBLISH
                     : type == PACKET_SUBACK ? OUTBOX_SUBSCRIBE
                                             : OUTBOX_UNSUBSCRIBE;
  uint8_t code = reply->code_count > 0 ? reply->codes[0] : reply->reason_code;
  outbox_op *op = outbox_answered(&session->outbox, kind, reply->packet_id);

  if (!op) {
    iotops_log(session->context, IOTOPS_LOG_WARN, "session",
               "the broker answered packet %u, which is not in flight",
               reply->packet_id);
    /*
    ** libmosquitto may still have it, when memory was short at its first
    ** answer; for an id that it does not know it does nothing.
    */
    if (type == PACKET_PUBACK) {
      session->strangers -= session->strangers > 0;
      (void)packet_filter_tell_puback(&session->filter, reply->packet_id);
      session_flush_later(session);
    }
    return;
  }
  if (type == PACKET_PUBACK &&
      !packet_filter_tell_puback(&session->filter, reply->packet_id)) {
    outbox_end_op(&session->outbox, op, OUTBOX_ANSWERED, NULL);
    session_report_later(session);
    session_refuse(session, PACKET_NO_MEMORY, "");
    return;
  }
  if (type != PACKET_PUBACK && reply->code_count > 1) {
    outbox_end_op(&session->outbox, op, OUTBOX_ANSWERED, NULL);
    session_report_later(session);
    session_refuse(session, PACKET_PROTOCOL_ERROR,
                   "more reason codes than topic filters");
    return;
  }
  session_flush_later(session);
  session_answered(session, op, code, reply);
}

static void on_disconnect(iotops_session *session, const packet_reply *reply) {
  iotops_error err;

  refused_by_broker(&err, "disconnected by server", reply, "");
  if (reply->reason_code == 0x8e) {
    session_error(&err, IOTOPS_MQTT_ERROR, 0x8e,
                  "disconnected by server with reason 0x8E (%s): another "
                  "connection uses the client id \"%s\"; two programs share "
                  "it, or one was restarted while the old one still ran",
                  iotops_reason_name(0x8e), session->config.client_id);
    session_lost(session, &err, RECONNECT_FATAL, true);
    return;
  }
  session_lost(session, &err, reconnect_class_disconnect(reply->reason_code),
               false);
}

static void on_pong(iotops_session *session) {
  session->awaiting_pong = false;
  iotops_timer_stop(session->context, &session->pong);
}

static void on_reply(iotops_session *session, const packet *packet) {
  packet_reply reply;
  int rc = packet_decode_reply(packet, session->config.version,
                               &session->scratch, &reply);

  if (rc) {
    session_refuse(session, rc, "a packet that is not well-formed");
    return;
  }
  switch (packet->type) {
  case PACKET_CONNACK:
    on_connack(session, &reply);
    break;
  case PACKET_PUBACK:
  case PACKET_SUBACK:
  case PACKET_UNSUBACK:
    on_answer(session, packet->type, &reply);
    break;
  case PACKET_DISCONNECT:
    on_disconnect(session, &reply);
    break;
  case PACKET_AUTH:
    session_auth_packet(session, &reply);
    break;
  default:
    break;
  }
}

static void on_packet(iotops_session *session, const packet *packet) {
  if (iotops_log_enabled(session->context, IOTOPS_LOG_DEBUG))
    iotops_log(session->context, IOTOPS_LOG_DEBUG, "session",
               "received packet type %d, flags %d, %zu bytes", packet->type,
               packet->flags, packet->size);
  switch (packet->type) {
  case PACKET_CONNACK:
  case PACKET_AUTH:
  case PACKET_DISCONNECT:
    on_reply(session, packet);
    return;
  default:
    break;
  }
  if (!session->connected) {
    session_refuse(session, PACKET_PROTOCOL_ERROR,
                   "a packet before CONNACK; does an MQTT broker answer on "
                   "this tcp_port?");
    return;
  }
  if (packet->type == PACKET_PUBLISH)
    on_publish(session, packet);
  else if (packet->type == PACKET_PINGRESP && packet->body_size == 0)
    on_pong(session);
  else if (packet->type == PACKET_PUBACK || packet->type == PACKET_SUBACK ||
           packet->type == PACKET_UNSUBACK)
    on_reply(session, packet);
  else
    session_refuse(session, PACKET_PROTOCOL_ERROR, "an unexpected packet");
}

/* ------------------------------------------------------------- turns -- */

static bool should_pause(const iotops_session *session) {
  return session->config.max_held_bytes > 0 &&
         session->acks.held_bytes > session->config.max_held_bytes;
}

static void pause_reading(iotops_session *session) {
  session->paused = true;
  session->stream->ops->pause(session->stream, true);
  iotops_timer_stop(session->context, &session->pong);
  iotops_log(session->context, IOTOPS_LOG_DEBUG, "session",
             "not reading: %llu bytes wait to be handled",
             (unsigned long long)session->acks.held_bytes);
}

void session_unpause(iotops_session *session) {
  if (!session->paused || should_pause(session) || !session->stream)
    return;
  session->paused = false;
  session->stream->ops->pause(session->stream, false);
  if (session->awaiting_pong) /* its answer may have waited with the rest */
    iotops_timer_start(session->context, &session->pong,
                       session->config.ping_timeout_ms);
  iotops_timer_start(session->context, &session->turn, 0);
}

/*
** Before CONNACK: who begins with another packet is no broker, and what it
** has begun may never end.
*/
static bool is_foreign(const iotops_session *session) {
  const packet_buffer *in = &session->filter.in;
  int type;

  if (session->connected || in->start == in->end)
    return false;
  type = in->bytes[in->start] >> 4;
  return type != PACKET_CONNACK && type != PACKET_DISCONNECT &&
         type != PACKET_AUTH;
}

/* What it might be. */
static const char *foreign_text(const iotops_session *session) {
  const packet_buffer *in = &session->filter.in;
  static const uint8_t alert[] = {0x15, 3};

  if (in->end - in->start >= sizeof alert &&
      memcmp(in->bytes + in->start, alert, sizeof alert) == 0)
    return "what answers speaks TLS; check use_tls and tcp_port";
  return "what answers on this tcp_port is no MQTT broker";
}

/* Handles what is in the buffer; false when there is no more to do now. */
static bool handle_packets(iotops_session *session, unsigned *messages) {
  iotops_stream *stream = session->stream;

  for (;;) {
    packet packet;
    int rc;

    if (*messages >= SESSION_TURN_MESSAGES) {
      iotops_timer_start(session->context, &session->turn, 0);
      return false;
    }
    rc = packet_filter_next(&session->filter, &packet);
    if (rc) {
      session_refuse(session, rc,
                     is_foreign(session) ? foreign_text(session)
                                         : "a packet that cannot be framed");
      return false;
    }
    if (packet.size == 0 && is_foreign(session)) {
      session_refuse(session, PACKET_PROTOCOL_ERROR, foreign_text(session));
      return false;
    }
    if (packet.size == 0)
      return true;
    if (packet.type == PACKET_PUBLISH)
      ++*messages;
    on_packet(session, &packet);
    if (!session->freed && stream && session->stream == stream)
      session_flush_early(session);
    if (session->freed || session->stream != stream || !stream)
      return false;
    if (should_pause(session)) {
      pause_reading(session);
      return false;
    }
  }
}

static void stream_ended(iotops_session *session, ptrdiff_t code) {
  iotops_error err;

  if (code == IOTOPS_STREAM_BROKEN)
    err = *session->stream->ops->last_error(session->stream);
  else
    session_error(&err, IOTOPS_MQTT_ERROR, -1,
                  "the broker closed the connection");
  session_lost(session, &err, RECONNECT_RETRY, false);
}

static void read_stream(iotops_session *session) {
  size_t bytes = 0;
  unsigned messages = 0;

  while (handle_packets(session, &messages)) {
    size_t room;
    uint8_t *space;
    ptrdiff_t n;

    if (bytes >= SESSION_TURN_BYTES) {
      iotops_timer_start(session->context, &session->turn, 0);
      return;
    }
    space = packet_filter_space(&session->filter, &room);
    if (!space) {
      session_refuse(session, PACKET_NO_MEMORY, "");
      return;
    }
    n = session->stream->ops->read(session->stream, space, room);
    if (n == IOTOPS_STREAM_AGAIN)
      return;
    if (n <= 0) {
      stream_ended(session, n);
      return;
    }
    packet_filter_received(&session->filter, (size_t)n);
    bytes += (size_t)n;
  }
}

void session_readable(void *user) {
  iotops_session *session = user;

  if (session->turning || session->paused || !session->stream || session->freed)
    return;
  session->turning = true;
  read_stream(session);
  session->turning = false;
}

void session_turn(iotops_timer *timer) {
  session_readable(timer->user);
}
