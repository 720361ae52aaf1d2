/*
** coroutine.h -- coroutine.resume, wrap and close that let a wait pass.
**
** A coroutine of a script that waits yields to whoever resumed it; our
** functions hand the wait on to the next coroutine, up to the call that the
** module started, so that waiting works at any depth.
*/
#ifndef BINDINGS_COROUTINE_H
#define BINDINGS_COROUTINE_H

#include "core.h"

/* One resume that is under way. */
typedef struct resume_frame resume_frame;
struct resume_frame {
  lua_State *from; /* borrowed */
  resume_frame *outer;
};

/* Whether scripts may not resume `co`: it waits, or is a call's. */
void coroutine_mark(lua_State *L, lua_State *co, bool taken) LUA_MAY_RAISE;

#endif
