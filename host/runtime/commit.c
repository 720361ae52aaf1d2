#include "runtime/commit.h"

#include <string.h>
#include <uv.h>

#include "runtime/handoff.h"
#include "runtime/host.h"
#include "runtime/probation.h"

/* By endpoint, what has been decided so far. */
typedef struct fates {
  bool *passed_on;      /* owned; of the old generation */
  bool *taken;          /* owned; of the new one: it is opened or has one's */
  const char **filters; /* owned array; that the old one was served by */
} fates;

static void free_fates(iotops_context *context, fates *of) {
  iotops_free(context, of->passed_on);
  iotops_free(context, of->taken);
  iotops_free(context, of->filters);
}

static bool make_fates(iotops_context *context, fates *of, size_t old_count,
                       size_t new_count) {
  of->passed_on = iotops_zalloc(context, old_count + 1);
  of->taken = iotops_zalloc(context, new_count + 1);
  of->filters = iotops_zalloc(context, (old_count + 1) * sizeof *of->filters);
  return of->passed_on != NULL && of->taken != NULL && of->filters != NULL;
}

/*
** Passes the envoy of an endpoint of `old` that is the same as endpoint `index`
** of `now` on to it.  False when there is none.
*/
static bool adopt(script_state *now, size_t index, script_state *old,
                  bool *passed_on) {
  iotops_lua_endpoint *endpoint = now->endpoints[index];
  const char *identity = iotops_lua_endpoint_identity(endpoint);
  for (size_t i = 0; old != NULL && i < old->endpoint_count; i++) {
    /* One that the broker refused is opened anew. */
    if (passed_on[i] || old->refused[i] ||
        strcmp(iotops_lua_endpoint_identity(old->endpoints[i]), identity) != 0)
      continue;
    iotops_lua_endpoint_adopt(endpoint, old->endpoints[i]);
    now->marks[index] = old->marks[i];
    passed_on[i] = true;
    return true;
  }
  return false;
}

/* The endpoint of `now` that has the filter of one of `old` with other options;
** SIZE_MAX: none. */
static size_t heir_of(const script_state *now, const bool *taken,
                      const iotops_lua_endpoint *endpoint) {
  for (size_t i = 0; i < now->endpoint_count; i++)
    if (!taken[i] &&
        iotops_lua_endpoint_is_command(now->endpoints[i]) ==
            iotops_lua_endpoint_is_command(endpoint) &&
        strcmp(iotops_lua_endpoint_filter(now->endpoints[i]),
               iotops_lua_endpoint_filter(endpoint)) == 0)
      return i;
  return SIZE_MAX;
}

/*
** What is held for endpoints that are not passed on, and what waits in them,
** goes to those that follow them.  Where none does, the old state handles what
** it has, unless it is `over`.
*/
static void bequeath(script_client *client, script_state *now,
                     script_state *old, fates *of, bool over) {
  for (size_t i = 0; i < old->endpoint_count; i++) {
    iotops_message *message;
    iotops_ack ack;
    if (of->passed_on[i])
      continue;
    size_t heir = heir_of(now, of->taken, old->endpoints[i]);
    unsigned mark = 0;
    if (heir == SIZE_MAX && !over)
      continue;
    if (heir != SIZE_MAX) {
      of->taken[heir] = true;
      mark = now->marks[heir];
    }
    script_client_bequeath(client, old->marks[i], mark);
    while ((message = iotops_lua_endpoint_take(old->endpoints[i], &ack)) !=
           NULL)
      script_client_put_back(client, mark, message, ack);
  }
}

/* Closes what the old generation has and the new one has not. */
static void close_rest(script_state *old, const bool *passed_on) {
  for (size_t i = 0; old != NULL && i < old->endpoint_count; i++)
    if (!passed_on[i])
      iotops_lua_endpoint_close(old->endpoints[i]);
}

/* What was held for endpoints that the new generation has not. */
static void tell_unclaimed(script *script) {
  uint64_t count = script->client.unclaimed;
  script->client.unclaimed = 0;
  if (count > 0)
    script_log(script, script->generation, IOTOPS_LOG_WARN,
               "%llu messages were acknowledged unhandled: the endpoint that "
               "they came for is gone",
               (unsigned long long)count);
}

static void tell(const reload *reload, const script_state *old, size_t opened) {
  script *script = reload->script;
  const script_state *now = script->current;
  double took_ms = (double)(uv_hrtime() - reload->began_ns) / 1e6;
  char handed[64] = "";
  if (old == NULL) {
    script_log(script, now->generation, IOTOPS_LOG_INFO,
               "loaded: %zu endpoint%s", now->endpoint_count,
               now->endpoint_count == 1 ? "" : "s");
    return;
  }
  if (reload->records > 0)
    snprintf(handed, sizeof handed, ", %zu tables handed over",
             reload->records);
  script_log(script, now->generation, IOTOPS_LOG_INFO,
             "%s: %zu endpoint%s, %zu new, %.1f ms%s",
             reload->back ? "rolled back" : "reloaded", now->endpoint_count,
             now->endpoint_count == 1 ? "" : "s", opened, took_ms, handed);
  if (reload->back) {
    script->client.counters.rollbacks++;
    return; /* probation.c says it */
  }
  script->client.counters.reloads++;
  reload_report_end(script, RELOAD_COMMITTED, reload->began_ns, reload->records,
                    "generation %llu replaced generation %llu",
                    (unsigned long long)now->generation,
                    (unsigned long long)old->generation);
}

/* A timer of the old generation that the new one has not declared so far. */
static void timer_left(void *user, const char *name) {
  const script_state *now = user;
  script_log(now->script, now->generation, IOTOPS_LOG_INFO,
             "the timer '%s' does not run any more: it is not declared", name);
}

/* Opens, adopts and closes; gives the number that are new. */
static size_t exchange(const reload *reload, script_state *now,
                       script_state *old, fates *of) {
  size_t opened = 0;
  for (size_t i = 0; i < now->endpoint_count; i++)
    of->taken[i] = reload->opened[i] || adopt(now, i, old, of->passed_on);
  for (size_t i = 0; i < now->endpoint_count; i++) {
    opened += reload->opened[i] || !of->taken[i];
    if (of->taken[i])
      continue;
    reload_open_now(now, i);
    for (size_t j = 0; old != NULL && j < old->endpoint_count; j++)
      if (!of->passed_on[j])
        iotops_lua_endpoint_succeed(now->endpoints[i], old->endpoints[j]);
  }
  if (old != NULL)
    bequeath(&reload->script->client, now, old, of, reload->quiescing);
  close_rest(old, of->passed_on);
  return opened;
}

int reload_commit(reload *reload) {
  script *script = reload->script;
  iotops_context *context = script->host->context;
  script_state *old = script->current, *now = reload->staged;
  size_t old_count = old != NULL ? old->endpoint_count : 0, served = 0;
  bool handed_over = reload->quiescing;
  fates of = {0};
  if (!make_fates(context, &of, old_count, now->endpoint_count)) {
    iotops_error_memory(&reload->error);
    free_fates(context, &of);
    return -1;
  }
  reload->staged = NULL;
  script->current = now;
  script->generation = now->generation;
  size_t opened = exchange(reload, now, old, &of);
  source_clear(&script->refused);
  script->rolled_back = script->retry = false;
  tell(reload, old, opened);
  probation_committed(reload, old);
  for (size_t i = 0; i < old_count; i++)
    if (!old->refused[i])
      of.filters[served++] = iotops_lua_endpoint_filter(old->endpoints[i]);
  reload->quiescing = false;
  iotops_lua_start(now->L);
  if (handed_over)
    handoff_unpause(now);
  script_client_release(&script->client, of.filters, served);
  tell_unclaimed(script);
  if (old != NULL) {
    old->next = script->draining;
    script->draining = old;
    if (handed_over)
      handoff_retire(old);
    else
      state_drain(old, script->host->options.drain_ms);
  }
  keepsakes_committed(&script->kept, now->generation, timer_left, now);
  free_fates(context, &of);
  return 0;
}
