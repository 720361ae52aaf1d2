/* room.c -- waiting for room in a full queue. */
#include <string.h>

#include "session.h"

typedef struct room room;
struct room {
  iotops_lua *state;
  iotops_mqtt_client *client;
  iotops_mqtt_observer observer;
  iotops_task retry;
  wait *first, **last; /* oldest first */
  room *next;
};

bool is_queue_full(const iotops_error *err) {
  return err->kind == IOTOPS_INVALID_STATE &&
         strncmp(err->property_name, "publish_queue", 13) == 0;
}

static void retry(iotops_task *task) {
  room *full = task->user;
  size_t count = 0;
  for (const wait *each = full->first; each != NULL; each = each->room_next)
    count++;
  /* Whoever finds the queue full again lines up anew, behind the others. */
  while (count-- > 0 && full->first != NULL) {
    wait *woken = full->first;
    full->first = woken->room_next;
    if (full->first == NULL)
      full->last = &full->first;
    woken->room_next = NULL;
    woken->user = NULL;
    wait_complete(woken, NULL, NULL);
  }
}

static void room_again(iotops_mqtt_observer *observer) {
  room *full = observer->user;
  if (full->first != NULL)
    iotops_task_soon(full->state->context, &full->retry);
}

static void room_ended(iotops_mqtt_observer *observer,
                       const iotops_error *err) {
  (void)err;
  room_again(observer);
}

static room *room_of(iotops_lua *state, iotops_mqtt_client *client) {
  for (room *known = state->rooms; known != NULL; known = known->next)
    if (known->client == client)
      return known;
  room *made = iotops_zalloc(state->context, sizeof *made);
  if (made == NULL)
    return NULL;
  made->state = state;
  made->client = client;
  made->last = &made->first;
  made->retry.run = retry;
  made->retry.user = made;
  made->observer.writable = room_again;
  made->observer.ended = room_ended;
  made->observer.user = made;
  iotops_mqtt_observe(client, &made->observer);
  made->next = state->rooms;
  state->rooms = made;
  return made;
}

static bool leave(wait *given_up) {
  room *full = given_up->user;
  if (full == NULL)
    return true;
  wait **at = &full->first;
  while (*at != NULL && *at != given_up)
    at = &(*at)->room_next;
  if (*at == given_up) {
    *at = given_up->room_next;
    if (*at == NULL)
      full->last = at;
  }
  return true;
}

static int push_nothing(lua_State *L, const wait *ended) {
  (void)L;
  (void)ended;
  return 0;
}

int wait_for_room(lua_State *L, iotops_mqtt_client *client, lua_KFunction k) {
  iotops_lua *state = state_of(L);
  room *full = room_of(state, client);
  if (full == NULL)
    return luaL_error(L, "out of memory");
  wait *waiting = wait_new(L, push_nothing);
  waiting->cancel = leave;
  waiting->user = full;
  *full->last = waiting;
  full->last = &waiting->room_next;
  return wait_yield(L, waiting, k);
}

void rooms_close(iotops_lua *state, const iotops_mqtt_client *client) {
  room **at = &state->rooms;
  while (*at != NULL) {
    room *closed = *at;
    if (client != NULL && closed->client != client) {
      at = &closed->next;
      continue;
    }
    *at = closed->next;
    for (wait *each = closed->first; each != NULL; each = each->room_next)
      each->user = NULL;
    iotops_mqtt_unobserve(closed->client, &closed->observer);
    iotops_task_cancel(state->context, &closed->retry);
    iotops_free(state->context, closed);
  }
}
