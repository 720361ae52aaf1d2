/*
** misuse.h -- errors of the script's author, raised at the author's line: the
** frames of our own Lua files are passed over.
*/
#ifndef BINDINGS_MISUSE_H
#define BINDINGS_MISUSE_H

#include "core.h"

/* Like luaL_error; `%s`, `%d` and what else lua_pushfstring has. */
int misuse(lua_State *L, const char *format, ...) LUA_MAY_RAISE;

/* Pushes "file:line: ", or "" when there is no such frame. */
void misuse_where(lua_State *L) LUA_MAY_RAISE;

/* Whether a chunk's source (see lua_Debug) is a Lua file of ours. */
bool is_own_file(const char *source);

#endif
