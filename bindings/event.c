/* event.c -- iotops.event: what one coroutine tells all that wait for it. */
#include "wait.h"

static const char class_name[] = "iotops.event";
static const class_info event_class;

typedef struct event { /* a userdata, anchored while anyone waits */
  iotops_lua *state;
  iotops_task wake;
  wait *first, **last;
  bool is_set;
} event;

static void wake(iotops_task *task) {
  event *set = task->user;
  size_t count = 0;
  for (const wait *each = set->first; each != NULL; each = each->room_next)
    count++;
  while (count-- > 0 && set->first != NULL) {
    wait *woken = set->first;
    set->first = woken->room_next;
    if (set->first == NULL)
      set->last = &set->first;
    woken->user = NULL;
    iotops_timer_stop(woken->context, &woken->timer);
    wait_complete(woken, set, NULL);
  }
  if (set->first == NULL)
    drop_anchor(set->state->L, set);
}

static void leave_list(wait *left) {
  event *awaited = left->user;
  if (awaited == NULL)
    return;
  wait **at = &awaited->first;
  while (*at != NULL && *at != left)
    at = &(*at)->room_next;
  if (*at == left)
    *at = left->room_next;
  if (*at == NULL)
    awaited->last = at;
  left->user = NULL;
}

static bool give_up(wait *left) {
  leave_list(left);
  iotops_timer_stop(left->context, &left->timer);
  return true;
}

static void timed_out(iotops_timer *timer) {
  wait *late = timer->user;
  leave_list(late);
  wait_complete(late, NULL, NULL);
}

/* True when the event was set, false when time was up. */
static int push_outcome(lua_State *L, const wait *ended) {
  lua_pushboolean(L, ended->view != NULL);
  return 1;
}

static int event_wait(lua_State *L) {
  event *awaited = luaL_checkudata(L, 1, class_name);
  lua_Number seconds = luaL_optnumber(L, 2, -1);
  if (awaited->is_set) {
    lua_pushboolean(L, true);
    return 1;
  }
  wait *waiting = wait_new(L, push_outcome);
  waiting->cancel = give_up;
  waiting->rests = true;
  waiting->user = awaited;
  *awaited->last = waiting;
  awaited->last = &waiting->room_next;
  if (seconds >= 0) {
    waiting->timer.fire = timed_out;
    waiting->timer.user = waiting;
    iotops_timer_start(waiting->context, &waiting->timer,
                       (uint64_t)(seconds < 1e11 ? seconds * 1000 : 1e14));
  }
  lua_pushvalue(L, 1);
  anchor(L, awaited);
  return wait_yield(L, waiting, NULL);
}

static int event_set(lua_State *L) {
  event *set = luaL_checkudata(L, 1, class_name);
  set->is_set = true;
  if (set->first != NULL)
    iotops_task_soon(set->state->context, &set->wake);
  return 0;
}

static int event_reset(lua_State *L) {
  event *set = luaL_checkudata(L, 1, class_name);
  set->is_set = false;
  return 0;
}

static int event_is_set(lua_State *L) {
  const event *set = luaL_checkudata(L, 1, class_name);
  lua_pushboolean(L, set->is_set);
  return 1;
}

static int event_gc(lua_State *L) {
  event *dead = lua_touserdata(L, 1);
  for (wait *each = dead->first; each != NULL; each = each->room_next)
    each->user = NULL;
  iotops_task_cancel(dead->state->context, &dead->wake);
  return 0;
}

static int event_new(lua_State *L) {
  iotops_lua *state = state_of(L);
  event *made = lua_newuserdatauv(L, sizeof *made, 0);
  *made = (event){.state = state};
  made->last = &made->first;
  made->wake.run = wake;
  made->wake.user = made;
  class_set(L, &event_class);
  return 1;
}

static const luaL_Reg methods[] = {{"wait", event_wait},
                                   {"set", event_set},
                                   {"reset", event_reset},
                                   {"is_set", event_is_set},
                                   {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", event_gc}, {NULL, NULL}};
static const class_info event_class = {class_name, methods, meta};

const core_field event_fields[] = {{"event", event_new, false}, {0}};
