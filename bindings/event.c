/*
** event.c -- iotops.event(): coroutines that wait until another says that
** something has happened.
*/
#include <math.h>

#include "wait.h"

typedef struct event {
  iotops_lua *state;
  bool set;
  wait *first, **last; /* who waits, oldest first, linked by room_next */
  wait *released;      /* those who will go on, in the same order */
  iotops_task wake;
} event;

static const char class_name[] = "iotops.event";
static const lua_Number longest_s = 1e11;

static event *check_event(lua_State *L) {
  return luaL_checkudata(L, 1, class_name);
}

static bool unlink_from(wait **at, const wait *leaving) {
  while (*at != NULL && *at != leaving)
    at = &(*at)->room_next;
  if (*at == NULL)
    return false;
  *at = leaving->room_next;
  return true;
}

/* Takes one out of its list; the event lives as long as anybody waits. */
static bool leave(wait *leaving) {
  event *awaited = leaving->user;
  iotops_timer_stop(leaving->context, &leaving->timer);
  if (unlink_from(&awaited->released, leaving))
    return true;
  unlink_from(&awaited->first, leaving);
  awaited->last = &awaited->first;
  while (*awaited->last != NULL)
    awaited->last = &(*awaited->last)->room_next;
  return true;
}

static void timed_out(iotops_timer *clock) {
  wait *late = clock->user;
  iotops_error err;
  iotops_error_set(&err, IOTOPS_TIMEOUT, "the event was not set in time");
  leave(late);
  wait_complete(late, NULL, &err);
}

static void wake(iotops_task *task) {
  event *happened = task->user;
  for (bool more = happened->released != NULL; more;) {
    wait *woken = happened->released;
    happened->released = woken->room_next;
    iotops_timer_stop(woken->context, &woken->timer);
    /* With nobody left the event may be collected on the way. */
    more = happened->released != NULL;
    wait_complete(woken, NULL, NULL);
  }
}

/* event:wait([seconds]): true, or nil and a timeout error. */
static int event_wait(lua_State *L) {
  event *awaited = check_event(L);
  bool limited = !lua_isnoneornil(L, 2);
  lua_Number seconds = limited ? luaL_checknumber(L, 2) : 0;
  luaL_argcheck(L, seconds >= 0 && seconds <= longest_s, 2,
                "seconds, not negative, expected");
  if (awaited->set) {
    lua_pushboolean(L, true);
    return 1;
  }
  wait *waiting = wait_new(L, wait_push_true);
  waiting->cancel = leave;
  waiting->user = awaited;
  waiting->room_next = NULL;
  *awaited->last = waiting;
  awaited->last = &waiting->room_next;
  waiting->timer.fire = timed_out;
  waiting->timer.user = waiting;
  if (limited)
    iotops_timer_start(waiting->context, &waiting->timer,
                       (uint64_t)ceil((double)seconds * 1000));
  return wait_yield(L, waiting, NULL);
}

/* event:set(): all who wait go on, and whoever waits later does not. */
static int event_set(lua_State *L) {
  event *happened = check_event(L);
  wait **at = &happened->released;
  happened->set = true;
  while (*at != NULL)
    at = &(*at)->room_next;
  *at = happened->first;
  happened->first = NULL;
  happened->last = &happened->first;
  iotops_task_soon(happened->state->context, &happened->wake);
  return 0;
}

/* event:clear(): who waits from now on waits for the next set. */
static int event_clear(lua_State *L) {
  check_event(L)->set = false;
  return 0;
}

static int event_is_set(lua_State *L) {
  lua_pushboolean(L, check_event(L)->set);
  return 1;
}

static int event_gc(lua_State *L) {
  event *gone = lua_touserdata(L, 1);
  iotops_task_cancel(gone->state->context, &gone->wake);
  return 0;
}

static int event_new(lua_State *L) {
  event *made = lua_newuserdatauv(L, sizeof *made, 0);
  *made = (event){.state = state_of(L)};
  made->last = &made->first;
  made->wake.run = wake;
  made->wake.user = made;
  luaL_setmetatable(L, class_name);
  return 1;
}

void open_events(lua_State *L) {
  static const luaL_Reg methods[] = {{"wait", event_wait},
                                     {"set", event_set},
                                     {"clear", event_clear},
                                     {"is_set", event_is_set},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", event_gc}, {NULL, NULL}};
  class_new(L, class_name, methods, meta);
  lua_pushcfunction(L, event_new);
  lua_setfield(L, -2, "event");
}
