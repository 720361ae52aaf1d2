#include "runtime/state.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>
#include <uv.h>

#include "runtime/allow.h"
#include "runtime/bounds.h"
#include "runtime/host.h"
#include "runtime/probation.h"
#include "runtime/reload.h"
#include "runtime/script.h"

/* ------------------------------------------------------------- memory -- */

/* More than the limit for what is not the script's: to begin a call, to say
** why a turn was stopped. */
enum { RESERVE = 512 * 1024 };

/* Past this much after loading, the collector waits until four times what
** was left is in use (Lua's own pause is two times). */
enum { LARGE_STATE = 1024 * 1024, LARGE_STATE_PAUSE = 400 };

/*
** Whether the state may not grow to `wanted` bytes for a block of `size`.  Lua
** collects its garbage when it was refused, and asks once more: refused then
** too, the turn is at its end.
*/
static bool is_over(script_state *state, size_t wanted, size_t size) {
  size_t limit = state->script->host->options.memory_limit;
  bool has_reserve = state->depth == 0 || state->turn.reason != GUARD_NONE;
  if (limit == 0 || wanted <= limit ||
      (has_reserve && wanted <= limit + RESERVE))
    return false;
  if (state->depth > 0 && state->refused_size == size)
    guard_trip(&state->turn, GUARD_MEMORY);
  state->refused_size = size;
  return true;
}

static void *lua_memory(void *user, void *block, size_t old_size,
                        size_t new_size) {
  script_state *state = user;
  size_t held = block != NULL ? old_size : 0;
  if (new_size == 0) {
    iotops_free(state->script->host->context, block);
    state->memory -= held;
    return NULL;
  }
  if (new_size > held &&
      is_over(state, state->memory - held + new_size, new_size))
    return NULL;
  void *moved = iotops_resize(state->script->host->context, block, new_size);
  if (moved != NULL) {
    state->memory += new_size - held;
    if (new_size > held)
      state->refused_size = 0;
  }
  return moved;
}

/* ------------------------------------------------------------ modules -- */

/* What the script's file holds, or held. */
static int read_file(script_state *state, const char *path, const char **bytes,
                     size_t *size, iotops_error *err) {
  return state->recalled.count > 0
             ? source_recall(&state->source, &state->recalled, path, bytes,
                             size, err)
             : source_read(&state->source, path, bytes, size, err);
}

/* Loads the file whose name is at the top; leaves the chunk, or raises. */
static void load_module_file(lua_State *L, script_state *state,
                             const char *path) {
  iotops_error err;
  const char *bytes = NULL;
  size_t size = 0;
  if (read_file(state, path, &bytes, &size, &err) != 0)
    luaL_error(L, "%s", err.message);
  lua_pushfstring(L, "@%s", path);
  if (luaL_loadbufferx(L, bytes, size, lua_tostring(L, -1), "t") != LUA_OK)
    lua_error(L);
  lua_remove(L, -2);
}

static bool is_below(const char *path, const char *folder) {
  size_t size = strlen(folder);
  return strncmp(path, folder, size) == 0 && path[size] == '/' &&
         strstr(path + size, "/../") == NULL;
}

/*
** Like package.searchpath, which is at the index `search`, with the path at
** the top (popped): pushes a file's name, or nil and where it was looked for.
** What the script's folder held is known by `recalled` alone.
*/
static void search_recalled(lua_State *L, const script_state *state, int search,
                            const char *name) {
  const char *places = lua_tostring(L, -1);
  int path = lua_gettop(L);
  luaL_gsub(L, name, ".", "/");
  while (*places != '\0') {
    size_t size = strcspn(places, ";");
    lua_pushlstring(L, places, size);
    places += size + (places[size] == ';');
    if (is_below(lua_tostring(L, -1), state->script->folder)) {
      luaL_gsub(L, lua_tostring(L, -1), "?", lua_tostring(L, path + 1));
      if (!source_has(&state->recalled, lua_tostring(L, -1))) {
        lua_settop(L, path + 1);
        continue;
      }
    } else {
      lua_pushvalue(L, search);
      lua_pushstring(L, name);
      lua_pushvalue(L, -3);
      lua_call(L, 2, 1);
    }
    if (!lua_isnil(L, -1)) {
      lua_replace(L, path);
      lua_settop(L, path);
      lua_pushnil(L);
      return;
    }
    lua_settop(L, path + 1);
  }
  lua_settop(L, path - 1);
  lua_pushnil(L);
  lua_pushfstring(L, "no file for '%s' in the version that came back", name);
}

/*
** Stands in for Lua's own searcher of files: what is ours comes out of the
** program, and from nowhere else; of the other modules it notes those of the
** script's folder, whose change is a change of the script.  Upvalues: the
** state, the table `package` and its searchpath, for which the script could put
** others in their places.
*/
static int search_file(lua_State *L) {
  script_state *state = lua_touserdata(L, lua_upvalueindex(1));
  const char *name = luaL_checkstring(L, 1);
  if (strcmp(name, "iotops.core") == 0) {
    lua_pushcfunction(L, luaopen_iotops_core);
    return 1;
  }
  if (module_cache_push(&state->script->host->modules, L, name))
    return 1;
  if (strcmp(name, "iotops") == 0 || strncmp(name, "iotops.", 7) == 0)
    return luaL_error(L, "module '%s' is not part of iotops %s", name,
                      iotops_version());
  lua_pushvalue(L, lua_upvalueindex(3));
  int search = lua_gettop(L);
  lua_getfield(L, lua_upvalueindex(2), "path");
  if (lua_type(L, -1) != LUA_TSTRING)
    return luaL_error(L, "'package.path' must be a string");
  if (state->recalled.count > 0) {
    search_recalled(L, state, search, name);
  } else {
    lua_pushvalue(L, search);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -3);
    lua_call(L, 2, 2);
  }
  if (lua_isnil(L, -2))
    return 1; /* where it was looked for */
  lua_pop(L, 1);
  const char *path = lua_tostring(L, -1);
  if (is_below(path, state->script->folder)) {
    load_module_file(L, state, path);
    lua_insert(L, -2);
    return 2;
  }
  allow_check_module(L, state->script->host->options.allow, name, path);
  if (luaL_loadfilex(L, path, "t") != LUA_OK) {
    return lua_error(L);
  }
  lua_insert(L, -2);
  return 2; /* the loader and the file's name */
}

static int refuse_exit(lua_State *L) {
  return luaL_error(L, "a script cannot end the host: os.exit is not "
                       "available");
}

/*
** Appends the places of the search path at the top (popped) that do not
** depend on where the host was started.
*/
static void add_places(lua_State *L, luaL_Buffer *buffer, const char *places) {
  (void)L;
  while (*places != '\0') {
    size_t size = strcspn(places, ";");
    if (places[0] == '/') {
      luaL_addchar(buffer, ';');
      luaL_addlstring(buffer, places, size);
    }
    places += size;
    if (*places == ';')
      places++;
  }
}

static void confine_paths(lua_State *L, const char *folder) {
  static const char *const names[] = {"path", "cpath"};
  static const char *const own[] = {"%s/?.lua;%s/?/init.lua", "%s/?.so"};
  for (int i = 0; i < 2; i++) {
    luaL_Buffer buffer;
    lua_getglobal(L, "package");
    lua_getfield(L, -1, names[i]);
    const char *places = lua_tostring(L, -1);
    luaL_buffinit(L, &buffer);
    for (const char *at = own[i]; *at != '\0'; at++)
      if (at[0] == '%' && at[1] == 's') {
        luaL_addstring(&buffer, folder);
        at++;
      } else {
        luaL_addchar(&buffer, *at);
      }
    add_places(L, &buffer, places != NULL ? places : "");
    luaL_pushresult(&buffer);
    lua_setfield(L, -3, names[i]);
    lua_pop(L, 2);
  }
}

/* ----------------------------------------------------------- embedder -- */

static int declare(void *user, iotops_lua_endpoint *endpoint,
                   iotops_error *err) {
  script_state *state = user;
  iotops_context *context = state->script->host->context;
  size_t count = state->endpoint_count + 1;
  if (state->declared)
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "a restore function cannot declare endpoints; "
                            "declare them in the main chunk");
  iotops_lua_endpoint **endpoints =
      iotops_resize(context, state->endpoints, count * sizeof *endpoints);
  if (endpoints == NULL)
    return iotops_error_memory(err);
  state->endpoints = endpoints;
  bool *refused = iotops_resize(context, state->refused, count);
  if (refused == NULL)
    return iotops_error_memory(err);
  state->refused = refused;
  unsigned *marks = iotops_resize(context, state->marks, count * sizeof *marks);
  if (marks == NULL)
    return iotops_error_memory(err);
  state->marks = marks;
  marks[count - 1] = 0;
  endpoints[count - 1] = endpoint;
  refused[count - 1] = false;
  state->endpoint_count = count;
  return 0;
}

/* The hook of a turn that is over a limit. */
static void stop(lua_State *L, lua_Debug *frame) {
  void *state = NULL;
  (void)frame;
  lua_getallocf(L, &state);
  guard_hook(&((script_state *)state)->turn, L);
}

/* One of those that luv's loop calls one after the other. */
static bool is_luv_callback(const script_state *state,
                            const iotops_lua_call *call) {
  return state->runs_luv && state->depth == 2 && call->kind == IOTOPS_CALL_LUV;
}

static void count_stop(script_state *state, const char *failed) {
  script_counters *counters = &state->script->client.counters;
  if (failed == NULL || state->turn.reason == GUARD_NONE)
    return;
  uint64_t spent_us = guard_spent_us(&state->turn);
  if (spent_us > counters->stopped_us)
    counters->stopped_us = spent_us;
  counters->stopped++;
  state->script->stopped_by[state->turn.reason]++;
}

static void enter(void *user, lua_State *co, iotops_lua_call *call) {
  script_state *state = user;
  host *host = state->script->host;
  (void)co;
  if (state->depth == 0)
    state->turn_ns = uv_hrtime();
  if (call->began_ns == 0)
    call->began_ns = state->depth == 0 ? state->turn_ns : uv_hrtime();
  if (state->depth++ > 0) {
    if (is_luv_callback(state, call))
      guard_again(&state->turn);
    return;
  }
  state->runs_luv = call->kind == IOTOPS_CALL_LUV;
  state->refused_size = 0;
  guard_enter(&host->guard, &state->turn,
              call->kind == IOTOPS_CALL_MAIN ? host->options.load_limit_ms
                                             : host->options.turn_limit_ms);
}

/* How well a new generation does, judged by what messages and timers call. */
static void count_for_probation(script_state *state, iotops_lua_call_kind kind,
                                bool ended, bool failed) {
  if (kind == IOTOPS_CALL_MAIN || kind == IOTOPS_CALL_HANDOFF ||
      kind == IOTOPS_CALL_CONSOLE)
    return;
  state->ended_calls += ended;
  state->failed_calls += failed;
  if (failed && state == state->script->current)
    probation_call_failed(state->script);
}

static void leave(void *user, lua_State *co, const iotops_lua_call *call,
                  bool ended, const char *failed) {
  script_state *state = user;
  script_counters *counters = &state->script->client.counters;
  uint64_t now_ns = uv_hrtime();
  if (is_luv_callback(state, call)) {
    count_stop(state, failed);
    guard_again(&state->turn);
  }
  if (--state->depth == 0) {
    count_stop(state, failed);
    guard_leave(&state->script->host->guard, &state->turn, co);
    uint64_t spent_us = (now_ns - state->turn_ns) / 1000;
    counters->busy_us += spent_us;
    if (spent_us > counters->longest_us)
      counters->longest_us = spent_us;
    script_took(state->script, SCRIPT_TURN, now_ns - state->turn_ns, now_ns);
    held_touch(&state->script->host->held);
  }
  /* How typed code fails says nothing about the script. */
  if (failed != NULL && call->kind != IOTOPS_CALL_CONSOLE)
    counters->errors++;
  count_for_probation(state, call->kind, ended, failed != NULL);
  reload_turn_ended(state->script);
  if (!ended)
    return;
  counters->calls++;
  if (call->kind == IOTOPS_CALL_TELEMETRY) {
    counters->handled++;
    script_took(state->script, SCRIPT_TELEMETRY, now_ns - call->began_ns,
                now_ns);
  } else if (call->kind == IOTOPS_CALL_COMMAND) {
    counters->commands++;
    script_took(state->script, SCRIPT_COMMAND, now_ns - call->began_ns, now_ns);
  }
  if (state->draining)
    iotops_task_late(state->script->host->context, &state->idle);
}

static const char *explain(void *user, lua_State *co, const char *message) {
  script_state *state = user;
  guard_reason reason = state->turn.reason;
  if (reason == GUARD_NONE && state->refused_size != 0 &&
      strstr(message, "not enough memory") != NULL)
    reason = state->turn.reason = GUARD_MEMORY;
  return guard_text(&state->turn, reason, co);
}

static void too_many(void *user, lua_State *L, const char *what) {
  script_state *state = user;
  guard_refuse(L, &state->turn, state->script->host->options.coroutine_limit,
               what);
}

static bool allows(void *user, const char *name) {
  const script_state *state = user;
  return allow_has(state->script->host->options.allow, name);
}

static void forgot(void *user) {
  const script_state *state = user;
  state->script->client.counters.forgotten++;
}

static iotops_state_store *shared_store(void *user, iotops_error *err) {
  const script_state *state = user;
  return host_state_store(state->script->host, err);
}

static iotops_lua_kept_timer *keep_timer(void *user, const char *name) {
  const script_state *state = user;
  return keepsakes_timer(&state->script->kept, name, state->generation);
}

static iotops_lua_kept_metric *keep_metric(void *user,
                                           const iotops_lua_metric *metric) {
  const script_state *state = user;
  return keepsakes_metric_of(&state->script->kept, metric, state->generation);
}

/* --------------------------------------------------------------- load -- */

/* Runs protected: furnishes the state whose address is its argument. */
static int furnish(lua_State *L) {
  script_state *state = lua_touserdata(L, 1);
  script *script = state->script;
  iotops_lua_embedder embedder = {
      .size = sizeof embedder,
      .context = script->host->context,
      .client = &script->client.base,
      .script = script->name,
      .generation = state->generation,
      .no_trace_context = script->host->options.no_trace_context,
      .declare = declare,
      .enter = enter,
      .leave = leave,
      .explain = explain,
      .state_store = shared_store,
      .keep_timer = keep_timer,
      .keep_metric = keep_metric,
      .leases = &script->kept.leases,
      .coroutine_limit = script->host->options.coroutine_limit,
      .too_many = too_many,
      .forgot = forgot,
      .allows = allows,
      .refuse = allow_refuse,
      .user = state,
  };
  iotops_lua_embed(L, &embedder);
  state->turn.running = iotops_lua_running(L);
  state->turn.hook = stop;
  state->turn.memory_limit = script->host->options.memory_limit;
  luaL_openlibs(L);
  bounds_open(L, &state->turn);
  confine_paths(L, script->folder);
  allow_open(L, script->host->options.allow);
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers");
  lua_pushlightuserdata(L, state);
  lua_pushvalue(L, -3);
  lua_getfield(L, -4, "searchpath");
  lua_pushcclosure(L, search_file, 3);
  lua_rawseti(L, -2, 2);
  lua_getglobal(L, "os");
  lua_pushcfunction(L, refuse_exit);
  lua_setfield(L, -2, "exit");
  /* Before the script can keep Lua's own coroutine.wrap, luv and the like. */
  lua_getglobal(L, "require");
  lua_pushliteral(L, "iotops.core");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "watch_luv");
  lua_call(L, 0, 0);
  lua_pop(L, 1);
  const host_options *options = &script->host->options;
  if (options->furnished != NULL)
    options->furnished(options->furnished_user, L);
  return 0;
}

/* A `#!` line is for the shell; its line end stays, for line numbers. */
static void skip_first_line(const char **bytes, size_t *size) {
  static const char mark[] = "\xEF\xBB\xBF";
  if (*size >= 3 && memcmp(*bytes, mark, 3) == 0) {
    *bytes += 3;
    *size -= 3;
  }
  if (*size > 0 && **bytes == '#')
    while (*size > 0 && **bytes != '\n') {
      (*bytes)++;
      (*size)--;
    }
}

/* What load_chunk is given. */
typedef struct script_text {
  const char *path; /* borrowed */
  const char *text; /* borrowed */
  size_t size;
} script_text;

/* Runs protected: leaves the script's main chunk. */
static int load_chunk(lua_State *L) {
  const script_text *script = lua_touserdata(L, 1);
  lua_pushfstring(L, "@%s", script->path);
  if (luaL_loadbufferx(L, script->text, script->size, lua_tostring(L, -1),
                       "t") != LUA_OK)
    return lua_error(L);
  return 1;
}

/* The message at the top, popped, as an error. */
static int lua_failure(lua_State *L, iotops_error_kind kind,
                       iotops_error *err) {
  const char *message = lua_tostring(L, -1);
  iotops_error_set(err, kind, "%s", message != NULL ? message : "unknown");
  lua_pop(L, 1);
  return -1;
}

/* Leaves the script's main chunk at the top. */
static int compile(script_state *state, iotops_error *err) {
  script *script = state->script;
  script_text text = {.path = script->path};
  if (read_file(state, script->path, &text.text, &text.size, err) != 0)
    return -1;
  skip_first_line(&text.text, &text.size);
  lua_pushcfunction(state->L, load_chunk);
  lua_pushlightuserdata(state->L, &text);
  if (lua_pcall(state->L, 1, 1, 0) != LUA_OK)
    return lua_failure(state->L, IOTOPS_INVALID_CONFIGURATION, err);
  return 0;
}

static void look_idle(iotops_task *task);
static void deadline_passed(iotops_timer *timer);

static script_state *new_state(script *script, uint64_t generation,
                               iotops_error *err) {
  iotops_context *context = script->host->context;
  script_state *state = iotops_zalloc(context, sizeof *state);
  if (state == NULL) {
    iotops_error_memory(err);
    return NULL;
  }
  state->script = script;
  state->generation = generation;
  state->source.context = state->recalled.context = context;
  state->idle.run = look_idle;
  state->idle.user = state;
  state->deadline.fire = deadline_passed;
  state->deadline.user = state;
  return state;
}

/* Makes the Lua state and runs the main chunk. */
static int load(script_state *state, iotops_error *err) {
  if ((state->L = lua_newstate(lua_memory, state)) == NULL)
    return iotops_error_memory(err);
  lua_pushcfunction(state->L, furnish);
  lua_pushlightuserdata(state->L, state);
  if (lua_pcall(state->L, 1, 0, 0) != LUA_OK)
    return lua_failure(state->L, IOTOPS_INVALID_STATE, err);
  if (compile(state, err) != 0 ||
      iotops_lua_run(state->L, IOTOPS_CALL_MAIN, err) != 0)
    return -1;
  state->declared = true;
  state->born_ms = iotops_wall_ms(state->script->host->context);
  /* What loading has left behind is most of what a small script holds. */
  lua_gc(state->L, LUA_GCCOLLECT);
  /*
  ** A script with much that lives for ever (thousands of handlers) would have
  ** the collector walk all of it over and over for a little garbage.
  */
  if (state->memory > LARGE_STATE)
    lua_gc(state->L, LUA_GCINC, LARGE_STATE_PAUSE, 0, 0);
  return 0;
}

script_state *state_load(script *script, uint64_t generation, source *tried,
                         iotops_error *err) {
  script_state *state = new_state(script, generation, err);
  if (state == NULL || load(state, err) == 0)
    return state;
  source_clear(tried);
  *tried = state->source;
  state->source = (source){.context = tried->context};
  state_free(state);
  return NULL;
}

script_state *state_recall(script *script, uint64_t generation,
                           const source *from, iotops_error *err) {
  script_state *state = new_state(script, generation, err);
  if (state == NULL)
    return NULL;
  if (source_copy(&state->recalled, from) != 0)
    iotops_error_memory(err);
  else if (load(state, err) == 0)
    return state;
  state_free(state);
  return NULL;
}

/* ---------------------------------------------------------------- end -- */

static void look_idle(iotops_task *task) {
  script_state *state = task->user;
  host *host = state->script->host;
  if (iotops_lua_calls(state->L) == 0) {
    bool serves = state == state->script->current;
    if (!serves)
      state_free(state);
  }
  host_call_ended(host);
}

static void deadline_passed(iotops_timer *timer) {
  script_state *state = timer->user;
  size_t calls = iotops_lua_calls(state->L);
  script_log(state->script, state->generation, IOTOPS_LOG_WARN,
             "%zu calls of a replaced generation have not ended in time; "
             "they are given up",
             calls);
  state->script->client.counters.cut += calls;
  state_free(state);
}

void state_drain(script_state *state, uint64_t limit_ms) {
  iotops_context *context = state->script->host->context;
  const script_state *current = state->script->current;
  bool replaced = state != current;
  iotops_lua_stop(state->L, replaced && current != NULL ? "reload" : "stop");
  iotops_lua_quiesce(state->L);
  state->draining = true;
  if (replaced)
    iotops_timer_start(context, &state->deadline, limit_ms);
  iotops_task_late(context, &state->idle);
}

void state_free(script_state *state) {
  iotops_context *context = state->script->host->context;
  script_state **at = &state->script->draining;
  while (*at != NULL && *at != state)
    at = &(*at)->next;
  if (*at == state)
    *at = state->next;
  iotops_task_cancel(context, &state->idle);
  iotops_timer_stop(context, &state->deadline);
  bool lives = host_has_session(state->script->host);
  if (state->L != NULL) {
    for (size_t i = 0; lives && i < state->endpoint_count; i++)
      iotops_lua_endpoint_close(state->endpoints[i]);
    iotops_lua_abandon(state->L);
    lua_close(state->L);
  }
  iotops_free(context, state->endpoints);
  iotops_free(context, state->refused);
  iotops_free(context, state->marks);
  source_clear(&state->source);
  source_clear(&state->recalled);
  iotops_free(context, state);
}
