#include "coroutine.h"

#include "population.h"
#include "wait.h"

static const char
    waiting_key; /* registry: set of coroutines that scripts leave alone */

void coroutine_mark(lua_State *L, lua_State *co, bool waits) {
  push_anchored(L, &waiting_key);
  lua_pushthread(co);
  lua_xmove(co, L, 1);
  if (waits)
    lua_pushboolean(L, true);
  else
    lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

static bool is_waiting(lua_State *L, int index) {
  push_anchored(L, &waiting_key);
  lua_pushvalue(L, index);
  bool waits = lua_rawget(L, -2) != LUA_TNIL;
  lua_pop(L, 2);
  return waits;
}

/* A call of ours, or one of the coroutines that lead to a wait. */
static bool is_taken(lua_State *L, int index) {
  return lua_status(lua_tothread(L, index)) == LUA_YIELD &&
         is_waiting(L, index);
}

typedef int resume_end(lua_State *L, lua_State *co, int status, int count);

static lua_State *get_co(lua_State *L, int index) {
  lua_State *co = lua_tothread(L, index);
  luaL_argexpected(L, co != NULL, index, "coroutine");
  return co;
}

/*
** Resumes `co` with `arguments` on its stack until it yields to the script or
** ends; while it waits, so does L, going on in `k` with `co` as its context.
*/
static int run(lua_State *L, lua_State *co, int arguments, lua_KFunction k,
               resume_end *end) {
  iotops_lua *state = state_of(L);
  int status, count;
  for (;;) {
    resume_frame frame = {.from = L, .outer = state->frames};
    lua_State *running = state->running;
    state->frames = &frame;
    state->running = co;
    bool was_alive = lua_status(co) <= LUA_YIELD;
    status = lua_resume(co, L, arguments, &count);
    if (status != LUA_YIELD && was_alive)
      population_ended(state);
    state->running = running;
    state->frames = frame.outer;
    if (status != LUA_YIELD || !wait_is_sentinel(co, count))
      break;
    lua_pop(co, count);
    arguments = 0;
    luaL_checkstack(L, 4, NULL);
    coroutine_mark(L, co, true);
    if (L != state->L) {
      wait_push_sentinel(L);
      return lua_yieldk(L, 1, (lua_KContext)co, k);
    }
    wait_drive(L, state);
    coroutine_mark(L, co, false);
  }
  return end(L, co, status, count);
}

static int go_on(lua_State *L, lua_State *co, lua_KFunction k,
                 resume_end *end) {
  coroutine_mark(L, co, false);
  return run(L, co, 0, k, end);
}

/* ------------------------------------------------------------- resume -- */

static int end_resume(lua_State *L, lua_State *co, int status, int count) {
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_pushboolean(L, false);
    lua_xmove(co, L, 1);
    return 2;
  }
  if (!lua_checkstack(L, count + 1)) {
    lua_pop(co, count);
    lua_pushboolean(L, false);
    lua_pushliteral(L, "too many results to resume");
    return 2;
  }
  lua_pushboolean(L, true);
  lua_xmove(co, L, count);
  return count + 1;
}

static int resume_k(lua_State *L, int status, lua_KContext context) {
  (void)status;
  return go_on(L, context_pointer(context), resume_k, end_resume);
}

/* Why `co` cannot be resumed with `count` arguments; NULL: it can. */
static const char *cannot_resume(lua_State *L, int index, lua_State *co,
                                 int count) {
  if (co == L)
    return "cannot resume non-suspended coroutine";
  if (is_taken(L, index))
    return "cannot resume a coroutine that waits";
  if (lua_status(co) == LUA_OK && lua_gettop(co) == 0)
    return "cannot resume dead coroutine";
  if (!lua_checkstack(co, count))
    return "too many arguments to resume";
  return NULL;
}

static int coroutine_resume(lua_State *L) {
  lua_State *co = get_co(L, 1);
  int count = lua_gettop(L) - 1;
  const char *why = cannot_resume(L, 1, co, count);
  if (why != NULL) {
    lua_pushboolean(L, false);
    lua_pushstring(L, why);
    return 2;
  }
  lua_xmove(L, co, count);
  return run(L, co, count, resume_k, end_resume);
}

/* --------------------------------------------------------------- wrap -- */

/* The status, its message or nothing at the top of `co`, as in Lua. */
static int reset(lua_State *L, lua_State *co) {
  iotops_lua *state = state_of(L);
  lua_State *running = state->running;
  /* Nothing could end the __close of a coroutine that a hook raised in. */
  if (lua_status(co) > LUA_YIELD && lua_gethook(co) != NULL)
    return lua_status(co);
  resume_frame frame = {.from = L, .outer = state->frames};
  state->frames = &frame;
  state->running = co;
  if (population_is_alive(co))
    population_ended(state);
  int status = lua_resetthread(co);
  state->running = running;
  state->frames = frame.outer;
  return status;
}

static int end_wrap(lua_State *L, lua_State *co, int status, int count) {
  if (status == LUA_OK || status == LUA_YIELD) {
    if (!lua_checkstack(L, count)) {
      lua_pop(co, count);
      return luaL_error(L, "too many results to resume");
    }
    lua_xmove(co, L, count);
    return count;
  }
  int ended = lua_status(co);
  if (ended != LUA_OK && ended != LUA_YIELD) {
    status = reset(L, co);
    lua_xmove(co, L, 1);
  } else {
    lua_xmove(co, L, 1);
  }
  if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int wrap_k(lua_State *L, int status, lua_KContext context) {
  (void)status;
  return go_on(L, context_pointer(context), wrap_k, end_wrap);
}

static int wrapped(lua_State *L) {
  int index = lua_upvalueindex(1);
  lua_State *co = lua_tothread(L, index);
  int count = lua_gettop(L);
  const char *why = cannot_resume(L, index, co, count);
  if (why != NULL)
    return luaL_error(L, "%s", why);
  lua_xmove(L, co, count);
  return run(L, co, count, wrap_k, end_wrap);
}

/* Pushes a coroutine of the function at 1. */
static int coroutine_create(lua_State *L) {
  iotops_lua *state = state_of(L);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  population_check(L, state);
  lua_State *co = lua_newthread(L);
  population_add(L, state);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  return 1;
}

static int coroutine_wrap(lua_State *L) {
  coroutine_create(L);
  lua_pushcclosure(L, wrapped, 1);
  return 1;
}

/* -------------------------------------------------------------- close -- */

static bool is_active(lua_State *L, lua_State *co) {
  lua_Debug frame;
  return co == L ||
         (lua_status(co) == LUA_OK && lua_getstack(co, 0, &frame) != 0);
}

/* Upvalue: Lua's own function. */
static int coroutine_close(lua_State *L) {
  lua_State *co = get_co(L, 1);
  if (is_taken(L, 1))
    return luaL_error(L, "cannot close a coroutine that waits");
  if (!is_active(L, co)) {
    int status = reset(L, co);
    lua_pushboolean(L, status == LUA_OK);
    if (status == LUA_OK)
      return 1;
    lua_xmove(co, L, 1);
    return 2;
  }
  /* It knows what to say. */
  int count = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, count, LUA_MULTRET);
  return lua_gettop(L);
}

/* A coroutine that waits is as good as one that resumed another. */
static int coroutine_status(lua_State *L) {
  get_co(L, 1);
  if (is_taken(L, 1)) {
    lua_pushliteral(L, "normal");
    return 1;
  }
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

void open_coroutines(lua_State *L) {
  lua_createtable(L, 0, 0);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  anchor(L, &waiting_key);
  lua_getglobal(L, "coroutine");
  if (!lua_istable(L, -1)) {
    lua_pop(L, 1);
    return;
  }
  lua_pushcfunction(L, coroutine_create);
  lua_setfield(L, -2, "create");
  lua_pushcfunction(L, coroutine_resume);
  lua_setfield(L, -2, "resume");
  lua_pushcfunction(L, coroutine_wrap);
  lua_setfield(L, -2, "wrap");
  lua_getfield(L, -1, "close");
  lua_pushcclosure(L, coroutine_close, 1);
  lua_setfield(L, -2, "close");
  lua_getfield(L, -1, "status");
  lua_pushcclosure(L, coroutine_status, 1);
  lua_setfield(L, -2, "status");
  lua_pop(L, 1);
}
