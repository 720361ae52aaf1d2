/*
** gate.h -- the one way from C into Lua.
**
** A call is a coroutine that the module started.  Its body is a C function
** that runs inside the coroutine, so whatever it does, failing to allocate
** included, ends in the gate and nowhere else.  A turn of a call lasts from
** resume to yield or end; the embedder is told of both.  Coroutines of ended
** calls are used again.
*/
#ifndef BINDINGS_GATE_H
#define BINDINGS_GATE_H

#include "core.h"

typedef struct call call;
struct call {
  iotops_lua *state;
  lua_State *co;
  int thread_ref; /* keeps co */
  iotops_lua_call info;
  char *topic; /* owned; info.topic, once the call outlives its message */
  struct trace *trace; /* owned; that it is part of, or NULL */
  /*
  ** The call has ended or was given up; `failed` is the message with its
  ** traceback, NULL when it ended well.  Must not run Lua.
  */
  void (*ended)(call *call, const char *failed);
  void *user;                 /* the starter's */
  iotops_mqtt_client *client; /* whose message it handles; or NULL */
  const void *view;           /* what is handled; NULL after the first turn */
  const void *object;         /* identity of the message table in the handler */
  void *subject;              /* delivery or request, until it was settled */
  bool held;                  /* the handler took the acknowledgement over */
  bool given_up;              /* calls_abandon() has ended it */
  bool reported;              /* as one that waits for long */
  bool deaf;      /* a hook raised in co: it calls no hook any more */
  bool cut_short; /* failed as its wait was cancelled by the wanted end */
  struct wait *waiting;
  call *next, *previous;             /* in state->calls; spare: next */
  call *envoy_next, *envoy_previous; /* of the same envoy */
};

/*
** A new call, not begun; NULL when memory is short.  Set ended, user and the
** like, then begin it.
*/
call *call_new(iotops_lua *state, iotops_lua_call_kind kind);

/*
** Runs the first turn: `body` is called in the coroutine with the call as a
** light userdata.  Afterwards the call may have ended and be gone.  -1 with
** `err` (may be NULL) when it raised in this turn.
*/
int call_begin(call *call, lua_CFunction body, iotops_error *err);

/*
** The same for the function and its `arguments` at the top of L's stack, which
** are popped.
*/
int call_begin_function(call *call, lua_State *L, int arguments,
                        iotops_error *err);

/* Runs another turn of a call that waits. */
void call_go_on(call *call);

/*
** Ends a call that waits, as if its function had raised `why` where it waits;
** the script cannot catch it.
*/
void call_give_up(call *call, const char *why);

/*
** Ends every call of `client` (NULL: all) without running it.  Each is logged
** as a warning.
*/
void calls_abandon(iotops_lua *state, const iotops_mqtt_client *client);

/* Frees what is left of all calls; the state is closing. */
void calls_free(iotops_lua *state);

/* Logs with the script's name and generation and the call's message. */
void call_log(const call *call, iotops_log_level level, const char *format, ...)
    IOTOPS_PRINTF(3, 4);

#endif
