/* invoker.c -- command invokers. */
#include "error.h"
#include "message_table.h"
#include "misuse.h"
#include "options.h"
#include "payload_value.h"
#include "session.h"
#include "trace.h"

static const char class_name[] = "iotops.invoker";
static const class_info invoker_class;

/* User values: 1 request serializer, 2 response serializer, 3 the session. */
typedef struct invoker {
  iotops_command_invoker *handle; /* NULL: closed */
  iotops_mqtt_client *client;
  iotops_format request_format, response_format;
  size_t pending;
  char command_name[IOTOPS_ERROR_NAME_SIZE]; /* cut when too long */
} invoker;

static const char *const invoker_options[] = {"command_name",
                                              "request_topic_pattern",
                                              "response_topic_pattern",
                                              "response_topic_prefix",
                                              "response_topic_suffix",
                                              "topic_namespace",
                                              "tokens",
                                              "serializer",
                                              "request_serializer",
                                              "response_serializer",
                                              NULL};

static const char *const invoke_options[] = {"timeout", "user_data", "tokens",
                                             "cloud_event", NULL};

static iotops_format keep_serializer(lua_State *L, const char *name, int slot) {
  if (lua_getfield(L, 2, name) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_getfield(L, 2, "serializer");
  }
  iotops_format format = check_serializer(L, -1);
  lua_setiuservalue(L, 3, slot);
  return format;
}

int new_invoker(lua_State *L) {
  iotops_mqtt_client *client = check_client(L, 1);
  iotops_command_invoker_options options = IOTOPS_COMMAND_INVOKER_OPTIONS_INIT;
  token_list tokens;
  iotops_error err;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  check_options(L, 2, invoker_options);
  invoker *made = lua_newuserdatauv(L, sizeof *made, 3);
  *made = (invoker){.client = client};
  class_set(L, &invoker_class);
  made->request_format = keep_serializer(L, "request_serializer", 1);
  made->response_format = keep_serializer(L, "response_serializer", 2);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, 3);
  options.command_name = text_option(L, 2, "command_name");
  iotops_error_name(made->command_name, options.command_name);
  options.request_topic_pattern = text_option(L, 2, "request_topic_pattern");
  options.response_topic_pattern = text_option(L, 2, "response_topic_pattern");
  options.response_topic_prefix = text_option(L, 2, "response_topic_prefix");
  options.response_topic_suffix = text_option(L, 2, "response_topic_suffix");
  options.topic_namespace = text_option(L, 2, "topic_namespace");
  tokens_option(L, 2, "tokens", &tokens);
  options.tokens = tokens.items;
  options.token_count = tokens.count;
  if (iotops_command_invoker_new(client, &options, &made->handle, &err) != 0)
    return push_failure(L, &err);
  lua_settop(L, 3);
  return 1;
}

/* A serializer failed: every error of an invoker names its command. */
static int push_serializer_failure(lua_State *L, const invoker *self,
                                   iotops_error *err) {
  iotops_error_name(err->command_name, iotops_text_of(self->command_name));
  return push_failure(L, err);
}

/* Pushes the value and the response; the invoker is below, at 1. */
static int push_result(lua_State *L, const wait *ended) {
  invoker *self = ended->user;
  self->pending--;
  if (ended->err != NULL)
    return push_failure(L, ended->err);
  const iotops_response *response = ended->view;
  iotops_error err;
  int serializer = 0;
  luaL_checkstack(L, 4, NULL);
  if (self->response_format == IOTOPS_FORMAT_CUSTOM) {
    push_anchored(L, self);
    lua_getiuservalue(L, -1, 2);
    serializer = lua_gettop(L);
  }
  if (read_payload(L, self->response_format, serializer, &response->payload,
                   &err) != 0)
    return push_serializer_failure(L, self, &err);
  if (lua_isnil(L, -1)) { /* a success that carried no value */
    lua_pop(L, 1);
    lua_pushlightuserdata(L, NULL);
  }
  push_response(L, response);
  return 2;
}

static void invoked(void *user, const iotops_response *response,
                    const iotops_error *err) {
  wait_complete(user, response, err);
}

static int invoke_done(lua_State *L, int status, lua_KContext context) {
  invoker *self = lua_touserdata(L, 1);
  (void)status;
  int count = wait_results(L, context_pointer(context));
  if (self->pending == 0)
    drop_anchor(L, self);
  return count;
}

/* invoke(value, options) */
static int invoker_invoke(lua_State *L) {
  invoker *self = luaL_checkudata(L, 1, class_name);
  iotops_invoke_options options = IOTOPS_INVOKE_OPTIONS_INIT;
  token_list tokens;
  property_list user_data;
  iotops_cloud_event event;
  iotops_error err;
  lua_settop(L, 3);
  if (self->handle == NULL)
    return misuse(L, "the invoker is closed");
  if (check_options(L, 3, invoke_options)) {
    options.timeout_us = seconds_option(L, 3, "timeout", options.timeout_us);
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
  if (self->request_format == IOTOPS_FORMAT_CUSTOM) {
    lua_getiuservalue(L, 1, 1);
    serializer = lua_gettop(L);
  }
  if (write_payload(L, self->request_format, serializer, 2, &options.payload,
                    &err) != 0)
    return push_serializer_failure(L, self, &err);
  wait *pending = wait_new(L, push_result);
  pending->user = self;
  if (iotops_command_invoke(self->handle, &options, invoked, pending, NULL,
                            &err) != 0) {
    wait_drop(pending);
    return push_failure(L, &err);
  }
  lua_settop(L, 1);
  if (self->pending++ == 0) {
    lua_pushvalue(L, 1);
    anchor(L, self);
  }
  return wait_yield(L, pending, invoke_done);
}

static int invoker_start(lua_State *L) {
  invoker *self = luaL_checkudata(L, 1, class_name);
  iotops_error err;
  if (self->handle == NULL)
    return misuse(L, "the invoker is closed");
  wait *started = wait_new(L, wait_push_true);
  if (iotops_command_invoker_start(self->handle, wait_done, started, &err) !=
      0) {
    wait_drop(started);
    return push_failure(L, &err);
  }
  return wait_yield(L, started, NULL);
}

static int invoker_stop(lua_State *L) {
  invoker *self = luaL_checkudata(L, 1, class_name);
  iotops_error err;
  if (self->handle == NULL) {
    lua_pushboolean(L, true);
    return 1;
  }
  wait *stopped = wait_new(L, wait_push_true);
  if (iotops_command_invoker_stop(self->handle, wait_done, stopped, &err) !=
      0) {
    wait_drop(stopped);
    return push_failure(L, &err);
  }
  return wait_yield(L, stopped, NULL);
}

/* Calls that are under way; the short forms evict none that has any. */
static int invoker_pending(lua_State *L) {
  const invoker *self = luaL_checkudata(L, 1, class_name);
  lua_pushinteger(L, (lua_Integer)self->pending);
  return 1;
}

static int invoker_close(lua_State *L) {
  invoker *self = luaL_checkudata(L, 1, class_name);
  iotops_command_invoker_free(self->handle);
  self->handle = NULL;
  return 0;
}

static const luaL_Reg methods[] = {
    {"invoke", invoker_invoke},   {"start", invoker_start},
    {"stop", invoker_stop},       {"close", invoker_close},
    {"pending", invoker_pending}, {NULL, NULL}};
static const luaL_Reg meta[] = {
    {"__gc", invoker_close}, {"__close", invoker_close}, {NULL, NULL}};
static const class_info invoker_class = {class_name, methods, meta};
