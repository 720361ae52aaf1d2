/*
** core.h -- what the files of the Lua module share: the record that each
** Lua state has.
**
** The record is found by the address of a static key in the registry and is
** collected last when the state closes, since it was made first.  Objects of
** ours are anchored in the registry under their own address.
**
** Functions marked LUA may raise; all others never do.
*/
#ifndef BINDINGS_CORE_H
#define BINDINGS_CORE_H

#include <lauxlib.h>
#include <lua.h>

#include "embed.h"

#define LUA_MAY_RAISE /* the function may raise a Lua error */

struct call;
struct wait;
struct job;
struct timer;
struct metric;
struct luv_poll;

/* Bytes that grow and are used again and again; owned by the record. */
typedef struct scratch {
  char *bytes;
  size_t size, capacity;
} scratch;

typedef struct iotops_lua {
  lua_State *L;            /* the main thread */
  iotops_context *context; /* borrowed, or owned with owns_context */
  bool owns_context;
  bool embedded;
  bool registering;             /* declarations wait for iotops_lua_start */
  bool frozen;                  /* nothing new is to begin for now */
  bool quiet;                   /* nothing new is to begin */
  bool closing;                 /* no Lua may run any more */
  bool stopping;                /* iotops.stop() was called */
  iotops_lua_embedder embedder; /* zero when not embedded */

  struct call *calls; /* those that have begun and not ended */
  struct call *spare; /* ended, their coroutines kept for the next */
  size_t call_count, spare_count;
  struct call *running_call;   /* NULL: none */
  lua_State *running;          /* the coroutine that runs */
  struct resume_frame *frames; /* coroutines resumed within this turn */
  struct wait *waits;          /* begun, not taken */
  struct wait *main_wait;      /* what the main thread runs the loop for */
  struct job *jobs;            /* spawned, not begun; oldest first */
  struct job **last_job;
  iotops_task begin_jobs;
  struct job *stops;       /* to be called when the script stops */
  size_t stop_calls;       /* of them, in hand */
  const char *stop_reason; /* borrowed; what they are given */
  struct timer *timers;    /* running, or to be started */
  struct metric *metrics;  /* counters and gauges */
  size_t metric_count;
  struct lua_session *sessions;
  struct room *rooms;       /* one a client whose queue was full */
  struct hold *holds;       /* not acknowledged yet */
  struct luv_poll *luv;     /* NULL: luv was not opened */
  bool luv_gone;            /* its loop is being closed */
  scratch text;             /* what a serializer writes */
  size_t coroutines;        /* of the script's own, alive or not collected */
  size_t listed, list_most; /* see population.c */
  size_t spawned;           /* functions that have not ended */
  size_t timer_count;       /* in `timers` */
} iotops_lua;

/* The record of the state that L belongs to, made when there is none. */
iotops_lua *state_of(lua_State *L) LUA_MAY_RAISE;

/* The pointer that a continuation was given as its context. */
static inline void *context_pointer(lua_KContext context) {
  return (void *)context; /* NOLINT(performance-no-int-to-ptr) */
}

/* Anchors the value at the top, popped, under `key`; or drops it. */
void anchor(lua_State *L, const void *key) LUA_MAY_RAISE;
void drop_anchor(lua_State *L, const void *key);

/* Pushes what is anchored under `key`; nil when nothing is. */
void push_anchored(lua_State *L, const void *key);

/*
** A class: a metatable whose __index is the table of its methods, made when the
** first object is.  A script has nothing of what it does not use.
*/
typedef struct class_info {
  const char *name;
  const luaL_Reg *methods, *meta; /* each may be NULL */
} class_info;

/* Pushes the metatable. */
void class_push(lua_State *L, const class_info *info) LUA_MAY_RAISE;

/* Gives the object at the top its metatable. */
void class_set(lua_State *L, const class_info *info) LUA_MAY_RAISE;

/* Letters, digits and `_`, no digit first: a name as Lua writes it. */
bool is_lua_name(const char *text, size_t size);

/* Makes room for `more` bytes; raises when memory is short. */
char *scratch_reserve(lua_State *L, iotops_lua *state,
                      size_t more) LUA_MAY_RAISE;

/*
** A field of the module `iotops.core`, which has it from its first use on: the
** function itself, or with `makes` what it pushes.  Each file lists its own,
** ended by one without a name; core.c has the list of lists.
*/
typedef struct core_field {
  const char *name;
  lua_CFunction function;
  bool makes;
} core_field;

extern const core_field clock_fields[], error_fields[], event_fields[],
    file_fields[], handoff_fields[], job_fields[], json_fields[], lock_fields[],
    log_fields[], luv_fields[], metric_fields[], misuse_fields[],
    payload_fields[], resp3_fields[], run_fields[], session_fields[],
    store_fields[], timer_fields[], trace_fields[];

/* Each does what must be done before a script runs. */
void open_coroutines(lua_State *L);
void open_json(lua_State *L);

#endif
