#include "testing/world_module.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gate.h"
#include "runtime/allow.h"
#include "testing/recording.h"
#include "testing/world_lua.h"

static const char class_name[] = "iotops.world";
static const class_info world_class;

world *world_check(lua_State *L) {
  world *self = luaL_checkudata(L, 1, class_name);
  if (self->context == NULL)
    luaL_error(L, "the world is closed");
  return self;
}

int world_raise(lua_State *L, const iotops_error *err) {
  lua_pushstring(L, err->message);
  return lua_error(L);
}

iotops_text world_text(lua_State *L, int index) {
  iotops_text text;
  text.data = luaL_checklstring(L, index, &text.size);
  return text;
}

void world_set_text(lua_State *L, const char *name, iotops_text text) {
  if (text.data == NULL)
    return;
  lua_pushlstring(L, text.data, text.size);
  lua_setfield(L, -2, name);
}

void world_set_integer(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

/* ---------------------------------------------------------------- hosts -- */

world_host *world_check_host(lua_State *L, world *self, int index) {
  const char *client_id = luaL_checkstring(L, index);
  for (world_host *at = self->hosts; at != NULL; at = at->next)
    if (strcmp(at->client_id, client_id) == 0)
      return at;
  luaL_error(L, "there is no host %s", client_id);
  return NULL;
}

static uint64_t milliseconds(lua_State *L, int table, const char *name,
                             uint64_t otherwise) {
  uint64_t value = otherwise;
  if (lua_getfield(L, table, name) != LUA_TNIL)
    value = (uint64_t)(luaL_checknumber(L, -1) * 1000);
  lua_pop(L, 1);
  return value;
}

/* host(client_id, limits) */
static int world_host_new(lua_State *L) {
  world *self = world_check(L);
  const char *client_id = luaL_checkstring(L, 2);
  host_options options = HOST_OPTIONS_INIT;
  iotops_error err;
  luaL_checktype(L, 3, LUA_TTABLE);
  options.turn_limit_ms =
      milliseconds(L, 3, "turn_limit", options.turn_limit_ms);
  options.load_limit_ms =
      milliseconds(L, 3, "load_limit", options.load_limit_ms);
  options.drain_ms = milliseconds(L, 3, "drain", options.drain_ms);
  if (lua_getfield(L, 3, "memory_limit") != LUA_TNIL)
    options.memory_limit = (size_t)luaL_checkinteger(L, -1);
  if (lua_getfield(L, 3, "allow") != LUA_TNIL) {
    options.allow = luaL_checkstring(L, -1); /* the table keeps it */
    luaL_argcheck(L, allow_is_list(options.allow), 3,
                  "'allow' takes names with commas between them");
  }
  if (world_add_host(self, client_id, &options, &err) == NULL)
    return world_raise(L, &err);
  return 0;
}

/* variable(client_id, name, value) */
static int world_variable_set(lua_State *L) {
  world *self = world_check(L);
  iotops_error err;
  if (world_set_variable(world_check_host(L, self, 2), luaL_checkstring(L, 3),
                         luaL_checkstring(L, 4), &err) != 0)
    return world_raise(L, &err);
  return 0;
}

/* add(client_id, path): nil and why not, or true */
static int world_add(lua_State *L) {
  world *self = world_check(L);
  const world_host *owner = world_check_host(L, self, 2);
  iotops_error err;
  if (host_add(owner->host, luaL_checkstring(L, 3), &err) != 0) {
    lua_pushnil(L);
    lua_pushstring(L, err.message);
    return 2;
  }
  lua_pushboolean(L, true);
  return 1;
}

/* look(client_id): loads what is new or has changed */
static int world_look(lua_State *L) {
  world *self = world_check(L);
  host_look(world_check_host(L, self, 2)->host);
  return 0;
}

static void push_script(lua_State *L, const script *shown) {
  const script_counters *counters = &shown->client.counters;
  lua_createtable(L, 0, 16);
  world_set_text(L, "name", iotops_text_of(shown->name));
  world_set_text(L, "path", iotops_text_of(shown->path));
  world_set_integer(L, "generation",
                    shown->current != NULL ? shown->current->generation : 0);
  world_set_integer(L, "memory",
                    shown->current != NULL ? shown->current->memory : 0);
  world_set_integer(L, "calls_in_hand", script_calls(shown));
  world_set_integer(L, "received", counters->received);
  world_set_integer(L, "handled", counters->handled);
  world_set_integer(L, "commands", counters->commands);
  world_set_integer(L, "calls", counters->calls);
  world_set_integer(L, "errors", counters->errors);
  world_set_integer(L, "stopped", counters->stopped);
  world_set_integer(L, "sent", counters->sent);
  world_set_integer(L, "refused", counters->refused);
  world_set_integer(L, "acknowledged", counters->acknowledged);
  world_set_integer(L, "reloads", counters->reloads);
  world_set_integer(L, "failed_reloads", counters->failed_reloads);
  world_set_integer(L, "busy_us", counters->busy_us);
  world_set_integer(L, "longest_us", counters->longest_us);
  lua_pushboolean(L, shown->reload != NULL);
  lua_setfield(L, -2, "is_reloading");
  lua_createtable(L, 0, 5);
  world_set_integer(L, "number", shown->last_reload.number);
  world_set_integer(L, "records", shown->last_reload.records);
  world_set_text(
      L, "outcome",
      iotops_text_of(reload_outcome_name(shown->last_reload.outcome)));
  world_set_text(L, "message", iotops_text_of(shown->last_reload.message));
  lua_setfield(L, -2, "last_reload");
}

static script *find_script(lua_State *L) {
  const world_host *owner = world_check_host(L, world_check(L), 2);
  const char *name = luaL_checkstring(L, 3);
  for (script *at = owner->host->scripts; at != NULL; at = at->next)
    if (strcmp(at->name, name) == 0)
      return at;
  return NULL;
}

/* script(client_id, name): what is known of it, or nil */
static int world_script(lua_State *L) {
  const script *found = find_script(L);
  if (found == NULL)
    return 0;
  push_script(L, found);
  return 1;
}

/* Pushes true: begun; or false and why not. */
static int push_begun(lua_State *L, int result, const iotops_error *err) {
  lua_pushboolean(L, result == 0);
  if (result == 0)
    return 1;
  lua_pushstring(L, result < 0 ? err->message
                               : "that is the version that serves already");
  return 2;
}

/* reload(client_id, name): begins it */
static int world_reload(lua_State *L) {
  script *found = find_script(L);
  iotops_error err;
  luaL_argcheck(L, found != NULL, 3, "no such script");
  return push_begun(L, script_reload(found, &err), &err);
}

/* rollback(client_id, name): the same, to the last good version */
static int world_rollback(lua_State *L) {
  script *found = find_script(L);
  iotops_error err;
  luaL_argcheck(L, found != NULL, 3, "no such script");
  return push_begun(L, script_rollback(found, &err), &err);
}

/* write(name, text): a file in the world's own folder; its path */
static int world_write(lua_State *L) {
  world *self = world_check(L);
  const char *name = luaL_checkstring(L, 2);
  iotops_text text = world_text(L, 3);
  const char *folder = world_folder(self);
  luaL_argcheck(L, strchr(name, '/') == NULL && name[0] != '.', 2,
                "a plain name expected");
  if (folder == NULL)
    return luaL_error(L, "the world has no folder: %s", strerror(errno));
  lua_pushfstring(L, "%s/%s", folder, name);
  FILE *file = fopen(lua_tostring(L, -1), "wbe");
  bool written =
      file != NULL && fwrite(text.data, 1, text.size, file) == text.size;
  if ((file != NULL && fclose(file) != 0) || !written)
    return luaL_error(L, "%s: %s", lua_tostring(L, -1), strerror(errno));
  return 1;
}

/* stop(client_id): messages stay with the broker, calls in hand end */
static int world_stop(lua_State *L) {
  world *self = world_check(L);
  const world_host *owner = world_check_host(L, self, 2);
  for (script *at = owner->host->scripts; at != NULL; at = at->next)
    script_quiesce(at);
  return 0;
}

/* ----------------------------------------------------------------- time -- */

static int world_settle_now(lua_State *L) {
  world *self = world_check(L);
  iotops_error err;
  if (world_settle(self, &err) != 0)
    return world_raise(L, &err);
  return 0;
}

/* step(ms): moves on to the next timer at most; what is left of them */
static int world_step_on(lua_State *L) {
  world *self = world_check(L);
  lua_Integer given = luaL_checkinteger(L, 2);
  iotops_error err;
  luaL_argcheck(L, given >= 0, 2, "a time that has not passed expected");
  uint64_t left_ms = (uint64_t)given;
  if (world_step(self, &left_ms, &err) != 0)
    return world_raise(L, &err);
  lua_pushinteger(L, (lua_Integer)left_ms);
  return 1;
}

/* now(): Unix time in milliseconds */
static int world_now(lua_State *L) {
  lua_pushinteger(L, iotops_wall_ms(world_check(L)->context));
  return 1;
}

/* log(from): records from the n-th on, from 1 */
static int world_log(lua_State *L) {
  world *self = world_check(L);
  lua_Integer from = luaL_checkinteger(L, 2);
  luaL_argcheck(L, from >= 1, 2, "a number from 1 expected");
  lua_newtable(L);
  for (size_t i = (size_t)from - 1; i < self->record_count; i++) {
    const world_record *record = &self->records[i];
    lua_createtable(L, 0, 6);
    world_set_text(L, "level",
                   iotops_text_of(iotops_log_level_name(record->level)));
    world_set_text(L, "component", iotops_text_of(record->component));
    world_set_text(L, "message", iotops_text_of(record->message));
    world_set_text(L, "script", iotops_text_of(record->script));
    world_set_text(L, "topic", iotops_text_of(record->topic));
    lua_pushnumber(L, (lua_Number)record->wall_ms / 1000);
    lua_setfield(L, -2, "time");
    lua_rawseti(L, -2, (lua_Integer)(i - (size_t)from) + 2);
  }
  return 1;
}

/* ---------------------------------------------------------------- peers -- */

/* peer(client_id, module): a handle */
static int world_peer_new(lua_State *L) {
  world *self = world_check(L);
  iotops_error err;
  world_peer *made = world_add_peer(self, luaL_checkstring(L, 2),
                                    luaL_checkstring(L, 3), &err);
  if (made == NULL)
    return world_raise(L, &err);
  lua_pushlightuserdata(L, made);
  return 1;
}

static world_peer *check_peer(lua_State *L, const world *self, int index) {
  world_peer *sought = lua_touserdata(L, index);
  for (world_peer *at = self->peers; at != NULL; at = at->next)
    if (at == sought)
      return at;
  luaL_argerror(L, index, "no peer of this world");
  abort(); /* that does not return */
}

/* Runs protected in the peer: the function of its module. */
typedef struct wanted {
  const world_peer *peer;
  const char *function;
} wanted;

static int push_wanted(lua_State *L) {
  const wanted *given = lua_touserdata(L, 1);
  world_push_module(given->peer);
  lua_getfield(L, -1, given->function);
  return 1;
}

/* Run protected in the peer, too. */
static int unpack(lua_State *L) {
  plain_data_read(L, lua_touserdata(L, 1));
  return 1;
}

static int pack(lua_State *L) {
  plain_data_write(L, 1, lua_touserdata(L, 2));
  return 0;
}

/* lua_pcall in the peer; what it raises is raised in the test. */
static void call_in(lua_State *peer, int arguments, int results, lua_State *L) {
  if (lua_pcall(peer, arguments, results, 0) == LUA_OK)
    return;
  const char *why = lua_tostring(peer, -1);
  lua_pushstring(L, why != NULL ? why : "out of memory");
  lua_error(L);
}

/*
** Leaves a function of the peer's module and copies of the arguments from 3 on
** on the peer's stack; their number.
*/
static int hand_over(lua_State *L, world *self, const world_peer *peer,
                     const char *function) {
  lua_State *to = peer->L;
  wanted wanted = {peer, function};
  int last = lua_gettop(L);
  lua_settop(to, 0); /* of what an error has left there */
  if (!lua_checkstack(to, last + 4))
    luaL_error(L, "too many arguments");
  lua_pushcfunction(to, push_wanted);
  lua_pushlightuserdata(to, &wanted);
  call_in(to, 1, 1, L);
  for (int i = 3; i <= last; i++) {
    plain_data_clear(&self->parcel);
    plain_data_write(L, i, &self->parcel);
    lua_pushcfunction(to, unpack);
    lua_pushlightuserdata(to, &self->parcel);
    call_in(to, 1, 1, L);
  }
  return last - 2;
}

/*
** call(peer, arguments...): begins the function `call` of the peer's module,
** in a coroutine that may wait
*/
static int world_call(lua_State *L) {
  world *self = world_check(L);
  const world_peer *peer = check_peer(L, self, 2);
  int arguments = hand_over(L, self, peer, "call");
  iotops_error err;
  call *begun = call_new(state_of(peer->L), IOTOPS_CALL_SPAWNED);
  if (begun == NULL)
    return luaL_error(L, "out of memory");
  if (call_begin_function(begun, peer->L, arguments, &err) != 0)
    return world_raise(L, &err);
  return 0;
}

/*
** take(peer, arguments...): what the function `take` of the peer's module
** returns; it may not wait
*/
static int world_take(lua_State *L) {
  world *self = world_check(L);
  const world_peer *peer = check_peer(L, self, 2);
  lua_State *from = peer->L;
  call_in(from, hand_over(L, self, peer, "take"), 1, L);
  plain_data_clear(&self->parcel);
  lua_pushcfunction(from, pack);
  lua_insert(from, -2);
  lua_pushlightuserdata(from, &self->parcel);
  call_in(from, 2, 0, L);
  plain_data_read(L, &self->parcel);
  return 1;
}

/* ----------------------------------------------------------------- life -- */

/* new(wall_ms) */
static int world_new(lua_State *L) {
  lua_Integer begins_ms = luaL_checkinteger(L, 1);
  iotops_error err;
  world *made = lua_newuserdatauv(L, sizeof *made, 0);
  memset(made, 0, sizeof *made);
  class_set(L, &world_class);
  if (world_open(made, begins_ms, &err) != 0)
    return world_raise(L, &err);
  made->parcel = (plain_data){.context = made->context,
                              .limit = SIZE_MAX / 4,
                              .name = "what goes between a test and a script",
                              .bare = true};
  return 1;
}

static int world_end(lua_State *L) {
  world_close(luaL_checkudata(L, 1, class_name));
  return 0;
}

/* matches(filter, topic) */
static int topic_matches(lua_State *L) {
  lua_pushboolean(
      L, iotops_topic_filter_matches(world_text(L, 1), world_text(L, 2)));
  return 1;
}

static int filter_is_valid(lua_State *L) {
  lua_pushboolean(L, iotops_topic_filter_valid(world_text(L, 1)));
  return 1;
}

static const luaL_Reg methods[] = {{"host", world_host_new},
                                   {"variable", world_variable_set},
                                   {"add", world_add},
                                   {"look", world_look},
                                   {"script", world_script},
                                   {"reload", world_reload},
                                   {"rollback", world_rollback},
                                   {"write", world_write},
                                   {"stop", world_stop},
                                   {"publish", world_publish},
                                   {"message", world_message},
                                   {"find", world_find},
                                   {"count", world_message_count},
                                   {"delivery", world_delivery},
                                   {"subscriptions", world_subscriptions},
                                   {"connect", world_connect},
                                   {"refuse", world_refuse},
                                   {"settle", world_settle_now},
                                   {"step", world_step_on},
                                   {"now", world_now},
                                   {"log", world_log},
                                   {"peer", world_peer_new},
                                   {"call", world_call},
                                   {"take", world_take},
                                   {"close", world_end},
                                   {NULL, NULL}};
static const luaL_Reg meta[] = {
    {"__gc", world_end}, {"__close", world_end}, {NULL, NULL}};
static const class_info world_class = {class_name, methods, meta};

int luaopen_iotops_world(lua_State *L) {
  static const luaL_Reg functions[] = {{"new", world_new},
                                       {"recording", recording_open},
                                       {"matches", topic_matches},
                                       {"is_filter", filter_is_valid},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
