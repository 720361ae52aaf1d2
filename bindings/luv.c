#include "luv.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "error.h"
#include "gate.h"

static const char module_key; /* registry: luv's module table */

typedef struct luv_poll luv_poll;
struct luv_poll {
  uv_poll_t poll; /* luv's loop has something for us */
  iotops_timer timer;
  iotops_task run;
  iotops_lua *state;
  iotops_context *context;
  bool touched; /* a handle may have been started */
  bool running;
  bool parked; /* nothing of the script waits for luv any more */
};

/* ----------------------------------------------------------------- run -- */

static int after_run(lua_State *L, int status, lua_KContext context) {
  luv_poll *luv = context_pointer(context);
  (void)status;
  luv->running = false;
  lua_settop(L, 1);
  lua_getfield(L, 1, "backend_timeout");
  lua_call(L, 0, 1);
  lua_Integer timeout = lua_tointeger(L, -1);
  lua_getfield(L, 1, "loop_alive");
  lua_call(L, 0, 1);
  bool alive = lua_toboolean(L, -1);
  if (luv->state->luv != luv)
    return 0; /* closed meanwhile */
  if (alive && timeout >= 0)
    iotops_timer_start(luv->state->context, &luv->timer, (uint64_t)timeout);
  else
    iotops_timer_stop(luv->state->context, &luv->timer);
  if (alive)
    uv_ref((uv_handle_t *)&luv->poll);
  else
    uv_unref((uv_handle_t *)&luv->poll);
  return 0;
}

static int run_body(lua_State *L) {
  const call *begun = lua_touserdata(L, 1);
  luv_poll *luv = begun->user;
  lua_settop(L, 0);
  push_anchored(L, &module_key);
  lua_getfield(L, 1, "run");
  lua_pushliteral(L, "nowait");
  luv->running = true;
  luv->touched = false;
  lua_callk(L, 1, 0, (lua_KContext)luv, after_run);
  return after_run(L, LUA_OK, (lua_KContext)luv);
}

static void run_ended(call *ended, const char *failed) {
  luv_poll *luv = ended->user;
  (void)failed;
  if (ended->state->luv == luv)
    luv->running = false;
}

/*
** Whether luv's loop is to run.  In a state that begins nothing new it runs
** only for calls in hand, which may wait for it: a timer of luv's would else
** go on beside that of the next generation, and the state never be done.
*/
static bool is_wanted(const iotops_lua *state) {
  if (!state->quiet)
    return true;
  for (const call *at = state->calls; at != NULL; at = at->next)
    if (at->info.kind != IOTOPS_CALL_LUV)
      return true;
  return false;
}

static void run_now(luv_poll *luv) {
  iotops_lua *state = luv->state;
  if (luv->running || state->closing)
    return;
  if (!is_wanted(state)) {
    iotops_timer_stop(state->context, &luv->timer);
    uv_poll_stop(&luv->poll);
    luv->parked = true;
    return;
  }
  call *begun = call_new(state, IOTOPS_CALL_LUV);
  if (begun == NULL)
    return; /* tried again at the next event */
  begun->user = luv;
  begun->ended = run_ended;
  call_begin(begun, run_body, NULL);
}

static void run_task(iotops_task *task) {
  run_now(task->user);
}

static void run_timer(iotops_timer *timer) {
  run_now(timer->user);
}

static void polled(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  run_now(poll->data);
}

void luv_touch(iotops_lua *state) {
  luv_poll *luv = state->luv;
  if (luv->parked && is_wanted(state)) {
    luv->parked = false;
    luv->touched = true;
    uv_poll_start(&luv->poll, UV_READABLE, polled);
  }
  if (luv->touched && !luv->running && !state->closing)
    iotops_task_late(state->context, &luv->run);
}

bool iotops_lua_has_luv(lua_State *L) {
  return state_of(L)->luv != NULL;
}

static void closed(uv_handle_t *handle) {
  luv_poll *luv = handle->data;
  iotops_free(luv->context, luv); /* the state may be gone, the context not */
}

void luv_detach(iotops_lua *state) {
  luv_poll *luv = state->luv;
  state->luv_gone = true;
  if (luv == NULL)
    return;
  state->luv = NULL;
  iotops_timer_stop(state->context, &luv->timer);
  iotops_task_cancel(state->context, &luv->run);
  uv_poll_stop(&luv->poll);
  uv_close((uv_handle_t *)&luv->poll, closed);
}

/* ---------------------------------------------------------------- wrap -- */

/* What luv calls.  Upvalue: the script's function. */
static int luv_callback(lua_State *L) {
  iotops_lua *state = state_of(L);
  int count = lua_gettop(L);
  if (state->closing || state->luv_gone)
    return 0;
  call *begun = call_new(state, IOTOPS_CALL_LUV);
  if (begun == NULL)
    return luaL_error(L, "out of memory");
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  call_begin_function(begun, L, count, NULL);
  return 0;
}

static int return_all(lua_State *L, int status, lua_KContext context) {
  (void)status;
  (void)context;
  return lua_gettop(L);
}

/*
** A function of luv.  Upvalues: luv's own, and how many of the first arguments
** are left as they are.
*/
static int luv_function(lua_State *L) {
  iotops_lua *state = state_of(L);
  int count = lua_gettop(L);
  int first = (int)lua_tointeger(L, lua_upvalueindex(2)) + 1;
  for (int i = first; i <= count; i++)
    if (lua_isfunction(L, i)) {
      lua_pushvalue(L, i);
      lua_pushcclosure(L, luv_callback, 1);
      lua_replace(L, i);
    }
  if (state->luv != NULL) {
    state->luv->touched = true;
    if (state->running_call == NULL)
      luv_touch(state); /* the main thread of a plain Lua */
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_callk(L, count, LUA_MULTRET, 0, return_all);
  return lua_gettop(L);
}

static int refuse(lua_State *L) {
  return luaL_error(L, "uv.%s is the host's; a script cannot use it",
                    lua_tostring(L, lua_upvalueindex(1)));
}

/* Functions that take other threads' code, or nothing to be wrapped. */
static int kept_arguments(const char *name) {
  static const struct {
    const char *name;
    int kept;
  } rules[] = {{"new_work", 1}, {"new_thread", 256}};
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
    if (strcmp(rules[i].name, name) == 0)
      return rules[i].kept;
  return 0;
}

static bool is_hosts(const char *name) {
  static const char *const names[] = {"run",        "stop",      "loop_close",
                                      "new_signal", "loop_mode", NULL};
  for (const char *const *at = names; *at != NULL; at++)
    if (strcmp(*at, name) == 0)
      return true;
  return false;
}

/* What acts on the process, or keeps it from what else it has to do. */
static bool is_for_process(const char *name) {
  static const char *const names[] = {
      "spawn",       "kill",     "sleep",          "chdir",
      "new_thread",  "new_work", "os_setenv",      "os_unsetenv",
      "setuid",      "setgid",   "os_setpriority", "set_process_title",
      "thread_join", NULL};
  for (const char *const *at = names; *at != NULL; at++)
    if (strcmp(*at, name) == 0)
      return true;
  return false;
}

static int refuse_for_process(lua_State *L) {
  return state_of(L)->embedder.refuse(L, lua_tostring(L, lua_upvalueindex(1)));
}

/* The name, as the embedder knows it, of a function that it withholds. */
static bool is_withheld(const iotops_lua *state, const char *name, char *full,
                        size_t size) {
  const iotops_lua_embedder *embedder = &state->embedder;
  if (embedder->allows == NULL || !is_for_process(name))
    return false;
  snprintf(full, size, "luv.%s", name);
  return !embedder->allows(embedder->user, full);
}

/* Wraps the functions of the table at the top, in place. */
static void wrap_all(lua_State *L, const iotops_lua *state, bool is_module) {
  int table = lua_gettop(L);
  luaL_checkstack(L, 6, NULL);
  lua_pushnil(L);
  while (lua_next(L, table) != 0) {
    if (lua_type(L, -2) == LUA_TSTRING && lua_iscfunction(L, -1) &&
        lua_tocfunction(L, -1) != luv_function) {
      const char *name = lua_tostring(L, -2);
      bool hosts = is_hosts(name);
      if (hosts && !state->embedded) {
        lua_pop(L, 1);
        continue;
      }
      char full[64];
      lua_pushvalue(L, -2);
      if (is_module && is_withheld(state, name, full, sizeof full)) {
        lua_pushstring(L, full);
        lua_pushcclosure(L, refuse_for_process, 1);
      } else if (hosts) {
        lua_pushvalue(L, -1);
        lua_pushcclosure(L, refuse, 1);
      } else {
        lua_pushvalue(L, -2);
        lua_pushinteger(L, kept_arguments(name));
        lua_pushcclosure(L, luv_function, 2);
      }
      lua_rawset(L, table); /* an existing field: lua_next goes on */
    }
    lua_pop(L, 1);
  }
}

/* Methods of handles are in the __index of luv's metatables. */
static void wrap_methods(lua_State *L, const iotops_lua *state) {
  lua_pushnil(L);
  while (lua_next(L, LUA_REGISTRYINDEX) != 0) {
    if (lua_type(L, -2) == LUA_TSTRING && lua_istable(L, -1) &&
        strncmp(lua_tostring(L, -2), "uv_", 3) == 0) {
      lua_getfield(L, -1, "__index");
      if (lua_istable(L, -1))
        wrap_all(L, state, false);
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
}

/* -------------------------------------------------------------- attach -- */

static int detach_gc(lua_State *L) {
  luv_detach(state_of(L));
  return 0;
}

/* A copy of the module for us, whose `run` and the like stay luv's own. */
static void keep_module(lua_State *L) {
  static const char *const names[] = {"run", "backend_timeout", "loop_alive"};
  lua_createtable(L, 0, 4);
  for (int i = 0; i < 3; i++) {
    lua_getfield(L, 1, names[i]);
    lua_setfield(L, -2, names[i]);
  }
  /*
  ** Collected before luv's loop, which was made earlier: no more polling, and
  ** the callbacks of its closing handles run nothing.
  */
  lua_newuserdatauv(L, 1, 0);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, detach_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_setfield(L, -2, "sentinel");
  anchor(L, &module_key);
}

/* embed_luv(module) */
static int core_embed_luv(lua_State *L) {
  iotops_lua *state = state_of(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  if (state->luv != NULL || state->luv_gone)
    return 0;
  lua_settop(L, 1);
  lua_getfield(L, 1, "backend_fd");
  lua_call(L, 0, 1);
  int fd = (int)luaL_checkinteger(L, -1);
  keep_module(L);
  luv_poll *made = iotops_zalloc(state->context, sizeof *made);
  if (made == NULL)
    return luaL_error(L, "out of memory");
  int status =
      uv_poll_init(iotops_context_loop(state->context), &made->poll, fd);
  if (status != 0) {
    iotops_free(state->context, made);
    return luaL_error(L, "cannot poll luv's loop: %s", uv_strerror(status));
  }
  made->state = state;
  made->context = state->context;
  made->poll.data = made;
  made->timer.fire = run_timer;
  made->timer.user = made;
  made->run.run = run_task;
  made->run.user = made;
  made->touched = true;
  uv_poll_start(&made->poll, UV_READABLE, polled);
  uv_unref((uv_handle_t *)&made->poll);
  state->luv = made;
  lua_pushvalue(L, 1);
  wrap_all(L, state, true);
  wrap_methods(L, state);
  iotops_task_late(state->context, &made->run);
  return 0;
}

/*
** on_main_thread(f, ...) -> its first result.  luv calls back on the thread
** that it was opened on: one of a call would be used for another call, or
** collected, by then.
*/
static int core_on_main_thread(lua_State *L) {
  lua_State *main = state_of(L)->L;
  int count = lua_gettop(L);
  if (L == main) {
    lua_call(L, count - 1, 1);
    return 1;
  }
  luaL_argcheck(L, count > 0 && lua_checkstack(main, count + 1), 1,
                "a function expected");
  lua_xmove(L, main, count);
  int status = lua_pcall(main, count - 1, 1, 0);
  lua_xmove(main, L, 1);
  return status == LUA_OK ? 1 : lua_error(L);
}

/*
** package.preload.luv, once: the Lua half finds the module as `require` would
** and embeds it.  Upvalue 1: what was preloaded before.
*/
static int load_luv(lua_State *L) {
  lua_settop(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setfield(L, -2, "luv");
  lua_getglobal(L, "require");
  lua_pushliteral(L, "iotops.luv");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "load");
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

/* watch_luv(): embeds luv, now or at its first `require`. */
static int core_watch_luv(lua_State *L) {
  lua_settop(L, 0);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "luv") == LUA_TTABLE) {
    lua_replace(L, 1);
    lua_settop(L, 1);
    return core_embed_luv(L);
  }
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_getfield(L, -1, "luv");
  if (lua_tocfunction(L, -1) == load_luv)
    return 0; /* it is watched */
  lua_pushcclosure(L, load_luv, 1);
  lua_setfield(L, -2, "luv");
  return 0;
}

const core_field luv_fields[] = {{"on_main_thread", core_on_main_thread, false},
                                 {"embed_luv", core_embed_luv, false},
                                 {"watch_luv", core_watch_luv, false},
                                 {0}};
