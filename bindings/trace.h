/*
** trace.h -- W3C trace context (traceparent, tracestate) from what a handler
** is given to what it sends.
**
** A message or request with a valid traceparent has its handler run as a new
** operation of the same trace: what the handler and the functions it spawns
** send, invoke and respond carries the trace id and flags it came with, and
** the operation's own id as parent id; tracestate unchanged.  A traceparent
** that is malformed, or there twice, is none; a malformed tracestate is left
** out.  User data with a traceparent of the script's own is left alone.
*/
#ifndef BINDINGS_TRACE_H
#define BINDINGS_TRACE_H

#include "core.h"

enum { /* of a traceparent */
       TRACE_PARENT_SIZE = 55,
       TRACE_ID_AT = 3,
       TRACE_ID_SIZE = 32,
       TRACE_SPAN_AT = 36,
       TRACE_SPAN_SIZE = 16
};

typedef struct trace {
  char parent[TRACE_PARENT_SIZE + 1]; /* the traceparent to send */
  size_t state_size;
  char state[]; /* the tracestate to send; empty: none */
} trace;

/*
** A new operation in the trace that the user data names, owned by the caller
** (iotops_free); NULL when it names none, `state` takes no part in traces, or
** memory is short.
*/
trace *trace_from(iotops_lua *state, const iotops_user_property *pairs,
                  size_t count);

/*
** A trace as a string for a later call of the state, and a copy made of that;
** NULL when there is no string at `index`, or memory is short.
*/
void trace_push(lua_State *L, const trace *kept) LUA_MAY_RAISE;
trace *trace_copy(lua_State *L, int index, iotops_context *context);

/*
** Adds the running call's trace to user data that is to be sent, unless it
** has one: the pairs are then new ones in a userdata on the stack.
*/
void trace_add(lua_State *L, const iotops_user_property **pairs,
               size_t *count) LUA_MAY_RAISE;

#endif
