/*
** bounds.h -- what Lua's own library lets a script do without end.
**
** A C function runs on whatever a hook says, and so does a finalizer.  Here
** those that take a count check it first against what the script may hold,
** and what would switch the guard off is refused: finalizers (`__gc`), hooks,
** and binary chunks, which can be made to do anything.
**
** Patterns are matched by our own functions (patterns.h), which look up at
** regular steps whether the turn is over its limit.
*/
#ifndef RUNTIME_BOUNDS_H
#define RUNTIME_BOUNDS_H

#include "runtime/guard.h"

/*
** Bounds the opened libraries of the state.  `turn` outlives it;
** its memory limit 0 bounds counts by what Lua can address.  May raise when
** memory is short.
*/
void bounds_open(lua_State *L, guard_turn *turn);

#endif
