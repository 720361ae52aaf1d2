/*
** resp3.c -- iotops.resp3: the state store's encoding as Lua values.
**
** A blob is a string, a number an integer, null is iotops.null, an array a
** list; {ok = text} is a simple string and {err = text} an error.
*/
#include "services/resp3.h"

#include <string.h>

#include "core.h"

enum { DEPTH_MAX = 16 };

/* Pushes the value at the front of `*rest`; false when there is none. */
static bool push_value(lua_State *L, iotops_text *rest, int depth) {
  resp3_value value;
  if (depth > DEPTH_MAX || !resp3_read(rest, &value))
    return false;
  luaL_checkstack(L, 4, NULL);
  switch (value.type) {
  case RESP3_ARRAY:
    lua_createtable(L, value.count < 64 ? (int)value.count : 64, 0);
    for (size_t i = 0; i < value.count; i++) {
      if (!push_value(L, rest, depth + 1))
        return false;
      lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    break;
  case RESP3_BLOB:
    lua_pushlstring(L, value.text.data, value.text.size);
    break;
  case RESP3_NULL:
    lua_pushlightuserdata(L, NULL);
    break;
  case RESP3_NUMBER:
    lua_pushinteger(L, (lua_Integer)value.number);
    break;
  case RESP3_STRING:
  case RESP3_ERROR:
    lua_createtable(L, 0, 1);
    lua_pushlstring(L, value.text.data, value.text.size);
    lua_setfield(L, -2, value.type == RESP3_STRING ? "ok" : "err");
    break;
  }
  return true;
}

/* decode(bytes): the one value in it; nothing when malformed. */
static int resp3_decode(lua_State *L) {
  iotops_text rest;
  rest.data = luaL_checklstring(L, 1, &rest.size);
  if (!push_value(L, &rest, 0) || rest.size > 0)
    return 0;
  return 1;
}

/* Pushes the text of field `name` of the table at the top; false: none. */
static bool push_line(lua_State *L, const char *name) {
  if (lua_getfield(L, -1, name) == LUA_TSTRING) {
    size_t size;
    const char *text = lua_tolstring(L, -1, &size);
    if (memchr(text, '\r', size) != NULL || memchr(text, '\n', size) != NULL)
      luaL_error(L, "a line end in the text of '%s'", name);
    return true;
  }
  lua_pop(L, 1);
  return false;
}

/* Replaces the value at the top by its encoding. */
static void encode(lua_State *L, int depth) {
  int at = lua_gettop(L);
  size_t size;
  const char *text;
  luaL_checkstack(L, 8, NULL);
  if (depth > DEPTH_MAX)
    luaL_error(L, "arrays are nested too deeply");
  switch (lua_type(L, at)) {
  case LUA_TSTRING:
    text = lua_tolstring(L, at, &size);
    lua_pushfstring(L, "$%I\r\n", (LUAI_UACINT)size);
    lua_pushlstring(L, text, size);
    lua_pushliteral(L, "\r\n");
    lua_concat(L, 3);
    break;
  case LUA_TNUMBER:
    lua_pushfstring(L, ":%I\r\n", (LUAI_UACINT)luaL_checkinteger(L, at));
    break;
  case LUA_TLIGHTUSERDATA:
    luaL_argcheck(L, lua_touserdata(L, at) == NULL, 1, "cannot be encoded");
    lua_pushliteral(L, "$-1\r\n");
    break;
  case LUA_TTABLE:
    if (push_line(L, "ok")) {
      lua_pushfstring(L, "+%s\r\n", lua_tostring(L, -1));
    } else if (push_line(L, "err")) {
      lua_pushfstring(L, "-ERR %s\r\n", lua_tostring(L, -1));
    } else {
      lua_Integer count = (lua_Integer)lua_rawlen(L, at);
      luaL_Buffer buffer;
      lua_pushnil(L); /* below the buffer: an element's encoding */
      luaL_buffinit(L, &buffer);
      lua_pushfstring(L, "*%I\r\n", (LUAI_UACINT)count);
      luaL_addvalue(&buffer);
      for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, at, i);
        encode(L, depth + 1);
        luaL_addvalue(&buffer);
      }
      luaL_pushresult(&buffer);
    }
    break;
  default:
    luaL_error(L, "a %s cannot be encoded", luaL_typename(L, at));
  }
  lua_replace(L, at);
  lua_settop(L, at);
}

static int resp3_encode(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  encode(L, 0);
  return 1;
}

static int make_resp3(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"decode", resp3_decode}, {"encode", resp3_encode}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}

const core_field resp3_fields[] = {{"resp3", make_resp3, true}, {0}};
