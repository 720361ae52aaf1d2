#include "runtime/bounds.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdint.h>
#include <string.h>

#include "runtime/patterns.h"
#include "runtime/tables.h"

/* Each function has these upvalues. */
enum { ORIGINAL = 1, TURN = 2 };

static guard_turn *turn_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(TURN));
}

static lua_Unsigned bytes_allowed(lua_State *L) {
  size_t limit = turn_of(L)->memory_limit;
  return limit != 0 ? limit : INT32_MAX;
}

/* Goes on as Lua's own function, none of which has upvalues. */
static int pass_on(lua_State *L) {
  return lua_tocfunction(L, lua_upvalueindex(ORIGINAL))(L);
}

/* -------------------------------------------------------------- string -- */

/*
** rep(text, count, separator): in few strokes, since Lua's own makes as many as
** there are repetitions.
*/
static int string_rep(lua_State *L) {
  size_t size = 0, gap = 0;
  const char *text = luaL_checklstring(L, 1, &size);
  lua_Integer count = luaL_checkinteger(L, 2);
  const char *separator = luaL_optlstring(L, 3, "", &gap);
  size_t each = size + gap;
  luaL_Buffer result;
  if (count <= 0 || each == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  if ((lua_Unsigned)count > bytes_allowed(L) / each + 1)
    return luaL_error(L,
                      "stopped: a text of %I times %I bytes is more than a "
                      "script may hold",
                      (LUAI_UACINT)count, (LUAI_UACINT)each);
  size_t total = (size_t)count * each - gap;
  char *to = luaL_buffinitsize(L, &result, total);
  memcpy(to, text, size);
  size_t done = size;
  if (count > 1) {
    memcpy(to + size, separator, gap);
    done = each;
  }
  while (done < total) {
    size_t stroke = done < total - done ? done : total - done;
    memcpy(to + done, to, stroke);
    done += stroke;
  }
  luaL_pushresultsize(&result, total);
  return 1;
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

/* A long text is compiled in pieces, with a look before each. */
enum { PIECE = 16 * 1024 };

typedef struct long_text {
  guard_turn *turn;
  const char *rest; /* borrowed */
  size_t size;
} long_text;

static const char *next_piece(lua_State *L, void *user, size_t *size) {
  long_text *text = user;
  const char *piece = text->rest;
  guard_look(L, text->turn);
  *size = text->size < PIECE ? text->size : PIECE;
  text->rest += *size;
  text->size -= *size;
  return *size > 0 ? piece : NULL;
}

static int base_load(lua_State *L) {
  long_text text = {.turn = turn_of(L)};
  if (lua_type(L, 1) != LUA_TSTRING || lua_rawlen(L, 1) <= PIECE)
    return load_text(L, 3);
  text.rest = lua_tolstring(L, 1, &text.size);
  bool has_environment = !lua_isnone(L, 4);
  const char *name = luaL_optstring(L, 2, text.rest);
  luaL_optstring(L, 3, "t");
  if (lua_load(L, next_piece, &text, name, "t") != LUA_OK) {
    luaL_pushfail(L);
    lua_insert(L, -2);
    return 2;
  }
  if (has_environment) {
    lua_pushvalue(L, 4);
    if (lua_setupvalue(L, -2, 1) == NULL)
      lua_pop(L, 1);
  }
  return 1;
}

/* ------------------------------------------------------------------- os -- */

/* A format is worked off item by item. */
static int os_date(lua_State *L) {
  enum { LONGEST = 1000 };
  size_t size = 0;
  luaL_optlstring(L, 1, "", &size);
  luaL_argcheck(L, size <= LONGEST, 1,
                "a format of at most 1000 bytes expected");
  return pass_on(L);
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

/* ----------------------------------------------------------- traceback -- */

/*
** traceback(thread, message, level) of a stack that is hundreds of thousands
** deep takes longer than the recursion did.
*/
static int debug_traceback(lua_State *L) {
  enum { DEEP = 10000 };
  lua_Debug frame;
  bool has_thread = lua_isthread(L, 1);
  lua_State *co = has_thread ? lua_tothread(L, 1) : L;
  const char *message = lua_tostring(L, has_thread ? 2 : 1);
  if (!lua_getstack(co, DEEP, &frame) ||
      (message == NULL && !lua_isnoneornil(L, has_thread ? 2 : 1)))
    return pass_on(L);
  luaL_where(L, 1);
  lua_pushfstring(L, "%s%sstack traceback:\n\t%s...\t(more than %d levels)",
                  message != NULL ? message : "", message != NULL ? "\n" : "",
                  lua_tostring(L, -1), (int)DEEP);
  return 1;
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
    {"debug", "traceback", debug_traceback},
    {"string", "rep", string_rep},
    {"os", "date", os_date},
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
  tables_open(L, turn);
  lua_getglobal(L, LUA_STRLIBNAME);
  patterns_open(L, guard_look, turn);
  lua_pop(L, 1);
}
