/*
** session.h -- an MQTT v5 session that loses no data (session.md).
**
** A session object lives through connections: it connects, reconnects with
** backoff, replays what was not acknowledged, and acknowledges received
** messages in order of receipt once their receivers have settled them.  It
** ends once: on request, when the broker has lost the session, or when the
** broker refuses it for good.
*/
#ifndef IOTOPS_SESSION_H
#define IOTOPS_SESSION_H

#include "iotops/mqtt_client.h"
#include "iotops/settings.h"
#include "iotops/transport.h"

typedef struct iotops_session iotops_session;

typedef enum iotops_session_state { /* session.md section 7.1 */
                                    IOTOPS_SESSION_NEW,
                                    IOTOPS_SESSION_CONNECTING,
                                    IOTOPS_SESSION_CONNECTED,
                                    IOTOPS_SESSION_WAITING, /* for the next
                                                               attempt */
                                    IOTOPS_SESSION_EXITING,
                                    IOTOPS_SESSION_ENDED
} iotops_session_state;

/* Session.md section 12. */
typedef struct iotops_connected_event {
  uint8_t reason_code;
  bool session_present;
  uint32_t epoch;               /* number of the connection, from 1 */
  iotops_text server_reference; /* absent when not given */
  const iotops_user_property *user_properties;
  size_t user_property_count;
} iotops_connected_event;

typedef struct iotops_disconnected_event {
  const iotops_error *cause; /* reason_code -1: no DISCONNECT was received */
  uint32_t epoch;
  bool will_retry;
} iotops_disconnected_event;

/*
** Why a connection attempt or a connection failed, for the policy.  `fatal`
** is the class of session.md sections 5 and 6, cred resolved.
*/
typedef struct iotops_reconnect_question {
  const iotops_error *cause;
  uint32_t failures; /* consecutive, this one included; 0: a connection that
                        had lived for 10 s was lost */
  bool fatal;
  bool ever_connected;
} iotops_reconnect_question;

/* Milliseconds to wait before the next attempt; < 0: end the session. */
typedef int64_t (*iotops_reconnect_policy)(
    void *user, iotops_context *context,
    const iotops_reconnect_question *question);

typedef struct iotops_session_options {
  size_t size;                       /* IOTOPS_SESSION_OPTIONS_INIT */
  const iotops_settings *settings;   /* copied */
  const iotops_transport *transport; /* copied; NULL: TCP and TLS */
  iotops_reconnect_policy reconnect; /* NULL: session.md section 7.3 */
  void *reconnect_user;
  /* Events; each may be NULL. */
  void (*connected)(void *user, const iotops_connected_event *event);
  void (*disconnected)(void *user, const iotops_disconnected_event *event);
  void (*ended)(void *user, const iotops_error *err); /* NULL err: exit */
  void *user;
} iotops_session_options;

#define IOTOPS_SESSION_OPTIONS_INIT                                            \
  { .size = sizeof(iotops_session_options) }

/* Session.md section 15. */
typedef struct iotops_session_metrics {
  uint64_t connects, failed_attempts, disconnects;
  uint64_t connected_ms;
  uint64_t reauths_ok, reauths_failed;
  uint64_t publishes_queued, publishes_in_flight; /* now */
  uint64_t publishes_acked, publishes_refused;
  uint64_t received, unmatched, duplicates; /* PUBLISH packets */
  uint64_t unacked;                         /* now */
  uint64_t oldest_unacked_ms;               /* age; 0: none */
  uint64_t held_bytes;                      /* of the unacked, now */
  uint64_t acks_sent, acks_dropped;
  uint64_t dropped_qos0;
  uint64_t bytes_in, bytes_out, packets_in, packets_out;
} iotops_session_metrics;

typedef struct iotops_exit_options {
  size_t size;       /* IOTOPS_EXIT_OPTIONS_INIT */
  uint64_t drain_ms; /* finish handlers and queues for so long first */
} iotops_exit_options;

#define IOTOPS_EXIT_OPTIONS_INIT                                               \
  { .size = sizeof(iotops_exit_options) }

#ifdef __cplusplus
extern "C" {
#endif

/*
** Makes a session.  Checks the settings as a whole, files included; fails
** with invalid configuration (session.md section 1.6) or invalid state.
*/
IOTOPS_API int iotops_session_new(iotops_context *context,
                                  const iotops_session_options *options,
                                  iotops_session **session, iotops_error *err);

/*
** Frees it, closing the connection without a DISCONNECT when one is open.
** Pending operations complete with a cancellation, later: run or drain the
** context before freeing it.  May be called by any callback of the session.
*/
IOTOPS_API void iotops_session_free(iotops_session *session);

/*
** From the next attempt to connect on, the broker is looked for and spoken to
** as these settings say: hostname, tcp_port, use_tls, ca_file, ca_directory,
** keep_alive, session_expiry and receive_max.  All others stay as they are.
** Checks the settings as a whole, and leaves all as it was when that fails;
** copies them.
*/
IOTOPS_API int iotops_session_reconfigure(iotops_session *session,
                                          const iotops_settings *settings,
                                          iotops_error *err);

/* The session as the protocol layer sees it; lives as long as the session. */
IOTOPS_API iotops_mqtt_client *iotops_session_client(iotops_session *session);

/*
** Starts connecting.  A session runs once: fails with invalid state when it
** was run before.
*/
IOTOPS_API int iotops_session_run(iotops_session *session, iotops_error *err);

/*
** The ways out (section 11).  exit: DISCONNECT with Session Expiry 0; fails
** with invalid state when not connected.  force_exit: the same, or ends at
** once when not connected (returns false).  detach: stops reading, lets
** handlers finish, flushes PUBACKs and disconnects without ending the
** broker's session; when not connected it ends at once.  `options` may be
** NULL.  All report through the ended event.
*/
IOTOPS_API int iotops_session_exit(iotops_session *session,
                                   const iotops_exit_options *options,
                                   iotops_error *err);
IOTOPS_API bool iotops_session_force_exit(iotops_session *session);
IOTOPS_API void iotops_session_detach(iotops_session *session,
                                      const iotops_exit_options *options);

IOTOPS_API iotops_session_state
iotops_session_get_state(const iotops_session *session);

/*
** True once the session has ended because the broker, reached again, had no
** state for it any more: what was queued there is gone.
*/
IOTOPS_API bool iotops_session_was_lost(const iotops_session *session);
IOTOPS_API void iotops_session_get_metrics(const iotops_session *session,
                                           iotops_session_metrics *metrics);

/* The default policy, for one that wants to fall back on it. */
IOTOPS_API int64_t
iotops_reconnect_backoff(void *user, iotops_context *context,
                         const iotops_reconnect_question *question);

#ifdef __cplusplus
}
#endif

#endif
