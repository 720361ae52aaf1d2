/*
** main.c -- the conformance runner's program: Lua with the core, its bindings
** and the test doubles inside.
**
** Runs the script that it is given with a module `metl.runner` of two
** functions: list(folder), and run(script, table) which runs a script in a
** case's own state.
*/
#include <dirent.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "case_state.h"

/* list(folder): names in it, without those that start with a dot. */
static int list(lua_State *L) {
  DIR *folder = opendir(luaL_checkstring(L, 1));
  lua_newtable(L);
  if (!folder) {
    return 1;
  }
  const struct dirent *entry;
  for (lua_Integer i = 1; (entry = readdir(folder));) {
    if (entry->d_name[0] != '.') {
      lua_pushstring(L, entry->d_name);
      lua_seti(L, -2, i++);
    }
  }
  closedir(folder);
  return 1;
}

static int add_traceback(lua_State *L) {
  const char *message = luaL_tolstring(L, 1, NULL);
  luaL_traceback(L, L, message, 1);
  return 1;
}

/* Copies a table of strings from one state to another. */
static void copy_strings(lua_State *from, int index, lua_State *to) {
  lua_newtable(to);
  lua_pushnil(from);
  while (lua_next(from, index)) {
    luaL_argcheck(from, lua_type(from, -2) == LUA_TSTRING, index,
                  "names are strings");
    lua_pushstring(to, luaL_checkstring(from, -1));
    lua_setfield(to, -2, lua_tostring(from, -2));
    lua_pop(from, 1);
  }
}

/*
** run(script, options): what the script returned (a string; nil: all is
** well), or its error; what the case left behind (nil: nothing); and how many
** allocations the product made.
*/
static int run(lua_State *L) {
  const char *script = luaL_checkstring(L, 1);
  metl_case one;
  metl_bytes report = {0};
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  metl_case_init(&one);
  lua_pushcfunction(one.L, add_traceback);
  int status = luaL_loadfile(one.L, script);
  if (status == LUA_OK) {
    copy_strings(L, 2, one.L);
    status = lua_pcall(one.L, 1, 1, 1);
  }
  if (status != LUA_OK || !lua_isnoneornil(one.L, -1)) {
    lua_pushstring(L, lua_tostring(one.L, -1));
  } else {
    lua_pushnil(L);
  }
  lua_settop(one.L, 0);
  metl_case_close(&one, &report);
  if (report.size > 0) {
    lua_pushlstring(L, (const char *)report.data, report.size);
  } else {
    lua_pushnil(L);
  }
  metl_bytes_free(&report);
  lua_pushinteger(L, (lua_Integer)one.allocations);
  return 3;
}

static int open_runner(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"list", list}, {"run", run}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  if (!L || argc < 2) {
    fprintf(stderr, "usage: %s SCRIPT [ARGUMENT...]\n", argv[0]);
    return 2;
  }
  luaL_openlibs(L);
  luaL_requiref(L, "metl.runner", open_runner, 0);
  lua_settop(L, 0);
  lua_pushcfunction(L, add_traceback);
  int status = luaL_loadfile(L, argv[1]);
  for (int i = 2; status == LUA_OK && i < argc; i++) {
    lua_pushstring(L, argv[i]);
  }
  if (status == LUA_OK) {
    status = lua_pcall(L, argc - 2, 1, 1);
  }
  if (status != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
  }
  bool passed = status == LUA_OK && lua_toboolean(L, -1);
  lua_close(L);
  return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
