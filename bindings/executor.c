/* executor.c -- requests, from the core's executor to the handler and back. */
#include <string.h>

#include "endpoint.h"
#include "error.h"
#include "message_table.h"
#include "payload_value.h"
#include "trace.h"

enum { MOST_REQUESTS = 1000 }; /* at a time, unless the script says */

static const char *const executor_options[] = {"command_name",
                                               "request_topic_pattern",
                                               "topic_namespace",
                                               "tokens",
                                               "service_group_id",
                                               "serializer",
                                               "request_serializer",
                                               "response_serializer",
                                               "execution_timeout",
                                               "concurrency",
                                               "is_idempotent",
                                               "cacheable_duration",
                                               "raw_timestamp",
                                               "handler",
                                               NULL};

int executor_make(lua_State *L, int index, iotops_mqtt_client *client,
                  envoy *made, iotops_error *err) {
  iotops_command_executor_options options =
      IOTOPS_COMMAND_EXECUTOR_OPTIONS_INIT;
  token_list tokens;
  int top = lua_gettop(L);
  check_options(L, index, executor_options);
  options.command_name = text_option(L, index, "command_name");
  options.request_topic_pattern =
      text_option(L, index, "request_topic_pattern");
  options.topic_namespace = text_option(L, index, "topic_namespace");
  options.service_group_id = text_option(L, index, "service_group_id");
  options.execution_timeout_us = seconds_option(L, index, "execution_timeout",
                                                options.execution_timeout_us);
  options.raw_timestamp = boolean_option(L, index, "raw_timestamp", false);
  options.is_idempotent = boolean_option(L, index, "is_idempotent", false);
  options.cacheable_duration_us =
      seconds_option(L, index, "cacheable_duration", 0);
  lua_Integer concurrency =
      integer_option(L, index, "concurrency", MOST_REQUESTS);
  if (concurrency < 1 || concurrency > UINT32_MAX)
    return iotops_error_configuration(err, "execution_concurrency",
                                      (iotops_text){0},
                                      "concurrency must be at least 1");
  options.concurrency = (uint32_t)concurrency;
  tokens_option(L, index, "tokens", &tokens);
  options.tokens = tokens.items;
  options.token_count = tokens.count;
  /* Only where another generation may take a request over. */
  options.keeps_requests = options.is_idempotent && state_of(L)->embedded;
  options.handler = request_arrived;
  options.user = made;
  int result =
      iotops_command_executor_new(client, &options, &made->executor, err);
  lua_settop(L, top);
  return result;
}

/* ------------------------------------------------------------ response -- */

typedef struct answer {
  iotops_respond_options options;
  iotops_cloud_event event;
  property_list user_data;
} answer;

static const char *const answer_options[] = {"user_data", "application_error",
                                             "cloud_event", "timestamp", NULL};

/* Adds AppErrCode and AppErrPayload to the user data; protocol.md 12. */
static void add_application_error(lua_State *L, int index, answer *to) {
  static const char *const names[] = {"code", "payload", NULL};
  lua_getfield(L, index, "application_error");
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return;
  }
  luaL_checktype(L, -1, LUA_TTABLE);
  int given = lua_gettop(L);
  check_options(L, given, names);
  iotops_text code = text_option(L, given, "code");
  iotops_text payload = text_option(L, given, "payload");
  size_t count = to->options.user_data_count, added = 0;
  iotops_error err;
  iotops_user_property *all =
      lua_newuserdatauv(L, (count + 2) * sizeof *all, 0);
  if (count > 0)
    memcpy(all, to->options.user_data, count * sizeof *all);
  if (iotops_application_error_pairs(code, payload, &all[count], &added,
                                     &err) != 0)
    raise_error(L, &err);
  to->options.user_data = all;
  to->options.user_data_count = count + added;
}

static void fail(call *failed, const iotops_error *err) {
  iotops_request *request = failed->subject;
  failed->subject = NULL;
  iotops_request_fail(request, err);
}

static int respond(lua_State *L, call *answering, int value, int extras) {
  const iotops_lua_endpoint *endpoint = answering->user;
  answer to = {.options = IOTOPS_RESPOND_OPTIONS_INIT};
  iotops_error err;
  if (check_options(L, extras, answer_options)) {
    properties_option(L, extras, "user_data", &to.user_data);
    to.options.user_data = to.user_data.items;
    to.options.user_data_count = to.user_data.count;
    if (cloud_event_option(L, extras, "cloud_event", &to.event))
      to.options.cloud_event = &to.event;
    to.options.timestamp = text_option(L, extras, "timestamp");
    add_application_error(L, extras, &to);
  }
  trace_add(L, &to.options.user_data, &to.options.user_data_count);
  int serializer = 0;
  if (endpoint->response_format == IOTOPS_FORMAT_CUSTOM) {
    push_anchored(L, endpoint);
    lua_getiuservalue(L, -1, ENDPOINT_RESPONSE_SERIALIZER);
    serializer = lua_gettop(L);
  }
  if (write_payload(L, endpoint->response_format, serializer, value,
                    &to.options.payload, &err) == 0 &&
      iotops_request_respond(answering->subject, &to.options, &err) == 0) {
    answering->subject = NULL;
    return 0;
  }
  call_log(answering, IOTOPS_LOG_ERROR,
           "the response of the command handler cannot be sent: %s",
           err.message);
  fail(answering, &err);
  return 0;
}

static bool is_options(lua_State *L, int index) {
  return lua_istable(L, index) && !is_error(L, index);
}

/* Stack: 1 the endpoint, then what the handler returned. */
static int executed(lua_State *L, int status, lua_KContext context) {
  call *answering = context_pointer(context);
  const iotops_lua_endpoint *endpoint = answering->user;
  (void)status;
  lua_settop(L, 3);
  if (answering->subject == NULL)
    return 0;
  if (lua_isnil(L, 2) && !lua_isnil(L, 3) && !is_options(L, 3))
    return lua_error(L); /* nil, err: as if it had been raised */
  if (lua_isnil(L, 2) && (endpoint->response_format == IOTOPS_FORMAT_JSON ||
                          endpoint->response_format == IOTOPS_FORMAT_RAW))
    return luaL_error(L, "the handler returned nothing; return iotops.null "
                         "for a null, or use iotops.empty");
  return respond(L, answering, 2, 3);
}

int request_respond(lua_State *L) {
  call *own = own_call(L);
  lua_settop(L, 3);
  if (own == NULL || own->subject == NULL ||
      own->info.kind != IOTOPS_CALL_COMMAND)
    return luaL_error(L, "a request is answered once, within its own handler");
  return respond(L, own, 2, 3);
}

int request_drop(lua_State *L) {
  call *own = own_call(L);
  if (own == NULL || own->subject == NULL ||
      own->info.kind != IOTOPS_CALL_COMMAND)
    return luaL_error(L, "a request is dropped within its own handler only");
  iotops_request *request = own->subject;
  own->subject = NULL;
  iotops_request_drop(request);
  return 0;
}

static int request_body(lua_State *L) {
  call *begun = lua_touserdata(L, 1);
  const iotops_request_view *view = begun->view;
  iotops_lua_endpoint *endpoint = begun->user;
  iotops_error err;
  lua_settop(L, 0);
  push_anchored(L, endpoint);
  lua_getiuservalue(L, 1, ENDPOINT_HANDLER);
  int serializer = 0;
  if (endpoint->request_format == IOTOPS_FORMAT_CUSTOM) {
    lua_getiuservalue(L, 1, ENDPOINT_REQUEST_SERIALIZER);
    serializer = 3;
  }
  if (read_payload(L, endpoint->request_format, serializer, &view->payload,
                   &err) != 0) {
    iotops_request *request = begun->subject;
    begun->subject = NULL;
    iotops_request_reject(request, &err);
    return 0;
  }
  if (serializer != 0)
    lua_remove(L, serializer);
  push_request(L, view);
  begun->object = lua_topointer(L, -1);
  lua_callk(L, 2, LUA_MULTRET, (lua_KContext)begun, executed);
  return executed(L, LUA_OK, (lua_KContext)begun);
}

/* ------------------------------------------------------------- request -- */

/*
** Hands the request of a call that is given up to the handler that has taken
** the place of its own.  False when it must not run twice, or there is none.
*/
static bool begin_again(call *given) {
  const iotops_lua_endpoint *endpoint = given->user;
  if (!given->state->closing || !endpoint->passed_on ||
      !iotops_request_again(given->subject))
    return false;
  given->subject = NULL;
  call_log(given, IOTOPS_LOG_WARN,
           "the command is idempotent: it begins again in the version that "
           "serves now");
  return true;
}

/* The call is over; one that has not answered has failed. */
/*
** A message that begins with a place in a file, from the file's name on: where
** our files are is nobody's business.
*/
static const char *without_folder(const char *message) {
  size_t place = strcspn(message, ":\n");
  const char *slash = memrchr(message, '/', place);
  size_t digits =
      message[place] == ':' ? strspn(message + place + 1, "0123456789") : 0;
  bool is_place = digits > 0 && message[place + 1 + digits] == ':';
  return is_place && slash != NULL ? slash + 1 : message;
}

static void settle(call *ended, const char *failed) {
  iotops_error err;
  if (ended->subject == NULL || begin_again(ended))
    return;
  /* The caller learns what happened, not where in our files. */
  const char *why =
      failed != NULL ? without_folder(failed) : "the handler did not answer";
  const char *trace = strstr(why, "\nstack traceback:");
  int size = trace != NULL ? (int)(trace - why) : -1;
  iotops_error_set(&err, IOTOPS_EXECUTION_ERROR, "%.*s", size, why);
  fail(ended, &err);
}

void request_arrived(void *user, iotops_request *request,
                     const iotops_request_view *view) {
  const envoy *received = user;
  iotops_lua_endpoint *endpoint = received->endpoint;
  iotops_error err;
  call *begun = NULL;
  if (endpoint != NULL && !endpoint->state->closing)
    begun = call_new(endpoint->state, IOTOPS_CALL_COMMAND);
  if (begun == NULL) {
    iotops_error_set(&err, IOTOPS_EXECUTION_ERROR, "%s",
                     endpoint == NULL || endpoint->state->closing
                         ? "the script was closed"
                         : "out of memory");
    iotops_log(received->context, IOTOPS_LOG_ERROR, "script",
               "a request to %.*s was not handled: %s", (int)view->topic.size,
               view->topic.data, err.message);
    iotops_request_fail(request, &err);
    return;
  }
  begun->info.topic = view->topic;
  begun->info.packet_id = view->packet_id;
  begun->trace =
      trace_from(endpoint->state, view->user_data, view->user_data_count);
  if (view->correlation_id != NULL) {
    begun->info.has_correlation_id = true;
    memcpy(begun->info.correlation_id, view->correlation_id,
           sizeof begun->info.correlation_id);
  }
  begun->client = endpoint->client;
  begun->user = endpoint;
  begun->view = view;
  begun->subject = request;
  begun->ended = settle;
  call_begin(begun, request_body, NULL);
}
