#include "runtime/carried.h"

#include <lauxlib.h>
#include <string.h>

#include "embed.h"
#include "runtime/embedded.h"

static void load(lua_State *L, const embedded_module *module) {
  if (luaL_loadbufferx(L, (const char *)module->bytes, module->size,
                       module->chunk, "t") != LUA_OK)
    lua_error(L);
}

static int open_module(lua_State *L) {
  const embedded_module *module = lua_touserdata(L, lua_upvalueindex(1));
  load(L, module);
  lua_pushstring(L, module->name);
  lua_call(L, 1, 1);
  return 1;
}

void carried_preload(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (size_t i = 0; i < embedded_module_count; i++) {
    lua_pushlightuserdata(L, (void *)&embedded_modules[i]);
    lua_pushcclosure(L, open_module, 1);
    lua_setfield(L, -2, embedded_modules[i].name);
  }
  lua_pushcfunction(L, luaopen_iotops_core);
  lua_setfield(L, -2, "iotops.core");
  lua_pop(L, 1);
}

void carried_load(lua_State *L, const char *name) {
  for (size_t i = 0; i < embedded_module_count; i++)
    if (strcmp(embedded_modules[i].name, name) == 0) {
      load(L, &embedded_modules[i]);
      return;
    }
  luaL_error(L, "there is no module %s in the program", name);
}
