/*
** host.h -- scripts, one session, and the loop that serves them.
**
** The host outlives whatever a script does: a script that cannot be loaded, a
** handler that throws and a file that vanishes are logged and change nothing
** for the others.  It ends when it is told to, when its session ends, or when
** host_fail() says that there is no point in going on.
**
** Asked to stop, it takes no new messages, lets the calls in hand end for so
** long as it is given, and detaches: the broker keeps the session and queues
** for the next start.
*/
#ifndef RUNTIME_HOST_H
#define RUNTIME_HOST_H

#include "iotops/session.h"
#include "iotops/state_store.h"
#include "runtime/guard.h"
#include "runtime/held.h"
#include "runtime/log_ring.h"
#include "runtime/logger.h"
#include "runtime/modules.h"
#include "runtime/mounted.h"
#include "runtime/script.h"

enum {
  HOST_DRAIN_MS = 20000,
  HOST_GRANT_TIMEOUT_MS = 10000,
  HOST_HANDOFF_TIMEOUT_MS = 2000,
  HOST_PROBATION_MS = 30000,
  HOST_PROBATION_ERRORS = 5,
  HOST_TURN_MS = 1000,
  HOST_LOAD_MS = 5000,
  HOST_SCRIPT_MEMORY = 64 * 1024 * 1024,
  HOST_COROUTINES = 10000,
  HOST_HELD_AGE_MS = 60000,
  HOST_HELD_SHARE = 50,
  HOST_RECEIVE_MAX = 1000,
  /*
  ** mosquitto 2.0.11 exceeds Receive Maximum when much has queued up.  Giving
  ** up the connection would have it send the same again, without end; what is
  ** held stays bounded by HOST_HELD_MAX.
  */
  HOST_UNACKED_MAX = 65535,
  HOST_PACKET_MAX = 4 * 1024 * 1024,
  HOST_HELD_MAX = 64 * 1024 * 1024
};

typedef struct host_options {
  logger_format log_format;
  iotops_log_level log_level;
  uint64_t drain_ms;           /* for calls in hand, at the end and at reload */
  uint64_t grant_timeout_ms;   /* a reload waits so long for subscriptions */
  uint64_t handoff_timeout_ms; /* for calls in hand, before a hand-off */
  uint64_t probation_ms;       /* a new generation is watched so long; 0: no */
  uint64_t probation_errors;   /* with fewer it has not failed */
  /* Of a script; 0: no limit. */
  uint64_t turn_limit_ms; /* processor time until it waits or ends */
  uint64_t load_limit_ms; /* the same for its main chunk */
  size_t memory_limit;    /* bytes, a generation */
  uint64_t held_age_ms;   /* of a message in hand; 0: as long as it likes */
  size_t held_share;      /* percent of the receive window; 0: all of it */
  held_policy forgotten;
  const char *allow; /* borrowed; what scripts may load; NULL: the default */
  size_t coroutine_limit; /* also of spawned functions, and of timers */
  bool end_session;       /* at the end, instead of detaching from it */
  bool no_trace_context;  /* of messages is carried on */
  const char *http;       /* borrowed; where probes.h is answered, or NULL */
  /*
  ** Where operator.h is reached; borrowed.  NULL: in the user's private folder,
  ** with a warning when that fails; "": nowhere.
  */
  const char *control;
  /*
  ** Without a broker: what the scripts run on instead of a session of the
  ** host's.  Both or neither; borrowed.
  */
  iotops_context *context;
  iotops_mqtt_client *client;
  /*
  ** Sees each new state before its main chunk runs; may raise.  NULL: nobody
  ** looks.
  */
  void (*furnished)(void *user, lua_State *L);
  void *furnished_user; /* borrowed */
  /* SIGCHLD, or NULL; may call host_fail(). */
  void (*child)(void *user);
  void *child_user; /* borrowed */
  /* Of the host's context; borrowed by host_new(). NULL: the system's. */
  const iotops_allocator *allocator;
  const iotops_clock *clock;
} host_options;

#define HOST_OPTIONS_INIT                                                      \
  {                                                                            \
    .log_level = IOTOPS_LOG_INFO, .drain_ms = HOST_DRAIN_MS,                   \
    .grant_timeout_ms = HOST_GRANT_TIMEOUT_MS,                                 \
    .handoff_timeout_ms = HOST_HANDOFF_TIMEOUT_MS,                             \
    .probation_ms = HOST_PROBATION_MS,                                         \
    .probation_errors = HOST_PROBATION_ERRORS, .turn_limit_ms = HOST_TURN_MS,  \
    .load_limit_ms = HOST_LOAD_MS, .memory_limit = HOST_SCRIPT_MEMORY,         \
    .coroutine_limit = HOST_COROUTINES, .held_age_ms = HOST_HELD_AGE_MS,       \
    .held_share = HOST_HELD_SHARE                                              \
  }

typedef enum host_result {
  HOST_STOPPED,       /* as it was told */
  HOST_SESSION_ENDED, /* the session ended by an error */
  HOST_SESSION_LOST,  /* the broker, reached again, had no state for it */
  HOST_UNREACHABLE,   /* it ended without ever having been connected */
  HOST_FAILED,        /* host_fail(), or it could not start */
  HOST_INTERRUPTED    /* told twice */
} host_result;

typedef enum host_phase {
  HOST_STARTING,
  HOST_SERVING,
  HOST_FINISHING, /* calls in hand end */
  HOST_LEAVING,   /* the session detaches or ends */
  HOST_ENDED
} host_phase;

typedef struct host_target { /* what the command line named */
  char *path;                /* owned; absolute, no `/` at the end */
  bool is_folder;
  bool missing; /* a folder that cannot be read, and that was said */
} host_target;

typedef struct host host;
struct host {
  host_options options;
  logger logger;
  iotops_context *context;    /* owned, unless it was given */
  module_cache modules;       /* owned: the Lua half */
  guard guard;                /* of the scripts' turns */
  held_watch held;            /* of the messages that they hold */
  iotops_settings *settings;  /* owned; to be filled before host_run() */
  iotops_session *session;    /* owned; NULL: none, a client was given */
  iotops_mqtt_client *client; /* the session's, or the one that was given */
  iotops_state_store *store;  /* owned; NULL until a script needs it */
  host_target *targets;       /* owned */
  size_t target_count;
  script *scripts; /* owned */
  struct watch *watch;
  mounted mounted; /* the connection's configuration, if it is */
  struct signals *signals;
  struct pulse *pulse;
  struct operator_desk *operator; /* NULL: none */
  log_ring records;               /* the last of the log */
  struct http *http;              /* NULL: none */
  /* Set by host_run(): who never runs needs no HTTP library. */
  void (*close_http)(struct http *http);
  int64_t started_ms; /* on the wall clock */
  int64_t offline_ms; /* the same; when it was last not connected */
  host_phase phase;
  host_result result;
  uint64_t stop_ms;   /* when FINISHING ends at the latest, on mono_ms */
  iotops_timer limit; /* of FINISHING */
  iotops_task finish; /* looks whether the last call has ended */
};

/*
** Makes a host with the host's limits in its settings.  Fails with invalid
** state.
*/
int host_new(const host_options *options, host **host, iotops_error *err);

/*
** Names a script or a folder of scripts.  Fails with invalid configuration:
** it does not exist, or another script has the name.
*/
int host_add(host *host, const char *path, iotops_error *err);

/*
** Takes the settings of the environment or of mounted files (session.md
** sections 1.2 and 1.4).
*/
int host_configure(host *host, iotops_error *err);

/*
** Loads the scripts, connects and serves.  On HOST_FAILED `err` says why it
** could not start.
*/
host_result host_run(host *host, iotops_error *err);

/*
** For a host that was given a client: loads the scripts that were added since,
** and those that have changed.  The loop is the caller's to turn, and
** host_free() ends it.
*/
void host_look(host *host);

/* For a host that loads scripts by itself: guards their turns. */
void host_watch_over(host *host);

/*
** Calls `each` with the path of each script that was added, those in folders
** one by one.
*/
void host_each_path(const host *host,
                    void (*each)(void *user, const char *path), void *user);

/* False once the session has ended: nothing can be sent any more. */
static inline bool host_has_session(const host *host) {
  return host->session == NULL ||
         iotops_session_get_state(host->session) != IOTOPS_SESSION_ENDED;
}

/* NULL is allowed. */
void host_free(host *host);

/* Stops with HOST_FAILED; what has happened has been logged. */
void host_fail(host *host);

/* The scripts' state store client; NULL with `err` when it cannot be made. */
iotops_state_store *host_state_store(host *host, iotops_error *err);

/* A call of a script has ended: stopping may go on. */
void host_call_ended(host *host);

#endif
