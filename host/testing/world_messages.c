/* world_messages.c -- what the module `iotops.world` does with the broker. */
#include <lauxlib.h>
#include <string.h>

#include "testing/recording.h"
#include "testing/world_lua.h"

/* The fields of the table at `table`; the texts live as long as it does. */
static void read_message(lua_State *L, int table, iotops_message *message) {
  const struct {
    const char *name;
    iotops_text *text;
  } texts[] = {{"topic", &message->topic},
               {"raw", &message->payload},
               {"content_type", &message->content_type},
               {"response_topic", &message->response_topic},
               {"correlation_data", &message->correlation_data}};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    if (lua_getfield(L, table, texts[i].name) != LUA_TNIL)
      *texts[i].text = world_text(L, -1);
    lua_pop(L, 1);
  }
  message->qos = 1;
  if (lua_getfield(L, table, "qos") != LUA_TNIL)
    message->qos = luaL_checkinteger(L, -1) != 0;
  if (lua_getfield(L, table, "format_indicator") != LUA_TNIL)
    message->format_indicator = (int)luaL_checkinteger(L, -1);
  if (lua_getfield(L, table, "message_expiry") != LUA_TNIL) {
    message->has_expiry = true;
    message->expiry_s = (uint32_t)luaL_checkinteger(L, -1);
  }
  lua_getfield(L, table, "retain");
  message->retain = lua_toboolean(L, -1);
  lua_pop(L, 4);
}

/* Reads a list of {name, value}; leaves the array on the stack. */
static void read_properties(lua_State *L, int table, iotops_message *message) {
  if (lua_getfield(L, table, "user_data") != LUA_TTABLE) {
    lua_pop(L, 1);
    return;
  }
  size_t count = lua_rawlen(L, -1);
  iotops_user_property *list =
      lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, -2, (lua_Integer)i + 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_rawgeti(L, -1, 1);
    list[i].name = world_text(L, -1);
    lua_rawgeti(L, -2, 2);
    list[i].value = world_text(L, -1);
    lua_pop(L, 3);
  }
  message->user_properties = list;
  message->user_property_count = count;
}

/* publish(client_id, message) */
int world_publish(lua_State *L) {
  world *self = world_check(L);
  iotops_mqtt_client *client =
      memory_broker_client(self->broker, luaL_checkstring(L, 2));
  iotops_message message = IOTOPS_MESSAGE_INIT;
  iotops_error err;
  luaL_checktype(L, 3, LUA_TTABLE);
  read_message(L, 3, &message);
  read_properties(L, 3, &message);
  if (client == NULL)
    return luaL_error(L, "out of memory");
  if (iotops_mqtt_publish(client, &message, NULL, NULL, NULL, &err) != 0)
    return world_raise(L, &err);
  return 0;
}

static void push_publish(lua_State *L, const memory_publish *publish) {
  recording_push_message(L, publish->message);
  world_set_text(L, "from", iotops_text_of(publish->from));
  lua_pushnumber(L, (lua_Number)publish->wall_ms / 1000);
  lua_setfield(L, -2, "time");
}

/* message(n): the n-th that was published, from 1, or nil */
int world_message(lua_State *L) {
  world *self = world_check(L);
  lua_Integer n = luaL_checkinteger(L, 2);
  const memory_publish *publish =
      n > 0 ? memory_broker_nth(self->broker, (size_t)n - 1) : NULL;
  if (publish == NULL)
    return 0;
  push_publish(L, publish);
  return 1;
}

/*
** find(n, filter, but): the number of the first message from the n-th on whose
** topic matches and which the client `but` has not sent; nil: there is none
*/
int world_find(lua_State *L) {
  world *self = world_check(L);
  lua_Integer n = luaL_checkinteger(L, 2);
  iotops_text filter = world_text(L, 3);
  const char *but = luaL_checkstring(L, 4);
  const memory_publish *publish = NULL;
  luaL_argcheck(L, n > 0, 2, "a number from 1 expected");
  for (; (publish = memory_broker_nth(self->broker, (size_t)n - 1)) != NULL;
       n++)
    if (iotops_topic_filter_matches(filter, publish->message->topic) &&
        strcmp(publish->from, but) != 0) {
      lua_pushinteger(L, n);
      return 1;
    }
  return 0;
}

int world_message_count(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)memory_broker_count(world_check(L)->broker));
  return 1;
}

/* delivery(n): to how many clients it went, how many of them acknowledged it,
** and the reason code that the sender was told */
int world_delivery(lua_State *L) {
  world *self = world_check(L);
  const memory_publish *publish =
      memory_broker_nth(self->broker, (size_t)luaL_checkinteger(L, 2) - 1);
  luaL_argcheck(L, publish != NULL, 2, "no such message");
  lua_pushinteger(L, (lua_Integer)publish->deliveries);
  lua_pushinteger(L, (lua_Integer)publish->acknowledged);
  lua_pushinteger(L, publish->reason_code);
  return 3;
}

/* subscriptions(): a list of {client, filter, qos} */
int world_subscriptions(lua_State *L) {
  world *self = world_check(L);
  const char *client = NULL, *filter = NULL;
  uint8_t qos = 0;
  lua_newtable(L);
  for (size_t n = 0;
       memory_broker_subscription(self->broker, n, &client, &filter, &qos);
       n++) {
    lua_createtable(L, 0, 3);
    world_set_text(L, "client", iotops_text_of(client));
    world_set_text(L, "filter", iotops_text_of(filter));
    world_set_integer(L, "qos", qos);
    lua_rawseti(L, -2, (lua_Integer)n + 1);
  }
  return 1;
}

/* connect(client_id, whether) */
int world_connect(lua_State *L) {
  world *self = world_check(L);
  memory_broker_connect(world_check_host(L, self, 2)->client,
                        lua_toboolean(L, 3));
  return 0;
}

/* refuse(filter, reason_code) */
int world_refuse(lua_State *L) {
  world *self = world_check(L);
  lua_Integer reason = luaL_checkinteger(L, 3);
  luaL_argcheck(L, reason == 0 || (reason >= 0x80 && reason <= 0xff), 3,
                "a reason code of MQTT from 0x80, or 0, expected");
  if (memory_broker_refuse(self->broker, world_text(L, 2), (uint8_t)reason) !=
      0)
    return luaL_error(L, "out of memory");
  return 0;
}
