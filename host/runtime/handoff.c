#include "runtime/handoff.h"

#include <string.h>

#include "runtime/host.h"

/* ----------------------------------------------------------- what is due -- */

/* Whether what is restored is to be saved now rather than what was kept. */
static bool is_live(const reload *reload) {
  const script *script = reload->script;
  iotops_lua_handoff now = iotops_lua_declared_handoff(script->current->L);
  if (!now.saves)
    return false;
  /*
  ** The last good version knows nothing of a later layout, and what has failed
  ** may have spoilt its state.
  */
  return !reload->back ||
         (reload->by_hand &&
          now.version ==
              iotops_lua_declared_handoff(reload->staged->L).version);
}

bool handoff_is_due(const reload *reload) {
  const script *script = reload->script;
  if (script->current == NULL ||
      !iotops_lua_declared_handoff(reload->staged->L).restores)
    return false;
  return is_live(reload) ||
         (reload->back && script->probation.snapshot != NULL);
}

void handoff_remember(reload *reload) {
  script *script = reload->script;
  iotops_error err;
  if (script->current == NULL || reload->back ||
      !iotops_lua_declared_handoff(script->current->L).saves)
    return;
  script_log(script, reload->staged->generation, IOTOPS_LOG_WARN,
             "it has no restore function: the state of generation %llu is "
             "dropped",
             (unsigned long long)script->current->generation);
  if (iotops_lua_save(script->current->L, script->host->options.memory_limit,
                      &reload->saved, &err) != 0)
    script_log(script, script->generation, IOTOPS_LOG_WARN,
               "its state cannot be kept for a way back: %s", err.message);
}

/* ---------------------------------------------------------------- quiesce --
 */

static void pause_endpoints(const script_state *state, bool paused) {
  for (size_t i = 0; i < state->endpoint_count; i++)
    iotops_lua_endpoint_pause(state->endpoints[i], paused);
}

/* What the staged state is given; NULL with the reload's error. */
static const iotops_lua_snapshot *take_state(reload *reload) {
  script *script = reload->script;
  const iotops_lua_snapshot *kept = script->probation.snapshot;
  if (!is_live(reload))
    return kept;
  if (iotops_lua_save(script->current->L, script->host->options.memory_limit,
                      &reload->saved, &reload->error) == 0)
    return reload->saved;
  if (!reload->back || kept == NULL)
    return NULL;
  script_log(script, script->generation, IOTOPS_LOG_WARN,
             "its state cannot be saved, the last one that was handed over is "
             "taken: %s",
             reload->error.message);
  return kept;
}

/*
** The last good version cannot read the present state: it may go back to its
** own.  False: there is none.
*/
static bool fall_back(const reload *reload) {
  script *script = reload->script;
  iotops_error err;
  char why[sizeof reload->why];
  if (!reload->back || reload->saved == NULL ||
      script->probation.snapshot == NULL)
    return false;
  script_log(script, script->generation, IOTOPS_LOG_WARN,
             "its state cannot be restored, the last one that was handed over "
             "is taken: %s",
             reload->error.message);
  /* Ends this reload. */
  memcpy(why, reload->why, sizeof why);
  (void)reload_back(script, false, why, &err); /* was logged */
  return true;
}

static void hand_over(reload *reload) {
  const script *script = reload->script;
  iotops_timer_stop(script->host->context, &reload->timeout);
  iotops_task_cancel(script->host->context, &reload->decide);
  const iotops_lua_snapshot *handed = take_state(reload);
  if (handed == NULL) {
    reload_fail(reload, "its state cannot be saved");
    return;
  }
  if (iotops_lua_restore(reload->staged->L, handed, &reload->error) != 0) {
    if (!fall_back(reload))
      reload_fail(reload, "the state cannot be restored");
    return;
  }
  reload->records = iotops_lua_snapshot_tables(handed);
  reload_finish(reload);
}

static void deadline_passed(iotops_timer *timer) {
  reload *reload = timer->user;
  const script *script = reload->script;
  script_log(script, script->generation, IOTOPS_LOG_WARN,
             "%zu calls have not ended within %.1f s; its state is handed over "
             "without them",
             iotops_lua_busy_calls(script->current->L),
             (double)script->host->options.handoff_timeout_ms / 1000.0);
  hand_over(reload);
}

void handoff_look(reload *reload) {
  if (iotops_lua_busy_calls(reload->script->current->L) == 0)
    hand_over(reload);
}

void handoff_begin(reload *reload) {
  script *script = reload->script;
  reload->quiescing = true;
  script_client_keep(&script->client);
  pause_endpoints(script->current, true);
  iotops_lua_freeze(script->current->L, true);
  reload->timeout.fire = deadline_passed;
  iotops_timer_start(script->host->context, &reload->timeout,
                     script->host->options.handoff_timeout_ms);
  handoff_look(reload);
}

void handoff_resume(script *script) {
  if (script->current == NULL)
    return;
  iotops_lua_freeze(script->current->L, false);
  pause_endpoints(script->current, false);
  script_client_resume(&script->client);
}

/* ------------------------------------------------------- after the commit --
 */

void handoff_unpause(const script_state *state) {
  pause_endpoints(state, false);
}

void handoff_retire(script_state *state) {
  /* Whatever goes on in it would change a state that nobody has any more. */
  bool idle = iotops_lua_calls(state->L) == 0;
  state_drain(state,
              idle ? state->script->host->options.handoff_timeout_ms : 0);
}
