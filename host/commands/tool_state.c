#include "commands/tool_state.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>

#include "commands/command.h"
#include "runtime/carried.h"
#include "testing/world_module.h"

typedef struct task {
  const char *module; /* borrowed */
  int argc;
  char **argv; /* borrowed */
} task;

void tool_state_furnish(lua_State *L) {
  luaL_openlibs(L);
  carried_preload(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_iotops_world);
  lua_setfield(L, -2, "iotops.world");
  lua_pop(L, 1);
}

static int explain(lua_State *L) {
  const char *message = luaL_tolstring(L, 1, NULL);
  luaL_traceback(L, L, message, 1);
  return 1;
}

/* Runs protected. */
static int run(lua_State *L) {
  const task *given = lua_touserdata(L, 1);
  tool_state_furnish(L);
  lua_getglobal(L, "require");
  lua_pushstring(L, given->module);
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "run");
  lua_createtable(L, given->argc, 0);
  for (int i = 0; i < given->argc; i++) {
    lua_pushstring(L, given->argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_call(L, 1, 1);
  return 1;
}

int tool_state_run(const char *command, const char *module, int argc,
                   char **argv) {
  task given = {module, argc, argv};
  lua_State *L = luaL_newstate();
  int status = COMMAND_REFUSED;
  if (L == NULL) {
    fprintf(stderr, "iotops %s: out of memory\n", command);
    return status;
  }
  lua_pushcfunction(L, explain);
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, &given);
  if (lua_pcall(L, 1, 1, 1) == LUA_OK)
    status = (int)lua_tointeger(L, -1);
  else
    fprintf(stderr, "iotops %s: %s\n", command, lua_tostring(L, -1));
  lua_close(L);
  return status;
}
