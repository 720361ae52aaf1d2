/*
** session_fields.h -- what a session is made of, for the units that make it
** up: session.c (life, client table), session_attempt.c (connecting, losing
** the connection, ending), session_input.c (packets from the broker),
** session_output.c (everything that is written, keep-alive),
** session_request.c (publish, subscribe, unsubscribe), session_exit.c and
** session_auth.c.
**
** No callback of the owner runs inside one of the owner's calls: they come
** from stream events, timers, and the two tasks `report` and `flush`.
*/
#ifndef IOTOPS_SESSION_SESSION_FIELDS_H
#define IOTOPS_SESSION_SESSION_FIELDS_H

#include "iotops/session.h"
#include "session/ack_queue.h"
#include "session/credentials.h"
#include "session/dispatcher.h"
#include "session/engine.h"
#include "session/outbox.h"
#include "session/packet_filter.h"
#include "session/reconnect.h"
#include "session/session_config.h"

enum {
  SESSION_TURN_BYTES = 256 * 1024, /* read before the loop gets its turn */
  SESSION_TURN_MESSAGES = 1000,
  SESSION_OUT_BACKLOG = 256 * 1024, /* unwritten bytes that stop handing on */
  SESSION_EXIT_MS = 1000,           /* for a DISCONNECT to leave */
  SESSION_AUTH_MS = 30000           /* for the answer to an AUTH */
};

/* What the broker said it can do, from CONNACK. */
typedef struct session_limits {
  uint16_t window;          /* unacknowledged publishes */
  uint32_t packet_size_max; /* 0: none */
  uint8_t maximum_qos;
  bool retain, wildcard, shared, subscription_id;
  uint16_t keep_alive_s;
} session_limits;

typedef enum session_leaving {
  SESSION_STAYS,
  SESSION_EXITS,   /* DISCONNECT ends the broker's session */
  SESSION_DETACHES /* DISCONNECT leaves it */
} session_leaving;

struct iotops_session {
  iotops_mqtt_client client; /* first: the client is the session */
  iotops_context *context;   /* borrowed */
  session_config config;     /* owns a copy of the settings */
  iotops_settings *renewed;  /* owned; for the next attempt, or NULL */
  iotops_transport transport;
  iotops_session_options options;
  iotops_session_state state;

  engine *engine; /* owned */
  packet_filter filter;
  packet_connect connect; /* what `filter` writes for CONNECT */
  packet_scratch scratch;
  ack_queue acks;
  dispatcher dispatcher;
  outbox outbox;
  reconnect reconnect;
  session_limits limits;
  iotops_stream *stream; /* owned; NULL: none */
  iotops_stream_events stream_events;

  bool connected;        /* CONNACK received, not lost yet */
  bool ever_connected;   /* some CONNACK was received: Clean Start 0 from now */
  bool state_lost;       /* the broker had no state for us any more */
  bool turning;          /* packets are being handled */
  bool paused;           /* the stream is not read: max_held_bytes */
  bool blocked;          /* the stream takes no more for now */
  uint32_t excess_epoch; /* connection whose excess over receive_max was told */
  bool parting;          /* a last packet must still leave when closing */
  size_t strangers; /* publishes that only libmosquitto knows, unanswered */
  size_t handed_on; /* bytes given to the engine since it was pumped */
  uint64_t last_write_ms;
  uint64_t connected_at_ms;
  bool awaiting_pong;

  session_leaving leaving;
  bool disconnect_written; /* our DISCONNECT is in the filter */

  credentials *credentials; /* owned; NULL before the first run */
  iotops_text token;        /* owned; the one presented last */
  bool auth_pending;        /* an AUTH 0x19 of ours is unanswered */
  bool auth_repeated;       /* AUTH 0x18 was answered in this exchange */

  bool connecting_due; /* `report` is to begin the next attempt */
  bool failing;        /* `report` is to fail the attempt with `failure` */
  iotops_error failure;
  bool ended_due;  /* `report` is to tell of the end */
  bool ended_told; /* nothing is told any more */
  bool has_end_error;
  iotops_error end_error;
  bool freed; /* by the owner; memory goes with the last task */

  iotops_task report; /* tells what ended without a packet */
  iotops_task flush;  /* late: writes what one event produced */
  iotops_timer attempt, retry, turn, ping, pong, auth, drain, leave;

  iotops_mqtt_observer *observers, *next_observer;
  iotops_session_metrics metrics;
};

/* ----------------------------------------------------- session_attempt -- */

/* Sets up the timers of this unit, once. */
void session_attempt_init(iotops_session *session);

/* Begins an attempt to connect. */
void session_connect(iotops_session *session);

/* The filter's CONNECT for this attempt is ready in `connect`. */
void session_opened(void *user);

/*
** The attempt or connection is over, for `cause`.  `class` judges a retry;
** RECONNECT_FATAL without overrule when `final`.
*/
void session_lost(iotops_session *session, const iotops_error *cause,
                  reconnect_class class, bool final);

/* CONNACK 0x00 was accepted. */
void session_connected(iotops_session *session, const packet_reply *reply);

/* Ends the session; `err` NULL: as asked for.  Told by the report task. */
void session_end(iotops_session *session, const iotops_error *err);

/* Closes stream and engine and forgets what belonged to the connection. */
void session_close_stream(iotops_session *session, bool graceful);

/* -------------------------------------------------------- session_input -- */

void session_readable(void *user);
void session_turn(iotops_timer *timer);

/* DISCONNECT with `reason`, then the connection is lost. */
void session_refuse(iotops_session *session, int reason, const char *what);

/* Resumes reading when enough has been settled. */
void session_unpause(iotops_session *session);

/* ------------------------------------------------------- session_output -- */

void session_flush(iotops_task *task);
void session_flush_later(iotops_session *session);

/*
** Of many answers each may lead to the next publish.  Those that gather are
** written between two packets, so that the broker works on them while the
** rest is handled; not to be called from within a call of the owner.
*/
void session_flush_early(iotops_session *session);
bool session_outgoing(void *user, const packet *packet, uint64_t end);
void session_writable(void *user);
void session_ping(iotops_timer *timer);
void session_pong_missing(iotops_timer *timer);

/* Gives the engine what may go; safe inside a call of the owner. */
bool session_hand_on(iotops_session *session);

/* Writes what the filter has; false when the stream broke. */
bool session_write(iotops_session *session);

/* ------------------------------------------------------ session_request -- */

int session_publish(iotops_mqtt_client *client, const iotops_message *message,
                    iotops_mqtt_done done, void *user, iotops_operation *op,
                    iotops_error *err);
int session_subscribe(iotops_mqtt_client *client, iotops_text filter,
                      const iotops_subscribe_options *options,
                      iotops_mqtt_done done, void *user, iotops_operation *op,
                      iotops_error *err);
int session_unsubscribe(iotops_mqtt_client *client, iotops_text filter,
                        iotops_mqtt_done done, void *user, iotops_operation *op,
                        iotops_error *err);
void session_cancel(iotops_mqtt_client *client, iotops_operation op);

/* Checks against what the broker can do; 0, or -1. */
int session_check_limits(const iotops_session *session, const outbox_op *op,
                         iotops_error *err);

/* The broker answered `op` (taken out of the outbox): reports, deletes. */
void session_answered(iotops_session *session, outbox_op *op, uint8_t code,
                      const packet_reply *reply);

/* Tells everything on the outbox's list `ended`. */
void session_report_ended(iotops_session *session);

/* --------------------------------------------------------- session_exit -- */

/* Writes our DISCONNECT when leaving waits for nothing more. */
void session_leave_if_due(iotops_session *session);

/* Goes on with leaving when what was waited for is done. */
void session_leave_if_done(iotops_session *session);
void session_drain_over(iotops_timer *timer);
void session_leave_over(iotops_timer *timer);

/* --------------------------------------------------------- session_auth -- */

/* Fills user name, password and authentication of `connect`; 0, or -1. */
int session_auth_begin(iotops_session *session, iotops_error *err);

/* An AUTH arrived. */
void session_auth_packet(iotops_session *session, const packet_reply *reply);

/* The token may have changed: authenticates again when it has. */
void session_auth_check(iotops_session *session);

/* The connection is over. */
void session_auth_reset(iotops_session *session);
void session_auth_missing(iotops_timer *timer);

/* The session is over: nothing is watched or kept any more. */
void session_auth_close(iotops_session *session);

/* -------------------------------------------------------------- session -- */

void session_report(iotops_task *task);
void session_report_later(iotops_session *session);
void session_tell_connected(iotops_session *session, const packet_reply *reply);
void session_tell_disconnected(iotops_session *session,
                               const iotops_error *cause, bool will_retry);
void session_tell_writable(iotops_session *session);

/* A local error with a reason code (-1: none), shallow not set.  Returns -1. */
int session_error(iotops_error *err, iotops_error_kind kind, int reason_code,
                  const char *format, ...) IOTOPS_PRINTF(4, 5);

#endif
