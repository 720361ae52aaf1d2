#include "runtime/reload.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "runtime/host.h"

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

static void report(script *script, reload_outcome outcome, uint64_t began_ns,
                   size_t records, const char *format, ...) IOTOPS_PRINTF(5, 6);

static void report(script *script, reload_outcome outcome, uint64_t began_ns,
                   size_t records, const char *format, ...) {
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
  report(script, RELOAD_FAILED, began_ns, 0, "%s: %s", what, err->message);
  if (script->current != NULL)
    script_log(script, script->generation, IOTOPS_LOG_ERROR,
               "%s; still serving generation %llu\n%s", what,
               (unsigned long long)script->generation, err->message);
  else
    script_log(script, 0, IOTOPS_LOG_ERROR,
               "%s; it is tried again when a file of it changes\n%s", what,
               err->message);
}

static void free_reload(reload *reload) {
  iotops_context *context = reload->script->host->context;
  iotops_timer_stop(context, &reload->timeout);
  iotops_task_cancel(context, &reload->decide);
  reload->script->reload = NULL;
  if (reload->staged != NULL)
    state_free(reload->staged);
  iotops_free(context, reload->opened);
  iotops_free(context, reload);
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
static int open_endpoint(script_state *state, size_t index, reload *waiter,
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
  script->client.endpoint = true;
  script->client.holding = waiter != NULL;
  int result = iotops_lua_endpoint_open(endpoint, granted, grant, err);
  script->client.endpoint = false;
  script->client.holding = false;
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
static void open_now(script_state *state, size_t index) {
  iotops_error err;
  state->refused[index] = open_endpoint(state, index, NULL, &err) != 0;
  if (state->refused[index])
    script_log(state->script, state->generation, IOTOPS_LOG_ERROR,
               "nothing will be received by %s: %s",
               iotops_lua_endpoint_filter(state->endpoints[index]),
               err.message);
}

void reload_reopen(script *script) {
  script_state *current = script->current;
  for (size_t i = 0; current != NULL && i < current->endpoint_count; i++)
    if (current->refused[i])
      open_now(current, i);
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
    if (open_endpoint(staged, i, reload, &reload->error) != 0)
      return -1;
    reload->opened[i] = true;
  }
  return 0;
}

/* ------------------------------------------------------------- commit -- */

/*
** Passes the envoy of an endpoint of `old` that is the same as `endpoint` on
** to it.  False when there is none.
*/
static bool adopt(iotops_lua_endpoint *endpoint, script_state *old,
                  bool *passed_on) {
  const char *identity = iotops_lua_endpoint_identity(endpoint);
  for (size_t i = 0; old != NULL && i < old->endpoint_count; i++) {
    /* One that the broker refused is opened anew. */
    if (passed_on[i] || old->refused[i] ||
        strcmp(iotops_lua_endpoint_identity(old->endpoints[i]), identity) != 0)
      continue;
    iotops_lua_endpoint_adopt(endpoint, old->endpoints[i]);
    passed_on[i] = true;
    return true;
  }
  return false;
}

/* Closes what the old generation has and the new one has not. */
static void close_rest(script_state *old, const bool *passed_on) {
  for (size_t i = 0; old != NULL && i < old->endpoint_count; i++)
    if (!passed_on[i])
      iotops_lua_endpoint_close(old->endpoints[i]);
}

static void log_commit(const reload *reload, size_t opened) {
  script *script = reload->script;
  script_state *now = script->current;
  double took_ms = (double)(uv_hrtime() - reload->began_ns) / 1e6;
  if (now->generation == 1)
    script_log(script, now->generation, IOTOPS_LOG_INFO,
               "loaded: %zu endpoint%s", now->endpoint_count,
               now->endpoint_count == 1 ? "" : "s");
  else
    script_log(script, now->generation, IOTOPS_LOG_INFO,
               "reloaded: %zu endpoint%s, %zu new, %.1f ms",
               now->endpoint_count, now->endpoint_count == 1 ? "" : "s", opened,
               took_ms);
}

/* A timer of the old generation that the new one has not declared so far. */
static void timer_left(void *user, const char *name) {
  const script_state *now = user;
  script_log(now->script, now->generation, IOTOPS_LOG_INFO,
             "the timer '%s' does not run any more: it is not declared", name);
}

static void commit(reload *reload) {
  script *script = reload->script;
  iotops_context *context = script->host->context;
  script_state *old = script->current, *now = reload->staged;
  size_t old_count = old != NULL ? old->endpoint_count : 0, opened = 0;
  bool *passed_on = iotops_zalloc(context, old_count + 1);
  const char **filters =
      iotops_zalloc(context, (old_count + 1) * sizeof *filters);
  if (passed_on == NULL || filters == NULL) {
    iotops_error_memory(&reload->error);
    log_failure(script, reload->began_ns, "cannot reload", &reload->error);
    goto done;
  }
  reload->staged = NULL;
  script->current = now;
  script->generation = now->generation;
  for (size_t i = 0; i < now->endpoint_count; i++) {
    if (reload->opened[i]) {
      opened++;
      continue;
    }
    if (adopt(now->endpoints[i], old, passed_on))
      continue;
    opened++;
    open_now(now, i);
  }
  close_rest(old, passed_on);
  log_commit(reload, opened);
  if (old != NULL) {
    script->client.counters.reloads++;
    report(script, RELOAD_COMMITTED, reload->began_ns, 0,
           "generation %llu replaced generation %llu",
           (unsigned long long)now->generation,
           (unsigned long long)old->generation);
  }
  source_clear(&script->refused);
  script->retry = false;
  size_t served = 0;
  for (size_t i = 0; i < old_count; i++)
    if (!old->refused[i])
      filters[served++] = iotops_lua_endpoint_filter(old->endpoints[i]);
  iotops_lua_start(now->L);
  script_client_release(&script->client, filters, served);
  if (old != NULL) {
    old->next = script->draining;
    script->draining = old;
    state_drain(old, script->host->options.drain_ms);
  }
  keepsakes_committed(&script->kept, now->generation, timer_left, now);
done:
  iotops_free(context, passed_on);
  iotops_free(context, filters);
}

/* -------------------------------------------------------------- decide -- */

/* Gives the staged generation up; the content is not tried again by itself. */
static void give_up(reload *reload, const char *what) {
  script *script = reload->script;
  log_failure(script, reload->began_ns, what, &reload->error);
  source_clear(&script->refused);
  script->refused = reload->staged->source;
  reload->staged->source = (source){.context = script->host->context};
  free_reload(reload);
}

static void decide(iotops_task *task) {
  reload *reload = task->user;
  if (reload->failed) {
    give_up(reload, "cannot reload");
    return;
  }
  commit(reload);
  free_reload(reload);
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
  script->retry = true;
  give_up(reload, "cannot reload now, will try again at the next connect");
}

void reload_begin(script *script) {
  host *host = script->host;
  iotops_error err;
  source tried = {.context = host->context};
  uint64_t began_ns = uv_hrtime();
  reload_cancel(script);
  script_state *staged =
      state_load(script, script->generation + 1, &tried, &err);
  if (staged == NULL) {
    log_failure(script, began_ns,
                script->current != NULL ? "cannot reload" : "cannot load",
                &err);
    source_clear(&script->refused);
    script->refused = tried;
    return;
  }
  reload *reload = iotops_zalloc(host->context, sizeof *reload);
  bool *opened = iotops_zalloc(host->context, staged->endpoint_count + 1);
  if (reload == NULL || opened == NULL) {
    iotops_error_memory(&err);
    log_failure(script, began_ns, "cannot reload", &err);
    iotops_free(host->context, reload);
    iotops_free(host->context, opened);
    state_free(staged);
    return;
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
  script->reload = reload;
  /* With nothing to protect there is nothing to wait for. */
  if (script->current != NULL && await_grants(reload) != 0) {
    give_up(reload, "cannot reload");
    return;
  }
  if (reload->awaited == 0) {
    commit(reload);
    free_reload(reload);
    return;
  }
  iotops_timer_start(host->context, &reload->timeout,
                     host->options.grant_timeout_ms);
}

void reload_cancel(script *script) {
  if (script->reload != NULL)
    free_reload(script->reload);
}
