/*
** case_state.h -- one case: a Lua state with a context, a clock and a stub of
** its own.
**
** Nothing is shared between cases, so that what one leaves behind is seen:
** memory of the context, timers, operations, subscriptions, messages that
** nobody acknowledged.
*/
#ifndef METL_CASE_STATE_H
#define METL_CASE_STATE_H

#include <lua.h>

#include "stub.h"

typedef struct metl_case {
  lua_State *L;            /* owned */
  iotops_context *context; /* owned; NULL until opened */
  metl_clock clock;
  metl_stub *stub;    /* owned; NULL until opened */
  bool embedded;      /* the Lua module has both */
  uint64_t start_ms;  /* when the case began, on mono_ms */
  uint64_t random;    /* state of the generator */
  size_t blocks;      /* of memory in use by the context */
  size_t allocations; /* so far */
  size_t fail_at;     /* which of them fails, from 1; 0: none */
  size_t fail_every;  /* each that is a multiple of it fails; 0: none */
} metl_case;

/* Makes the state; the case's script has not run yet. */
void metl_case_init(metl_case *one);

/*
** Makes context and stub (level 1 or 2), hands both to the Lua module of the
** state and connects.  -1 with `err` on failure.
*/
int metl_case_open(metl_case *one, int level, const char *client_id,
                   iotops_error *err);

/* Ends everything; what was left over is added to `report`, a line each. */
void metl_case_close(metl_case *one, metl_bytes *report);

/* What the envoys of a case are given as their session. */
iotops_mqtt_client *metl_case_client(metl_case *one);

/* The case that a state belongs to. */
metl_case *metl_case_of(lua_State *L);

/* lua_CFunction for package.preload["metl.stub"]; see control.c. */
int luaopen_metl_stub(lua_State *L);

#endif
