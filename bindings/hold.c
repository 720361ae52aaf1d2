#include "hold.h"

#include <stdio.h>
#include <string.h>

#include "message_table.h"
#include "misuse.h"
#include "wait.h"

static const char hold_class[] = "iotops.hold";
static const class_info hold_info;

typedef struct hold hold;
struct hold { /* a userdata */
  iotops_lua *state;
  iotops_mqtt_client *client;
  iotops_telemetry_delivery *delivery; /* NULL: acknowledged */
  hold *next, *previous;
  uint64_t since_ms;
  uint16_t packet_id;
  bool reported;
  int line; /* that called hold(); 0: unknown */
  char source[LUA_IDSIZE];
  size_t topic_size;
  char topic[];
};

static bool hold_end(hold *held) {
  if (held->delivery == NULL)
    return false;
  iotops_telemetry_delivery_ack(held->delivery);
  held->delivery = NULL;
  if (held->previous != NULL)
    held->previous->next = held->next;
  else
    held->state->holds = held->next;
  if (held->next != NULL)
    held->next->previous = held->previous;
  return true;
}

int message_hold(lua_State *L) {
  call *own = own_call(L);
  lua_Debug frame;
  if (own == NULL || own->subject == NULL)
    return misuse(L, "a message is held within its own handler only");
  if (own->held)
    return misuse(L, "the message is held already");
  size_t topic_size = own->info.topic.data != NULL ? own->info.topic.size : 0;
  hold *held = lua_newuserdatauv(L, sizeof *held + topic_size, 0);
  *held = (hold){.state = own->state,
                 .client = own->client,
                 .delivery = own->subject,
                 .since_ms = iotops_mono_ms(own->state->context),
                 .packet_id = own->info.packet_id,
                 .topic_size = topic_size};
  if (topic_size > 0)
    memcpy(held->topic, own->info.topic.data, topic_size);
  if (lua_getstack(L, 1, &frame) && lua_getinfo(L, "Sl", &frame) &&
      frame.currentline > 0) {
    held->line = frame.currentline;
    memcpy(held->source, frame.short_src, sizeof held->source);
  }
  class_set(L, &hold_info);
  held->next = own->state->holds;
  if (held->next != NULL)
    held->next->previous = held;
  own->state->holds = held;
  own->held = true;
  return 1;
}

static int hold_ack(lua_State *L) {
  lua_pushboolean(L, hold_end(luaL_checkudata(L, 1, hold_class)));
  return 1;
}

/* Acknowledges one that the script can not, and says why. */
static void hold_forget(hold *held, const char *why) {
  iotops_lua *state = held->state;
  char where[sizeof held->source + 24] = "";
  if (held->line > 0)
    snprintf(where, sizeof where, " at %s:%d", held->source, held->line);
  call nobody = {.state = state,
                 .info = {.packet_id = held->packet_id,
                          .topic = {held->topic, held->topic_size}}};
  hold_end(held);
  call_log(&nobody, IOTOPS_LOG_WARN, "a message that was held%s %s; %s", where,
           why,
           iotops_mqtt_is_connected(held->client)
               ? "it is acknowledged"
               : "without a connection it is not acknowledged");
  if (state->embedder.forgot != NULL)
    state->embedder.forgot(state->embedder.user);
}

static int hold_gc(lua_State *L) {
  hold *held = lua_touserdata(L, 1);
  if (held->delivery != NULL)
    hold_forget(held, "was forgotten");
  return 0;
}

void holds_abandon(iotops_lua *state, const iotops_mqtt_client *client) {
  for (hold *next, *held = state->holds; held != NULL; held = next) {
    next = held->next;
    if (client == NULL || held->client == client)
      hold_forget(held, "was so still when the script ended");
  }
}

/* ------------------------------------------------------------ embedder -- */

/* A telemetry handler that has its message and waits. */
static bool is_stuck(const call *at) {
  return at->info.kind == IOTOPS_CALL_TELEMETRY && at->waiting != NULL &&
         at->subject != NULL && !at->held;
}

/* The line that a call waits in. */
static void find_line(const call *waiting, iotops_lua_held *held,
                      lua_Debug *frame) {
  for (int level = 0; lua_getstack(waiting->co, level, frame) != 0; level++) {
    lua_getinfo(waiting->co, "Sl", frame);
    if (frame->currentline <= 0 || is_own_file(frame->source))
      continue;
    held->source = frame->short_src;
    held->line = frame->currentline;
    return;
  }
}

size_t iotops_lua_each_held(lua_State *L,
                            void (*visit)(void *user, iotops_lua_held *held),
                            void *user) {
  const iotops_lua *state = state_of(L);
  size_t count = 0;
  for (hold *at = state->holds; at != NULL; at = at->next, count++) {
    iotops_lua_held held = {.since_ms = at->since_ms,
                            .topic = {at->topic, at->topic_size},
                            .packet_id = at->packet_id,
                            .source = at->source,
                            .line = at->line,
                            .reported = at->reported,
                            .item = at};
    visit(user, &held);
    at->reported = held.reported;
  }
  for (call *at = state->calls; at != NULL; at = at->next) {
    lua_Debug frame;
    iotops_lua_held held = {.in_handler = true,
                            .since_ms = at->info.started_ms,
                            .topic = at->info.topic,
                            .packet_id = at->info.packet_id,
                            .source = "",
                            .reported = at->reported,
                            .item = at};
    if (!is_stuck(at))
      continue;
    find_line(at, &held, &frame);
    visit(user, &held);
    at->reported = held.reported;
    count++;
  }
  return count;
}

void iotops_lua_forget(const iotops_lua_held *held, const char *why) {
  if (!held->in_handler) {
    hold_forget(held->item, why);
    return;
  }
  call *stuck = held->item;
  const iotops_lua_embedder *embedder = &stuck->state->embedder;
  if (embedder->forgot != NULL)
    embedder->forgot(embedder->user);
  call_give_up(stuck, why);
}

static const luaL_Reg hold_methods[] = {{"ack", hold_ack}, {NULL, NULL}};
static const luaL_Reg hold_meta[] = {{"__gc", hold_gc}, {NULL, NULL}};
static const class_info hold_info = {hold_class, hold_methods, hold_meta};
