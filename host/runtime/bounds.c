#include "runtime/bounds.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdint.h>

#include "runtime/patterns.h"

/* Each function has these upvalues. */
enum { ORIGINAL = 1, TURN = 2 };

/* Bytes of one element of a table's array. */
enum { ELEMENT = 16 };

static guard_turn *turn_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(TURN));
}

static lua_Unsigned bytes_allowed(lua_State *L) {
  size_t limit = turn_of(L)->memory_limit;
  return limit != 0 ? limit : INT32_MAX;
}

static lua_Unsigned elements_allowed(lua_State *L) {
  return bytes_allowed(L) / ELEMENT;
}

/* Goes on as Lua's own function, none of which has upvalues. */
static int pass_on(lua_State *L) {
  return lua_tocfunction(L, lua_upvalueindex(ORIGINAL))(L);
}

/* --------------------------------------------------------------- table -- */

/* Raises if `first` to `last` are more elements than a script can hold. */
static void check_range(lua_State *L, lua_Integer first, lua_Integer last) {
  if (last < first)
    return;
  lua_Unsigned count = (lua_Unsigned)last - (lua_Unsigned)first;
  if (count >= elements_allowed(L))
    luaL_error(L, "stopped: %I to %I are more elements than a script may hold",
               (LUAI_UACINT)first, (LUAI_UACINT)last);
}

/* Raises if the object at 1 says that it is longer than it can be. */
static lua_Integer check_length(lua_State *L) {
  luaL_checkany(L, 1);
  lua_Integer length = luaL_len(L, 1);
  check_range(L, 1, length);
  return length;
}

static int table_move(lua_State *L) {
  check_range(L, luaL_checkinteger(L, 2), luaL_checkinteger(L, 3));
  return pass_on(L);
}

static int table_counted(lua_State *L) {
  if (lua_getmetatable(L, 1)) { /* a plain table is as long as it is */
    lua_pop(L, 1);
    check_length(L);
  }
  return pass_on(L);
}

/* concat(t, separator, first, last) and unpack(t, first, last) */
static int from_to(lua_State *L, int first) {
  lua_Integer from = luaL_optinteger(L, first, 1);
  if (lua_isnoneornil(L, first + 1))
    check_range(L, from, check_length(L));
  else
    check_range(L, from, luaL_checkinteger(L, first + 1));
  return pass_on(L);
}

static int table_concat(lua_State *L) {
  return from_to(L, 3);
}

static int table_unpack(lua_State *L) {
  return from_to(L, 2);
}

/* -------------------------------------------------------------- string -- */

static int string_rep(lua_State *L) {
  size_t size = 0, separator = 0;
  luaL_checklstring(L, 1, &size);
  lua_Integer count = luaL_checkinteger(L, 2);
  luaL_optlstring(L, 3, "", &separator);
  lua_Unsigned each = (lua_Unsigned)size + separator;
  if (count > 0 && each == 0) {
    lua_pushliteral(L, ""); /* Lua's own would count them all */
    return 1;
  }
  if (count > 0 && (lua_Unsigned)count > bytes_allowed(L) / each + 1)
    return luaL_error(L,
                      "stopped: a text of %I times %I bytes is more than a "
                      "script may hold",
                      (LUAI_UACINT)count, (LUAI_UACINT)each);
  return pass_on(L);
}

/* ---------------------------------------------------------- metatables -- */

static void check_metatable(lua_State *L) {
  if (!lua_istable(L, 2))
    return; /* Lua's own function knows what to say */
  lua_pushliteral(L, "__gc");
  if (lua_rawget(L, 2) != LUA_TNIL)
    luaL_error(L, "a script of the host has no finalizers: __gc is not "
                  "available; use __close, or close what was opened");
  lua_pop(L, 1);
}

static int set_metatable(lua_State *L) {
  check_metatable(L);
  return pass_on(L);
}

/* Who has the metatable of a userdata could give it a finalizer. */
static int get_metatable(lua_State *L) {
  if (lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1)) {
    lua_pushliteral(L, "protected");
    return 1;
  }
  return pass_on(L);
}

static int refuse_hook(lua_State *L) {
  return luaL_error(L, "debug.sethook is not available in the host, which "
                       "needs the hook itself");
}

/* ---------------------------------------------------------------- load -- */

/* load(chunk, name, mode, environment) and loadfile(name, mode, ...) */
static int load_text(lua_State *L, int mode) {
  if (lua_gettop(L) < mode)
    lua_settop(L, mode);
  lua_pushliteral(L, "t");
  lua_replace(L, mode);
  return pass_on(L);
}

static int base_load(lua_State *L) {
  return load_text(L, 3);
}

static int base_loadfile(lua_State *L) {
  return load_text(L, 2);
}

static int return_all(lua_State *L, int status, lua_KContext context) {
  (void)status;
  (void)context;
  return lua_gettop(L);
}

static int base_dofile(lua_State *L) {
  const char *name = luaL_optstring(L, 1, NULL);
  lua_settop(L, 0);
  if (luaL_loadfilex(L, name, "t") != LUA_OK)
    return lua_error(L);
  lua_callk(L, 0, LUA_MULTRET, 0, return_all);
  return lua_gettop(L);
}

/* -------------------------------------------------------------- xpcall -- */

/*
** A message handler runs inside the hook that raised, where no hook reaches
** it: the script's is left out once the turn is to end.
*/
static int handle_message(lua_State *L) {
  if (turn_of(L)->reason != GUARD_NONE)
    return 1;
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(ORIGINAL));
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

static int base_xpcall(lua_State *L) {
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, lua_upvalueindex(TURN));
  lua_pushcclosure(L, handle_message, 2);
  lua_replace(L, 2);
  return pass_on(L);
}

/* ---------------------------------------------------------------- open -- */

typedef struct bounded {
  const char *library, *name;
  lua_CFunction function;
} bounded;

static const bounded all[] = {
    {LUA_GNAME, "setmetatable", set_metatable},
    {LUA_GNAME, "getmetatable", get_metatable},
    {LUA_GNAME, "load", base_load},
    {LUA_GNAME, "loadfile", base_loadfile},
    {LUA_GNAME, "dofile", base_dofile},
    {LUA_GNAME, "xpcall", base_xpcall},
    {"debug", "setmetatable", set_metatable},
    {"debug", "sethook", refuse_hook},
    {"table", "move", table_move},
    {"table", "insert", table_counted},
    {"table", "remove", table_counted},
    {"table", "sort", table_counted},
    {"table", "concat", table_concat},
    {"table", "unpack", table_unpack},
    {"string", "rep", string_rep},
};

void bounds_open(lua_State *L, guard_turn *turn) {
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    lua_getglobal(L, all[i].library);
    lua_getfield(L, -1, all[i].name);
    lua_pushlightuserdata(L, turn);
    lua_pushcclosure(L, all[i].function, 2);
    lua_setfield(L, -2, all[i].name);
    lua_pop(L, 1);
  }
  lua_getglobal(L, LUA_STRLIBNAME);
  patterns_open(L, guard_look, turn);
  lua_pop(L, 1);
}
