/*
** world_module.h -- the Lua module `iotops.world`: a world for a Lua state
** that is no part of it.  For iotops.testing alone, which explains it.
*/
#ifndef TESTING_WORLD_MODULE_H
#define TESTING_WORLD_MODULE_H

#include <lua.h>

#include "iotops/api.h"

/* lua_CFunction for package.preload["iotops.world"]. */
IOTOPS_API int luaopen_iotops_world(lua_State *L);

#endif
