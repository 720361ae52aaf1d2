#include "population.h"

enum { FEWEST_LISTED = 64 };

static const char list_key; /* registry: coroutines that were made, weak */

bool population_is_alive(lua_State *co) {
  lua_Debug frame;
  switch (lua_status(co)) {
  case LUA_YIELD:
    return true;
  case LUA_OK:
    return lua_gettop(co) > 0 || lua_getstack(co, 0, &frame) != 0;
  default:
    return false;
  }
}

/* Counts those of the list that are alive, and forgets the others. */
static void count(lua_State *L, iotops_lua *state) {
  size_t alive = 0;
  push_anchored(L, &list_key);
  for (size_t i = 1; i <= state->listed; i++) {
    if (lua_rawgeti(L, -1, (lua_Integer)i) == LUA_TTHREAD &&
        population_is_alive(lua_tothread(L, -1))) {
      lua_rawseti(L, -2, (lua_Integer)++alive);
      continue;
    }
    lua_pop(L, 1);
  }
  for (size_t i = alive + 1; i <= state->listed; i++) {
    lua_pushnil(L);
    lua_rawseti(L, -2, (lua_Integer)i);
  }
  lua_pop(L, 1);
  state->listed = state->coroutines = alive;
  state->list_most =
      2 * alive > FEWEST_LISTED ? 2 * alive : (size_t)FEWEST_LISTED;
}

void population_bound(lua_State *L, iotops_lua *state, size_t count,
                      const char *what) {
  const iotops_lua_embedder *embedder = &state->embedder;
  if (embedder->coroutine_limit == 0 || count < embedder->coroutine_limit)
    return;
  if (embedder->too_many != NULL)
    embedder->too_many(embedder->user, L, what);
  luaL_error(L, "more than %I %s", (LUAI_UACINT)embedder->coroutine_limit,
             what);
}

void population_check(lua_State *L, iotops_lua *state) {
  size_t limit = state->embedder.coroutine_limit;
  if (limit == 0)
    return;
  if (state->coroutines >= limit || state->listed >= state->list_most) {
    luaL_checkstack(L, 4, NULL);
    if (state->listed > 0)
      count(L, state);
    if (state->coroutines >= limit) {
      lua_gc(L, LUA_GCCOLLECT);
      count(L, state);
    }
  }
  population_bound(L, state, state->coroutines, "coroutines");
}

void population_add(lua_State *L, iotops_lua *state) {
  if (state->embedder.coroutine_limit == 0)
    return;
  luaL_checkstack(L, 4, NULL);
  push_anchored(L, &list_key);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 0);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    anchor(L, &list_key);
    state->list_most = FEWEST_LISTED;
  }
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, (lua_Integer)state->listed + 1);
  lua_pop(L, 1);
  state->listed++;
  state->coroutines++;
}

void population_ended(iotops_lua *state) {
  if (state->coroutines > 0)
    state->coroutines--;
}
