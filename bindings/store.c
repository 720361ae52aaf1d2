/* store.c -- the state store: get, set, del, vdel, scan. */
#include "store.h"

#include <string.h>

#include "error.h"
#include "options.h"
#include "session.h"

static const char store_class[] = "iotops.state_store";
static const class_info store_info;
static const char scan_class[] = "iotops.scan";
static const class_info scan_info;

const char *const timeout_option[] = {"timeout", NULL};

lua_store *check_store(lua_State *L, int index) {
  lua_store *self = luaL_checkudata(L, index, store_class);
  if (self->handle == NULL)
    luaL_error(L, "the state store is closed");
  return self;
}

/* --------------------------------------------------------------- parts -- */

void part_join(store_part *part, lua_store *store,
               void (*close)(store_part *part)) {
  part->store = store;
  part->close = close;
  part->next = store->parts;
  if (part->next != NULL)
    part->next->previous = part;
  store->parts = part;
}

void part_leave(store_part *part) {
  if (part->store == NULL)
    return;
  if (part->previous != NULL)
    part->previous->next = part->next;
  else
    part->store->parts = part->next;
  if (part->next != NULL)
    part->next->previous = part->previous;
  part->store = NULL;
  part->next = part->previous = NULL;
}

/* ------------------------------------------------------------- options -- */

int request_options(lua_State *L, int index, const char *const *names,
                    iotops_store_options *options, iotops_hlc *token,
                    iotops_error *err) {
  *options = (iotops_store_options)IOTOPS_STORE_OPTIONS_INIT;
  if (!check_options(L, index, names))
    return 0;
  options->timeout_us = seconds_option(L, index, "timeout", 10000000);
  options->expiry_ms = integer_option(L, index, "expiry_ms", -1);
  if (options->expiry_ms == -1) {
    if (lua_getfield(L, index, "expiry_ms") != LUA_TNIL)
      options->expiry_ms = 0; /* refused, as others below 1 are */
    lua_pop(L, 1);
  }
  options->persist = boolean_option(L, index, "persist", false);
  iotops_text condition = text_option(L, index, "condition");
  if (iotops_text_equal(condition, iotops_text_of("nx")))
    options->condition = IOTOPS_STORE_IF_ABSENT;
  else if (iotops_text_equal(condition, iotops_text_of("nex")))
    options->condition = IOTOPS_STORE_IF_ABSENT_OR_EQUAL;
  else if (condition.data != NULL)
    return luaL_error(L, "option 'condition': 'nx' or 'nex' expected, got '%s'",
                      condition.data);
  iotops_text fence = text_option(L, index, "fencing_token");
  if (fence.data == NULL)
    return 0;
  if (iotops_hlc_parse(fence, token, NULL) != 0)
    return iotops_error_configuration(
        err, "fencing_token", fence,
        "a fencing token is a version, <ms>:<counter>:<node>");
  options->fencing_token = token;
  return 0;
}

static iotops_text check_bytes(lua_State *L, int index) {
  iotops_text bytes;
  bytes.data = luaL_checklstring(L, index, &bytes.size);
  return bytes;
}

/* ------------------------------------------------------------- results -- */

void push_version(lua_State *L, const iotops_hlc *version) {
  char text[IOTOPS_HLC_TEXT_SIZE];
  if (version == NULL) {
    lua_pushnil(L);
    return;
  }
  size_t size = iotops_hlc_format(version, text);
  lua_pushlstring(L, text, size);
}

void store_answered(void *user, const iotops_store_result *result,
                    const iotops_error *err) {
  wait_complete(user, result, err);
}

static int push_value(lua_State *L, const wait *ended) {
  const iotops_store_result *result = ended->view;
  if (ended->err != NULL)
    return push_failure(L, ended->err);
  if (result->value.data == NULL)
    return 0;
  lua_pushlstring(L, result->value.data, result->value.size);
  push_version(L, result->version);
  return 2;
}

static int push_applied(lua_State *L, const wait *ended) {
  const iotops_store_result *result = ended->view;
  if (ended->err != NULL)
    return push_failure(L, ended->err);
  lua_pushboolean(L, result->count == 1);
  push_version(L, result->version);
  return 2;
}

static int push_count(lua_State *L, const wait *ended) {
  const iotops_store_result *result = ended->view;
  if (ended->err != NULL)
    return push_failure(L, ended->err);
  lua_pushinteger(L, result->count);
  push_version(L, result->version);
  return 2;
}

/* `status` of the call that began; the wait's memory is its user data. */
static int wait_for_answer(lua_State *L, wait *begun, int status,
                           const iotops_error *err) {
  if (status != 0) {
    wait_drop(begun);
    return push_failure(L, err);
  }
  return wait_yield(L, begun, NULL);
}

/* ------------------------------------------------------------- methods -- */

/* Of the core: a request that names a key; the same with a value. */
typedef int ask_key(iotops_state_store *store, iotops_text key,
                    const iotops_store_options *options, iotops_store_done done,
                    void *user, iotops_error *err);
typedef int ask_pair(iotops_state_store *store, iotops_text key,
                     iotops_text value, const iotops_store_options *options,
                     iotops_store_done done, void *user, iotops_error *err);

static int about_key(lua_State *L, const char *const *names, ask_key *ask,
                     int (*push)(lua_State *L, const wait *ended)) {
  const lua_store *self = check_store(L, 1);
  iotops_text key = check_bytes(L, 2);
  iotops_store_options options;
  iotops_hlc token;
  iotops_error err;
  lua_settop(L, 3);
  if (request_options(L, 3, names, &options, &token, &err) != 0)
    return push_failure(L, &err);
  wait *begun = wait_new(L, push);
  int status = ask(self->handle, key, &options, store_answered, begun, &err);
  return wait_for_answer(L, begun, status, &err);
}

static int about_pair(lua_State *L, const char *const *names, ask_pair *ask,
                      int (*push)(lua_State *L, const wait *ended)) {
  const lua_store *self = check_store(L, 1);
  iotops_text key = check_bytes(L, 2), value = check_bytes(L, 3);
  iotops_store_options options;
  iotops_hlc token;
  iotops_error err;
  lua_settop(L, 4);
  if (request_options(L, 4, names, &options, &token, &err) != 0)
    return push_failure(L, &err);
  wait *begun = wait_new(L, push);
  int status =
      ask(self->handle, key, value, &options, store_answered, begun, &err);
  return wait_for_answer(L, begun, status, &err);
}

static const char *const delete_options[] = {"timeout", "fencing_token", NULL};

static int store_get(lua_State *L) {
  return about_key(L, timeout_option, iotops_store_get, push_value);
}

static int store_set(lua_State *L) {
  static const char *const names[] = {"timeout", "condition",     "expiry_ms",
                                      "persist", "fencing_token", NULL};
  return about_pair(L, names, iotops_store_set, push_applied);
}

static int store_del(lua_State *L) {
  return about_key(L, delete_options, iotops_store_del, push_count);
}

static int store_vdel(lua_State *L) {
  return about_pair(L, delete_options, iotops_store_vdel, push_count);
}

/* Ends what belongs to it, then itself; twice does nothing. */
static int store_close(lua_State *L) {
  lua_store *self = luaL_checkudata(L, 1, store_class);
  while (self->parts != NULL)
    self->parts->close(self->parts);
  if (self->owned)
    iotops_state_store_free(self->handle);
  self->handle = NULL;
  return 0;
}

static int store_client_id(lua_State *L) {
  const lua_store *self = check_store(L, 1);
  lua_pushstring(L, iotops_state_store_client_id(self->handle));
  return 1;
}

/* ---------------------------------------------------------------- scan -- */

typedef struct scan { /* a userdata; user value 1 is the store */
  store_part part;
  iotops_store_scan *handle; /* NULL: closed */
} scan;

static void scan_end(store_part *part) {
  scan *self = (scan *)part;
  part_leave(part);
  iotops_store_scan_free(self->handle);
  self->handle = NULL;
}

static int store_scan(lua_State *L) {
  lua_store *store = check_store(L, 1);
  iotops_text pattern = check_bytes(L, 2);
  iotops_error err;
  lua_settop(L, 2);
  scan *made = lua_newuserdatauv(L, sizeof *made, 1);
  *made = (scan){.handle = NULL};
  class_set(L, &scan_info);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (iotops_store_scan_new(store->handle, pattern, &made->handle, &err) != 0)
    return push_failure(L, &err);
  part_join(&made->part, store, scan_end);
  return 1;
}

typedef struct page {
  const iotops_text *keys;
  size_t count;
  bool finished;
} page;

static int push_page(lua_State *L, const wait *ended) {
  const page *got = ended->view;
  if (ended->err != NULL)
    return push_failure(L, ended->err);
  if (got->finished)
    return 0;
  lua_createtable(L, got->count < 10000 ? (int)got->count : 10000, 0);
  for (size_t i = 0; i < got->count; i++) {
    lua_pushlstring(L, got->keys[i].data, got->keys[i].size);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static void page_came(void *user, const iotops_text *keys, size_t count,
                      bool finished, const iotops_error *err) {
  page got = {keys, count, finished};
  wait_complete(user, err == NULL ? &got : NULL, err);
}

/* next(options): a list of keys, or nothing when there is none any more. */
static int scan_next(lua_State *L) {
  scan *self = luaL_checkudata(L, 1, scan_class);
  iotops_store_options options;
  iotops_hlc token;
  iotops_error err;
  lua_settop(L, 2);
  if (self->handle == NULL)
    return luaL_error(L, "the state store is closed");
  if (request_options(L, 2, timeout_option, &options, &token, &err) != 0)
    return push_failure(L, &err);
  wait *begun = wait_new(L, push_page);
  int status =
      iotops_store_scan_next(self->handle, &options, page_came, begun, &err);
  return wait_for_answer(L, begun, status, &err);
}

static int scan_gc(lua_State *L) {
  scan *self = lua_touserdata(L, 1);
  if (self->handle != NULL)
    scan_end(&self->part);
  return 0;
}

/* ----------------------------------------------------------- the store -- */

/* state_store(session, options) */
static int core_state_store(lua_State *L) {
  static const char *const names[] = {"on_disconnect", NULL};
  iotops_lua *state = state_of(L);
  iotops_mqtt_client *client = check_client(L, 1);
  iotops_state_store_options options = IOTOPS_STATE_STORE_OPTIONS_INIT;
  iotops_error err;
  lua_settop(L, 2);
  if (check_options(L, 2, names)) {
    iotops_text what = text_option(L, 2, "on_disconnect");
    options.close_on_disconnect =
        iotops_text_equal(what, iotops_text_of("close"));
    if (what.data != NULL && !options.close_on_disconnect &&
        !iotops_text_equal(what, iotops_text_of("observe")))
      return luaL_error(L,
                        "option 'on_disconnect': 'observe' or 'close' "
                        "expected, got '%s'",
                        what.data);
  }
  lua_store *made = lua_newuserdatauv(L, sizeof *made, 1);
  *made = (lua_store){.state = state};
  class_set(L, &store_info);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (state->embedder.state_store != NULL && client == state->embedder.client &&
      !options.close_on_disconnect) {
    made->handle = state->embedder.state_store(state->embedder.user, &err);
    return made->handle != NULL ? 1 : push_failure(L, &err);
  }
  if (iotops_state_store_new(client, &options, &made->handle, &err) != 0)
    return push_failure(L, &err);
  made->owned = true;
  return 1;
}

static const luaL_Reg methods[] = {{"get", store_get},
                                   {"set", store_set},
                                   {"del", store_del},
                                   {"vdel", store_vdel},
                                   {"scan", store_scan},
                                   {"observe", store_observe},
                                   {"close", store_close},
                                   {"client_id", store_client_id},
                                   {NULL, NULL}};
static const luaL_Reg meta[] = {
    {"__gc", store_close}, {"__close", store_close}, {NULL, NULL}};
static const class_info store_info = {store_class, methods, meta};

static const luaL_Reg scan_methods[] = {{"next", scan_next}, {NULL, NULL}};
static const luaL_Reg scan_meta[] = {{"__gc", scan_gc}, {NULL, NULL}};
static const class_info scan_info = {scan_class, scan_methods, scan_meta};

static int make_store_methods(lua_State *L) {
  class_push(L, &store_info);
  lua_getfield(L, -1, "__index");
  return 1;
}

const core_field store_fields[] = {{"state_store", core_state_store, false},
                                   {"store_methods", make_store_methods, true},
                                   {0}};
