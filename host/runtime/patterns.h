/*
** patterns.h -- string.find, match, gmatch and gsub on our own matcher.
**
** They do what Lua's own do, and give the watch a look at regular steps, so
** that a pattern that backtracks without end can be stopped.  Differences: an
** error may name a pattern as too complex a little earlier or later, and
** character classes do not follow os.setlocale.
*/
#ifndef RUNTIME_PATTERNS_H
#define RUNTIME_PATTERNS_H

#include "runtime/matcher.h"

/*
** Sets the four in the table at the top.  `look` is called with `user`, which
** outlives the state, and may raise.  May raise when memory is short.
*/
void patterns_open(lua_State *L, void (*look)(lua_State *L, void *user),
                   void *user);

#endif
