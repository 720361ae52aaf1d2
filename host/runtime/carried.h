/*
** carried.h -- modules that the program carries, for Lua states that are no
** script's: a stand-in's, a test's, a tool's.
*/
#ifndef RUNTIME_CARRIED_H
#define RUNTIME_CARRIED_H

#include <lua.h>

/*
** Adds loaders of all carried modules and of iotops.core to package.preload.
** May raise.
*/
void carried_preload(lua_State *L);

/* Pushes the chunk of a carried module.  Raises when there is none. */
void carried_load(lua_State *L, const char *name);

#endif
