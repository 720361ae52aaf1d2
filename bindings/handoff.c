#include "handoff.h"

#include "gate.h"
#include "misuse.h"
#include "options.h"

/* Registry: the script's functions. */
static const char save_key, restore_key, version_key;

/* ------------------------------------------------------------- declare -- */

static void keep_function(lua_State *L, const char *name, const void *key) {
  int type = lua_getfield(L, 1, name);
  if (type != LUA_TFUNCTION && type != LUA_TNIL)
    misuse(L, "field '%s' of iotops.handoff: a function expected, got %s", name,
           luaL_typename(L, -1));
  anchor(L, key);
}

static bool is_anchored(lua_State *L, const void *key) {
  push_anchored(L, key);
  bool is = !lua_isnil(L, -1);
  lua_pop(L, 1);
  return is;
}

/* handoff{version = 1, save = f, restore = f} */
static int core_handoff(lua_State *L) {
  static const char *const names[] = {"version", "save", "restore"};
  const iotops_lua *state = state_of(L);
  const call *running = state->running_call;
  if (!lua_istable(L, 1))
    return misuse(L, "iotops.handoff takes a table, got %s",
                  luaL_typename(L, 1));
  if (state->embedded &&
      (running == NULL || running->info.kind != IOTOPS_CALL_MAIN))
    return misuse(L, "iotops.handoff is for the main chunk of a script");
  if (is_anchored(L, &version_key))
    return misuse(L, "iotops.handoff was called before");
  lua_settop(L, 1);
  for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
    bool known = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !known; i++) {
      lua_pushstring(L, names[i]);
      known = lua_rawequal(L, -1, 2);
      lua_pop(L, 1);
    }
    if (!known)
      return misuse(L, "iotops.handoff has no field '%s'",
                    luaL_tolstring(L, 2, NULL));
  }
  lua_settop(L, 1);
  if (lua_getfield(L, 1, "version") == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushinteger(L, 1);
  }
  if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 0)
    return misuse(L, "field 'version' of iotops.handoff: a whole number, not "
                     "negative, expected");
  keep_function(L, "save", &save_key);
  keep_function(L, "restore", &restore_key);
  if (!is_anchored(L, &save_key) && !is_anchored(L, &restore_key))
    return misuse(L, "iotops.handoff needs 'save', 'restore' or both");
  lua_settop(L, 2);
  anchor(L, &version_key);
  return 0;
}

/* Runs protected, on a stack of its own. */
static int read_declared(lua_State *L) {
  iotops_lua_handoff *declared = lua_touserdata(L, 1);
  push_anchored(L, &version_key);
  declared->version = lua_tointeger(L, -1);
  declared->saves = is_anchored(L, &save_key);
  declared->restores = is_anchored(L, &restore_key);
  return 0;
}

iotops_lua_handoff iotops_lua_declared_handoff(lua_State *L) {
  iotops_lua_handoff declared = {0};
  if (!lua_checkstack(L, 4))
    return declared;
  lua_pushcfunction(L, read_declared);
  lua_pushlightuserdata(L, &declared);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK)
    lua_pop(L, 1);
  return declared;
}

/* ----------------------------------------------------- save and restore -- */

/* The body of a call: its user is the snapshot to be written. */
static int save_body(lua_State *L) {
  const call *begun = lua_touserdata(L, 1);
  iotops_lua_snapshot *snapshot = begun->user;
  lua_settop(L, 0);
  push_anchored(L, &version_key);
  snapshot->version = lua_tointeger(L, 1);
  push_anchored(L, &save_key);
  lua_call(L, 0, 1);
  plain_data_write(L, -1, &snapshot->data);
  return 0;
}

static int restore_body(lua_State *L) {
  const call *begun = lua_touserdata(L, 1);
  const iotops_lua_snapshot *snapshot = begun->user;
  lua_settop(L, 0);
  push_anchored(L, &restore_key);
  plain_data_read(L, &snapshot->data);
  lua_pushinteger(L, snapshot->version);
  lua_call(L, 2, 0);
  return 0;
}

static int run(lua_State *L, lua_CFunction body, iotops_lua_snapshot *snapshot,
               iotops_error *err) {
  call *begun = call_new(state_of(L), IOTOPS_CALL_HANDOFF);
  if (begun == NULL)
    return iotops_error_memory(err);
  begun->user = snapshot;
  return call_begin(begun, body, err);
}

int iotops_lua_save(lua_State *L, size_t limit, iotops_lua_snapshot **saved,
                    iotops_error *err) {
  iotops_context *context = state_of(L)->context;
  iotops_lua_snapshot *snapshot = iotops_zalloc(context, sizeof *snapshot);
  *saved = NULL;
  if (snapshot == NULL)
    return iotops_error_memory(err);
  snapshot->data.context = context;
  snapshot->data.name = "what save returned";
  snapshot->data.limit = limit != 0 ? limit : SIZE_MAX / 4;
  if (run(L, save_body, snapshot, err) != 0) {
    iotops_lua_snapshot_free(snapshot);
    return -1;
  }
  *saved = snapshot;
  return 0;
}

int iotops_lua_restore(lua_State *L, const iotops_lua_snapshot *snapshot,
                       iotops_error *err) {
  /* The body only reads it. */
  return run(L, restore_body, (iotops_lua_snapshot *)snapshot, err);
}

size_t iotops_lua_snapshot_tables(const iotops_lua_snapshot *snapshot) {
  return snapshot->data.tables;
}

int64_t iotops_lua_snapshot_version(const iotops_lua_snapshot *snapshot) {
  return snapshot->version;
}

void iotops_lua_snapshot_free(iotops_lua_snapshot *snapshot) {
  if (snapshot == NULL)
    return;
  iotops_context *context = snapshot->data.context;
  plain_data_clear(&snapshot->data);
  iotops_free(context, snapshot);
}

const core_field handoff_fields[] = {{"handoff", core_handoff, false}, {0}};
