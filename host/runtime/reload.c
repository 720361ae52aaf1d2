#include "runtime/reload.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "runtime/commit.h"
#include "runtime/handoff.h"
#include "runtime/host.h"
#include "runtime/manifest.h"
#include "runtime/probation.h"

/* One grant that is waited for; outlives its reload when that is given up. */
typedef struct grant {
  script *script;      /* borrowed */
  uint64_t serial;     /* of the reload that waits for it; 0: none does */
  uint64_t generation; /* whose endpoint it is of, and which of them */
  size_t index;
  char filter[];
} grant;

/* ------------------------------------------------------------- report -- */

const char *reload_outcome_name(reload_outcome outcome) {
  static const char *const names[] = {"none", "committed", "failed",
                                      "rolled back"};
  return names[outcome];
}

void reload_report_end(script *script, reload_outcome outcome,
                       uint64_t began_ns, size_t records, const char *format,
                       ...) {
  reload_report *last = &script->last_reload;
  va_list args;
  last->number++;
  last->outcome = outcome;
  last->wall_ms = iotops_wall_ms(script->host->context);
  last->took_ms = (double)(uv_hrtime() - began_ns) / 1e6;
  last->records = records;
  va_start(args, format);
  vsnprintf(last->message, sizeof last->message, format, args);
  va_end(args);
}

/* What the log says about who serves after a failure. */
static void log_failure(script *script, uint64_t began_ns, const char *what,
                        const iotops_error *err) {
  script->client.counters.failed_reloads++;
  reload_report_end(script, RELOAD_FAILED, began_ns, 0, "%s: %s", what,
                    err->message);
  if (script->current != NULL)
    script_log(script, script->generation, IOTOPS_LOG_ERROR,
               "%s; still serving generation %llu\n%s", what,
               (unsigned long long)script->generation, err->message);
  else
    script_log(script, 0, IOTOPS_LOG_ERROR,
               "%s; it is tried again when a file of it changes\n%s", what,
               err->message);
}

/* Takes the source of what has failed: it is news only when it changes. */
static void refuse(script *script, source *failed) {
  source_clear(&script->refused);
  script->refused = *failed;
  *failed = (source){.context = script->host->context};
  source_forget_bytes(&script->refused);
  script->rolled_back = false;
}

static void free_reload(reload *reload) {
  script *script = reload->script;
  iotops_context *context = script->host->context;
  bool resumes = reload->quiescing;
  iotops_timer_stop(context, &reload->timeout);
  iotops_task_cancel(context, &reload->decide);
  script->reload = NULL;
  if (reload->staged != NULL)
    state_free(reload->staged);
  iotops_lua_snapshot_free(reload->saved);
  iotops_free(context, reload->opened);
  iotops_free(context, reload);
  if (resumes)
    handoff_resume(script);
  probation_reconsider(script);
}

/* ------------------------------------------------------------- grants -- */

/* A grant that the serving generation went ahead of. */
static void granted_later(const grant *grant, const iotops_error *err) {
  script *script = grant->script;
  script_state *current = script->current;
  bool lives = host_has_session(script->host);
  if (err != NULL && err->kind != IOTOPS_CANCELLATION && lives) {
    script_log(script, grant->generation, IOTOPS_LOG_ERROR,
               "nothing will be received by %s: %s", grant->filter,
               err->message);
    if (current != NULL && current->generation == grant->generation)
      current->refused[grant->index] = true;
  }
  if (--script->ungranted == 0 && err == NULL)
    script_log(script, script->generation, IOTOPS_LOG_INFO,
               "subscribed: messages reach it");
}

static void granted(void *user, const iotops_error *err) {
  grant *grant = user;
  script *script = grant->script;
  reload *reload = script->reload;
  if (grant->serial == 0) {
    granted_later(grant, err);
  } else if (reload != NULL && reload->serial == grant->serial) {
    if (err != NULL && !reload->failed) {
      reload->failed = true;
      iotops_error_set(&reload->error, err->kind, "subscription to %s: %s",
                       grant->filter, err->message);
    }
    reload->awaited--;
    if (reload->awaited == 0 || reload->failed)
      iotops_task_soon(script->host->context, &reload->decide);
  }
  iotops_free(script->host->context, grant);
}

/*
** Opens an endpoint of `state`.  `waiter` is told of the grant; NULL: only a
** refusal is logged.
*/
int reload_open(script_state *state, size_t index, reload *waiter,
                iotops_error *err) {
  script *script = state->script;
  iotops_lua_endpoint *endpoint = state->endpoints[index];
  iotops_context *context = script->host->context;
  const char *filter = iotops_lua_endpoint_filter(endpoint);
  size_t size = strlen(filter) + 1;
  grant *grant = iotops_zalloc(context, sizeof *grant + size);
  if (grant == NULL)
    return iotops_error_memory(err);
  grant->script = script;
  grant->generation = state->generation;
  grant->index = index;
  grant->serial = waiter != NULL ? waiter->serial : 0;
  memcpy(grant->filter, filter, size);
  if (state->marks[index] == 0)
    state->marks[index] = ++script->client.last_mark;
  script->client.mark = state->marks[index];
  script->client.endpoint = true;
  script->client.holding = waiter != NULL;
  int result = iotops_lua_endpoint_open(endpoint, granted, grant, err);
  script->client.endpoint = false;
  script->client.holding = false;
  script->client.mark = 0;
  if (result != 0) {
    iotops_free(context, grant);
    return -1;
  }
  if (waiter != NULL)
    waiter->awaited++;
  else
    script->ungranted++;
  return 0;
}

/* The same without waiting; what fails is left for the next connection. */
void reload_open_now(script_state *state, size_t index) {
  iotops_error err;
  state->refused[index] = reload_open(state, index, NULL, &err) != 0;
  if (state->refused[index])
    script_log(state->script, state->generation, IOTOPS_LOG_ERROR,
               "nothing will be received by %s: %s",
               iotops_lua_endpoint_filter(state->endpoints[index]),
               err.message);
}

void reload_reopen(script *script) {
  script_state *current = script->current;
  if (script->reload != NULL)
    return; /* which asks for them itself, and holds what comes */
  for (size_t i = 0; current != NULL && i < current->endpoint_count; i++)
    if (current->refused[i])
      reload_open_now(current, i);
}

static bool has_filter(const script_state *state, const char *filter) {
  for (size_t i = 0; state != NULL && i < state->endpoint_count; i++)
    if (!state->refused[i] &&
        strcmp(iotops_lua_endpoint_filter(state->endpoints[i]), filter) == 0)
      return true;
  return false;
}

static int await_grants(reload *reload) {
  script *script = reload->script;
  script_state *staged = reload->staged;
  for (size_t i = 0; i < staged->endpoint_count; i++) {
    /* What is subscribed to already needs no grant. */
    if (has_filter(script->current,
                   iotops_lua_endpoint_filter(staged->endpoints[i])))
      continue;
    if (reload_open(staged, i, reload, &reload->error) != 0)
      return -1;
    reload->opened[i] = true;
  }
  return 0;
}

/* -------------------------------------------------------------- decide -- */

static const char *attempt(const script *script, bool back) {
  if (back)
    return "cannot go back";
  return script->current != NULL ? "cannot reload" : "cannot load";
}

void reload_fail(reload *reload, const char *what) {
  script *script = reload->script;
  char told[128];
  snprintf(told, sizeof told, "%s%s%s", attempt(script, reload->back),
           what != NULL ? ": " : "", what != NULL ? what : "");
  log_failure(script, reload->began_ns, told, &reload->error);
  if (!reload->back)
    refuse(script, &reload->staged->source);
  else if (!reload->by_hand)
    probation_no_way_back(script);
  free_reload(reload);
}

void reload_finish(reload *reload) {
  if (reload_commit(reload) != 0)
    reload_fail(reload, NULL);
  else
    free_reload(reload);
}

/* All grants are there. */
static void go_on(reload *reload) {
  iotops_timer_stop(reload->script->host->context, &reload->timeout);
  if (handoff_is_due(reload)) {
    handoff_begin(reload);
    return;
  }
  handoff_remember(reload);
  reload_finish(reload);
}

static void decide(iotops_task *task) {
  reload *reload = task->user;
  if (reload->quiescing)
    handoff_look(reload);
  else if (reload->failed)
    reload_fail(reload, NULL);
  else
    go_on(reload);
}

void reload_turn_ended(script *script) {
  if (script->reload != NULL && script->reload->quiescing)
    iotops_task_late(script->host->context, &script->reload->decide);
}

static void timed_out(iotops_timer *timer) {
  reload *reload = timer->user;
  script *script = reload->script;
  if (iotops_mqtt_is_connected(script->client.session))
    iotops_error_set(&reload->error, IOTOPS_TIMEOUT,
                     "the broker has not granted %zu new subscriptions",
                     reload->awaited);
  else
    iotops_error_set(&reload->error, IOTOPS_TIMEOUT, "broker unreachable");
  script->retry = !reload->back;
  reload_fail(reload, reload->back ? NULL : "tried again at the next connect");
}

/* ---------------------------------------------------------------- stage -- */

/* Takes the staged generation on its way.  -1: that was logged, it is gone. */
static int advance(script *script, script_state *staged, uint64_t began_ns,
                   const char *back, bool by_hand, iotops_error *err) {
  iotops_context *context = script->host->context;
  reload *reload = iotops_zalloc(context, sizeof *reload);
  bool *opened = iotops_zalloc(context, staged->endpoint_count + 1);
  if (reload == NULL || opened == NULL) {
    iotops_error_memory(err);
    log_failure(script, began_ns, attempt(script, back != NULL), err);
    iotops_free(context, reload);
    iotops_free(context, opened);
    state_free(staged);
    return -1;
  }
  reload->script = script;
  reload->serial = ++script->reload_serial;
  reload->staged = staged;
  reload->opened = opened;
  reload->began_ns = began_ns;
  reload->timeout.fire = timed_out;
  reload->timeout.user = reload;
  reload->decide.run = decide;
  reload->decide.user = reload;
  reload->back = back != NULL;
  reload->by_hand = by_hand;
  snprintf(reload->why, sizeof reload->why, "%s", back != NULL ? back : "");
  script->reload = reload;
  /* With nothing to protect there is nothing to wait for. */
  if (manifest_check(staged, &reload->error) != 0 ||
      (script->current != NULL && await_grants(reload) != 0)) {
    *err = reload->error;
    reload_fail(reload, NULL);
    return -1;
  }
  if (reload->awaited == 0)
    go_on(reload);
  else
    iotops_timer_start(context, &reload->timeout,
                       script->host->options.grant_timeout_ms);
  return 0;
}

void reload_begin(script *script) {
  iotops_error err;
  source tried = {.context = script->host->context};
  uint64_t began_ns = uv_hrtime();
  reload_cancel(script);
  manifest_forget(script);
  script_state *staged =
      state_load(script, script->generation + 1, &tried, &err);
  if (staged != NULL) {
    advance(script, staged, began_ns, NULL, false, &err);
    return;
  }
  log_failure(script, began_ns, attempt(script, false), &err);
  refuse(script, &tried);
  probation_reconsider(script);
}

int reload_back(script *script, bool by_hand, const char *why,
                iotops_error *err) {
  const probation *to = &script->probation;
  uint64_t began_ns = uv_hrtime();
  script_log(script, script->generation,
             by_hand ? IOTOPS_LOG_INFO : IOTOPS_LOG_ERROR,
             "%s: going back to generation %llu", why,
             (unsigned long long)to->generation);
  reload_cancel(script);
  script_state *staged =
      state_recall(script, script->generation + 1, &to->good, err);
  if (staged != NULL)
    return advance(script, staged, began_ns, why, by_hand, err);
  log_failure(script, began_ns, attempt(script, true), err);
  if (!by_hand)
    probation_no_way_back(script);
  return -1;
}

void reload_cancel(script *script) {
  if (script->reload != NULL)
    free_reload(script->reload);
}
