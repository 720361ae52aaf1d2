/* message.c -- received messages as tables, and acknowledgement by hand. */
#include <string.h>

#include "error.h"
#include "hold.h"
#include "message_table.h"
#include "misuse.h"
#include "options.h"

static const char telemetry_class[] = "iotops.message";
static const class_info telemetry_info;
static const char request_class[] = "iotops.request";
static const class_info request_info;
static const char response_class[] = "iotops.response";
static const class_info response_info;
static const char user_data_class[] = "iotops.user_data";
static const class_info user_data_info;

/* ------------------------------------------------------------- tables -- */

static void set_text(lua_State *L, const char *name, iotops_text text) {
  if (text.data == NULL)
    return;
  lua_pushlstring(L, text.data, text.size);
  lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static void set_boolean(lua_State *L, const char *name, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, name);
}

static void set_tokens(lua_State *L, const iotops_token *tokens, size_t count) {
  lua_createtable(L, 0, (int)count);
  for (size_t i = 0; i < count; i++) {
    lua_pushlstring(L, tokens[i].name.data, tokens[i].name.size);
    lua_pushlstring(L, tokens[i].value.data, tokens[i].value.size);
    lua_rawset(L, -3);
  }
  lua_setfield(L, -2, "tokens");
}

static void set_user_data(lua_State *L, const iotops_user_property *pairs,
                          size_t count) {
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_createtable(L, 2, 0);
    lua_pushlstring(L, pairs[i].name.data, pairs[i].name.size);
    lua_rawseti(L, -2, 1);
    lua_pushlstring(L, pairs[i].value.data, pairs[i].value.size);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  class_set(L, &user_data_info);
  lua_setfield(L, -2, "user_data");
}

static void set_timestamp(lua_State *L, const iotops_hlc *timestamp) {
  char text[IOTOPS_HLC_TEXT_SIZE];
  if (timestamp == NULL)
    return;
  size_t size = iotops_hlc_format(timestamp, text);
  set_text(L, "timestamp", (iotops_text){text, size});
}

static void set_correlation(lua_State *L, const uint8_t *id) {
  char text[37];
  iotops_uuid_text(id, text);
  lua_pushlstring(L, text, 36);
  lua_setfield(L, -2, "correlation_id");
}

void push_telemetry(lua_State *L, const iotops_telemetry *telemetry) {
  luaL_checkstack(L, 8, NULL);
  lua_createtable(L, 0, 12);
  set_text(L, "topic", telemetry->topic);
  set_tokens(L, telemetry->tokens, telemetry->token_count);
  set_user_data(L, telemetry->user_data, telemetry->user_data_count);
  set_text(L, "content_type", telemetry->payload.content_type);
  set_integer(L, "format_indicator", telemetry->payload.format_indicator);
  set_text(L, "sender_id", telemetry->sender_id);
  set_timestamp(L, telemetry->timestamp);
  set_integer(L, "qos", telemetry->qos);
  set_boolean(L, "retain", telemetry->retain);
  set_boolean(L, "dup", telemetry->dup);
  if (telemetry->packet_id != 0)
    set_integer(L, "packet_id", telemetry->packet_id);
  class_set(L, &telemetry_info);
}

void push_request(lua_State *L, const iotops_request_view *view) {
  luaL_checkstack(L, 8, NULL);
  lua_createtable(L, 0, 13);
  set_text(L, "topic", view->topic);
  set_tokens(L, view->tokens, view->token_count);
  set_user_data(L, view->user_data, view->user_data_count);
  set_text(L, "content_type", view->payload.content_type);
  set_integer(L, "format_indicator", view->payload.format_indicator);
  set_text(L, "invoker_id", view->invoker_id);
  set_text(L, "response_topic", view->response_topic);
  set_text(L, "timestamp_text", view->timestamp_text);
  set_timestamp(L, view->timestamp);
  if (view->correlation_id != NULL)
    set_correlation(L, view->correlation_id);
  if (view->packet_id != 0)
    set_integer(L, "packet_id", view->packet_id);
  class_set(L, &request_info);
}

void push_response(lua_State *L, const iotops_response *response) {
  luaL_checkstack(L, 8, NULL);
  lua_createtable(L, 0, 9);
  set_integer(L, "status", response->status);
  set_tokens(L, response->tokens, response->token_count);
  set_user_data(L, response->user_data, response->user_data_count);
  set_text(L, "content_type", response->payload.content_type);
  set_integer(L, "format_indicator", response->payload.format_indicator);
  set_text(L, "executor_id", response->executor_id);
  set_timestamp(L, response->timestamp);
  if (response->correlation_id != NULL)
    set_correlation(L, response->correlation_id);
  class_set(L, &response_info);
}

/* user_data.name: the value of the last pair of that name. */
static int user_data_index(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING)
    return 0;
  for (lua_Integer i = (lua_Integer)lua_rawlen(L, 1); i >= 1; i--) {
    if (lua_rawgeti(L, 1, i) == LUA_TTABLE) {
      lua_rawgeti(L, -1, 1);
      if (lua_rawequal(L, -1, 2)) {
        lua_rawgeti(L, -2, 2);
        return 1;
      }
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  return 0;
}

/* ------------------------------------------------------------ methods -- */

static int message_cloud_event(lua_State *L) {
  property_list pairs;
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  iotops_error err;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  properties_option(L, 1, "user_data", &pairs);
  if (iotops_cloud_event_from(pairs.items, pairs.count,
                              text_option(L, 1, "content_type"), &event,
                              &err) != 0)
    return push_failure(L, &err);
  lua_createtable(L, 0, 8);
  set_text(L, "source", event.source);
  set_text(L, "type", event.type);
  set_text(L, "spec_version", event.spec_version);
  set_text(L, "id", event.id);
  set_text(L, "time", event.time);
  set_text(L, "subject", event.subject);
  set_text(L, "data_schema", event.data_schema);
  set_text(L, "data_content_type", event.data_content_type);
  return 1;
}

static int response_application_error(lua_State *L) {
  property_list pairs;
  iotops_text code, payload;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  properties_option(L, 1, "user_data", &pairs);
  if (!iotops_application_error(pairs.items, pairs.count, &code, &payload))
    return 0;
  lua_pushlstring(L, code.data, code.size);
  if (payload.data == NULL)
    return 1;
  lua_pushlstring(L, payload.data, payload.size);
  return 2;
}

call *own_call(lua_State *L) {
  call *running = state_of(L)->running_call;
  luaL_checktype(L, 1, LUA_TTABLE);
  return running != NULL && running->object == lua_topointer(L, 1) ? running
                                                                   : NULL;
}

static int request_is_cancelled(lua_State *L) {
  const call *own = own_call(L);
  lua_pushboolean(L, own == NULL || own->subject == NULL ||
                         iotops_request_is_cancelled(own->subject));
  return 1;
}

/* ------------------------------------------------------------- module -- */

static const luaL_Reg telemetry_methods[] = {
    {"hold", message_hold}, {"cloud_event", message_cloud_event}, {NULL, NULL}};
static const class_info telemetry_info = {telemetry_class, telemetry_methods,
                                          NULL};

static const luaL_Reg request_methods[] = {
    {"is_cancelled", request_is_cancelled},
    {"respond", request_respond},
    {"drop", request_drop},
    {"cloud_event", message_cloud_event},
    {NULL, NULL}};
static const class_info request_info = {request_class, request_methods, NULL};

static const luaL_Reg response_methods[] = {
    {"application_error", response_application_error},
    {"cloud_event", message_cloud_event},
    {NULL, NULL}};
static const class_info response_info = {response_class, response_methods,
                                         NULL};

static const luaL_Reg user_data_meta[] = {{"__index", user_data_index},
                                          {NULL, NULL}};
static const class_info user_data_info = {user_data_class, NULL,
                                          user_data_meta};
