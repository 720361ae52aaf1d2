/*
** fuzz_json.c -- payloads as JSON: what is read is written again and read as
** the same, integers as integers and reals to the bit; what is no JSON, is
** nested too deep or says what no text can say is refused in words.
*/
#include <lauxlib.h>
#include <lualib.h>

#include "json.h"

#include "fuzz.h"

/* At the bottom of the stack, in this order. */
enum { DECODE = 1, ENCODE = 2 };

static lua_State *made_once(void) {
  static lua_State *L;

  if (L)
    return L;
  L = luaL_newstate();
  FUZZ_CHECK(L != NULL);
  luaL_openlibs(L);
  luaL_requiref(L, "iotops.core", luaopen_iotops_core, 0);
  lua_getfield(L, 1, "json_decode");
  lua_getfield(L, 1, "json_encode");
  lua_remove(L, 1);
  FUZZ_CHECK(lua_isfunction(L, DECODE) && lua_isfunction(L, ENCODE));
  return L;
}

/* Calls it with the value at the top, popped; pushes what it gave, or not. */
static bool convert(lua_State *L, int function) {
  lua_pushvalue(L, function);
  lua_insert(L, -2);
  FUZZ_CHECK(lua_pcall(L, 1, 2, 0) == LUA_OK);
  if (!lua_isnil(L, -2)) {
    FUZZ_CHECK(lua_isnil(L, -1));
    lua_pop(L, 1);
    return true;
  }
  FUZZ_CHECK(luaL_tolstring(L, -1, NULL)[0] != '\0'); /* why not */
  lua_pop(L, 3);
  return false;
}

static bool same(lua_State *L, int a, int b, int depth);

static lua_Unsigned count_fields(lua_State *L, int table) {
  lua_Unsigned count = 0;

  lua_pushnil(L);
  for (; lua_next(L, table); lua_pop(L, 1))
    count++;
  return count;
}

/* Every field of the table `a` is in `b`; how many there are. */
static lua_Unsigned fields(lua_State *L, int a, int b, int depth) {
  lua_Unsigned count = 0;

  luaL_checkstack(L, 8, NULL);
  lua_pushnil(L);
  while (lua_next(L, a)) {
    count++;
    lua_pushvalue(L, -2);
    lua_rawget(L, b);
    FUZZ_CHECK(same(L, lua_gettop(L) - 1, lua_gettop(L), depth));
    lua_pop(L, 2);
  }
  return count;
}

static bool same(lua_State *L, int a, int b, int depth) {
  FUZZ_CHECK(depth <= JSON_DEPTH);
  if (lua_type(L, a) != lua_type(L, b))
    return false;
  if (lua_istable(L, a))
    return fields(L, a, b, depth + 1) == count_fields(L, b);
  if (lua_type(L, a) == LUA_TNUMBER &&
      lua_isinteger(L, a) != lua_isinteger(L, b))
    return false;
  return lua_rawequal(L, a, b);
}

/* The value at the top, popped, survives being written and read. */
static void there_and_back(lua_State *L) {
  int value = lua_gettop(L);

  lua_pushvalue(L, value);
  FUZZ_CHECK(convert(L, ENCODE));
  FUZZ_CHECK(lua_type(L, -1) == LUA_TSTRING);
  FUZZ_CHECK(convert(L, DECODE));
  FUZZ_CHECK(same(L, value, value + 1, 0));
  lua_settop(L, value - 1);
}

static void numbers(lua_State *L, const uint8_t *data) {
  lua_Integer integer;
  lua_Number real;

  memcpy(&integer, data, sizeof integer);
  memcpy(&real, data, sizeof real);
  lua_pushinteger(L, integer);
  there_and_back(L);
  lua_pushnumber(L, real);
  if (real - real == 0) { /* neither infinite nor none */
    there_and_back(L);
  } else {
    FUZZ_CHECK(!convert(L, ENCODE));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lua_State *L = made_once();

  lua_pushlstring(L, (const char *)data, size);
  if (convert(L, DECODE))
    there_and_back(L);
  /* As a string it can be written when it is UTF-8. */
  lua_pushlstring(L, (const char *)data, size);
  lua_pushvalue(L, -1);
  if (convert(L, ENCODE)) {
    lua_pop(L, 1);
    there_and_back(L);
  }
  lua_settop(L, ENCODE);
  if (size >= sizeof(lua_Integer))
    numbers(L, data);
  FUZZ_CHECK(lua_gettop(L) == ENCODE);
  return 0;
}
