#include "endpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "misuse.h"
#include "payload_value.h"
#include "session.h"

const char endpoint_class[] = "iotops.endpoint";
static const class_info endpoint_info;

/* -------------------------------------------------------------- envoys -- */

int envoy_start(envoy *started, iotops_envoy_done done, void *user,
                iotops_error *err) {
  return started->receiver != NULL
             ? iotops_telemetry_receiver_start(started->receiver, done, user,
                                               err)
             : iotops_command_executor_start(started->executor, done, user,
                                             err);
}

int envoy_stop(envoy *stopped, iotops_envoy_done done, void *user,
               iotops_error *err) {
  stopped->stopping = true;
  return stopped->receiver != NULL
             ? iotops_telemetry_receiver_stop(stopped->receiver, done, user,
                                              err)
             : iotops_command_executor_stop(stopped->executor, done, user, err);
}

void envoy_free(envoy *dead) {
  if (dead == NULL)
    return;
  iotops_telemetry_receiver_free(dead->receiver);
  iotops_command_executor_free(dead->executor);
  iotops_free(dead->context, dead);
}

static int make_envoy(lua_State *L, int options, bool is_executor,
                      iotops_mqtt_client *client, envoy *made,
                      iotops_error *err) {
  return is_executor ? executor_make(L, options, client, made, err)
                     : receiver_make(L, options, client, made, err);
}

/* ------------------------------------------------------------ identity -- */

static char *copy_text(lua_State *L, const iotops_lua *state,
                       const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = iotops_resize(state->context, NULL, size);
  if (copy != NULL)
    return memcpy(copy, text, size);
  luaL_error(L, "out of memory");
  return NULL;
}

/*
** Pushes the table at the top, popped, as text with its fields in order.
** Functions and serializers are not part of it: they may change.
*/
static void describe_table(lua_State *L) {
  int table = lua_gettop(L);
  luaL_checkstack(L, 8, NULL);
  lua_newtable(L);
  lua_Integer count = 0;
  lua_pushnil(L);
  while (lua_next(L, table) != 0) {
    if (lua_istable(L, -1) &&
        strcmp(luaL_tolstring(L, -2, NULL), "tokens") == 0) {
      lua_pop(L, 1);
      describe_table(L);
    } else if (lua_istable(L, -1) || lua_isfunction(L, -1)) {
      lua_settop(L, table + 2);
      continue;
    }
    lua_settop(L, table + 3);
    lua_pushvalue(L, -2);
    luaL_tolstring(L, -1, NULL);
    luaL_tolstring(L, table + 3, NULL);
    lua_pushfstring(L, "%s=%s", lua_tostring(L, -2), lua_tostring(L, -1));
    lua_rawseti(L, table + 1, ++count);
    lua_settop(L, table + 2);
  }
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "table");
  lua_getfield(L, -1, "sort");
  lua_pushvalue(L, table + 1);
  lua_call(L, 1, 0);
  lua_getfield(L, -1, "concat");
  lua_pushvalue(L, table + 1);
  lua_pushliteral(L, "\n");
  lua_call(L, 2, 1);
  lua_replace(L, table);
  lua_settop(L, table);
}

/* Checks the options by making an envoy that goes nowhere. */
static int examine(lua_State *L, iotops_lua_endpoint *endpoint, int options,
                   iotops_error *err) {
  dry_client dry;
  envoy tried = {.context = endpoint->state->context};
  dry_client_init(&dry, endpoint->client);
  if (make_envoy(L, options, endpoint->is_executor, &dry.base, &tried, err) !=
      0)
    return -1;
  envoy_start(&tried, NULL, NULL, err); /* refused; the filter is known */
  iotops_telemetry_receiver_free(tried.receiver);
  iotops_command_executor_free(tried.executor);
  endpoint->filter = dry.filter;
  return endpoint->filter != NULL ? 0 : -1;
}

/* --------------------------------------------------------- constructor -- */

static iotops_format keep_serializer(lua_State *L, const char *name, int slot) {
  if (lua_getfield(L, 2, name) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_getfield(L, 2, "serializer");
  }
  iotops_format format = check_serializer(L, -1);
  lua_setiuservalue(L, 3, slot);
  return format;
}

static int new_endpoint(lua_State *L, bool is_executor) {
  iotops_lua *state = state_of(L);
  iotops_mqtt_client *client = check_client(L, 1);
  iotops_error err;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  iotops_lua_endpoint *made =
      lua_newuserdatauv(L, sizeof *made, ENDPOINT_VALUES);
  *made = (iotops_lua_endpoint){
      .state = state, .client = client, .is_executor = is_executor};
  class_set(L, &endpoint_info);
  if (lua_getfield(L, 2, "handler") != LUA_TFUNCTION)
    return misuse(L, "option 'handler': a function expected, got %s",
                  luaL_typename(L, -1));
  lua_setiuservalue(L, 3, ENDPOINT_HANDLER);
  made->request_format =
      keep_serializer(L, "request_serializer", ENDPOINT_REQUEST_SERIALIZER);
  made->response_format =
      keep_serializer(L, "response_serializer", ENDPOINT_RESPONSE_SERIALIZER);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, ENDPOINT_SESSION);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 3, ENDPOINT_OPTIONS);
  if (examine(L, made, 2, &err) != 0)
    return push_failure(L, &err);
  lua_pushvalue(L, 2);
  describe_table(L);
  lua_pushfstring(L, "%s\n%s", is_executor ? "command" : "telemetry",
                  lua_tostring(L, -1));
  made->identity = copy_text(L, state, lua_tostring(L, -1));
  lua_settop(L, 3);
  return 1;
}

int new_receiver(lua_State *L) {
  return new_endpoint(L, false);
}

int new_executor(lua_State *L) {
  return new_endpoint(L, true);
}

/* ---------------------------------------------------------------- open -- */

typedef struct opening {
  iotops_lua_endpoint *endpoint;
  envoy *envoy;
  iotops_error *err;
  int result;
} opening;

/* Runs protected: reading the options may raise. */
static int open_protected(lua_State *L) {
  opening *open = lua_touserdata(L, 1);
  lua_settop(L, 0);
  push_anchored(L, open->endpoint);
  lua_getiuservalue(L, 1, ENDPOINT_OPTIONS);
  open->result = make_envoy(L, 2, open->endpoint->is_executor,
                            open->endpoint->client, open->envoy, open->err);
  return 0;
}

int iotops_lua_endpoint_open(iotops_lua_endpoint *endpoint,
                             iotops_envoy_done done, void *user,
                             iotops_error *err) {
  iotops_lua *state = endpoint->state;
  if (endpoint->closed)
    return iotops_error_set(err, IOTOPS_CANCELLATION,
                            "the endpoint was closed");
  if (endpoint->envoy != NULL)
    return envoy_start(endpoint->envoy, done, user, err);
  envoy *made = iotops_zalloc(state->context, sizeof *made);
  if (made == NULL)
    return iotops_error_memory(err);
  made->context = state->context;
  made->endpoint = endpoint;
  opening open = {.endpoint = endpoint, .envoy = made, .err = err};
  lua_State *L = state->running;
  if (!lua_checkstack(L, 4)) {
    iotops_error_memory(err);
    goto failed;
  }
  lua_pushcfunction(L, open_protected);
  lua_pushlightuserdata(L, &open);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    const char *why = lua_tostring(L, -1);
    iotops_error_set(err, IOTOPS_INVALID_STATE, "%s",
                     why != NULL ? why : "out of memory");
    lua_pop(L, 1);
    goto failed;
  }
  if (open.result != 0 || envoy_start(made, done, user, err) != 0)
    goto failed;
  endpoint->envoy = made;
  return 0;
failed:
  envoy_free(made);
  return -1;
}

void iotops_lua_endpoint_adopt(iotops_lua_endpoint *to,
                               iotops_lua_endpoint *from) {
  to->envoy = from->envoy;
  from->envoy = NULL;
  from->closed = true;
  from->passed_on = true;
  if (to->envoy != NULL)
    to->envoy->endpoint = to;
}

void iotops_lua_endpoint_succeed(iotops_lua_endpoint *to,
                                 iotops_lua_endpoint *from) {
  if (to->envoy != NULL && to->envoy->executor != NULL && from->envoy != NULL &&
      from->envoy->executor != NULL && strcmp(to->filter, from->filter) == 0 &&
      iotops_command_executor_succeed(to->envoy->executor,
                                      from->envoy->executor))
    from->passed_on = true;
}

/* --------------------------------------------------------------- pause -- */

void iotops_lua_endpoint_pause(iotops_lua_endpoint *endpoint, bool paused) {
  envoy *held = endpoint->envoy;
  if (held == NULL)
    return;
  if (held->receiver != NULL)
    iotops_telemetry_receiver_pause(held->receiver, paused);
  else
    iotops_command_executor_pause(held->executor, paused);
}

iotops_message *iotops_lua_endpoint_take(iotops_lua_endpoint *endpoint,
                                         iotops_ack *ack) {
  const envoy *held = endpoint->envoy;
  return held != NULL && held->receiver != NULL
             ? iotops_telemetry_receiver_take(held->receiver, ack)
             : NULL;
}

/* --------------------------------------------------------------- close -- */

static void close_done(void *user, const iotops_error *err) {
  (void)user;
  (void)err;
}

void iotops_lua_endpoint_close(iotops_lua_endpoint *endpoint) {
  iotops_error err;
  endpoint->closed = true;
  if (endpoint->envoy == NULL || endpoint->envoy->stopping)
    return;
  if (envoy_stop(endpoint->envoy, close_done, NULL, &err) != 0)
    iotops_log(endpoint->state->context, IOTOPS_LOG_WARN, "script",
               "cannot unsubscribe from %s: %s", endpoint->filter, err.message);
}

const char *iotops_lua_endpoint_identity(const iotops_lua_endpoint *endpoint) {
  return endpoint->identity;
}

bool iotops_lua_endpoint_is_command(const iotops_lua_endpoint *endpoint) {
  return endpoint->is_executor;
}

const char *iotops_lua_endpoint_filter(const iotops_lua_endpoint *endpoint) {
  return endpoint->filter;
}

bool iotops_lua_endpoint_is_executor(const iotops_lua_endpoint *endpoint) {
  return endpoint->is_executor;
}

void iotops_lua_endpoint_push_options(lua_State *L,
                                      const iotops_lua_endpoint *endpoint) {
  luaL_checkstack(L, 2, NULL);
  push_anchored(L, endpoint);
  lua_getiuservalue(L, -1, ENDPOINT_OPTIONS);
  lua_remove(L, -2);
}

/* ------------------------------------------------------------- methods -- */

static iotops_lua_endpoint *check_endpoint(lua_State *L) {
  return luaL_checkudata(L, 1, endpoint_class);
}

/* Hands it to the embedder; false when the script opens it by itself. */
static bool declare(lua_State *L, iotops_lua_endpoint *endpoint, int *result) {
  iotops_lua *state = endpoint->state;
  iotops_error err;
  lua_pushvalue(L, 1);
  anchor(L, endpoint);
  if (!state->registering || endpoint->client != state->embedder.client ||
      state->embedder.declare == NULL)
    return false;
  if (!endpoint->declared &&
      state->embedder.declare(state->embedder.user, endpoint, &err) != 0) {
    *result = push_failure(L, &err);
    return true;
  }
  endpoint->declared = true;
  lua_pushboolean(L, true);
  *result = 1;
  return true;
}

static int endpoint_start(lua_State *L) {
  iotops_lua_endpoint *endpoint = check_endpoint(L);
  iotops_error err;
  int result;
  if (declare(L, endpoint, &result))
    return result;
  wait *started = wait_new(L, wait_push_true);
  if (iotops_lua_endpoint_open(endpoint, wait_done, started, &err) != 0) {
    wait_drop(started);
    return push_failure(L, &err);
  }
  return wait_yield(L, started, NULL);
}

typedef struct beginning {
  iotops_context *context;
  char filter[256];
} beginning;

static void begun(void *user, const iotops_error *err) {
  beginning *done = user;
  if (err != NULL)
    iotops_log(done->context, IOTOPS_LOG_ERROR, "script",
               "cannot subscribe to %s: %s", done->filter, err->message);
  iotops_free(done->context, done);
}

/* Like start, but waits for nothing; a refusal is logged. */
static int endpoint_begin(lua_State *L) {
  iotops_lua_endpoint *endpoint = check_endpoint(L);
  iotops_error err;
  int result;
  if (declare(L, endpoint, &result))
    return result;
  beginning *done = iotops_zalloc(endpoint->state->context, sizeof *done);
  if (done == NULL)
    return luaL_error(L, "out of memory");
  done->context = endpoint->state->context;
  snprintf(done->filter, sizeof done->filter, "%s", endpoint->filter);
  if (iotops_lua_endpoint_open(endpoint, begun, done, &err) != 0) {
    iotops_free(done->context, done);
    return push_failure(L, &err);
  }
  lua_pushboolean(L, true);
  return 1;
}

/* Stopped for good: nothing calls the handler any more. */
static int stop_done(lua_State *L, int status, lua_KContext context) {
  const iotops_lua_endpoint *endpoint = lua_touserdata(L, 1);
  (void)status;
  int count = wait_results(L, context_pointer(context));
  const envoy *stopped = endpoint->envoy;
  bool waiting = stopped != NULL && stopped->receiver != NULL &&
                 iotops_telemetry_receiver_waiting(stopped->receiver) > 0;
  if (lua_toboolean(L, -count) && !endpoint->declared && !waiting)
    drop_anchor(L, endpoint);
  return count;
}

static int endpoint_stop(lua_State *L) {
  iotops_lua_endpoint *endpoint = check_endpoint(L);
  iotops_error err;
  if (endpoint->envoy == NULL) {
    lua_pushboolean(L, true);
    return 1;
  }
  wait *stopped = wait_new(L, wait_push_true);
  if (envoy_stop(endpoint->envoy, wait_done, stopped, &err) != 0) {
    wait_drop(stopped);
    return push_failure(L, &err);
  }
  return wait_yield(L, stopped, stop_done);
}

static int endpoint_gc(lua_State *L) {
  iotops_lua_endpoint *endpoint = lua_touserdata(L, 1);
  iotops_context *context = endpoint->state->context;
  /* Nobody else's handler will have what waits; its callers learn of it. */
  if (endpoint->envoy != NULL && endpoint->envoy->executor != NULL &&
      iotops_mqtt_is_connected(endpoint->client))
    iotops_command_executor_fail_waiting(endpoint->envoy->executor,
                                         "the command is not served any more");
  if (endpoint->envoy != NULL)
    envoy_free(endpoint->envoy);
  endpoint->envoy = NULL;
  iotops_free(context, endpoint->identity);
  iotops_free(context, endpoint->filter);
  endpoint->identity = endpoint->filter = NULL;
  return 0;
}

static int endpoint_tostring(lua_State *L) {
  const iotops_lua_endpoint *endpoint = check_endpoint(L);
  lua_pushfstring(L, "%s (%s)",
                  endpoint->is_executor ? "command executor"
                                        : "telemetry receiver",
                  endpoint->filter != NULL ? endpoint->filter : "closed");
  return 1;
}

static const luaL_Reg methods[] = {{"start", endpoint_start},
                                   {"begin", endpoint_begin},
                                   {"stop", endpoint_stop},
                                   {NULL, NULL}};
static const luaL_Reg meta[] = {
    {"__gc", endpoint_gc}, {"__tostring", endpoint_tostring}, {NULL, NULL}};
static const class_info endpoint_info = {endpoint_class, methods, meta};
