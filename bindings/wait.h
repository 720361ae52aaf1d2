/*
** wait.h -- calls that wait.
**
** A waiting function begins an operation with a wait as its user data, then
** returns wait_yield().  When the operation completes, wait_complete() takes
** the coroutine up again; what the operation delivered is pushed by `push`
** while it is still alive.  In the main thread of a plain Lua the wait runs
** the loop instead.
*/
#ifndef BINDINGS_WAIT_H
#define BINDINGS_WAIT_H

#include "gate.h"

typedef struct wait wait;
struct wait {
  iotops_lua *state; /* NULL: abandoned; free on completion */
  iotops_context *context;
  call *call; /* NULL: the main thread runs the loop */
  /* Pushes the results; `wait` is a copy whose `view` is alive. */
  int (*push)(lua_State *L, const wait *wait);
  /* When given up: undoes the operation; true when nothing will complete. */
  bool (*cancel)(wait *wait);
  const void *view;        /* what the operation delivered */
  const iotops_error *err; /* NULL: success */
  void *user;
  bool done;
  bool rests;   /* for a time, an event, a turn: may last for ever */
  bool stashed; /* results are in the registry */
  iotops_timer timer;
  wait *next, *previous; /* in state->waits */
  wait *room_next;
};

/*
** A wait of the running coroutine.  Raises where none is possible, saying
** what to do.
*/
wait *wait_new(lua_State *L,
               int (*push)(lua_State *L, const wait *wait)) LUA_MAY_RAISE;

/* Gives back a wait whose operation was refused. */
void wait_drop(wait *wait);

/*
** Waits, then goes on in `k` (NULL: returns the results) with the wait as its
** context.  To be used as `return wait_yield(...)`.
*/
int wait_yield(lua_State *L, wait *wait, lua_KFunction k) LUA_MAY_RAISE;

/* Pushes the results of a completed wait, releases it, returns their count. */
int wait_results(lua_State *L, wait *wait) LUA_MAY_RAISE;

/* To be called once by the operation. */
void wait_complete(wait *wait, const void *view, const iotops_error *err);

/* An operation's done function without a result; user is the wait. */
void wait_done(void *user, const iotops_error *err);

/* Pushes `true`, or nil and the error object. */
int wait_push_true(lua_State *L, const wait *wait);

/* Drops all waits of the call, or of all when NULL. */
void waits_abandon(iotops_lua *state, const call *call);

/* True when the values that `co` yielded say that it waits. */
bool wait_is_sentinel(lua_State *co, int count);
void wait_push_sentinel(lua_State *L);

/* Runs the loop until the main thread's wait is done. */
void wait_drive(lua_State *L, iotops_lua *state) LUA_MAY_RAISE;

#endif
