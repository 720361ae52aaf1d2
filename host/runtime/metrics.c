#include "runtime/metrics.h"

#include <dirent.h>
#include <limits.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "runtime/expiry.h"
#include "runtime/figures.h"
#include "runtime/probes.h"
#include "runtime/pulse.h"
#include "runtime/script_metrics.h"

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

/* ------------------------------------------------------------ process -- */

typedef struct process_figures {
  uint64_t ready, start_ms, cpu_ns, resident, descriptors, descriptors_max;
  uint64_t longest_turn_ms;
} process_figures;

#define FIGURES process_figures
static const figure process_rows[] = {
    FIGURE("ready", "gauge", ready, 0,
           "Whether /readyz says so: connected, and every script serves."),
    FIGURE("process_start_time_seconds", "gauge", start_ms, 3,
           "When the host was started, in seconds since 1970."),
    FIGURE("process_cpu_seconds_total", "counter", cpu_ns, 9,
           "Processor time spent; all work is done by one thread."),
    FIGURE("process_resident_memory_bytes", "gauge", resident, 0,
           "Memory of the process that is in use and not swapped out."),
    FIGURE("process_open_fds", "gauge", descriptors, 0,
           "Open file descriptors."),
    FIGURE("process_max_fds", "gauge", descriptors_max, 0,
           "How many there may be."),
    FIGURE("loop_longest_turn_seconds", "gauge", longest_turn_ms, 3,
           "For how long, at most, the loop was away from the network in the "
           "last minutes."),
};
#undef FIGURES

uint64_t metrics_resident_bytes(void) {
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
      .resident = metrics_resident_bytes(),
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
    FIGURE("session_connected", "gauge", connected, 0,
           "Whether the broker is connected now."),
    FIGURE("session_connected_seconds_total", "counter", session.connected_ms,
           3, "Time connected."),
    FIGURE("session_connects_total", "counter", session.connects, 0,
           "Connections that the broker accepted; all but the first are "
           "reconnects."),
    FIGURE("session_failed_connects_total", "counter", session.failed_attempts,
           0, "Attempts to connect that failed."),
    FIGURE("session_disconnects_total", "counter", session.disconnects, 0,
           "Connections that ended."),
    FIGURE_BY("session_reauthentications_total", "counter", "outcome", "ok",
              session.reauths_ok, 0,
              "Renewals of the token on the open connection."),
    FIGURE_BY("session_reauthentications_total", "counter", "outcome", "failed",
              session.reauths_failed, 0, NULL),
    FIGURE("session_publishes_queued", "gauge", session.publishes_queued, 0,
           "Publishes that wait to be sent."),
    FIGURE("session_publishes_in_flight", "gauge", session.publishes_in_flight,
           0, "Publishes that were sent and not acknowledged by the broker."),
    FIGURE_BY("session_publishes_total", "counter", "outcome", "acknowledged",
              session.publishes_acked, 0,
              "Publishes that the broker answered."),
    FIGURE_BY("session_publishes_total", "counter", "outcome", "refused",
              session.publishes_refused, 0, NULL),
    FIGURE("session_dropped_qos0_total", "counter", session.dropped_qos0, 0,
           "Publishes with QoS 0 that were dropped unsent."),
    FIGURE("session_messages_received_total", "counter", session.received, 0,
           "Messages that arrived."),
    FIGURE("session_messages_unmatched_total", "counter", session.unmatched, 0,
           "Messages that arrived for nobody."),
    FIGURE("session_messages_duplicate_total", "counter", session.duplicates, 0,
           "Messages that arrived while the same was being handled."),
    FIGURE("session_messages_unacknowledged", "gauge", session.unacked, 0,
           "Messages that arrived and are not acknowledged to the broker."),
    FIGURE("session_oldest_unacknowledged_seconds", "gauge",
           session.oldest_unacked_ms, 3,
           "How long the oldest of them has been."),
    FIGURE("session_held_bytes", "gauge", session.held_bytes, 0,
           "Size of the messages that are not acknowledged to the broker."),
    FIGURE_BY("session_acknowledgements_total", "counter", "outcome", "sent",
              session.acks_sent, 0,
              "Acknowledgements of messages: sent, or too late for the "
              "connection that the message came on."),
    FIGURE_BY("session_acknowledgements_total", "counter", "outcome", "stale",
              session.acks_dropped, 0, NULL),
    FIGURE("session_received_bytes_total", "counter", session.bytes_in, 0,
           "Bytes of MQTT received."),
    FIGURE("session_sent_bytes_total", "counter", session.bytes_out, 0,
           "Bytes of MQTT sent."),
    FIGURE("session_received_packets_total", "counter", session.packets_in, 0,
           "MQTT packets received."),
    FIGURE("session_sent_packets_total", "counter", session.packets_out, 0,
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

/* When what the setting's file holds expires; nothing, if that is not known. */
static void write_expiry(exposition *to, const host *host, const char *name,
                         const char *setting, const char *help,
                         uint64_t (*expiry)(iotops_context *context,
                                            const char *path)) {
  iotops_text given = iotops_settings_get(host->settings, setting);
  char path[PATH_MAX];
  uint64_t end = 0;
  if (given.data != NULL && given.size > 0 && given.size < sizeof path) {
    memcpy(path, given.data, given.size);
    path[given.size] = '\0';
    end = expiry(host->context, path);
  }
  exposition_family(to, name, "gauge", help);
  if (end > 0)
    exposition_sample(to, NULL, end, 0);
}

static void write_expiries(exposition *to, const host *host) {
  write_expiry(to, host, "iotops_session_certificate_expiry_timestamp_seconds",
               "cert_file",
               "When the client's certificate in its file ends, in seconds "
               "since 1970.",
               expiry_of_certificate);
  write_expiry(to, host, "iotops_session_token_expiry_timestamp_seconds",
               "sat_file",
               "When the service account token in its file ends, in seconds "
               "since 1970.",
               expiry_of_token);
}

/* -------------------------------------------------------------- write -- */

void metrics_write(const host *host, text_buffer *buffer) {
  exposition to = {.buffer = buffer};
  process_figures process = process_now(host);
  session_figures session = session_now(host);
  const figure_set of_process = {.first = &process, .count = 1};
  const figure_set of_session = {.first = &session, .count = 1};
  write_build(&to);
  figures_write(&to, process_rows, COUNT(process_rows), &of_process);
  figures_write(&to, session_rows, COUNT(session_rows), &of_session);
  write_expiries(&to, host);
  script_metrics_write(host, &to);
}
