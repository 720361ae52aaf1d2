#include "testing/plain_copy.h"

#include <lauxlib.h>

typedef struct copying {
  lua_State *from, *to;
  int top; /* of `from`, to be restored before an error */
} copying;

static void copy(const copying *at, int index, unsigned depth);

/* Says where in the tables: the keys are on the stack of `from`. */
static void fail(const copying *at, unsigned depth, const char *what) {
  luaL_Buffer path;
  luaL_buffinit(at->to, &path);
  luaL_addstring(&path, "value");
  for (unsigned level = 0; level < depth && level < 8; level++) {
    int key = at->top + 1 + (int)level * 2;
    if (lua_type(at->from, key) == LUA_TSTRING) {
      luaL_addchar(&path, '.');
      luaL_addstring(&path, lua_tostring(at->from, key));
    } else {
      luaL_addstring(&path, "[...]");
    }
  }
  luaL_pushresult(&path);
  lua_settop(at->from, at->top);
  luaL_error(at->to, "%s: %s cannot be passed between a test and a script",
             lua_tostring(at->to, -1), what);
}

static void copy_table(const copying *at, int index, unsigned depth) {
  if (depth >= PLAIN_COPY_DEPTH || !lua_checkstack(at->from, 4))
    fail(at, depth, "a table in too many others, or in itself,");
  luaL_checkstack(at->to, 4, NULL);
  lua_newtable(at->to);
  lua_pushnil(at->from);
  while (lua_next(at->from, index) != 0) {
    int value = lua_gettop(at->from);
    copy(at, value - 1, depth + 1);
    copy(at, value, depth + 1);
    lua_rawset(at->to, -3);
    lua_settop(at->from, value - 1);
  }
}

static void copy(const copying *at, int index, unsigned depth) {
  size_t size = 0;
  const char *text = NULL;
  switch (lua_type(at->from, index)) {
  case LUA_TNIL:
    lua_pushnil(at->to);
    return;
  case LUA_TBOOLEAN:
    lua_pushboolean(at->to, lua_toboolean(at->from, index));
    return;
  case LUA_TNUMBER:
    if (lua_isinteger(at->from, index))
      lua_pushinteger(at->to, lua_tointeger(at->from, index));
    else
      lua_pushnumber(at->to, lua_tonumber(at->from, index));
    return;
  case LUA_TSTRING:
    text = lua_tolstring(at->from, index, &size);
    lua_pushlstring(at->to, text, size);
    return;
  case LUA_TLIGHTUSERDATA:
    lua_pushlightuserdata(at->to, lua_touserdata(at->from, index));
    return;
  case LUA_TTABLE:
    copy_table(at, index, depth);
    return;
  default:
    fail(at, depth, "a function, coroutine or object");
  }
}

void plain_copy(lua_State *from, int index, lua_State *to) {
  copying at = {from, to, lua_gettop(from)};
  luaL_checkstack(to, 8, NULL);
  copy(&at, lua_absindex(from, index), 0);
}
