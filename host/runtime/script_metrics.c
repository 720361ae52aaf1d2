#include "runtime/script_metrics.h"

#include "runtime/figures.h"

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

/* ------------------------------------------------------------- figures -- */

typedef struct script_figures {
  const script *script;
  iotops_text name;
  char hash[SOURCE_HASH_SIZE];
  script_counters counters;
  uint64_t serving, generation, endpoints, awaited, refused_endpoints;
  uint64_t other_calls, calls, publishes, memory;
  uint64_t stopped_time, stopped_memory, stopped_count, kept, on_probation;
  uint64_t held, held_ms;
  uint64_t reload_wall_ms, reload_us;
} script_figures;

#define FIGURES script_figures
static const figure script_rows[] = {
    FIGURE("script_serving", "gauge", serving, 0,
           "Whether a generation of the script serves."),
    FIGURE("script_generation", "gauge", generation, 0,
           "Number of the generation that serves, or served last."),
    FIGURE("script_endpoints", "gauge", endpoints, 0,
           "Receivers and executors that it has declared."),
    FIGURE("script_subscriptions_awaited", "gauge", awaited, 0,
           "Subscriptions that the broker has not granted yet."),
    FIGURE("script_subscriptions_refused", "gauge", refused_endpoints, 0,
           "Subscriptions that the broker has refused."),
    FIGURE("script_messages_received_total", "counter", counters.received, 0,
           "Messages given to its receivers and executors."),
    FIGURE("script_messages_kept", "gauge", kept, 0,
           "Messages that wait until a reload has ended."),
    FIGURE("script_messages_dropped_total", "counter", counters.dropped, 0,
           "Messages with QoS 0 that were dropped: too many had to wait for a "
           "reload."),
    FIGURE_BY("script_calls_total", "counter", "kind", "telemetry",
              counters.handled, 0,
              "Calls that ended, well or not: telemetry handlers, command "
              "handlers, others."),
    FIGURE_BY("script_calls_total", "counter", "kind", "command",
              counters.commands, 0, NULL),
    FIGURE_BY("script_calls_total", "counter", "kind", "other", other_calls, 0,
              NULL),
    FIGURE("script_calls_running", "gauge", calls, 0,
           "Calls that have begun and not ended."),
    FIGURE("script_errors_total", "counter", counters.errors, 0,
           "Calls that ended with an error."),
    FIGURE_BY("script_stopped_total", "counter", "reason", "time", stopped_time,
              0, "Turns that were stopped at a limit."),
    FIGURE_BY("script_stopped_total", "counter", "reason", "memory",
              stopped_memory, 0, NULL),
    FIGURE_BY("script_stopped_total", "counter", "reason", "count",
              stopped_count, 0, NULL),
    FIGURE_BY("script_publishes_total", "counter", "outcome", "acknowledged",
              counters.sent, 0, "Publishes that the broker answered."),
    FIGURE_BY("script_publishes_total", "counter", "outcome", "refused",
              counters.refused, 0, NULL),
    FIGURE("script_publishes_in_flight", "gauge", publishes, 0,
           "Publishes that the broker has not answered."),
    FIGURE_BY("script_acknowledgements_total", "counter", "outcome", "sent",
              counters.acknowledged, 0,
              "Messages that it finished with: in time, or too late for the "
              "connection that they came on."),
    FIGURE_BY("script_acknowledgements_total", "counter", "outcome", "stale",
              counters.stale, 0, NULL),
    FIGURE("script_forgotten_total", "counter", counters.forgotten, 0,
           "Messages that it held or waited with and that the host settled."),
    FIGURE("script_cut_total", "counter", counters.cut, 0,
           "Calls that had not ended when the version that made them ran out "
           "of time."),
    FIGURE("script_held_messages", "gauge", held, 0,
           "Messages that it holds, or whose handlers wait."),
    FIGURE("script_held_oldest_seconds", "gauge", held_ms, 3,
           "How long it has had the oldest of them."),
    FIGURE_BY("script_reloads_total", "counter", "outcome", "committed",
              counters.reloads, 0, "Attempts to put a new version in place."),
    FIGURE_BY("script_reloads_total", "counter", "outcome", "failed",
              counters.failed_reloads, 0, NULL),
    FIGURE_BY("script_reloads_total", "counter", "outcome", "rolled_back",
              counters.rollbacks, 0, NULL),
    FIGURE("script_on_probation", "gauge", on_probation, 0,
           "Whether the version that serves goes if its calls fail."),
    FIGURE("script_last_reload_timestamp_seconds", "gauge", reload_wall_ms, 3,
           "When the last attempt ended, in seconds since 1970; 0: none."),
    FIGURE("script_last_reload_duration_seconds", "gauge", reload_us, 6,
           "How long it took."),
    FIGURE("script_busy_seconds_total", "counter", counters.busy_us, 6,
           "Time spent in Lua."),
    FIGURE("script_longest_turn_seconds", "gauge", counters.longest_us, 6,
           "The longest turn so far."),
    FIGURE("script_memory_bytes", "gauge", memory, 0,
           "Memory that its Lua states hold."),
};
#undef FIGURES

static script_figures script_now(const script *script) {
  script_figures figures = {
      .script = script,
      .name = iotops_text_of(script->name),
      .counters = script->client.counters,
      .serving = script->current != NULL,
      .generation = script->generation,
      .awaited = script->ungranted,
      .calls = script_calls(script),
      .publishes = script->client.publishing,
      .kept = script->client.held_count,
      .on_probation = script->probation.watching,
      .stopped_time = script->stopped_by[GUARD_TIME],
      .stopped_memory = script->stopped_by[GUARD_MEMORY],
      .stopped_count = script->stopped_by[GUARD_COUNT],
      .reload_wall_ms = script->last_reload.wall_ms,
      .reload_us = (uint64_t)(script->last_reload.took_ms * 1000),
  };
  size_t held = 0;
  script_held(script, &held, &figures.held_ms);
  figures.held = held;
  const script_counters *counters = &figures.counters;
  figures.other_calls =
      counters->calls - counters->handled - counters->commands;
  const script_state *current = script->current;
  if (current != NULL) {
    source_hash(&current->source, figures.hash);
    figures.endpoints = current->endpoint_count;
    figures.memory = current->memory;
    for (size_t i = 0; i < current->endpoint_count; i++)
      figures.refused_endpoints += current->refused[i];
  }
  for (const script_state *old = script->draining; old != NULL; old = old->next)
    figures.memory += old->memory;
  return figures;
}

/* ---------------------------------------------------- what is no figure -- */

static exposition_labels labels_of(const script *script, const char *label,
                                   const char *value) {
  return (exposition_labels){{{"script", iotops_text_of(script->name)},
                              {label, iotops_text_of(value)}}};
}

static void write_info(exposition *to, const script_figures *figures,
                       size_t count) {
  exposition_family(to, "iotops_script_info", "gauge",
                    "1; the label is the content of the version that serves.");
  for (size_t i = 0; i < count; i++) {
    exposition_labels labels =
        labels_of(figures[i].script, "hash", figures[i].hash);
    if (figures[i].serving)
      exposition_sample(to, &labels, 1, 0);
  }
}

static void write_times(exposition *to, const script_figures *figures,
                        size_t count) {
  static const struct {
    const char *name;
    script_work work;
  } kinds[] = {{"telemetry", SCRIPT_TELEMETRY}, {"command", SCRIPT_COMMAND}};
  exposition_family(to, "iotops_script_handling_seconds", "histogram",
                    "From the begin of a handler to its end, with all that it "
                    "waited for.");
  for (size_t i = 0; i < count; i++)
    for (size_t kind = 0; kind < COUNT(kinds); kind++) {
      exposition_labels labels =
          labels_of(figures[i].script, "kind", kinds[kind].name);
      const latency *took = figures[i].script->took[kinds[kind].work];
      if (took != NULL)
        exposition_histogram(to, &labels, took);
    }
  exposition_family(to, "iotops_script_turn_seconds", "histogram",
                    "From the begin of a call, or the end of a wait, to the "
                    "next wait or the end.");
  for (size_t i = 0; i < count; i++) {
    exposition_labels labels = labels_of(figures[i].script, NULL, NULL);
    exposition_histogram(to, &labels, figures[i].script->took[SCRIPT_TURN]);
  }
}

/* What write_own_metric() is to do. */
typedef struct own_metrics {
  exposition *to;
  const script *script;
  bool gauges;
} own_metrics;

static void write_own_metric(void *user, const keepsakes_metric *metric) {
  const own_metrics *own = user;
  if (metric->is_gauge != own->gauges)
    return;
  exposition_labels labels = labels_of(own->script, "name", metric->name);
  exposition_real(own->to, &labels, metric->value);
}

/*
** One family for all counters and one for all gauges: two scripts may mean
** different things by a name.
*/
static void write_own_metrics(exposition *to, const host *host, bool gauges) {
  exposition_family(
      to, gauges ? "iotops_script_own_value" : "iotops_script_own_total",
      gauges ? "gauge" : "counter",
      gauges ? "Gauges of its own: iotops.gauge(name)."
             : "Counters of its own: iotops.counter(name).");
  for (const script *at = host->scripts; at != NULL; at = at->next) {
    own_metrics own = {to, at, gauges};
    keepsakes_each_metric(&at->kept, write_own_metric, &own);
  }
}

void script_metrics_write(const host *host, exposition *to) {
  size_t count = 0;
  for (const script *at = host->scripts; at != NULL; at = at->next)
    count++;
  script_figures *figures =
      iotops_zalloc(host->context, (count + 1) * sizeof *figures);
  if (figures == NULL) {
    to->buffer->failed = true;
    return;
  }
  count = 0;
  for (const script *at = host->scripts; at != NULL; at = at->next)
    figures[count++] = script_now(at);
  write_info(to, figures, count);
  const figure_set set = {.first = figures,
                          .size = sizeof *figures,
                          .count = count,
                          .label = "script",
                          .label_offset = offsetof(script_figures, name)};
  figures_write(to, script_rows, COUNT(script_rows), &set);
  write_times(to, figures, count);
  write_own_metrics(to, host, false);
  write_own_metrics(to, host, true);
  iotops_free(host->context, figures);
}
