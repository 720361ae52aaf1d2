/* core.c -- the record of a Lua state, and the module `iotops.core`. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#include "console.h"
#include "coroutine.h"
#include "gate.h"
#include "hold.h"
#include "log_print.h"
#include "luv.h"
#include "metric.h"
#include "session.h"
#include "timer.h"
#include "wait.h"

static const char record_key;

/* ------------------------------------------------------------- record -- */

static int record_gc(lua_State *L) {
  iotops_lua *state = lua_touserdata(L, 1);
  iotops_lua_abandon(state->L);
  calls_free(state);
  rooms_close(state, NULL);
  iotops_free(state->context, state->text.bytes);
  state->text = (scratch){0};
  if (state->owns_context && state->context != NULL) {
    iotops_context_run_once(state->context, false); /* handles close */
    iotops_context_free(state->context);
  }
  state->context = NULL;
  return 0;
}

static iotops_lua *find_record(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &record_key);
  iotops_lua *state = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return state;
}

static iotops_lua *new_record(lua_State *L) {
  iotops_lua *state = lua_newuserdatauv(L, sizeof *state, 0);
  memset(state, 0, sizeof *state);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  state->L = lua_tothread(L, -1);
  lua_pop(L, 1);
  state->running = state->L;
  state->last_job = &state->jobs;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, record_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushvalue(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &record_key);
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
  return state;
}

iotops_lua *state_of(lua_State *L) {
  iotops_lua *state = find_record(L);
  if (state == NULL || state->context == NULL)
    luaL_error(L, "iotops is not open in this Lua state");
  return state;
}

void iotops_lua_embed(lua_State *L, const iotops_lua_embedder *embedder) {
  iotops_lua *state = find_record(L);
  if (state == NULL)
    state = new_record(L);
  state->embedder = *embedder;
  state->context = embedder->context;
  state->embedded = true;
  state->registering = true;
  jobs_init(state);
}

/* ------------------------------------------------------------ helpers -- */

void anchor(lua_State *L, const void *key) {
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void drop_anchor(lua_State *L, const void *key) {
  /* Assigning nil allocates nothing; the key exists or nothing happens. */
  if (!lua_checkstack(L, 2))
    return;
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void push_anchored(lua_State *L, const void *key) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
}

void class_push(lua_State *L, const class_info *info) {
  if (luaL_getmetatable(L, info->name) == LUA_TTABLE)
    return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 4);
  if (info->meta != NULL)
    luaL_setfuncs(L, info->meta, 0);
  if (info->methods != NULL) {
    lua_newtable(L);
    luaL_setfuncs(L, info->methods, 0);
    lua_setfield(L, -2, "__index");
  }
  lua_pushliteral(L, "protected");
  lua_setfield(L, -2, "__metatable");
  lua_pushstring(L, info->name);
  lua_setfield(L, -2, "__name");
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, info->name);
}

void class_set(lua_State *L, const class_info *info) {
  class_push(L, info);
  lua_setmetatable(L, -2);
}

bool is_lua_name(const char *text, size_t size) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
  return size > 0 && (text[0] < '0' || text[0] > '9') &&
         strspn(text, letters) == size;
}

char *scratch_reserve(lua_State *L, iotops_lua *state, size_t more) {
  scratch *text = &state->text;
  if (more > text->capacity - text->size) {
    size_t capacity = text->capacity > 0 ? text->capacity : 256;
    while (capacity - text->size < more)
      capacity *= 2;
    char *bytes = iotops_resize(state->context, text->bytes, capacity);
    if (bytes == NULL)
      luaL_error(L, "out of memory");
    text->bytes = bytes;
    text->capacity = capacity;
  }
  return text->bytes + text->size;
}

/* --------------------------------------------------------------- open -- */

static void print_record(void *user, const iotops_log_record *record) {
  (void)user;
  log_print(record);
}

static void make_context(lua_State *L, iotops_lua *state) {
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  iotops_error err;
  options.log = print_record;
  options.log_level = log_first_level();
  if (iotops_context_new(&options, &state->context, &err) != 0)
    luaL_error(L, "%s", err.message);
  state->owns_context = true;
  jobs_init(state);
}

static int core_is_embedded(lua_State *L) {
  lua_pushboolean(L, state_of(L)->embedded);
  return 1;
}

static int core_is_registering(lua_State *L) {
  lua_pushboolean(L, state_of(L)->registering);
  return 1;
}

static int core_now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)iotops_wall_ms(state_of(L)->context) / 1000);
  return 1;
}

static int core_hlc(lua_State *L) {
  char text[IOTOPS_HLC_TEXT_SIZE];
  size_t size =
      iotops_hlc_format(iotops_context_hlc(state_of(L)->context), text);
  lua_pushlstring(L, text, size);
  return 1;
}

static int core_version(lua_State *L) {
  lua_pushstring(L, iotops_version());
  return 1;
}

static int core_null(lua_State *L) {
  lua_pushlightuserdata(L, NULL);
  return 1;
}

/* What is put before all topics, unless a script says otherwise. */
static int core_topic_namespace(lua_State *L) {
  lua_pushstring(L, getenv("IOTOPS_TOPIC_NAMESPACE"));
  return 1;
}

static const core_field own_fields[] = {
    {"version", core_version, true},
    {"null", core_null, true},
    {"is_embedded", core_is_embedded, false},
    {"is_registering", core_is_registering, false},
    {"now", core_now, false},
    {"hlc", core_hlc, false},
    {"topic_namespace", core_topic_namespace, false},
    {0}};

static const core_field *const all_fields[] = {
    own_fields,  misuse_fields, error_fields,  session_fields, payload_fields,
    json_fields, log_fields,    timer_fields,  job_fields,     event_fields,
    run_fields,  store_fields,  lock_fields,   clock_fields,   resp3_fields,
    luv_fields,  file_fields,   metric_fields, handoff_fields, trace_fields};

static const core_field *find_field(const char *name) {
  for (size_t i = 0; i < sizeof all_fields / sizeof all_fields[0]; i++)
    for (const core_field *at = all_fields[i]; at->name != NULL; at++)
      if (strcmp(at->name, name) == 0)
        return at;
  return NULL;
}

/* __index of the module: keeps what it found. */
static int core_index(lua_State *L) {
  const core_field *found =
      lua_type(L, 2) == LUA_TSTRING ? find_field(lua_tostring(L, 2)) : NULL;
  if (found == NULL)
    return 0;
  lua_settop(L, 2);
  lua_pushcfunction(L, found->function);
  if (found->makes)
    lua_call(L, 0, 1);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_rawset(L, 1);
  return 1;
}

int luaopen_iotops_core(lua_State *L) {
  luaL_checkversion(L);
  iotops_lua *state = find_record(L);
  if (state == NULL)
    state = new_record(L);
  if (state->context == NULL)
    make_context(L, state);
  open_json(L);
  open_coroutines(L);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, core_index);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  return 1;
}

/* ---------------------------------------------------------- embedding -- */

size_t iotops_lua_calls(lua_State *L) {
  const iotops_lua *state = find_record(L);
  return state != NULL ? state->call_count : 0;
}

lua_State *const *iotops_lua_running(lua_State *L) {
  iotops_lua *state = find_record(L);
  return state != NULL ? &state->running : NULL;
}

void iotops_lua_interrupt(lua_State *L, lua_Hook hook) {
  const iotops_lua *state = find_record(L);
  if (state == NULL)
    return;
  for (const resume_frame *at = state->frames; at != NULL; at = at->outer)
    lua_sethook(at->from, hook, LUA_MASKCOUNT, 1);
}

void iotops_lua_start(lua_State *L) {
  iotops_lua *state = find_record(L);
  if (state == NULL || !state->registering)
    return;
  state->registering = false;
  metrics_start(state);
  timers_start(state);
  jobs_start(state);
}

void iotops_lua_stop(lua_State *L, const char *reason) {
  iotops_lua *state = find_record(L);
  if (state == NULL || state->registering || state->closing)
    return;
  jobs_stop(state, reason);
  consoles_give_up(state, 0);
}

void iotops_lua_freeze(lua_State *L, bool frozen) {
  iotops_lua *state = find_record(L);
  if (state != NULL)
    state->frozen = frozen;
}

static bool is_background(iotops_lua_call_kind kind) {
  return kind == IOTOPS_CALL_START || kind == IOTOPS_CALL_SPAWNED ||
         kind == IOTOPS_CALL_LUV || kind == IOTOPS_CALL_CONSOLE;
}

size_t iotops_lua_busy_calls(lua_State *L) {
  const iotops_lua *state = find_record(L);
  size_t count = 0;
  if (state == NULL)
    return 0;
  for (const call *at = state->calls; at != NULL; at = at->next)
    count += !is_background(at->info.kind) || at->waiting == NULL ||
             !at->waiting->rests;
  return count;
}

void iotops_lua_quiesce(lua_State *L) {
  iotops_lua *state = find_record(L);
  if (state == NULL)
    return;
  state->quiet = true;
  timers_stop(state);
  jobs_drop(state);
}

void iotops_lua_abandon(lua_State *L) {
  iotops_lua *state = find_record(L);
  if (state == NULL || state->context == NULL)
    return;
  iotops_lua_quiesce(L);
  state->closing = true;
  calls_abandon(state, NULL);
  waits_abandon(state, NULL);
  holds_abandon(state, NULL);
  luv_detach(state);
}
