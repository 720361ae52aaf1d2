/* run.c -- iotops.run and stop: the loop of a plain Lua. */
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

#include "error.h"
#include "misuse.h"
#include "session_record.h"
#include "timer.h"

enum { DRAIN_MS = 20000 }; /* for what is in hand */

typedef struct watch {
  uv_signal_t interrupt, terminate;
  iotops_lua *state;
  int signals;
  int open; /* handles that are not closed yet */
} watch;

static void signalled(uv_signal_t *handle, int number) {
  watch *seen = handle->data;
  (void)number;
  seen->state->stopping = true;
  if (++seen->signals > 1)
    exit(130);
}

static void closed(uv_handle_t *handle) {
  watch *seen = handle->data;
  seen->open--;
}

static void watch_signal(watch *seen, uv_signal_t *handle, int number) {
  uv_signal_init(iotops_context_loop(seen->state->context), handle);
  handle->data = seen;
  seen->open++;
  uv_signal_start(handle, signalled, number);
}

/* The error of a session that ended by itself; NULL: all go on. */
static const iotops_error *lost_session(const iotops_lua *state) {
  for (const lua_session *each = state->sessions; each != NULL;
       each = each->next)
    if (each->ended && each->end_error != NULL && !each->leaving)
      return each->end_error;
  return NULL;
}

static bool any_session(const iotops_lua *state) {
  for (const lua_session *each = state->sessions; each != NULL;
       each = each->next)
    if (each->session != NULL && !each->ended)
      return true;
  return false;
}

static void detach_all(iotops_lua *state) {
  iotops_exit_options options = IOTOPS_EXIT_OPTIONS_INIT;
  options.drain_ms = DRAIN_MS;
  for (lua_session *each = state->sessions; each != NULL; each = each->next) {
    if (each->session == NULL || each->ended || each->leaving)
      continue;
    iotops_task_cancel(state->context, &each->begin);
    each->leaving = true;
    iotops_session_detach(each->session, &options);
  }
}

static void drain_over(iotops_timer *timer) {
  bool *over = timer->user;
  *over = true;
}

/* Lets the on_stop functions end while there are sessions to use. */
static void drain(iotops_lua *state) {
  bool over = false;
  iotops_timer limit = {.fire = drain_over, .user = &over};
  iotops_timer_start(state->context, &limit, DRAIN_MS);
  while (state->stop_calls > 0 && !over && lost_session(state) == NULL)
    iotops_context_run_once(state->context, true);
  iotops_timer_stop(state->context, &limit);
}

static int core_run(lua_State *L) {
  iotops_lua *state = state_of(L);
  if (state->embedded)
    return 0; /* the host runs the loop */
  if (L != state->L || state->main_wait != NULL || state->running_call != NULL)
    return misuse(L, "iotops.run() is for the main chunk");
  watch seen = {.state = state};
  iotops_error lost = {0};
  watch_signal(&seen, &seen.interrupt, SIGINT);
  watch_signal(&seen, &seen.terminate, SIGTERM);
  state->stopping = false;
  while (!state->stopping) {
    iotops_context_run_once(state->context, true);
    const iotops_error *err = lost_session(state);
    if (err != NULL) {
      lost = *err;
      state->stopping = true;
    }
  }
  iotops_lua_stop(L, "stop");
  iotops_lua_quiesce(L);
  drain(state);
  detach_all(state);
  while (any_session(state))
    iotops_context_run_once(state->context, true);
  uv_close((uv_handle_t *)&seen.interrupt, closed);
  uv_close((uv_handle_t *)&seen.terminate, closed);
  while (seen.open > 0)
    iotops_context_run_once(state->context, false);
  state->quiet = false;
  if (lost.kind != IOTOPS_NO_ERROR)
    return raise_error(L, &lost);
  return 0;
}

static int core_stop(lua_State *L) {
  iotops_lua *state = state_of(L);
  if (state->embedded)
    return misuse(L, "a script cannot stop the host");
  state->stopping = true;
  return 0;
}

const core_field run_fields[] = {
    {"run", core_run, false}, {"stop", core_stop, false}, {0}};
