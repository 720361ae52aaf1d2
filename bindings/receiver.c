/* receiver.c -- telemetry, from the core's receiver to the handler. */
#include "endpoint.h"
#include "error.h"
#include "message_table.h"
#include "payload_value.h"
#include "trace.h"

static const char *const receiver_options[] = {"topic_pattern",
                                               "topic_namespace",
                                               "tokens",
                                               "service_group_id",
                                               "serializer",
                                               "concurrency",
                                               "handler",
                                               "request_serializer",
                                               "response_serializer",
                                               NULL};

int receiver_make(lua_State *L, int index, iotops_mqtt_client *client,
                  envoy *made, iotops_error *err) {
  iotops_telemetry_receiver_options options =
      IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
  token_list tokens;
  int top = lua_gettop(L);
  check_options(L, index, receiver_options);
  options.topic_pattern = text_option(L, index, "topic_pattern");
  options.topic_namespace = text_option(L, index, "topic_namespace");
  options.service_group_id = text_option(L, index, "service_group_id");
  lua_Integer concurrency = integer_option(L, index, "concurrency", 1);
  options.concurrency =
      concurrency > 0 && concurrency <= UINT32_MAX ? (uint32_t)concurrency : 0;
  tokens_option(L, index, "tokens", &tokens);
  options.tokens = tokens.items;
  options.token_count = tokens.count;
  options.manual_ack = true; /* message:hold() decides */
  options.handler = telemetry_arrived;
  options.user = made;
  int result =
      iotops_telemetry_receiver_new(client, &options, &made->receiver, err);
  lua_settop(L, top);
  return result;
}

/* A call of the handler is over: acknowledges unless the script holds it. */
static void settle(call *ended, const char *failed) {
  iotops_telemetry_delivery *delivery = ended->subject;
  (void)failed; /* was logged; a handler that fails has handled its message */
  if (delivery == NULL)
    return;
  ended->subject = NULL;
  iotops_telemetry_delivery_done(delivery);
  if (!ended->held)
    iotops_telemetry_delivery_ack(delivery);
}

static int handled(lua_State *L, int status, lua_KContext context) {
  (void)L;
  (void)status;
  (void)context;
  return 0;
}

/* Runs as the call. */
static int telemetry_body(lua_State *L) {
  call *begun = lua_touserdata(L, 1);
  const iotops_telemetry *telemetry = begun->view;
  iotops_lua_endpoint *endpoint = begun->user;
  iotops_error err;
  lua_settop(L, 0);
  push_anchored(L, endpoint); /* stays: keeps it and its session alive */
  lua_getiuservalue(L, 1, ENDPOINT_HANDLER);
  int serializer = 0;
  if (endpoint->request_format == IOTOPS_FORMAT_CUSTOM) {
    lua_getiuservalue(L, 1, ENDPOINT_REQUEST_SERIALIZER);
    lua_insert(L, 2);
    serializer = 2;
  }
  if (read_payload(L, endpoint->request_format, serializer, &telemetry->payload,
                   &err) != 0) {
    iotops_telemetry_delivery *delivery = begun->subject;
    begun->subject = NULL;
    call_log(begun, IOTOPS_LOG_WARN,
             "dropped a message whose payload cannot be read: %s", err.message);
    iotops_telemetry_delivery_done(delivery);
    iotops_telemetry_delivery_ack(delivery);
    return 0;
  }
  push_telemetry(L, telemetry);
  begun->object = lua_topointer(L, -1);
  lua_callk(L, 2, 0, 0, handled);
  return 0;
}

void telemetry_arrived(void *user, iotops_telemetry_delivery *delivery,
                       const iotops_telemetry *telemetry) {
  const envoy *received = user;
  iotops_lua_endpoint *endpoint = received->endpoint;
  call *begun = NULL;
  if (endpoint != NULL && !endpoint->state->closing)
    begun = call_new(endpoint->state, IOTOPS_CALL_TELEMETRY);
  if (begun == NULL) {
    iotops_log(received->context, IOTOPS_LOG_ERROR, "script",
               "a message to %.*s was not handled: %s",
               (int)telemetry->topic.size, telemetry->topic.data,
               endpoint == NULL || endpoint->state->closing
                   ? "the script was closed"
                   : "out of memory");
    iotops_telemetry_delivery_done(delivery);
    iotops_telemetry_delivery_ack(delivery);
    return;
  }
  begun->info.topic = telemetry->topic;
  begun->info.packet_id = telemetry->packet_id;
  begun->trace = trace_from(endpoint->state, telemetry->user_data,
                            telemetry->user_data_count);
  begun->client = endpoint->client;
  begun->user = endpoint;
  begun->view = telemetry;
  begun->subject = delivery;
  begun->ended = settle;
  call_begin(begun, telemetry_body, NULL);
}
