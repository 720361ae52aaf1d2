/* session.c -- sessions of scripts. */
#include "session.h"

#include <string.h>

#include "error.h"
#include "hold.h"
#include "message_table.h"
#include "misuse.h"
#include "options.h"
#include "session_record.h"

static const char class_name[] = "iotops.session";
static const class_info session_class;

static lua_session *check_session(lua_State *L, int index) {
  return luaL_checkudata(L, index, class_name);
}

/* A session of the script's own. */
static lua_session *check_own(lua_State *L) {
  lua_session *self = check_session(L, 1);
  if (self->session == NULL)
    misuse(L, self->client == NULL ? "the session is closed"
                                   : "the session belongs to the host");
  return self;
}

iotops_mqtt_client *check_client(lua_State *L, int index) {
  lua_session *self = check_session(L, index);
  if (self->client == NULL)
    misuse(L, "the session is closed");
  return self->client;
}

/* -------------------------------------------------------------- waiting -- */

static void complete_all(lua_session *self, const iotops_error *err) {
  while (self->first != NULL) {
    wait *woken = self->first;
    self->first = woken->room_next;
    woken->user = NULL;
    wait_complete(woken, NULL, err);
  }
}

static bool leave(wait *given_up) {
  lua_session *self = given_up->user;
  wait **at = self != NULL ? &self->first : NULL;
  while (at != NULL && *at != NULL && *at != given_up)
    at = &(*at)->room_next;
  if (at != NULL && *at == given_up)
    *at = given_up->room_next;
  return true;
}

static int wait_on(lua_State *L, lua_session *self) {
  wait *waiting = wait_new(L, wait_push_true);
  waiting->cancel = leave;
  waiting->rests = true;
  waiting->user = self;
  waiting->room_next = self->first;
  self->first = waiting;
  return wait_yield(L, waiting, NULL);
}

static void client_connected(iotops_mqtt_observer *observer) {
  lua_session *self = observer->user;
  if (!self->leaving)
    complete_all(self, NULL);
}

static void client_ended(iotops_mqtt_observer *observer,
                         const iotops_error *err) {
  lua_session *self = observer->user;
  self->ended = true;
  if (err != NULL && self->end_error == NULL) {
    self->end_error = iotops_zalloc(self->state->context, sizeof *err);
    if (self->end_error != NULL)
      *self->end_error = *err;
  }
  if (self->leaving) {
    complete_all(self, err);
    return;
  }
  iotops_error gone;
  if (err == NULL) {
    iotops_error_set(&gone, IOTOPS_CANCELLATION, "the session has ended");
    err = &gone;
  }
  complete_all(self, err);
}

/* --------------------------------------------------------- constructor -- */

static lua_session *new_session(lua_State *L, iotops_lua *state) {
  lua_session *made = lua_newuserdatauv(L, sizeof *made, 0);
  *made = (lua_session){.state = state};
  made->observer.connected = client_connected;
  made->observer.ended = client_ended;
  made->observer.user = made;
  class_set(L, &session_class);
  return made;
}

static void use_client(lua_session *self, iotops_mqtt_client *client) {
  iotops_lua *state = self->state;
  self->client = client;
  iotops_mqtt_observe(client, &self->observer);
  self->next = state->sessions;
  if (self->next != NULL)
    self->next->previous = self;
  state->sessions = self;
}

void iotops_lua_push_client(lua_State *L, iotops_mqtt_client *client) {
  lua_session *made = new_session(L, state_of(L));
  use_client(made, client);
}

/* Begins to connect once the script has declared what it receives. */
static void begin(iotops_task *task) {
  lua_session *self = task->user;
  iotops_error err;
  if (self->session != NULL && iotops_session_run(self->session, &err) != 0)
    client_ended(&self->observer, &err);
}

static int set_setting(lua_State *L, iotops_settings *settings,
                       iotops_error *err) {
  iotops_text value = {0};
  const char *name = lua_tostring(L, -2);
  switch (lua_type(L, -1)) {
  case LUA_TBOOLEAN:
    value = iotops_text_of(lua_toboolean(L, -1) ? "true" : "false");
    break;
  case LUA_TNUMBER: {
    int exact;
    lua_Integer integer = lua_tointegerx(L, -1, &exact);
    if (exact) { /* 60.0 is as good as 60 */
      lua_pop(L, 1);
      lua_pushinteger(L, integer);
    }
    value.data = lua_tolstring(L, -1, &value.size);
    break;
  }
  case LUA_TSTRING:
    value.data = lua_tolstring(L, -1, &value.size);
    break;
  default:
    return misuse(L,
                  "setting '%s': a text, number or boolean expected, "
                  "got %s",
                  name, luaL_typename(L, -1));
  }
  return iotops_settings_set(settings, name, value, err);
}

/* Overrides from the table at 1. */
static int override(lua_State *L, iotops_settings *settings,
                    iotops_error *err) {
  property_list properties;
  lua_pushnil(L);
  while (lua_next(L, 1) != 0) {
    if (lua_type(L, -2) != LUA_TSTRING)
      return misuse(L, "names of settings expected, found a %s",
                    luaL_typename(L, -2));
    const char *name = lua_tostring(L, -2);
    if (strcmp(name, "connection_string") != 0 &&
        strcmp(name, "connect_user_properties") != 0 &&
        set_setting(L, settings, err) != 0)
      return -1;
    lua_pop(L, 1);
  }
  properties_option(L, 1, "connect_user_properties", &properties);
  for (size_t i = 0; i < properties.count; i++)
    if (iotops_settings_add_user_property(settings, properties.items[i].name,
                                          properties.items[i].value, err) != 0)
      return -1;
  return 0;
}

/*
** session(settings, from): `from` is "auto" for the mounted files or the
** environment, nil for the table alone.
*/
static int core_session(lua_State *L) {
  iotops_lua *state = state_of(L);
  iotops_session_options options = IOTOPS_SESSION_OPTIONS_INIT;
  iotops_error err;
  luaL_checktype(L, 1, LUA_TTABLE);
  bool automatic = lua_toboolean(L, 2);
  lua_settop(L, 1);
  lua_session *made = new_session(L, state);
  made->settings = iotops_settings_new(state->context);
  if (made->settings == NULL)
    return luaL_error(L, "out of memory");
  iotops_text string = text_option(L, 1, "connection_string");
  int result = 0;
  if (string.data != NULL)
    result = iotops_settings_from_string(made->settings, string, &err);
  else if (automatic)
    result = iotops_settings_auto(made->settings, NULL, NULL, &err);
  options.settings = made->settings;
  if (result != 0 || override(L, made->settings, &err) != 0 ||
      iotops_session_new(state->context, &options, &made->session, &err) != 0)
    return push_failure(L, &err);
  iotops_settings_free(made->settings);
  made->settings = NULL;
  made->begin.run = begin;
  made->begin.user = made;
  use_client(made, iotops_session_client(made->session));
  iotops_task_soon(state->context, &made->begin);
  lua_settop(L, 2);
  return 1;
}

static int core_client(lua_State *L) {
  iotops_lua *state = state_of(L);
  if (!state->embedded || state->embedder.client == NULL)
    lua_pushnil(L);
  else
    iotops_lua_push_client(L, state->embedder.client);
  return 1;
}

/* ------------------------------------------------------------- methods -- */

static int session_client_id(lua_State *L) {
  lua_pushstring(L, iotops_mqtt_client_id(check_client(L, 1)));
  return 1;
}

static int session_is_connected(lua_State *L) {
  const lua_session *self = check_session(L, 1);
  lua_pushboolean(L, self->client != NULL &&
                         iotops_mqtt_is_connected(self->client));
  return 1;
}

static int session_wait(lua_State *L) {
  lua_session *self = check_session(L, 1);
  iotops_mqtt_client *client = check_client(L, 1);
  if (self->ended && self->end_error != NULL)
    return push_failure(L, self->end_error);
  if (!iotops_mqtt_is_connected(client))
    return wait_on(L, self);
  lua_pushboolean(L, true);
  return 1;
}

static uint64_t drain_option(lua_State *L) {
  static const char *const names[] = {"drain", NULL};
  if (!check_options(L, 2, names))
    return 0;
  int64_t drain_us = seconds_option(L, 2, "drain", 0);
  return drain_us > 0 ? (uint64_t)drain_us / 1000 : 0;
}

static int session_leave(lua_State *L, bool end) {
  lua_session *self = check_own(L);
  iotops_exit_options options = IOTOPS_EXIT_OPTIONS_INIT;
  iotops_error err;
  options.drain_ms = drain_option(L);
  if (self->ended) {
    lua_pushboolean(L, true);
    return 1;
  }
  iotops_task_cancel(self->state->context, &self->begin);
  if (end && iotops_session_exit(self->session, &options, &err) != 0)
    return push_failure(L, &err);
  if (!end)
    iotops_session_detach(self->session, &options);
  self->leaving = true;
  return wait_on(L, self);
}

static int session_exit(lua_State *L) {
  return session_leave(L, true);
}

static int session_detach(lua_State *L) {
  return session_leave(L, false);
}

static int session_state(lua_State *L) {
  static const char *const names[] = {"new",     "connecting", "connected",
                                      "waiting", "exiting",    "ended"};
  const lua_session *self = check_own(L);
  lua_pushstring(L, names[iotops_session_get_state(self->session)]);
  return 1;
}

static int session_metrics(lua_State *L) {
  const lua_session *self = check_own(L);
  iotops_session_metrics metrics;
  iotops_session_get_metrics(self->session, &metrics);
  const struct {
    const char *name;
    uint64_t value;
  } all[] = {
      {"connects", metrics.connects},
      {"failed_attempts", metrics.failed_attempts},
      {"disconnects", metrics.disconnects},
      {"connected_ms", metrics.connected_ms},
      {"reauths_ok", metrics.reauths_ok},
      {"reauths_failed", metrics.reauths_failed},
      {"publishes_queued", metrics.publishes_queued},
      {"publishes_in_flight", metrics.publishes_in_flight},
      {"publishes_acked", metrics.publishes_acked},
      {"publishes_refused", metrics.publishes_refused},
      {"received", metrics.received},
      {"unmatched", metrics.unmatched},
      {"duplicates", metrics.duplicates},
      {"unacked", metrics.unacked},
      {"oldest_unacked_ms", metrics.oldest_unacked_ms},
      {"acks_sent", metrics.acks_sent},
      {"acks_dropped", metrics.acks_dropped},
      {"dropped_qos0", metrics.dropped_qos0},
      {"bytes_in", metrics.bytes_in},
      {"bytes_out", metrics.bytes_out},
      {"packets_in", metrics.packets_in},
      {"packets_out", metrics.packets_out},
  };
  size_t count = sizeof all / sizeof all[0];
  lua_createtable(L, 0, (int)count);
  for (size_t i = 0; i < count; i++) {
    lua_pushinteger(L, (lua_Integer)all[i].value);
    lua_setfield(L, -2, all[i].name);
  }
  return 1;
}

/* The error that ended the session; nil while it lives or after an exit. */
static int session_error(lua_State *L) {
  const lua_session *self = check_session(L, 1);
  if (self->end_error == NULL)
    return 0;
  push_error(L, self->end_error);
  return 1;
}

static int session_close(lua_State *L) {
  lua_session *self = check_session(L, 1);
  iotops_lua *state = self->state;
  if (self->client != NULL) {
    if (self->session != NULL) {
      calls_abandon(state, self->client);
      holds_abandon(state, self->client);
      rooms_close(state, self->client);
    }
    for (wait *each = self->first; each != NULL; each = each->room_next)
      each->user = NULL;
    iotops_mqtt_unobserve(self->client, &self->observer);
    iotops_task_cancel(state->context, &self->begin);
    if (self->previous != NULL)
      self->previous->next = self->next;
    else
      state->sessions = self->next;
    if (self->next != NULL)
      self->next->previous = self->previous;
  }
  iotops_session_free(self->session);
  iotops_settings_free(self->settings);
  iotops_free(state->context, self->end_error);
  self->client = NULL;
  self->session = NULL;
  self->settings = NULL;
  self->end_error = NULL;
  return 0;
}

static int session_tostring(lua_State *L) {
  const lua_session *self = check_session(L, 1);
  lua_pushfstring(L, "session (%s)",
                  self->client != NULL ? iotops_mqtt_client_id(self->client)
                                       : "closed");
  return 1;
}

/* The constructors of envoys take a session first: they are its methods. */
static const luaL_Reg methods[] = {
    {"client_id", session_client_id}, {"is_connected", session_is_connected},
    {"wait", session_wait},           {"exit", session_exit},
    {"detach", session_detach},       {"state", session_state},
    {"metrics", session_metrics},     {"error", session_error},
    {"publish", publish_messages},    {"sender", new_sender},
    {"receiver", new_receiver},       {"invoker", new_invoker},
    {"executor", new_executor},       {NULL, NULL}};
static const luaL_Reg meta[] = {
    {"__gc", session_close}, {"__tostring", session_tostring}, {NULL, NULL}};
static const class_info session_class = {class_name, methods, meta};

static int make_session_methods(lua_State *L) {
  class_push(L, &session_class);
  lua_getfield(L, -1, "__index");
  return 1;
}

const core_field session_fields[] = {
    {"session", core_session, false},
    {"client", core_client, false},
    {"session_methods", make_session_methods, true},
    {0}};
