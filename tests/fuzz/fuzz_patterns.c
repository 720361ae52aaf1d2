/*
** fuzz_patterns.c -- Lua's patterns on our matcher give what they give in Lua's
** own library: a pattern, a newline, the text; a pattern that needs too many
** steps ends by its watch.
*/
#include <lauxlib.h>
#include <lualib.h>

#include "runtime/patterns.h"

#include "fuzz.h"

enum { LOOKS = 2, PATTERN_MAX = 32, TEXT_MAX = 100 };

static unsigned looks;

static void look(lua_State *L, void *user) {
  (void)user;
  if (++looks == LOOKS)
    (void)luaL_error(L, "stopped");
}

/* Lua's own `string` at 1, ours at 2. */
static lua_State *made_once(void) {
  static lua_State *L;

  if (L)
    return L;
  L = luaL_newstate();
  FUZZ_CHECK(L != NULL);
  luaL_openlibs(L);
  lua_getglobal(L, "string");
  lua_newtable(L);
  patterns_open(L, look, NULL);
  return L;
}

/* Calls a function of the library at `where`; what it gave is left. */
static int call(lua_State *L, int where, const char *name, iotops_text text,
                iotops_text pattern, bool replaces) {
  int top = lua_gettop(L);

  lua_getfield(L, where, name);
  lua_pushlstring(L, text.data ? text.data : "", text.size);
  lua_pushlstring(L, pattern.data ? pattern.data : "", pattern.size);
  if (replaces)
    lua_pushliteral(L, "<%0|%1>");
  (void)lua_pcall(L, replaces ? 3 : 2, LUA_MULTRET, 0);
  return lua_gettop(L) - top;
}

static bool says(lua_State *L, int index, const char *what) {
  const char *text =
      lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";

  return strstr(text, what) != NULL;
}

static void compare(const char *name, iotops_text text, iotops_text pattern,
                    bool replaces) {
  lua_State *L = made_once();
  int ours, own;

  looks = 0;
  ours = call(L, 2, name, text, pattern, replaces);
  /* Lua's own would go on for as long as it takes. */
  if (looks < LOOKS && !says(L, -1, "too complex")) {
    own = call(L, 1, name, text, pattern, replaces);
    if (!says(L, -1, "too complex")) {
      FUZZ_CHECK(ours == own);
      for (int i = 0; i < ours; i++)
        FUZZ_CHECK(lua_rawequal(L, 3 + i, 3 + ours + i));
    }
  }
  lua_settop(L, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_input input = {data, data + size};
  iotops_text pattern = fuzz_line(&input);
  iotops_text text = {(const char *)input.at, (size_t)(input.end - input.at)};

  if (pattern.size > PATTERN_MAX || text.size > TEXT_MAX)
    return 0;
  compare("find", text, pattern, false);
  compare("match", text, pattern, false);
  compare("gsub", text, pattern, true);
  return 0;
}
