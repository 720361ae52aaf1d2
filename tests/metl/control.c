/*
** control.c -- the Lua module `metl.stub`: how a case moves its stub, its
** clock and its loop, and what it can read of both.
**
** Absent properties are nil in both directions.  Times are milliseconds since
** the case began.
*/
#include <lauxlib.h>
#include <string.h>

#include "case_state.h"
#include "embed.h"

static metl_stub *stub_of(lua_State *L) {
  metl_stub *stub = metl_case_of(L)->stub;
  if (!stub) {
    luaL_error(L, "the stub is not open");
  }
  return stub;
}

/* ------------------------------------------------- reading Lua tables -- */

static iotops_text text_field(lua_State *L, int index, const char *name) {
  iotops_text text = {0};
  if (lua_getfield(L, index, name) != LUA_TNIL) {
    text.data = luaL_checklstring(L, -1, &text.size);
  }
  lua_pop(L, 1); /* the table keeps the string */
  return text;
}

static lua_Integer integer_field(lua_State *L, int index, const char *name,
                                 lua_Integer missing) {
  lua_Integer value = missing;
  if (lua_getfield(L, index, name) != LUA_TNIL) {
    value = luaL_checkinteger(L, -1);
  }
  lua_pop(L, 1);
  return value;
}

static void read_push_acks(lua_State *L, const char *name,
                           metl_push_acks *acks) {
  static const char *const names[] = {"success", "fail", "drop", NULL};
  if (lua_getfield(L, -1, name) != LUA_TNIL) {
    luaL_checktype(L, -1, LUA_TTABLE);
    for (lua_Integer i = 1; lua_geti(L, -1, i) != LUA_TNIL; i++) {
      metl_push_acks_add(acks, luaL_checkoption(L, -1, NULL, names));
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/*
** open{level=, client_id=, real_clock=, fail_at=}: nothing, or an error's
** text.  fail_at: which of the context's allocations fails, 0: none.
*/
static int open_stub(lua_State *L) {
  metl_case *one = metl_case_of(L);
  iotops_error err;
  luaL_checktype(L, 1, LUA_TTABLE);
  iotops_text client_id = text_field(L, 1, "client_id");
  int level = (int)integer_field(L, 1, "level", 1);
  if (one->context) {
    return luaL_error(L, "the stub is open");
  }
  one->fail_at = (size_t)integer_field(L, 1, "fail_at", 0);
  lua_getfield(L, 1, "real_clock");
  one->clock.real = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (metl_case_open(one, level, client_id.data, &err) != 0) {
    lua_pushstring(L, err.message);
    return 1;
  }
  return 0;
}

/* answer{publish=, subscribe=, unsubscribe=}: how packets to come are. */
static int answer(lua_State *L) {
  metl_stub *stub = stub_of(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  read_push_acks(L, "publish", &stub->publish_acks);
  read_push_acks(L, "subscribe", &stub->subscribe_acks);
  read_push_acks(L, "unsubscribe", &stub->unsubscribe_acks);
  return 0;
}

/* start(): the Lua module may open envoys from now on. */
static int start(lua_State *L) {
  stub_of(L);
  iotops_lua_start(L);
  return 0;
}

/* deliver(message) */
static int deliver(lua_State *L) {
  metl_stub *stub = stub_of(L);
  iotops_message message = IOTOPS_MESSAGE_INIT;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  message.topic = text_field(L, 1, "topic");
  message.payload = text_field(L, 1, "payload");
  message.content_type = text_field(L, 1, "content_type");
  message.response_topic = text_field(L, 1, "response_topic");
  message.correlation_data = text_field(L, 1, "correlation_data");
  message.qos = (uint8_t)integer_field(L, 1, "qos", 1);
  message.packet_id = (uint16_t)integer_field(L, 1, "packet_id", 0);
  message.format_indicator = (int)integer_field(L, 1, "format_indicator", -1);
  message.dup = integer_field(L, 1, "dup", 0) != 0;
  lua_Integer expiry = integer_field(L, 1, "expiry", -1);
  message.has_expiry = expiry >= 0;
  message.expiry_s = message.has_expiry ? (uint32_t)expiry : 0;
  luaL_argcheck(L, message.topic.data, 1, "a topic is missing");
  lua_getfield(L, 1, "user_properties");
  luaL_checktype(L, 2, LUA_TTABLE);
  size_t count = (size_t)luaL_len(L, 2);
  iotops_user_property *pairs =
      lua_newuserdatauv(L, (count + 1) * sizeof *pairs, 0);
  for (size_t i = 0; i < count; i++) {
    lua_geti(L, 2, (lua_Integer)i + 1);
    pairs[i].name = text_field(L, -1, "name");
    pairs[i].value = text_field(L, -1, "value");
    lua_pop(L, 1);
  }
  message.user_properties = pairs;
  message.user_property_count = count;
  stub->ops->deliver(stub, &message);
  return 0;
}

/* fail_every(n): each n-th allocation of the product fails; 0: none. */
static int fail_every(lua_State *L) {
  metl_case_of(L)->fail_every = (size_t)luaL_checkinteger(L, 1);
  return 0;
}

/* packet_id(): one that has not been used yet. */
static int fresh_packet_id(lua_State *L) {
  lua_pushinteger(L, ++stub_of(L)->last_packet_id);
  return 1;
}

/*
** disconnect(say, most): with a DISCONNECT packet, after at most so many bytes
** (nil: all that were sent), where there are packets and bytes.
*/
static int disconnect(lua_State *L) {
  metl_stub *stub = stub_of(L);
  lua_Integer most = luaL_optinteger(L, 2, -1);
  stub->ops->disconnect(stub, lua_toboolean(L, 1),
                        most < 0 ? SIZE_MAX : (size_t)most);
  return 0;
}

/* throttle(in, out): bytes at a time, where there are bytes; 0: any. */
static int throttle(lua_State *L) {
  metl_stub *stub = stub_of(L);
  stub->ops->throttle(stub, (size_t)luaL_checkinteger(L, 1),
                      (size_t)luaL_checkinteger(L, 2));
  return 0;
}

static int relent(lua_State *L) {
  metl_stub *stub = stub_of(L);
  stub->ops->relent(stub);
  return 0;
}

/* uuid(): 16 random bytes, and their text. */
static int make_uuid(lua_State *L) {
  uint8_t bytes[16];
  char text[37];
  iotops_uuid(stub_of(L)->context, bytes);
  iotops_uuid_text(bytes, text);
  lua_pushlstring(L, (const char *)bytes, sizeof bytes);
  lua_pushstring(L, text);
  return 2;
}

/* ------------------------------------------------- writing Lua tables -- */

static void set_text(lua_State *L, const char *name, iotops_text text) {
  if (text.data) {
    lua_pushlstring(L, text.data, text.size);
    lua_setfield(L, -2, name);
  }
}

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static void push_message(lua_State *L, const iotops_message *message) {
  lua_newtable(L);
  set_text(L, "topic", message->topic);
  lua_pushlstring(L, message->payload.data ? message->payload.data : "",
                  message->payload.size);
  lua_setfield(L, -2, "payload");
  set_text(L, "content_type", message->content_type);
  set_text(L, "response_topic", message->response_topic);
  set_text(L, "correlation_data", message->correlation_data);
  set_integer(L, "qos", message->qos);
  set_integer(L, "packet_id", message->packet_id);
  lua_pushboolean(L, message->dup);
  lua_setfield(L, -2, "dup");
  lua_pushboolean(L, message->retain);
  lua_setfield(L, -2, "retain");
  if (message->format_indicator >= 0) {
    set_integer(L, "format_indicator", message->format_indicator);
  }
  if (message->has_expiry) {
    set_integer(L, "expiry", message->expiry_s);
  }
  lua_createtable(L, (int)message->user_property_count, 0);
  for (size_t i = 0; i < message->user_property_count; i++) {
    lua_newtable(L);
    set_text(L, "name", message->user_properties[i].name);
    set_text(L, "value", message->user_properties[i].value);
    lua_seti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "user_properties");
}

/* next_publish(): the oldest that was not taken yet, or nil. */
static int next_publish(lua_State *L) {
  const metl_packet *packet = metl_log_take_publish(&stub_of(L)->log);
  if (!packet) {
    return 0;
  }
  push_message(L, packet->message);
  return 1;
}

/* next_ack(): the packet id of the oldest not taken yet, or nil. */
static int next_ack(lua_State *L) {
  const metl_packet *packet = metl_log_take_puback(&stub_of(L)->log);
  if (!packet) {
    return 0;
  }
  lua_pushinteger(L, packet->packet_id);
  return 1;
}

static int publish_count(lua_State *L) {
  lua_pushinteger(L,
                  (lua_Integer)metl_log_count(&stub_of(L)->log, METL_PUBLISH));
  return 1;
}

static int ack_count(lua_State *L) {
  lua_pushinteger(L,
                  (lua_Integer)metl_log_count(&stub_of(L)->log, METL_PUBACK));
  return 1;
}

/* subscribed(filter) */
static int subscribed(lua_State *L) {
  iotops_text filter;
  filter.data = luaL_checklstring(L, 1, &filter.size);
  lua_pushboolean(L, metl_log_subscribed(&stub_of(L)->log, filter));
  return 1;
}

/* packet_count(): of all packets, either way. */
static int packet_count(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)stub_of(L)->log.count);
  return 1;
}

/* trace(): every packet, in order. */
static int trace(lua_State *L) {
  const metl_case *one = metl_case_of(L);
  const metl_packet_log *log = &stub_of(L)->log;
  lua_createtable(L, (int)log->count, 0);
  for (size_t i = 0; i < log->count; i++) {
    const metl_packet *packet = log->packets[i];
    lua_newtable(L);
    set_integer(L, "at",
                (lua_Integer)packet->at_ms - (lua_Integer)one->start_ms);
    set_text(L, "name", iotops_text_of(packet->name));
    set_text(L, "filter", iotops_text_of(packet->filter));
    lua_pushboolean(L, packet->from_client);
    lua_setfield(L, -2, "from_client");
    if (packet->packet_id != 0) {
      set_integer(L, "packet_id", packet->packet_id);
    }
    if (packet->reason_code >= 0) {
      set_integer(L, "reason_code", packet->reason_code);
    }
    if (packet->message) {
      push_message(L, packet->message);
      lua_setfield(L, -2, "message");
    }
    lua_seti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* --------------------------------------------------------------- time -- */

static int drain(lua_State *L) {
  metl_stub *stub = stub_of(L);
  stub->ops->drain(stub);
  return 0;
}

static int get_now(lua_State *L) {
  const metl_case *one = metl_case_of(L);
  lua_pushinteger(L,
                  (lua_Integer)(iotops_mono_ms(one->context) - one->start_ms));
  return 1;
}

/* freeze(boolean) */
static int freeze(lua_State *L) {
  luaL_checktype(L, 1, LUA_TBOOLEAN);
  metl_clock *clock = &metl_case_of(L)->clock;
  clock->frozen = lua_toboolean(L, 1) && !clock->real;
  return 0;
}

static int is_frozen(lua_State *L) {
  lua_pushboolean(L, metl_case_of(L)->clock.frozen);
  return 1;
}

/* next_due(): nil when nothing is going to happen by itself. */
static int next_due(lua_State *L) {
  const metl_case *one = metl_case_of(L);
  uint64_t due_ms = metl_clock_next_due(&one->clock, one->context);
  if (due_ms == UINT64_MAX) {
    return 0;
  }
  lua_pushinteger(L, (lua_Integer)due_ms - (lua_Integer)one->start_ms);
  return 1;
}

/* advance(to): fires the timers that are due, which the caller has drained. */
static int advance(lua_State *L) {
  metl_case *one = metl_case_of(L);
  metl_clock_advance(&one->clock, one->context,
                     one->start_ms + (uint64_t)luaL_checkinteger(L, 1));
  return 0;
}

int luaopen_metl_stub(lua_State *L) {
  static const luaL_Reg functions[] = {{"open", open_stub},
                                       {"answer", answer},
                                       {"start", start},
                                       {"deliver", deliver},
                                       {"fail_every", fail_every},
                                       {"packet_id", fresh_packet_id},
                                       {"disconnect", disconnect},
                                       {"throttle", throttle},
                                       {"relent", relent},
                                       {"uuid", make_uuid},
                                       {"next_publish", next_publish},
                                       {"next_ack", next_ack},
                                       {"publish_count", publish_count},
                                       {"ack_count", ack_count},
                                       {"subscribed", subscribed},
                                       {"packet_count", packet_count},
                                       {"trace", trace},
                                       {"drain", drain},
                                       {"now", get_now},
                                       {"freeze", freeze},
                                       {"is_frozen", is_frozen},
                                       {"next_due", next_due},
                                       {"advance", advance},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
