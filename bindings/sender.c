/* sender.c -- telemetry senders. */
#include <string.h>

#include "error.h"
#include "misuse.h"
#include "options.h"
#include "payload_value.h"
#include "session.h"
#include "trace.h"

static const char class_name[] = "iotops.sender";
static const class_info sender_class;

/* User values: 1 the serializer, 2 the session. */
typedef struct sender {
  iotops_telemetry_sender *handle; /* NULL: closed */
  iotops_mqtt_client *client;
  iotops_format format;
  size_t pending; /* sends under way */
} sender;

static const char *const sender_options[] = {"topic_pattern", "topic_namespace",
                                             "tokens", "serializer", NULL};

static const char *const send_options[] = {"expiry",      "qos",       "retain",
                                           "persist",     "user_data", "tokens",
                                           "cloud_event", NULL};

int new_sender(lua_State *L) {
  iotops_mqtt_client *client = check_client(L, 1);
  iotops_telemetry_sender_options options =
      IOTOPS_TELEMETRY_SENDER_OPTIONS_INIT;
  token_list tokens;
  iotops_error err;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  check_options(L, 2, sender_options);
  sender *made = lua_newuserdatauv(L, sizeof *made, 2);
  *made = (sender){.client = client};
  class_set(L, &sender_class);
  lua_getfield(L, 2, "serializer");
  made->format = check_serializer(L, -1);
  lua_setiuservalue(L, 3, 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, 2);
  options.topic_pattern = text_option(L, 2, "topic_pattern");
  options.topic_namespace = text_option(L, 2, "topic_namespace");
  tokens_option(L, 2, "tokens", &tokens);
  options.tokens = tokens.items;
  options.token_count = tokens.count;
  if (iotops_telemetry_sender_new(client, &options, &made->handle, &err) != 0)
    return push_failure(L, &err);
  lua_settop(L, 3);
  return 1;
}

static int sender_send(lua_State *L);

static int send_done(lua_State *L, int status, lua_KContext context) {
  sender *self = lua_touserdata(L, 1);
  (void)status;
  self->pending--;
  return wait_results(L, context_pointer(context));
}

/* There may be room in the queue: tries once more. */
static int send_again(lua_State *L, int status, lua_KContext context) {
  sender *self = lua_touserdata(L, 1);
  (void)status;
  self->pending--;
  wait_results(L, context_pointer(context));
  return sender_send(L);
}

/* send(value, options) */
static int sender_send(lua_State *L) {
  sender *self = luaL_checkudata(L, 1, class_name);
  iotops_telemetry_send_options options = IOTOPS_TELEMETRY_SEND_OPTIONS_INIT;
  token_list tokens;
  property_list user_data;
  iotops_cloud_event event;
  iotops_error err;
  lua_settop(L, 3);
  if (self->handle == NULL)
    return misuse(L, "the sender is closed");
  if (check_options(L, 3, send_options)) {
    options.message_expiry_us =
        seconds_option(L, 3, "expiry", options.message_expiry_us);
    lua_Integer qos = integer_option(L, 3, "qos", 1);
    options.qos = qos >= 0 && qos <= 2 ? (int)qos : -1;
    if (lua_getfield(L, 3, "retain") != LUA_TNIL)
      options.retain = boolean_option(L, 3, "retain", false);
    lua_pop(L, 1);
    options.persist = boolean_option(L, 3, "persist", false);
    properties_option(L, 3, "user_data", &user_data);
    options.user_data = user_data.items;
    options.user_data_count = user_data.count;
    tokens_option(L, 3, "tokens", &tokens);
    options.tokens = tokens.items;
    options.token_count = tokens.count;
    if (cloud_event_option(L, 3, "cloud_event", &event))
      options.cloud_event = &event;
  }
  trace_add(L, &options.user_data, &options.user_data_count);
  int serializer = 0;
  if (self->format == IOTOPS_FORMAT_CUSTOM) {
    lua_getiuservalue(L, 1, 1);
    serializer = lua_gettop(L);
  }
  if (write_payload(L, self->format, serializer, 2, &options.payload, &err) !=
      0)
    return push_failure(L, &err);
  wait *sent = wait_new(L, wait_push_true);
  if (iotops_telemetry_send(self->handle, &options, wait_done, sent, &err) ==
      0) {
    self->pending++;
    lua_settop(L, 3);
    return wait_yield(L, sent, send_done);
  }
  wait_drop(sent);
  if (!is_queue_full(&err))
    return push_failure(L, &err);
  self->pending++;
  lua_settop(L, 3);
  return wait_for_room(L, self->client, send_again);
}

/* Sends that are under way; the short forms evict none that has any. */
static int sender_pending(lua_State *L) {
  const sender *self = luaL_checkudata(L, 1, class_name);
  lua_pushinteger(L, (lua_Integer)self->pending);
  return 1;
}

static int sender_close(lua_State *L) {
  sender *self = luaL_checkudata(L, 1, class_name);
  iotops_telemetry_sender_free(self->handle);
  self->handle = NULL;
  return 0;
}

static const luaL_Reg methods[] = {{"send", sender_send},
                                   {"pending", sender_pending},
                                   {"close", sender_close},
                                   {NULL, NULL}};
static const luaL_Reg meta[] = {
    {"__gc", sender_close}, {"__close", sender_close}, {NULL, NULL}};
static const class_info sender_class = {class_name, methods, meta};
