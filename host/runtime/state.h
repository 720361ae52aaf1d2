/*
** state.h -- one generation of a script: an isolated Lua state and the
** endpoints that it declared.
**
** A state sees the Lua half of the module that the program carries, modules
** in its script's folder and those of the system; nothing of another script.
** It cannot end the process.  It goes away by itself once it drains and its
** last call has ended.
*/
#ifndef RUNTIME_STATE_H
#define RUNTIME_STATE_H

#include "embed.h"
#include "runtime/guard.h"
#include "runtime/source.h"

struct script;

typedef struct script_state script_state;
struct script_state {
  struct script *script; /* borrowed */
  lua_State *L;          /* owned */
  uint64_t generation;
  int64_t born_ms; /* when its main chunk had run, on the wall clock */
  source source;   /* what it was made from */
  source recalled; /* what it may be made from; count 0: what the files hold */
  iotops_lua_endpoint **endpoints; /* owned array; Lua owns the endpoints */
  bool *refused;   /* owned array; by endpoint: the broker refused it */
  unsigned *marks; /* owned array; by endpoint: of its receiver (see client) */
  size_t endpoint_count;
  size_t memory; /* bytes that Lua holds */
  size_t
      refused_size; /* what was asked for and not given, since the last gift */
  guard_turn turn;
  uint64_t turn_ns; /* when the running turn began */
  bool runs_luv;    /* the running turn is luv\'s loop: callbacks are turns */
  unsigned depth;   /* turns inside each other */
  uint64_t ended_calls, failed_calls; /* but for the main chunk and hand-offs */
  bool declared;                      /* its main chunk has run */
  bool draining;
  iotops_task idle;      /* looks whether the last call has ended */
  iotops_timer deadline; /* of draining */
  script_state *next;    /* the script's list of those that drain */
};

/*
** Makes a state and runs the script's main chunk in it, which declares its
** endpoints and opens none.  On failure (`err` says where in the script) the
** state is NULL, and `*tried` takes the source that was read.
*/
script_state *state_load(struct script *script, uint64_t generation,
                         source *tried, iotops_error *err);

/*
** The same with the files as they were in `from`, wherever they are now: a
** module that was not among them is not found in the script's folder.
*/
script_state *state_recall(struct script *script, uint64_t generation,
                           const source *from, iotops_error *err);

/*
** Lets the calls in hand end and frees the state after the last, or after
** `limit_ms`, whatever is first.
*/
void state_drain(script_state *state, uint64_t limit_ms);

/* Frees the state at once; calls in hand are given up. */
void state_free(script_state *state);

#endif
