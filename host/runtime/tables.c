#include "runtime/tables.h"

#include <lauxlib.h>
#include <stdint.h>

/* Each function has these upvalues. */
enum { ORIGINAL = 1, TURN = 2 };

enum {
  ELEMENT = 16,        /* bytes of one in a table's array */
  FEW = 1000,          /* elements that Lua's own function may handle */
  FEW_NUMBERS = 100000 /* the same, to be sorted */
};

static guard_turn *turn_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(TURN));
}

static lua_Unsigned elements_allowed(lua_State *L) {
  size_t limit = turn_of(L)->memory_limit;
  return (limit != 0 ? limit : INT32_MAX) / ELEMENT;
}

/* Goes on as Lua's own function, none of which has upvalues. */
static int pass_on(lua_State *L) {
  return lua_tocfunction(L, lua_upvalueindex(ORIGINAL))(L);
}

/* Raises if `first` to `last` are more elements than a script can hold. */
static void check_range(lua_State *L, lua_Integer first, lua_Integer last) {
  if (last < first)
    return;
  lua_Unsigned count = (lua_Unsigned)last - (lua_Unsigned)first;
  if (count >= elements_allowed(L))
    luaL_error(L, "stopped: %I to %I are more elements than a script may hold",
               (LUAI_UACINT)first, (LUAI_UACINT)last);
}

/* Whether `first` to `last` are so few that no look is needed. */
static bool are_few(lua_Integer first, lua_Integer last) {
  return last < first || (lua_Unsigned)last - (lua_Unsigned)first < FEW;
}

/*
** The length of the object at 1; 0 when Lua's own function is to say that it
** has none.  Raises if it says that it is longer than it can be.
*/
static lua_Integer check_length(lua_State *L) {
  if (!lua_istable(L, 1)) {
    if (luaL_getmetafield(L, 1, "__len") == LUA_TNIL)
      return 0;
    lua_pop(L, 1);
  }
  lua_Integer length = luaL_len(L, 1);
  check_range(L, 1, length);
  return length;
}

/* ----------------------------------------------------------------- move -- */

/* Copies `count` elements of the table at 1, from the first or from the last
** on; looks up as it goes. */
static void copy(lua_State *L, lua_Integer from, lua_Integer count, int table,
                 lua_Integer to, bool from_last) {
  guard_turn *turn = turn_of(L);
  for (lua_Integer i = 0; i < count; i++) {
    lua_Integer at = from_last ? count - 1 - i : i;
    if (i % FEW == 0)
      guard_look(L, turn);
    lua_geti(L, 1, from + at);
    lua_seti(L, table, to + at);
  }
}

/* move(from, first, last, to, table) */
static int table_move(lua_State *L) {
  lua_Integer first = luaL_checkinteger(L, 2);
  lua_Integer last = luaL_checkinteger(L, 3);
  lua_Integer to = luaL_checkinteger(L, 4);
  check_range(L, first, last);
  int table = lua_isnoneornil(L, 5) ? 1 : 5;
  if (are_few(first, last) || !lua_istable(L, 1) || !lua_istable(L, table) ||
      to > LUA_MAXINTEGER - (last - first))
    return pass_on(L);
  copy(L, first, last - first + 1, table, to, to > first && to <= last);
  lua_pushvalue(L, table);
  return 1;
}

/* -------------------------------------------------------- insert, remove -- */

/* insert(table, position, value) */
static int table_insert(lua_State *L) {
  if (lua_gettop(L) != 3)
    return pass_on(L);
  lua_Integer length = check_length(L);
  lua_Integer at = luaL_checkinteger(L, 2);
  if (at < 1 || are_few(at, length))
    return pass_on(L);
  copy(L, at, length - at + 1, 1, at + 1, true);
  lua_seti(L, 1, at);
  return 0;
}

/* remove(table, position) */
static int table_remove(lua_State *L) {
  lua_Integer length = check_length(L);
  lua_Integer at = luaL_optinteger(L, 2, length);
  if (at < 1 || are_few(at, length))
    return pass_on(L);
  lua_geti(L, 1, at);
  copy(L, at + 1, length - at, 1, at, false);
  lua_pushnil(L);
  lua_seti(L, 1, length);
  return 1;
}

/* ----------------------------------------------------------------- sort -- */

/* Lua's own order.  Upvalues as of all. */
static int is_less(lua_State *L) {
  guard_look(L, turn_of(L));
  lua_pushboolean(L, lua_compare(L, 1, 2, LUA_OPLT));
  return 1;
}

/*
** sort(table, less): one of the script's own is Lua code, which a hook stops;
** numbers are compared at once, texts may be long.
*/
static int table_sort(lua_State *L) {
  lua_Integer length = check_length(L);
  if (length < 2 || !lua_isnoneornil(L, 2))
    return pass_on(L);
  lua_settop(L, 1);
  bool is_number = lua_geti(L, 1, 1) == LUA_TNUMBER;
  lua_settop(L, 1);
  if (is_number && length <= FEW_NUMBERS)
    return pass_on(L);
  lua_pushnil(L);
  lua_pushlightuserdata(L, turn_of(L));
  lua_pushcclosure(L, is_less, 2);
  return pass_on(L);
}

/* ------------------------------------------------------- concat, unpack -- */

/* concat(table, separator, first, last) */
static int table_concat(lua_State *L) {
  size_t separator_size = 0;
  luaL_Buffer text;
  lua_Integer length = lua_isnoneornil(L, 4) ? check_length(L) : 0;
  const char *separator = luaL_optlstring(L, 2, "", &separator_size);
  lua_Integer first = luaL_optinteger(L, 3, 1);
  lua_Integer last = luaL_optinteger(L, 4, length);
  check_range(L, first, last);
  if (are_few(first, last) || !lua_istable(L, 1))
    return pass_on(L);
  luaL_buffinit(L, &text);
  for (lua_Integer i = first;; i++) {
    guard_look(L, turn_of(L));
    lua_geti(L, 1, i);
    if (!lua_isstring(L, -1))
      return luaL_error(L,
                        "invalid value (%s) at index %I in table for 'concat'",
                        luaL_typename(L, -1), (LUAI_UACINT)i);
    luaL_addvalue(&text);
    if (i == last)
      break;
    luaL_addlstring(&text, separator, separator_size);
  }
  luaL_pushresult(&text);
  return 1;
}

/* unpack(table, first, last): as many as the stack takes */
static int table_unpack(lua_State *L) {
  lua_Integer length = lua_isnoneornil(L, 3) ? check_length(L) : 0;
  lua_Integer first = luaL_optinteger(L, 2, 1);
  check_range(L, first, luaL_optinteger(L, 3, length));
  return pass_on(L);
}

void tables_open(lua_State *L, guard_turn *turn) {
  static const luaL_Reg functions[] = {
      {"move", table_move}, {"insert", table_insert}, {"remove", table_remove},
      {"sort", table_sort}, {"concat", table_concat}, {"unpack", table_unpack}};
  lua_getglobal(L, "table");
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    lua_getfield(L, -1, functions[i].name);
    lua_pushlightuserdata(L, turn);
    lua_pushcclosure(L, functions[i].func, 2);
    lua_setfield(L, -2, functions[i].name);
  }
  lua_pop(L, 1);
}
