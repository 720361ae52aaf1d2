/*
** tables.h -- the functions of `table` that a script could have run for long.
**
** They do what Lua's own do.  Counts are checked against what the script may
** hold before anything is done, and work on many elements looks up at regular
** steps whether the turn is over its limit: the length of a table is what its
** __len says, or a border that need not be near its elements.
*/
#ifndef RUNTIME_TABLES_H
#define RUNTIME_TABLES_H

#include "runtime/guard.h"

/*
** Replaces move, insert, remove, sort, concat and unpack in the opened library.
** `turn` outlives the state.  May raise when memory is short.
*/
void tables_open(lua_State *L, guard_turn *turn);

#endif
