#include "wait.h"

#include <uv.h>

#include "coroutine.h"
#include "error.h"
#include "misuse.h"

static const char sentinel;

/* -------------------------------------------------------------- begin -- */

static int refuse(lua_State *L, const char *why) {
  return misuse(L, "%s", why);
}

static const char cannot_yield[] =
    "cannot wait here: Lua cannot yield across this function (a callback of "
    "string.gsub or table.sort, a metamethod, require); wait inside "
    "iotops.spawn(function() ... end)";

/* Raises unless the running coroutine may wait. */
static void check_may_wait(lua_State *L, iotops_lua *state) {
  const call *running = state->running_call;
  if (state->closing)
    refuse(L, "cannot wait: the script is being closed");
  if (running != NULL && running->info.kind == IOTOPS_CALL_MAIN)
    refuse(L, "cannot wait while the script is being loaded; wait inside "
              "iotops.on_start(function() ... end)");
  if (running != NULL && running->info.kind == IOTOPS_CALL_HANDOFF)
    refuse(L, "cannot wait in save or restore of iotops.handoff");
  if (L != state->running)
    refuse(L, "cannot wait in a coroutine that was resumed by a function kept "
              "from before iotops was required; require iotops first");
  const lua_State *base = running != NULL ? running->co : state->L;
  if (running == NULL && state->embedded)
    refuse(L, "cannot wait outside a call of the host; wait inside "
              "iotops.on_start(function() ... end)");
  if (L == state->L) {
    if (running != NULL) /* a metamethod of an error that is being described */
      refuse(L, cannot_yield);
    if (state->main_wait != NULL)
      refuse(L, "cannot wait while the main thread waits");
    return;
  }
  if (!lua_isyieldable(L))
    refuse(L, cannot_yield);
  for (const resume_frame *frame = state->frames; frame != NULL;
       frame = frame->outer)
    if (frame->from != state->L && !lua_isyieldable(frame->from))
      refuse(L, cannot_yield);
  if (base == state->L && state->frames == NULL)
    refuse(L, cannot_yield);
}

wait *wait_new(lua_State *L, int (*push)(lua_State *L, const wait *wait)) {
  iotops_lua *state = state_of(L);
  check_may_wait(L, state);
  wait *made = iotops_zalloc(state->context, sizeof *made);
  if (made == NULL) {
    luaL_error(L, "out of memory");
    return NULL;
  }
  made->state = state;
  made->context = state->context;
  made->call = state->running_call;
  made->push = push;
  made->next = state->waits;
  if (made->next != NULL)
    made->next->previous = made;
  state->waits = made;
  return made;
}

static void detach(wait *given) {
  iotops_lua *state = given->state;
  if (state == NULL)
    return;
  if (given->previous != NULL)
    given->previous->next = given->next;
  else
    state->waits = given->next;
  if (given->next != NULL)
    given->next->previous = given->previous;
  given->next = given->previous = NULL;
  if (state->main_wait == given)
    state->main_wait = NULL;
  if (given->call != NULL && given->call->waiting == given)
    given->call->waiting = NULL;
  given->state = NULL;
}

void wait_drop(wait *refused) {
  detach(refused);
  iotops_free(refused->context, refused);
}

/* --------------------------------------------------------------- wait -- */

static int wait_k(lua_State *L, int status, lua_KContext context) {
  (void)status;
  return wait_results(L, context_pointer(context));
}

bool wait_is_sentinel(lua_State *co, int count) {
  return count == 1 && lua_touserdata(co, -1) == (void *)&sentinel;
}

void wait_push_sentinel(lua_State *L) {
  lua_pushlightuserdata(L, (void *)&sentinel);
}

/*
** `lua5.4` answers Ctrl-C with a hook, which is seen when Lua runs: it is
** given the chance so often while the main thread waits.
*/
enum { INTERRUPT_MS = 250 };

static void look_up(iotops_timer *timer) {
  iotops_timer_start(timer->user, timer, INTERRUPT_MS);
}

static int let_hook_run(lua_State *L) {
  (void)L;
  return 0;
}

static void drive(lua_State *L, iotops_lua *state, iotops_timer *looking) {
  wait *driven = state->main_wait;
  lua_Hook hook = lua_gethook(L);
  while (driven != NULL && !driven->done) {
    /* Tasks that are queued may be all that is left to do. */
    iotops_context_run_once(state->context, false);
    if (driven->done)
      break;
    iotops_timer_stop(state->context, looking);
    if (!uv_loop_alive(iotops_context_loop(state->context)) &&
        iotops_context_next_due(state->context) == UINT64_MAX) {
      iotops_context_run_once(state->context, false);
      if (driven->done)
        break;
      state->main_wait = NULL;
      luaL_error(L, "cannot wait: nothing is under way that could end it");
    }
    if (lua_gethook(L) != hook) {
      state->main_wait = NULL;
      lua_pushcfunction(L, let_hook_run);
      lua_call(L, 0, 0);
      state->main_wait = driven;
      hook = lua_gethook(L);
    }
    look_up(looking);
    iotops_context_run_once(state->context, true);
  }
  iotops_timer_stop(state->context, looking);
  state->main_wait = NULL;
}

void wait_drive(lua_State *L, iotops_lua *state) {
  iotops_timer looking = {.fire = look_up, .user = state->context};
  drive(L, state, &looking);
}

int wait_yield(lua_State *L, wait *begun, lua_KFunction k) {
  iotops_lua *state = begun->state;
  if (k == NULL)
    k = wait_k;
  if (begun->call != NULL)
    begun->call->waiting = begun;
  else
    state->main_wait = begun;
  if (L == state->L) {
    wait_drive(L, state);
    return k(L, LUA_YIELD, (lua_KContext)begun);
  }
  wait_push_sentinel(L);
  return lua_yieldk(L, 1, (lua_KContext)begun, k);
}

/* ------------------------------------------------------------ results -- */

int wait_results(lua_State *L, wait *ended) {
  wait copy = *ended;
  if (!copy.stashed) {
    wait_drop(ended);
    return copy.push(L, &copy);
  }
  push_anchored(L, ended);
  drop_anchor(L, ended);
  wait_drop(ended);
  int count = (int)lua_rawlen(L, -1);
  lua_getfield(L, -1, "n");
  if (lua_isinteger(L, -1))
    count = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  luaL_checkstack(L, count + 1, NULL);
  int table = lua_gettop(L);
  for (int i = 1; i <= count; i++)
    lua_rawgeti(L, table, i);
  return count;
}

/* Runs protected: keeps the results of a wait whose view is about to die. */
static int stash(lua_State *L) {
  wait *done = lua_touserdata(L, 1);
  lua_settop(L, 0);
  lua_createtable(L, 2, 1);
  int count = done->push(L, done);
  lua_pushinteger(L, count);
  lua_setfield(L, 1, "n");
  for (int i = count; i >= 1; i--)
    lua_rawseti(L, 1, i);
  lua_settop(L, 1);
  anchor(L, done);
  return 0;
}

static int push_memory_error(lua_State *L, const wait *failed) {
  (void)failed;
  return luaL_error(L, "out of memory");
}

void wait_complete(wait *done, const void *view, const iotops_error *err) {
  iotops_lua *state = done->state;
  if (state == NULL) {
    iotops_free(done->context, done);
    return;
  }
  done->view = view;
  done->err = err;
  done->done = true;
  if (done->call != NULL) {
    call_go_on(done->call);
    return;
  }
  lua_State *L = state->running;
  if (lua_checkstack(L, 4)) {
    lua_pushcfunction(L, stash);
    lua_pushlightuserdata(L, done);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK) {
      done->stashed = true;
      return;
    }
    lua_pop(L, 1);
  }
  done->push = push_memory_error;
}

void wait_done(void *user, const iotops_error *err) {
  wait_complete(user, NULL, err);
}

int wait_push_true(lua_State *L, const wait *ended) {
  if (ended->err != NULL)
    return push_failure(L, ended->err);
  lua_pushboolean(L, true);
  return 1;
}

void waits_abandon(iotops_lua *state, const call *call) {
  for (wait *next, *given = state->waits; given != NULL; given = next) {
    next = given->next;
    if (call != NULL && given->call != call)
      continue;
    bool over = given->cancel != NULL && given->cancel(given);
    detach(given);
    if (over)
      iotops_free(given->context, given);
  }
}
