/* timer.c -- iotops.sleep, after and every. */
#include "timer.h"

#include <math.h>
#include <string.h>

#include "gate.h"
#include "misuse.h"
#include "options.h"
#include "population.h"
#include "wait.h"

enum {
  FROZEN_MS = 5, /* a frozen state's timers are late by so much */
  NAME_MAX_SIZE = 100
};

typedef struct timer timer;
struct timer { /* a userdata; its user value is the function */
  iotops_lua *state;
  iotops_timer clock;
  /* The embedder's record of its name; NULL: none, or not claimed yet. */
  iotops_lua_kept_timer *kept;
  uint64_t delay_ms, due_ms;
  bool repeats;
  bool active;  /* in state->timers and anchored */
  size_t calls; /* in hand */
  timer *next, *previous;
  char name[]; /* "": none */
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

/* Notes for the next generation when it is due. */
static void note_due(const timer *started) {
  if (started->kept == NULL)
    return;
  *started->kept =
      (iotops_lua_kept_timer){.due_ms = started->due_ms, .running = true};
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
  ended->kept = NULL;
  state->timer_count--;
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
    note_due(fired);
    if (fired->calls > 0)
      return;
  } else {
    if (fired->kept != NULL)
      *fired->kept = (iotops_lua_kept_timer){.fired = true};
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

/* Whether a script says what it has, or does something in passing. */
static bool declares(const iotops_lua *state) {
  return state->registering ||
         (state->running_call != NULL &&
          state->running_call->info.kind == IOTOPS_CALL_START);
}

/*
** Starts a timer, that of its name where it was.  False when it has fired in an
** earlier generation, and is not to once more.
*/
static bool start_first(timer *started, bool declared) {
  iotops_lua *state = started->state;
  const iotops_lua_embedder *embedder = &state->embedder;
  uint64_t now = iotops_mono_ms(state->context);
  started->due_ms = now + started->delay_ms;
  if (started->name[0] != '\0' && embedder->keep_timer != NULL) {
    iotops_lua_kept_timer *kept =
        embedder->keep_timer(embedder->user, started->name);
    if (kept == NULL)
      iotops_log(state->context, IOTOPS_LOG_ERROR, "script",
                 "out of memory: the timer %s will not survive a reload",
                 started->name);
    else if (kept->running)
      started->due_ms = kept->due_ms;
    else if (kept->fired && declared && !started->repeats)
      return false;
    started->kept = kept;
  }
  note_due(started);
  start(started, started->due_ms > now ? started->due_ms - now : 0);
  return true;
}

/* The name of the options at `index`; "" when there is none. */
static iotops_text check_timer_name(lua_State *L, int index,
                                    const iotops_lua *state) {
  static const char *const names[] = {"name", NULL};
  iotops_text name = {"", 0};
  size_t named = 0;
  if (!check_options(L, index, names))
    return name;
  iotops_text given = text_option(L, index, "name");
  if (given.data == NULL)
    return name;
  if (given.size == 0 || given.size > NAME_MAX_SIZE ||
      strlen(given.data) != given.size)
    misuse(L, "the name of a timer has 1 to %d bytes", NAME_MAX_SIZE);
  for (const timer *at = state->timers; at != NULL; at = at->next) {
    if (strcmp(at->name, given.data) == 0)
      misuse(L, "there is a timer with the name '%s' already", given.data);
    named += at->name[0] != '\0';
  }
  if (named >= IOTOPS_LUA_TIMERS_MAX)
    misuse(L, "a script has at most %d timers with a name",
           IOTOPS_LUA_TIMERS_MAX);
  return given;
}

static int new_timer(lua_State *L, bool repeats) {
  iotops_lua *state = state_of(L);
  uint64_t delay_ms = check_delay(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_argcheck(L, !repeats || delay_ms > 0, 1, "a period above 0 expected");
  lua_settop(L, 3);
  iotops_text name = check_timer_name(L, 3, state);
  population_bound(L, state, state->timer_count, "timers");
  timer *made = lua_newuserdatauv(L, sizeof *made + name.size + 1, 1);
  *made = (timer){.state = state, .delay_ms = delay_ms, .repeats = repeats};
  memcpy(made->name, name.data, name.size + 1);
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
  state->timer_count++;
  if (!state->registering && !start_first(made, declares(state))) {
    deactivate(made);
    drop_anchor(L, made);
  }
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
  if (cancelled->kept != NULL) /* declared anew, it begins anew */
    *cancelled->kept = (iotops_lua_kept_timer){0};
  deactivate(cancelled);
  if (was_active) /* a call in hand has it on its stack */
    drop_anchor(L, cancelled);
  lua_pushboolean(L, was_active);
  return 1;
}

static int timer_tostring(lua_State *L) {
  const timer *shown = luaL_checkudata(L, 1, class_name);
  lua_pushfstring(
      L, "timer (%s%s%s%f s)", shown->name, shown->name[0] != '\0' ? ", " : "",
      shown->repeats ? "every " : "after ", (lua_Number)shown->delay_ms / 1000);
  return 1;
}

static int timer_gc(lua_State *L) {
  deactivate(lua_touserdata(L, 1));
  return 0;
}

void timers_start(iotops_lua *state) {
  timer *next;
  for (timer *each = state->timers; each != NULL; each = next) {
    next = each->next;
    if (start_first(each, true))
      continue;
    deactivate(each);
    drop_anchor(state->L, each);
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
