/* timer.c -- iotops.sleep, after and every. */
#include "timer.h"

#include <math.h>

#include "gate.h"
#include "wait.h"

enum { FROZEN_MS = 5 }; /* a frozen state's timers are late by so much */

typedef struct timer timer;
struct timer { /* a userdata; its user value is the function */
  iotops_lua *state;
  iotops_timer clock;
  uint64_t delay_ms, due_ms;
  bool repeats;
  bool active;  /* in state->timers and anchored */
  size_t calls; /* in hand */
  timer *next, *previous;
};

static const char class_name[] = "iotops.timer";
static const class_info timer_class;
static const double longest_s = 1e11;

static uint64_t check_delay(lua_State *L, int index) {
  lua_Number seconds = luaL_checknumber(L, index);
  luaL_argcheck(L, seconds >= 0 && seconds <= longest_s, index,
                "seconds, not negative, expected");
  return (uint64_t)ceil(seconds * 1000);
}

static void start(timer *started, uint64_t delay_ms) {
  iotops_timer_start(started->state->context, &started->clock, delay_ms);
}

static void deactivate(timer *ended) {
  iotops_lua *state = ended->state;
  if (!ended->active)
    return;
  iotops_timer_stop(state->context, &ended->clock);
  if (ended->previous != NULL)
    ended->previous->next = ended->next;
  else
    state->timers = ended->next;
  if (ended->next != NULL)
    ended->next->previous = ended->previous;
  ended->next = ended->previous = NULL;
  ended->active = false;
}

static int ended_k(lua_State *L, int status, lua_KContext context) {
  (void)L;
  (void)status;
  (void)context;
  return 0;
}

static int timer_body(lua_State *L) {
  const call *begun = lua_touserdata(L, 1);
  timer *fired = begun->user;
  lua_settop(L, 0);
  push_anchored(L, fired); /* stays on the stack: keeps the timer */
  if (!fired->active)
    drop_anchor(L, fired);
  lua_getiuservalue(L, 1, 1);
  lua_callk(L, 0, 0, 0, ended_k);
  return 0;
}

static void timer_call_ended(call *ended, const char *failed) {
  timer *fired = ended->user;
  (void)failed;
  if (fired != NULL)
    fired->calls--;
}

static void timer_fired(iotops_timer *clock) {
  timer *fired = clock->user;
  iotops_lua *state = fired->state;
  if (state->frozen) {
    start(fired, FROZEN_MS);
    return;
  }
  if (fired->repeats) {
    uint64_t now = iotops_mono_ms(state->context);
    /* Ticks that were missed are left out, not made up for. */
    do
      fired->due_ms += fired->delay_ms;
    while (fired->due_ms <= now);
    start(fired, fired->due_ms - now);
    if (fired->calls > 0)
      return;
  } else {
    deactivate(fired);
  }
  call *begun = call_new(state, IOTOPS_CALL_TIMER);
  if (begun == NULL) {
    iotops_log(state->context, IOTOPS_LOG_ERROR, "script",
               "a timer function was not called: out of memory");
    if (!fired->active)
      drop_anchor(state->L, fired);
    return;
  }
  begun->user = fired;
  begun->ended = timer_call_ended;
  fired->calls++;
  call_begin(begun, timer_body, NULL);
}

static int new_timer(lua_State *L, bool repeats) {
  iotops_lua *state = state_of(L);
  uint64_t delay_ms = check_delay(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_argcheck(L, !repeats || delay_ms > 0, 1, "a period above 0 expected");
  timer *made = lua_newuserdatauv(L, sizeof *made, 1);
  *made = (timer){.state = state, .delay_ms = delay_ms, .repeats = repeats};
  made->clock.fire = timer_fired;
  made->clock.user = made;
  class_set(L, &timer_class);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 1);
  if (state->quiet)
    return 1;
  lua_pushvalue(L, -1);
  anchor(L, made);
  made->active = true;
  made->next = state->timers;
  if (made->next != NULL)
    made->next->previous = made;
  state->timers = made;
  made->due_ms = iotops_mono_ms(state->context) + delay_ms;
  if (!state->registering)
    start(made, delay_ms);
  return 1;
}

static int timer_after(lua_State *L) {
  return new_timer(L, false);
}

static int timer_every(lua_State *L) {
  return new_timer(L, true);
}

static int timer_cancel(lua_State *L) {
  timer *cancelled = luaL_checkudata(L, 1, class_name);
  bool was_active = cancelled->active;
  deactivate(cancelled);
  if (was_active) /* a call in hand has it on its stack */
    drop_anchor(L, cancelled);
  lua_pushboolean(L, was_active);
  return 1;
}

static int timer_tostring(lua_State *L) {
  const timer *shown = luaL_checkudata(L, 1, class_name);
  lua_pushfstring(L, "timer (%s%f s)", shown->repeats ? "every " : "after ",
                  (lua_Number)shown->delay_ms / 1000);
  return 1;
}

static int timer_gc(lua_State *L) {
  deactivate(lua_touserdata(L, 1));
  return 0;
}

void timers_start(iotops_lua *state) {
  uint64_t now = iotops_mono_ms(state->context);
  for (timer *each = state->timers; each != NULL; each = each->next) {
    each->due_ms = now + each->delay_ms;
    start(each, each->delay_ms);
  }
}

void timers_stop(iotops_lua *state) {
  while (state->timers != NULL)
    deactivate(state->timers);
}

/* -------------------------------------------------------------- sleep -- */

static void slept(iotops_timer *clock) {
  wait_complete(clock->user, NULL, NULL);
}

static bool wake(wait *sleeping) {
  iotops_timer_stop(sleeping->context, &sleeping->timer);
  return true;
}

static int push_nothing(lua_State *L, const wait *slept) {
  (void)L;
  (void)slept;
  return 0;
}

static int timer_sleep(lua_State *L) {
  uint64_t delay_ms = check_delay(L, 1);
  wait *sleeping = wait_new(L, push_nothing);
  sleeping->cancel = wake;
  sleeping->rests = true;
  sleeping->timer.fire = slept;
  sleeping->timer.user = sleeping;
  iotops_timer_start(sleeping->context, &sleeping->timer, delay_ms);
  return wait_yield(L, sleeping, NULL);
}

static const luaL_Reg methods[] = {{"cancel", timer_cancel}, {NULL, NULL}};
static const luaL_Reg meta[] = {
    {"__gc", timer_gc}, {"__tostring", timer_tostring}, {NULL, NULL}};
static const class_info timer_class = {class_name, methods, meta};

const core_field timer_fields[] = {{"after", timer_after, false},
                                   {"every", timer_every, false},
                                   {"sleep", timer_sleep, false},
                                   {0}};
