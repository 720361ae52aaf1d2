/* publish.c -- session:publish: messages as they are, for services. */
#include "error.h"
#include "options.h"
#include "session.h"

/* What several publishes have come to; freed with the last of them. */
typedef struct batch {
  iotops_context *context;
  wait *waiting; /* NULL: given up, or not waited for yet */
  size_t left;   /* not answered */
  size_t count;
  int reasons[]; /* -1: no answer */
} batch;

typedef struct posted { /* one publish */
  batch *batch;
  size_t index;
} posted;

static const char *const message_options[] = {"topic",
                                              "payload",
                                              "qos",
                                              "retain",
                                              "user_properties",
                                              "message_expiry",
                                              "content_type",
                                              "format_indicator",
                                              "response_topic",
                                              "correlation_data",
                                              NULL};

/* The message at `index`; what it points to stays on the stack. */
static void check_message(lua_State *L, int index, iotops_message *message,
                          property_list *properties) {
  *message = (iotops_message)IOTOPS_MESSAGE_INIT;
  check_options(L, index, message_options);
  message->topic = text_option(L, index, "topic");
  message->payload = text_option(L, index, "payload");
  lua_Integer qos = integer_option(L, index, "qos", 1);
  luaL_argcheck(L, qos == 0 || qos == 1, 2, "qos must be 0 or 1");
  message->qos = (uint8_t)qos;
  message->retain = boolean_option(L, index, "retain", false);
  lua_Integer expiry = integer_option(L, index, "message_expiry", -1);
  luaL_argcheck(L, expiry >= -1 && expiry <= UINT32_MAX, 2,
                "message_expiry must be whole seconds of 32 bits");
  message->has_expiry = expiry >= 0;
  message->expiry_s = expiry >= 0 ? (uint32_t)expiry : 0;
  message->content_type = text_option(L, index, "content_type");
  message->format_indicator =
      (int)integer_option(L, index, "format_indicator", -1);
  message->response_topic = text_option(L, index, "response_topic");
  message->correlation_data = text_option(L, index, "correlation_data");
  properties_option(L, index, "user_properties", properties);
  message->user_properties = properties->items;
  message->user_property_count = properties->count;
}

static void published(void *user, const iotops_mqtt_result *result) {
  posted *one = user;
  batch *all = one->batch;
  if (result->error == NULL)
    all->reasons[one->index] = result->reason_code;
  iotops_free(all->context, one);
  if (--all->left > 0)
    return;
  if (all->waiting != NULL)
    wait_complete(all->waiting, all, NULL);
  iotops_free(all->context, all);
}

/* The script gave up; what was handed over goes on. */
static bool give_up(wait *waiting) {
  batch *all = waiting->user;
  all->waiting = NULL;
  return true;
}

static void push_reason(lua_State *L, int reason) {
  if (reason < 0)
    lua_pushboolean(L, false);
  else
    lua_pushinteger(L, reason);
}

static int push_one(lua_State *L, const wait *ended) {
  const batch *all = ended->view;
  iotops_error err;
  if (all->reasons[0] < 0) {
    iotops_error_set(&err, IOTOPS_MQTT_ERROR,
                     "the broker has not acknowledged the message");
    return push_failure(L, &err);
  }
  push_reason(L, all->reasons[0]);
  return 1;
}

static int push_all(lua_State *L, const wait *ended) {
  const batch *all = ended->view;
  lua_createtable(L, (int)all->count, 0);
  for (size_t i = 0; i < all->count; i++) {
    push_reason(L, all->reasons[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* Hands the message at the top over. */
static int post(lua_State *L, iotops_mqtt_client *client, batch *all,
                size_t index, iotops_error *err) {
  iotops_message message;
  property_list properties;
  check_message(L, lua_gettop(L), &message, &properties);
  posted *one = iotops_zalloc(all->context, sizeof *one);
  if (one == NULL)
    return iotops_error_memory(err);
  *one = (posted){all, index};
  if (iotops_mqtt_publish(client, &message, published, one, NULL, err) != 0) {
    iotops_free(all->context, one);
    return -1;
  }
  return 0;
}

/* All messages are checked before the first is handed over. */
static void check_list(lua_State *L, size_t count) {
  iotops_message message;
  property_list properties;
  int top = lua_gettop(L);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, 2, (lua_Integer)i + 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    check_message(L, lua_gettop(L), &message, &properties);
    lua_settop(L, top);
  }
}

/*
** publish(message) or publish(list): hands everything to the client at once,
** in this order, then waits for the acknowledgements.
*/
int publish_messages(lua_State *L) {
  iotops_mqtt_client *client = check_client(L, 1);
  iotops_error err;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  bool is_list = lua_getfield(L, 2, "topic") == LUA_TNIL;
  lua_pop(L, 1);
  size_t count = is_list ? lua_rawlen(L, 2) : 1;
  if (count == 0) {
    lua_newtable(L);
    return 1;
  }
  if (is_list)
    check_list(L, count);
  wait *waiting = wait_new(L, is_list ? push_all : push_one);
  batch *all = iotops_zalloc(client->context,
                             sizeof *all + count * sizeof all->reasons[0]);
  if (all == NULL) {
    wait_drop(waiting);
    return luaL_error(L, "out of memory");
  }
  all->context = client->context;
  all->count = count;
  all->left = 1; /* ours, until all are handed over */
  for (size_t i = 0; i < count; i++) {
    all->reasons[i] = -1;
    if (is_list)
      lua_rawgeti(L, 2, (lua_Integer)i + 1);
    if (post(L, client, all, i, &err) == 0)
      all->left++;
    lua_settop(L, 2);
  }
  if (--all->left == 0) { /* none was accepted */
    iotops_free(client->context, all);
    wait_drop(waiting);
    return push_failure(L, &err);
  }
  all->waiting = waiting;
  waiting->user = all;
  waiting->cancel = give_up;
  return wait_yield(L, waiting, NULL);
}
