/*
** embed.h -- the Lua module `iotops.core` as seen by a program that embeds
** it: what it hands the module before scripts run, and how it calls into Lua.
**
** A plain `lua5.4` embeds nothing: the module then makes a context of its own
** and opens what a script declares at once.  The host hands in its context
** and session, and decides itself when declarations take effect.
**
** Vocabulary: a *script state* is one lua_State (its main thread `L` and all
** its coroutines).  An *endpoint* is one declared receiver or executor of a
** state.  A *call* is one coroutine that the module started: a handler, a
** timer, an on_start function, a spawned function.
*/
#ifndef IOTOPS_EMBED_H
#define IOTOPS_EMBED_H

#include <lua.h>

#include "iotops/command.h"

typedef struct iotops_lua_endpoint iotops_lua_endpoint;

typedef enum iotops_lua_call_kind {
  IOTOPS_CALL_MAIN, /* the main chunk; may not wait */
  IOTOPS_CALL_START,
  IOTOPS_CALL_TELEMETRY,
  IOTOPS_CALL_COMMAND,
  IOTOPS_CALL_TIMER,
  IOTOPS_CALL_SPAWNED,
  IOTOPS_CALL_LUV,
  IOTOPS_CALL_HANDOFF, /* save or restore; may not wait */
  IOTOPS_CALL_CONSOLE  /* what an operator typed */
} iotops_lua_call_kind;

/* What runs, for budgets, metrics and log records.  Borrowed. */
typedef struct iotops_lua_call {
  iotops_lua_call_kind kind;
  iotops_text topic;  /* absent when no message is being handled */
  uint16_t packet_id; /* 0: none */
  bool has_correlation_id;
  uint8_t correlation_id[16]; /* of the request that is handled */
  uint64_t started_ms;        /* on mono_ms; the first turn of the call */
  uint64_t began_ns;          /* the embedder's own; 0 at the first enter() */
} iotops_lua_call;

/* A named timer, as its script's name keeps it for the next generation. */
typedef struct iotops_lua_kept_timer {
  uint64_t due_ms; /* on mono_ms, while running */
  bool running;
  bool fired; /* one that fires once, and has */
} iotops_lua_kept_timer;

enum {
  IOTOPS_LUA_METRICS_MAX = 1000, /* counters and gauges of a generation */
  IOTOPS_LUA_TIMERS_MAX = 1000   /* of its timers, those with a name */
};

/* A counter or gauge, as its script's name keeps it. */
typedef struct iotops_lua_kept_metric {
  double value;
  size_t users; /* states that have a pointer to it; counted by the module */
} iotops_lua_kept_metric;

/* Which one is meant. */
typedef struct iotops_lua_metric {
  const char *name; /* borrowed; so is all else */
  const char *help; /* "": none */
  bool is_gauge;
  bool claims; /* false: only to be looked at, NULL when there is none */
} iotops_lua_metric;

/* Leases that renew themselves, passed from one generation to the next. */
typedef struct iotops_lua_leases {
  iotops_context *context; /* borrowed; NULL: none so far */
  struct lease *first;     /* owned */
} iotops_lua_leases;

/* Lets go of what no state has.  Before the state store is freed. */
void iotops_lua_leases_clear(iotops_lua_leases *leases);

typedef struct iotops_lua_embedder {
  size_t size;                /* sizeof this */
  iotops_context *context;    /* borrowed; outlives the state */
  iotops_mqtt_client *client; /* borrowed; the default session */
  const char *script;         /* borrowed; the script's name, for log records */
  uint64_t generation;        /* of the script, for log records */
  bool no_trace_context;      /* what is sent carries none of what came */

  /*
  ** A script declared an endpoint on the default session while the state was
  ** registering (before iotops_lua_start).  The embedder opens or adopts it
  ** when it commits.  After iotops_lua_start the module opens by itself.
  ** Fails the declaring Lua call with `err`.
  */
  int (*declare)(void *user, iotops_lua_endpoint *endpoint, iotops_error *err);

  /*
  ** Around each turn (resume to yield or end) of a call: the budget is armed
  ** and disarmed here.  `failed` is the error message of a turn that raised.
  */
  void (*enter)(void *user, lua_State *co, iotops_lua_call *call);
  void (*leave)(void *user, lua_State *co, const iotops_lua_call *call,
                bool ended, const char *failed);

  /*
  ** Another text for the `message` of a turn that raised, or NULL to leave it;
  ** `co` has its stack still.  The function may be NULL.  Must not raise.
  */
  const char *(*explain)(void *user, lua_State *co, const char *message);

  /*
  ** The state store client of `client`, made when first asked for and shared by
  ** all states: observers of one key are counted together.  NULL with `err`
  ** when it cannot be made.  The function may be NULL: each state makes its
  ** own.
  */
  struct iotops_state_store *(*state_store)(void *user, iotops_error *err);

  /*
  ** The record of a named timer, made (all zero) when there is none, claimed by
  ** this generation from iotops_lua_start() on.  Valid until the state is
  ** quiesced.  NULL when memory is short.  The function may be NULL: nothing
  ** is kept.
  */
  iotops_lua_kept_timer *(*keep_timer)(void *user, const char *name);

  /*
  ** The record of a counter or gauge, made when it is claimed, from
  ** iotops_lua_start() on.  Valid as long as it has users.  NULL when memory is
  ** short.  The function may be NULL: the values are the state's own.
  */
  iotops_lua_kept_metric *(*keep_metric)(void *user,
                                         const iotops_lua_metric *metric);

  /*
  ** Where the leases of the script's name are kept, all zero at first.
  ** Borrowed; outlives the states.  May be NULL: a lease ends with its state.
  */
  iotops_lua_leases *leases;

  /*
  ** The script may have as many coroutines of its own, as many spawned
  ** functions that have not ended and as many timers; 0: any number.  One more
  ** of `what`: `too_many` raises in `L`, or, when it is NULL, the module does.
  */
  size_t coroutine_limit;
  void (*too_many)(void *user, lua_State *L, const char *what);

  /*
  ** A message that the script held was acknowledged without its doing: it was
  ** garbage, or iotops_lua_forget() said so.  The function may be NULL.
  */
  void (*forgot)(void *user);

  /*
  ** Whether the script may call a function that acts on the process, such as
  ** "luv.spawn"; `refuse` raises when it may not.  NULL, both: it may.
  */
  bool (*allows)(void *user, const char *name);
  int (*refuse)(lua_State *L, const char *name);
  void *user;
} iotops_lua_embedder;

/*
** Hands the embedder to the state, before `iotops.core` is opened in it;
** copied.  A state with an embedder starts registering.
*/
void iotops_lua_embed(lua_State *L, const iotops_lua_embedder *embedder);

/* lua_CFunction for package.preload["iotops.core"]. */
IOTOPS_API int luaopen_iotops_core(lua_State *L);

/*
** Runs the function on top of L's stack (no arguments, popped) as a call that
** of `kind`.  The one gate from C into Lua: adds
** a traceback, calls enter and leave, never raises.  0 when the first turn
** ended or yielded to wait; -1 with `err` (execution error, message with
** traceback) when it raised.
*/
int iotops_lua_run(lua_State *L, iotops_lua_call_kind kind, iotops_error *err);

/*
** Ends registration: timers start, on_start functions run, further
** declarations are opened at once.
*/
void iotops_lua_start(lua_State *L);

/*
** Holds back what would start new calls by itself (timers; what is spawned by
** calls in hand begins), until it is called with false.
*/
void iotops_lua_freeze(lua_State *L, bool frozen);

/*
** Calls in hand that are in the middle of something: all but on_start
** functions, spawned ones and luv callbacks that sleep or wait for an event, a
** lock or a connection.
*/
size_t iotops_lua_busy_calls(lua_State *L);

/* Calls that have begun and not ended; a state with none may be closed. */
size_t iotops_lua_calls(lua_State *L);

/*
** Where the coroutine of the state that runs at this moment is noted, for a
** signal handler of the loop's thread; the main thread when none does.
*/
lua_State *const *iotops_lua_running(lua_State *L);

/*
** From a hook in the coroutine that runs: sets the hook, on every instruction,
** on all coroutines that the turn goes on in once this one has ended.
*/
void iotops_lua_interrupt(lua_State *L, lua_Hook hook);

/*
** Pushes a session object for a client that somebody else owns and that
** outlives the state: what iotops.session{} gives, but for exit and the like.
** May raise when memory is short.
*/
void iotops_lua_push_client(lua_State *L, iotops_mqtt_client *client);

/*
** Calls the on_stop functions, once, with the reason: "stop", or "reload" when
** another generation takes over.  Before iotops_lua_quiesce().  `reason` is
** borrowed until the state closes.
*/
void iotops_lua_stop(lua_State *L, const char *reason);

/*
** Stops everything that would start new calls: timers, spawned work that has
** not begun.  Calls in hand go on, and luv's loop for as long as there are
** some that may wait for it.
*/
void iotops_lua_quiesce(lua_State *L);

/*
** Before lua_close: drops all waits without resuming them.  Deliveries in
** hand are settled as failed (acknowledged) and requests answered with an
** execution error, each logged at error with where its handler was.  A request
** to an endpoint that says `is_idempotent`, as does one that has adopted its
** envoy or succeeded it, is handed to that one's handler instead.
*/
void iotops_lua_abandon(lua_State *L);

/* ------------------------------------------------------------ hand-off -- */

/* What the script said with iotops.handoff{}; all zero: nothing. */
typedef struct iotops_lua_handoff {
  bool saves, restores;
  int64_t version;
} iotops_lua_handoff;

iotops_lua_handoff iotops_lua_declared_handoff(lua_State *L);

/* What a save function returned; belongs to no state. */
typedef struct iotops_lua_snapshot iotops_lua_snapshot;

/*
** Calls the script's save function as one turn and copies what it returns, of
** `limit` bytes at most (0: any).  The snapshot is owned by the caller.  Fails
** with execution error: the function raised or tried to wait, or (with the path
** to it) something is not plain data.  Nothing has changed then.
*/
int iotops_lua_save(lua_State *L, size_t limit, iotops_lua_snapshot **snapshot,
                    iotops_error *err);

/*
** Calls the script's restore function with the data and its version.  After a
** failure, as above, the state is of no use.
*/
int iotops_lua_restore(lua_State *L, const iotops_lua_snapshot *snapshot,
                       iotops_error *err);

size_t iotops_lua_snapshot_tables(const iotops_lua_snapshot *snapshot);
int64_t iotops_lua_snapshot_version(const iotops_lua_snapshot *snapshot);

/* NULL is allowed. */
void iotops_lua_snapshot_free(iotops_lua_snapshot *snapshot);

/* ----------------------------------------------------- held messages -- */

/* A message that the script has in hand.  Borrowed, but for `reported`. */
typedef struct iotops_lua_held {
  bool in_handler;   /* whose handler waits; else one of message:hold() */
  uint64_t since_ms; /* on mono_ms: when it was held, or handling began */
  iotops_text topic;
  uint16_t packet_id;
  const char *source; /* where it was held, or waits; "": unknown */
  int line;
  bool reported; /* the embedder's, kept with the message */
  void *item;    /* for iotops_lua_forget() */
} iotops_lua_held;

/*
** Visits what message:hold() took over and was not acknowledged, and telemetry
** whose handler waits; how many there are.  To be called between turns; `visit`
** must not run Lua.
*/
size_t iotops_lua_each_held(lua_State *L,
                            void (*visit)(void *user, iotops_lua_held *held),
                            void *user);

/*
** Acknowledges one of them, with a record that says why: "was held for ..." of
** a message that is held; a handler ends with `why` as its error.
*/
void iotops_lua_forget(const iotops_lua_held *held, const char *why);

/* ------------------------------------------------------------ console -- */

typedef enum iotops_lua_verdict {
  IOTOPS_LUA_EVALUATED,
  IOTOPS_LUA_NOT_EVALUATED, /* it is wrong, raised or was given up */
  IOTOPS_LUA_INCOMPLETE     /* more must follow: it ends in the middle */
} iotops_lua_verdict;

/*
** What was printed, and the values or what went wrong (with a traceback), cut
** at 64 KiB; dies with the call.
*/
typedef void (*iotops_lua_evaluated)(void *user, iotops_lua_verdict verdict,
                                     iotops_text text);

/*
** Evaluates an expression or statements as a call, which may wait; `done` is
** told once, later.  What is assigned to globals belongs to `console`, whose
** other globals are the script's.  Fails with invalid state.
*/
int iotops_lua_evaluate(lua_State *L, uint64_t console, iotops_text code,
                        iotops_lua_evaluated done, void *user,
                        iotops_error *err);

/*
** The console is closed: its globals are dropped, and what it waits for.
** Between turns.
*/
void iotops_lua_forget_console(lua_State *L, uint64_t console);

/* ---------------------------------------------------------- endpoints -- */

/*
** What the endpoint is, as text: kind, pattern, namespace, tokens, group and
** options.  Equal identities may be handed from one generation to the next.
*/
const char *iotops_lua_endpoint_identity(const iotops_lua_endpoint *endpoint);

/* Whether it answers requests. */
bool iotops_lua_endpoint_is_command(const iotops_lua_endpoint *endpoint);

/* The topic filter it subscribes to; borrowed. */
const char *iotops_lua_endpoint_filter(const iotops_lua_endpoint *endpoint);

bool iotops_lua_endpoint_is_executor(const iotops_lua_endpoint *endpoint);

/* Pushes the table of options that it was declared with.  May raise. */
void iotops_lua_endpoint_push_options(lua_State *L,
                                      const iotops_lua_endpoint *endpoint);

/* Makes the envoy and starts it; `done` when granted or refused. */
int iotops_lua_endpoint_open(iotops_lua_endpoint *endpoint,
                             iotops_envoy_done done, void *user,
                             iotops_error *err);

/*
** Moves the envoy of `from` to `to`, of the same identity: one pointer store.
** From the next message on `to`'s handler is called; calls in hand end in
** `from`'s state.  `from` is left closed.
*/
void iotops_lua_endpoint_adopt(iotops_lua_endpoint *to,
                               iotops_lua_endpoint *from);

/*
** `to` is open and takes the place of `from`, which is to be closed: when both
** are executors of the same command and filter, duplicates of requests that
** `from` has taken are answered by `to`, and requests that wait for their turn
** are `to`'s.  Does nothing otherwise.
*/
void iotops_lua_endpoint_succeed(iotops_lua_endpoint *to,
                                 iotops_lua_endpoint *from);

/*
** While paused no handler begins: messages and requests wait, in order, as if
** all places were taken.  It is the envoy that is paused: one that is passed on
** stays so.
*/
void iotops_lua_endpoint_pause(iotops_lua_endpoint *endpoint, bool paused);

/*
** Takes out the message that has waited longest for its handler, with its
** acknowledgement; owned by the caller.  NULL when none waits.  Requests are
** not taken.
*/
iotops_message *iotops_lua_endpoint_take(iotops_lua_endpoint *endpoint,
                                         iotops_ack *ack);

/* Stops the envoy; messages in hand finish.  Closing twice does nothing. */
void iotops_lua_endpoint_close(iotops_lua_endpoint *endpoint);

/* --------------------------------------------------------- luv's loop -- */

/*
** True once the script has opened luv: its loop is polled by the module on the
** context's loop, and its callbacks run through the gate.
*/
bool iotops_lua_has_luv(lua_State *L);

#endif
