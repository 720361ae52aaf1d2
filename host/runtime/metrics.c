#include "runtime/metrics.h"

#include <dirent.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "runtime/exposition.h"
#include "runtime/probes.h"
#include "runtime/pulse.h"

#define TEXT(literal)                                                          \
  { literal, sizeof(literal) - 1 }

/*
** One row: where its value lies in a struct of figures.  Rows of one name
** follow each other and differ in the value of `label`.
*/
typedef struct figure {
  const char *name, *type, *help;
  const char *label; /* NULL: none */
  iotops_text label_value;
  size_t offset;
  unsigned decimals; /* the value is in 1 / 10^decimals of the unit */
} figure;

static uint64_t value_of(const void *figures, const figure *figure) {
  uint64_t value;
  memcpy(&value, (const char *)figures + figure->offset, sizeof value);
  return value;
}

/* ------------------------------------------------------------ process -- */

typedef struct process_figures {
  uint64_t ready, start_ms, cpu_ns, resident, descriptors, descriptors_max;
  uint64_t longest_turn_ms;
} process_figures;

#define ROW(name, type, field, decimals, help)                                 \
  { "iotops_" name, type, help, NULL, {0}, offsetof(FIGURES, field), decimals }
#define LABELLED(name, type, label, value, field, decimals, help)              \
  {                                                                            \
    "iotops_" name, type, help, label, TEXT(value), offsetof(FIGURES, field),  \
        decimals                                                               \
  }

#define FIGURES process_figures
static const figure process_rows[] = {
    ROW("ready", "gauge", ready, 0,
        "Whether /readyz says so: connected, and every script serves."),
    ROW("process_start_time_seconds", "gauge", start_ms, 3,
        "When the host was started, in seconds since 1970."),
    ROW("process_cpu_seconds_total", "counter", cpu_ns, 9,
        "Processor time spent; all work is done by one thread."),
    ROW("process_resident_memory_bytes", "gauge", resident, 0,
        "Memory of the process that is in use and not swapped out."),
    ROW("process_open_fds", "gauge", descriptors, 0, "Open file descriptors."),
    ROW("process_max_fds", "gauge", descriptors_max, 0,
        "How many there may be."),
    ROW("loop_longest_turn_seconds", "gauge", longest_turn_ms, 3,
        "For how long, at most, the loop was away from the network in the "
        "last minutes."),
};
#undef FIGURES

static uint64_t resident_bytes(void) {
  unsigned long long size = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "re");
  if (file == NULL)
    return 0;
  if (fscanf(file, "%llu %llu", &size, &resident) != 2)
    resident = 0;
  fclose(file);
  return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_descriptors(void) {
  uint64_t count = 0;
  DIR *folder = opendir("/proc/self/fd");
  if (folder == NULL)
    return 0;
  for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
    count += entry->d_name[0] != '.';
  closedir(folder);
  return count - 1; /* the folder's own */
}

static process_figures process_now(const host *host) {
  struct timespec cpu = {0};
  struct rlimit limit = {0};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
  getrlimit(RLIMIT_NOFILE, &limit);
  return (process_figures){
      .ready = probes_are_ready(host),
      .start_ms = host->started_ms > 0 ? (uint64_t)host->started_ms : 0,
      .cpu_ns = (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec,
      .resident = resident_bytes(),
      .descriptors = open_descriptors(),
      .descriptors_max = limit.rlim_cur,
      .longest_turn_ms =
          host->pulse != NULL ? pulse_longest_ms(host->pulse) : 0,
  };
}

static void write_build(exposition *to) {
  const exposition_labels labels = {
      {{"version", iotops_text_of(iotops_version())},
       {"lua", iotops_text_of(LUA_VERSION_MAJOR "." LUA_VERSION_MINOR
                                                "." LUA_VERSION_RELEASE)}}};
  exposition_family(to, "iotops_build_info", "gauge",
                    "1; the labels are the versions of iotops and of Lua.");
  exposition_sample(to, &labels, 1, 0);
}

/* ------------------------------------------------------------ session -- */

typedef struct session_figures {
  iotops_session_metrics session;
  uint64_t connected;
} session_figures;

#define FIGURES session_figures
static const figure session_rows[] = {
    ROW("session_connected", "gauge", connected, 0,
        "Whether the broker is connected now."),
    ROW("session_connected_seconds_total", "counter", session.connected_ms, 3,
        "Time connected."),
    ROW("session_connects_total", "counter", session.connects, 0,
        "Connections that the broker accepted; all but the first are "
        "reconnects."),
    ROW("session_failed_connects_total", "counter", session.failed_attempts, 0,
        "Attempts to connect that failed."),
    ROW("session_disconnects_total", "counter", session.disconnects, 0,
        "Connections that ended."),
    LABELLED("session_reauthentications_total", "counter", "outcome", "ok",
             session.reauths_ok, 0,
             "Renewals of the token on the open connection."),
    LABELLED("session_reauthentications_total", "counter", "outcome", "failed",
             session.reauths_failed, 0, NULL),
    ROW("session_publishes_queued", "gauge", session.publishes_queued, 0,
        "Publishes that wait to be sent."),
    ROW("session_publishes_in_flight", "gauge", session.publishes_in_flight, 0,
        "Publishes that were sent and not acknowledged by the broker."),
    LABELLED("session_publishes_total", "counter", "outcome", "acknowledged",
             session.publishes_acked, 0, "Publishes that the broker answered."),
    LABELLED("session_publishes_total", "counter", "outcome", "refused",
             session.publishes_refused, 0, NULL),
    ROW("session_dropped_qos0_total", "counter", session.dropped_qos0, 0,
        "Publishes with QoS 0 that were dropped unsent."),
    ROW("session_messages_received_total", "counter", session.received, 0,
        "Messages that arrived."),
    ROW("session_messages_unmatched_total", "counter", session.unmatched, 0,
        "Messages that arrived for nobody."),
    ROW("session_messages_duplicate_total", "counter", session.duplicates, 0,
        "Messages that arrived while the same was being handled."),
    ROW("session_messages_unacknowledged", "gauge", session.unacked, 0,
        "Messages that arrived and are not acknowledged to the broker."),
    ROW("session_oldest_unacknowledged_seconds", "gauge",
        session.oldest_unacked_ms, 3, "How long the oldest of them has been."),
    ROW("session_held_bytes", "gauge", session.held_bytes, 0,
        "Size of the messages that are not acknowledged to the broker."),
    LABELLED("session_acknowledgements_total", "counter", "outcome", "sent",
             session.acks_sent, 0,
             "Acknowledgements of messages: sent, or too late for the "
             "connection that the message came on."),
    LABELLED("session_acknowledgements_total", "counter", "outcome", "stale",
             session.acks_dropped, 0, NULL),
    ROW("session_received_bytes_total", "counter", session.bytes_in, 0,
        "Bytes of MQTT received."),
    ROW("session_sent_bytes_total", "counter", session.bytes_out, 0,
        "Bytes of MQTT sent."),
    ROW("session_received_packets_total", "counter", session.packets_in, 0,
        "MQTT packets received."),
    ROW("session_sent_packets_total", "counter", session.packets_out, 0,
        "MQTT packets sent."),
};
#undef FIGURES

static session_figures session_now(const host *host) {
  session_figures figures = {0};
  if (host->session != NULL)
    iotops_session_get_metrics(host->session, &figures.session);
  if (host->client != NULL)
    figures.connected = iotops_mqtt_is_connected(host->client);
  return figures;
}

/* ------------------------------------------------------------- scripts -- */

typedef struct script_figures {
  const script *script;
  char hash[SOURCE_HASH_SIZE];
  script_counters counters;
  uint64_t serving, generation, endpoints, awaited, refused_endpoints;
  uint64_t other_calls, calls, publishes, memory;
  uint64_t stopped_time, stopped_memory, stopped_count, kept, on_probation;
  uint64_t reload_wall_ms, reload_us;
} script_figures;

#define FIGURES script_figures
static const figure script_rows[] = {
    ROW("script_serving", "gauge", serving, 0,
        "Whether a generation of the script serves."),
    ROW("script_generation", "gauge", generation, 0,
        "Number of the generation that serves, or served last."),
    ROW("script_endpoints", "gauge", endpoints, 0,
        "Receivers and executors that it has declared."),
    ROW("script_subscriptions_awaited", "gauge", awaited, 0,
        "Subscriptions that the broker has not granted yet."),
    ROW("script_subscriptions_refused", "gauge", refused_endpoints, 0,
        "Subscriptions that the broker has refused."),
    ROW("script_messages_received_total", "counter", counters.received, 0,
        "Messages given to its receivers and executors."),
    ROW("script_messages_kept", "gauge", kept, 0,
        "Messages that wait until a reload has ended."),
    ROW("script_messages_dropped_total", "counter", counters.dropped, 0,
        "Messages with QoS 0 that were dropped: too many had to wait for a "
        "reload."),
    LABELLED("script_calls_total", "counter", "kind", "telemetry",
             counters.handled, 0,
             "Calls that ended, well or not: telemetry handlers, command "
             "handlers, others."),
    LABELLED("script_calls_total", "counter", "kind", "command",
             counters.commands, 0, NULL),
    LABELLED("script_calls_total", "counter", "kind", "other", other_calls, 0,
             NULL),
    ROW("script_calls_running", "gauge", calls, 0,
        "Calls that have begun and not ended."),
    ROW("script_errors_total", "counter", counters.errors, 0,
        "Calls that ended with an error."),
    LABELLED("script_stopped_total", "counter", "reason", "time", stopped_time,
             0, "Turns that were stopped at a limit."),
    LABELLED("script_stopped_total", "counter", "reason", "memory",
             stopped_memory, 0, NULL),
    LABELLED("script_stopped_total", "counter", "reason", "count",
             stopped_count, 0, NULL),
    LABELLED("script_publishes_total", "counter", "outcome", "acknowledged",
             counters.sent, 0, "Publishes that the broker answered."),
    LABELLED("script_publishes_total", "counter", "outcome", "refused",
             counters.refused, 0, NULL),
    ROW("script_publishes_in_flight", "gauge", publishes, 0,
        "Publishes that the broker has not answered."),
    LABELLED("script_acknowledgements_total", "counter", "outcome", "sent",
             counters.acknowledged, 0,
             "Messages that it finished with: in time, or too late for the "
             "connection that they came on."),
    LABELLED("script_acknowledgements_total", "counter", "outcome", "stale",
             counters.stale, 0, NULL),
    LABELLED("script_reloads_total", "counter", "outcome", "committed",
             counters.reloads, 0, "Attempts to put a new version in place."),
    LABELLED("script_reloads_total", "counter", "outcome", "failed",
             counters.failed_reloads, 0, NULL),
    LABELLED("script_reloads_total", "counter", "outcome", "rolled_back",
             counters.rollbacks, 0, NULL),
    ROW("script_on_probation", "gauge", on_probation, 0,
        "Whether the version that serves goes if its calls fail."),
    ROW("script_last_reload_timestamp_seconds", "gauge", reload_wall_ms, 3,
        "When the last attempt ended, in seconds since 1970; 0: none."),
    ROW("script_last_reload_duration_seconds", "gauge", reload_us, 6,
        "How long it took."),
    ROW("script_busy_seconds_total", "counter", counters.busy_us, 6,
        "Time spent in Lua."),
    ROW("script_longest_turn_seconds", "gauge", counters.longest_us, 6,
        "The longest turn so far."),
    ROW("script_memory_bytes", "gauge", memory, 0,
        "Memory that its Lua states hold."),
};
#undef FIGURES

static script_figures script_now(const script *script) {
  script_figures figures = {
      .script = script,
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

/* -------------------------------------------------------------- write -- */

static exposition_labels labels_of(const script *script, const char *label,
                                   iotops_text value) {
  exposition_labels labels = {{{NULL, {0}}}};
  size_t count = 0;
  if (script != NULL) {
    labels.label[count].name = "script";
    labels.label[count++].value = iotops_text_of(script->name);
  }
  labels.label[count].name = label;
  labels.label[count].value = value;
  return labels;
}

static bool is_same_family(const figure *row, const figure *other) {
  return strcmp(row->name, other->name) == 0;
}

/*
** All samples of a family stand together: each row of it for the first, then
** for the second script.
*/
static void write_rows(exposition *to, const figure *rows, size_t row_count,
                       const void *figures, size_t figures_size,
                       size_t figures_count, bool of_scripts) {
  for (size_t first = 0, end = 0; first < row_count; first = end) {
    for (end = first + 1;
         end < row_count && is_same_family(&rows[first], &rows[end]); end++)
      ;
    exposition_family(to, rows[first].name, rows[first].type, rows[first].help);
    for (size_t i = 0; i < figures_count; i++) {
      const void *at = (const char *)figures + i * figures_size;
      const script *script =
          of_scripts ? ((const script_figures *)at)->script : NULL;
      for (size_t row = first; row < end; row++) {
        exposition_labels labels =
            labels_of(script, rows[row].label, rows[row].label_value);
        exposition_sample(to, &labels, value_of(at, &rows[row]),
                          rows[row].decimals);
      }
    }
  }
}

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

static void write_info(exposition *to, const script_figures *figures,
                       size_t count) {
  exposition_family(to, "iotops_script_info", "gauge",
                    "1; the label is the content of the version that serves.");
  for (size_t i = 0; i < count; i++) {
    exposition_labels labels =
        labels_of(figures[i].script, "hash", iotops_text_of(figures[i].hash));
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
      exposition_labels labels = labels_of(figures[i].script, "kind",
                                           iotops_text_of(kinds[kind].name));
      const latency *took = figures[i].script->took[kinds[kind].work];
      if (took != NULL)
        exposition_histogram(to, &labels, took);
    }
  exposition_family(to, "iotops_script_turn_seconds", "histogram",
                    "From the begin of a call, or the end of a wait, to the "
                    "next wait or the end.");
  for (size_t i = 0; i < count; i++) {
    exposition_labels labels =
        labels_of(figures[i].script, NULL, (iotops_text){0});
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
  exposition_labels labels =
      labels_of(own->script, "name", iotops_text_of(metric->name));
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

static void write_scripts(exposition *to, const host *host) {
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
  write_rows(to, script_rows, COUNT(script_rows), figures, sizeof *figures,
             count, true);
  write_times(to, figures, count);
  write_own_metrics(to, host, false);
  write_own_metrics(to, host, true);
  iotops_free(host->context, figures);
}

void metrics_write(const host *host, text_buffer *buffer) {
  exposition to = {.buffer = buffer};
  process_figures process = process_now(host);
  session_figures session = session_now(host);
  write_build(&to);
  write_rows(&to, process_rows, COUNT(process_rows), &process, sizeof process,
             1, false);
  write_rows(&to, session_rows, COUNT(session_rows), &session, sizeof session,
             1, false);
  write_scripts(&to, host);
}
