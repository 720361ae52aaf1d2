#include "runtime/probation.h"

#include <uv.h>

#include "runtime/host.h"
#include "runtime/reload.h"

static const char *plural(uint64_t count) {
  return count == 1 ? "" : "s";
}

static bool mostly_fails(const script_state *state) {
  return state->failed_calls * 2 > state->ended_calls;
}

/* Its calls say so; that nobody has called it yet says nothing. */
static bool mostly_works(const script_state *state) {
  return state->ended_calls > 0 && !mostly_fails(state);
}

static void stop_watching(script *script) {
  probation *on = &script->probation;
  on->watching = on->failed = false;
  iotops_timer_stop(script->host->context, &on->end);
  iotops_task_cancel(script->host->context, &on->back);
}

static void forget(probation *of) {
  source_clear(&of->good);
  iotops_lua_snapshot_free(of->snapshot);
  of->snapshot = NULL;
}

/* ---------------------------------------------------------------- watch -- */

static void passed(iotops_timer *timer) {
  script *script = timer->user;
  script_log(script, script->generation, IOTOPS_LOG_DEBUG,
             "its probation is over");
  stop_watching(script);
}

static void go_back(iotops_task *task) {
  script *script = task->user;
  const script_state *current = script->current;
  char why[160];
  iotops_error err;
  /* What is under way may be the remedy; it tells when it has failed. */
  if (current == NULL || script->reload != NULL)
    return;
  snprintf(why, sizeof why, "%llu of its first %llu call%s failed",
           (unsigned long long)current->failed_calls,
           (unsigned long long)current->ended_calls,
           plural(current->ended_calls));
  iotops_timer_stop(script->host->context, &script->probation.end);
  (void)reload_back(script, false, why, &err); /* was logged */
}

void probation_no_way_back(script *script) {
  stop_watching(script);
}

void probation_call_failed(script *script) {
  probation *on = &script->probation;
  const script_state *current = script->current;
  if (!on->watching || on->failed ||
      current->failed_calls < script->host->options.probation_errors ||
      !mostly_fails(current))
    return;
  on->failed = true;
  iotops_task_soon(script->host->context, &on->back);
}

void probation_reconsider(script *script) {
  if (script->probation.failed)
    iotops_task_soon(script->host->context, &script->probation.back);
}

/* --------------------------------------------------------------- commit -- */

/* The replaced version is the one to go back to, with its state. */
static void keep_version(script *script, reload *reload, script_state *old) {
  probation *on = &script->probation;
  forget(on);
  on->good = old->source;
  old->source = (source){.context = on->good.context};
  on->generation = old->generation;
  on->snapshot = reload->saved;
  reload->saved = NULL;
}

/* What has failed is not tried again by itself. */
static void came_back(script *script, const reload *reload, script_state *old) {
  source_forget_bytes(&old->source);
  script->refused = old->source;
  script->rolled_back = true;
  old->source = (source){.context = script->host->context};
  reload_report_end(script, RELOAD_ROLLED_BACK, reload->began_ns,
                    reload->records,
                    "generation %llu is generation %llu again, in place of "
                    "generation %llu: %s",
                    (unsigned long long)script->generation,
                    (unsigned long long)script->probation.generation,
                    (unsigned long long)old->generation, reload->why);
  forget(&script->probation);
}

void probation_committed(reload *reload, script_state *old) {
  script *script = reload->script;
  probation *on = &script->probation;
  bool proven = !on->watching || old == NULL || mostly_works(old);
  stop_watching(script);
  if (old == NULL)
    return;
  if (reload->back) {
    came_back(script, reload, old);
    return;
  }
  if (proven || on->good.count == 0)
    keep_version(script, reload, old);
  if (script->host->options.probation_ms == 0)
    return;
  on->watching = true;
  iotops_timer_start(script->host->context, &on->end,
                     script->host->options.probation_ms);
}

/* ----------------------------------------------------------------- life -- */

void probation_init(script *script) {
  probation *on = &script->probation;
  on->good.context = script->host->context;
  on->end.fire = passed;
  on->end.user = script;
  on->back.run = go_back;
  on->back.user = script;
}

void probation_clear(script *script) {
  stop_watching(script);
  forget(&script->probation);
}
