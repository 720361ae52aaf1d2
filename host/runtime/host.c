#include "runtime/host.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "runtime/operator.h"
#include "runtime/probes.h"
#include "runtime/pulse.h"
#include "runtime/reload.h"
#include "runtime/signals.h"
#include "runtime/watch.h"

static void note(const host *host, iotops_log_level level, const char *format,
                 ...) IOTOPS_PRINTF(3, 4);

static void note(const host *host, iotops_log_level level, const char *format,
                 ...) {
  char message[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  iotops_log(host->context, level, "host", "%s", message);
}

/* ----------------------------------------------------------- settings -- */

static int set_limit(host *host, const char *name, const char *unlimited,
                     unsigned long limit, iotops_error *err) {
  iotops_text now = iotops_settings_get(host->settings, name);
  char text[24];
  if (now.data != NULL && !iotops_text_equal(now, iotops_text_of(unlimited)))
    return 0;
  snprintf(text, sizeof text, "%lu", limit);
  return iotops_settings_set(host->settings, name, iotops_text_of(text), err);
}

/* A host bounds what it holds, where nothing else has been said. */
static int set_limits(host *host, iotops_error *err) {
  if (set_limit(host, "receive_max", "65535", HOST_RECEIVE_MAX, err) != 0 ||
      set_limit(host, "receive_packet_size_max", "0", HOST_PACKET_MAX, err) !=
          0 ||
      set_limit(host, "max_unacked", "0", HOST_UNACKED_MAX, err) != 0 ||
      set_limit(host, "max_held_bytes", "0", HOST_HELD_MAX, err) != 0)
    return -1;
  return 0;
}

int host_configure(host *host, iotops_error *err) {
  const char *mounted = getenv("CONNECTOR_CONFIGURATION_MOUNT_PATH");
  int result =
      mounted != NULL && mounted[0] != '\0'
          ? iotops_settings_from_files(host->settings, NULL, NULL, err)
          : iotops_settings_from_environment(host->settings, NULL, NULL, err);
  return result != 0 ? -1 : set_limits(host, err);
}

/* ------------------------------------------------------------ targets -- */

static script *find_script(const host *host, const char *path,
                           const char *name) {
  for (script *at = host->scripts; at != NULL; at = at->next)
    if ((path == NULL || strcmp(at->path, path) == 0) &&
        (name == NULL || strcmp(at->name, name) == 0))
      return at;
  return NULL;
}

/* The name of the script at `path`, as script_new() would make it. */
static void script_name(const char *path, char *name, size_t size) {
  const char *base = strrchr(path, '/');
  snprintf(name, size, "%s", base != NULL ? base + 1 : path);
  size_t length = strlen(name);
  if (length > 4 && strcmp(name + length - 4, ".lua") == 0)
    name[length - 4] = '\0';
}

static bool is_file(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/*
** The absolute form of `path` with its last link unresolved: a mounted
** ConfigMap swaps the link, and the new file must be found behind it.
*/
static char *absolute(host *host, const char *path) {
  char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
  size_t size = (here != NULL ? strlen(here) : 0) + strlen(path) + 2;
  char *full = iotops_zalloc(host->context, size);
  while (path[0] == '.' && path[1] == '/')
    path += 2;
  if (strcmp(path, ".") == 0)
    path = "";
  if (full != NULL)
    snprintf(full, size, "%s%s%s", here != NULL ? here : "",
             here != NULL && path[0] != '\0' ? "/" : "", path);
  free(here);
  size = full != NULL ? strlen(full) : 0;
  while (size > 1 && full[size - 1] == '/')
    full[--size] = '\0';
  return full;
}

int host_add(host *host, const char *path, iotops_error *err) {
  struct stat info;
  char name[256], other[256];
  host_target *targets = NULL;
  if (stat(path, &info) != 0)
    return iotops_error_configuration(err, "path", iotops_text_of(path),
                                      "%s: %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
    return iotops_error_configuration(err, "path", iotops_text_of(path),
                                      "%s is neither a file nor a folder",
                                      path);
  if (strpbrk(path, ";?") != NULL)
    return iotops_error_configuration(
        err, "path", iotops_text_of(path),
        "%s: Lua cannot find modules in a folder with ; or ? in its name",
        path);
  char *full = absolute(host, path);
  targets = iotops_resize(host->context, host->targets,
                          (host->target_count + 1) * sizeof *targets);
  if (targets != NULL)
    host->targets = targets;
  if (full == NULL || targets == NULL) {
    iotops_free(host->context, full);
    return iotops_error_memory(err);
  }
  script_name(full, name, sizeof name);
  for (size_t i = 0; S_ISREG(info.st_mode) && i < host->target_count; i++) {
    script_name(targets[i].path, other, sizeof other);
    if (targets[i].is_folder || strcmp(name, other) != 0)
      continue;
    iotops_error_configuration(err, "path", iotops_text_of(path),
                               "%s and %s would both be the script \"%s\"; "
                               "rename one",
                               targets[i].path, path, name);
    iotops_free(host->context, full);
    return -1;
  }
  targets[host->target_count].path = full;
  targets[host->target_count++].is_folder = S_ISDIR(info.st_mode);
  return 0;
}

/* ------------------------------------------------------------ looking -- */

static void look_at(host *host, const char *path, bool from_folder,
                    script_look look) {
  char name[256];
  script *found = find_script(host, path, NULL);
  if (found == NULL) {
    script_name(path, name, sizeof name);
    if (find_script(host, NULL, name) != NULL) {
      if (look != SCRIPT_LOOK_STAMPS)
        note(host, IOTOPS_LOG_ERROR,
             "%s is not run: there is a script \"%s\" already; rename one",
             path, name);
      return;
    }
    if ((found = script_new(host, path, from_folder)) == NULL) {
      note(host, IOTOPS_LOG_ERROR, "out of memory: %s is not run", path);
      return;
    }
    script **last = &host->scripts;
    while (*last != NULL)
      last = &(*last)->next;
    *last = found;
  }
  script_consider(found, look);
}

static bool ends_with(const char *name, size_t size, const char *end) {
  size_t end_size = strlen(end);
  return size > end_size && strcmp(name + size - end_size, end) == 0;
}

/* The tests of a script are beside it and no script. */
static int is_script_name(const struct dirent *entry) {
  size_t size = strlen(entry->d_name);
  return entry->d_name[0] != '.' && ends_with(entry->d_name, size, ".lua") &&
         !ends_with(entry->d_name, size, "_spec.lua");
}

/* Calls `each` for the scripts in a folder; false when it cannot be read. */
static bool each_in(const char *folder,
                    void (*each)(void *user, const char *path), void *user) {
  struct dirent **entries = NULL;
  char path[4096];
  int count = scandir(folder, &entries, is_script_name, alphasort);
  for (int i = 0; i < count; i++) {
    int length =
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
    if (length > 0 && (size_t)length < sizeof path && is_file(path))
      each(user, path);
    free(entries[i]);
  }
  free(entries);
  return count >= 0;
}

typedef struct looking {
  host *host;
  script_look look;
} looking;

static void look_at_entry(void *user, const char *path) {
  const looking *looking = user;
  look_at(looking->host, path, true, looking->look);
}

static void look_into(host *host, host_target *target, script_look look) {
  const char *folder = target->path;
  looking looking = {host, look};
  size_t size = strlen(folder);
  /* A folder that cannot be read says nothing about what is in it. */
  if (!each_in(folder, look_at_entry, &looking)) {
    if (!target->missing)
      note(host, IOTOPS_LOG_WARN, "%s cannot be read; what was in it serves on",
           folder);
    target->missing = true;
    return;
  }
  target->missing = false;
  for (script *at = host->scripts; at != NULL; at = at->next)
    if (at->from_folder && strncmp(at->path, folder, size) == 0 &&
        strchr(at->path + size + 1, '/') == NULL && !is_file(at->path))
      script_vanished(at);
}

static void look_around(host *host, script_look look) {
  for (size_t i = 0; i < host->target_count; i++) {
    host_target *target = &host->targets[i];
    script *known = NULL;
    if (target->is_folder)
      look_into(host, target, look);
    else if (is_file(target->path))
      look_at(host, target->path, false, look);
    else if ((known = find_script(host, target->path, NULL)) != NULL)
      script_vanished(known);
  }
}

static void changed(void *user, bool event) {
  host *host = user;
  if (host->phase == HOST_SERVING)
    look_around(host, event ? SCRIPT_LOOK_CONTENT : SCRIPT_LOOK_STAMPS);
  if (host->phase == HOST_SERVING)
    mounted_look(host);
}

static void watch_targets(host *host) {
  for (size_t i = 0; i < host->target_count; i++) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", host->targets[i].path);
    if (!host->targets[i].is_folder) {
      char *slash = strrchr(folder, '/');
      slash[slash == folder ? 1 : 0] = '\0';
    }
    watch_folder(host->watch, folder);
  }
}

/* ------------------------------------------------------------ stopping -- */

static size_t calls_in_hand(const host *host) {
  size_t calls = 0;
  for (const script *at = host->scripts; at != NULL; at = at->next)
    calls += script_calls(at);
  return calls;
}

/* Publishes of scripts that the broker has not answered. */
static size_t publishes_in_hand(const host *host) {
  size_t publishes = 0;
  if (iotops_mqtt_is_connected(host->client))
    for (const script *at = host->scripts; at != NULL; at = at->next)
      publishes += at->client.publishing;
  return publishes;
}

/* Leaves the session: what was to be finished is, or has had its time. */
static void leave(host *host) {
  host->phase = HOST_LEAVING;
  iotops_timer_stop(host->context, &host->limit);
  iotops_task_cancel(host->context, &host->finish);
  if (!host->options.end_session)
    iotops_session_detach(host->session, NULL);
  else if (iotops_session_exit(host->session, NULL, NULL) != 0)
    iotops_session_force_exit(host->session);
}

static void look_finished(iotops_task *task) {
  host *host = task->user;
  uint64_t now = iotops_mono_ms(host->context);
  uint64_t left = host->stop_ms > now ? host->stop_ms - now : 0;
  if (host->phase != HOST_FINISHING)
    return;
  if (calls_in_hand(host) > 0) {
    iotops_timer_start(host->context, &host->limit, left);
  } else if (publishes_in_hand(host) > 0 && left > 0) {
    /* Their answers do not pass by here: look again a little later. */
    iotops_timer_start(host->context, &host->limit, left < 10 ? left : 10);
  } else {
    leave(host);
  }
}

static void limit_passed(iotops_timer *timer) {
  host *host = timer->user;
  if (iotops_mono_ms(host->context) < host->stop_ms) {
    look_finished(&host->finish);
    return;
  }
  size_t calls = calls_in_hand(host);
  if (calls > 0)
    note(host, IOTOPS_LOG_WARN,
         "%zu calls have not ended within %.1f s; the broker will deliver "
         "their messages again",
         calls, (double)host->options.drain_ms / 1000.0);
  leave(host);
}

static void stop(host *host) {
  size_t calls = calls_in_hand(host);
  if (calls == 0)
    note(host, IOTOPS_LOG_INFO, "stopping");
  else
    note(host, IOTOPS_LOG_INFO, "stopping once %zu call%s ended, within %.1f s",
         calls, calls == 1 ? " has" : "s have",
         (double)host->options.drain_ms / 1000.0);
  host->phase = HOST_FINISHING;
  watch_close(host->watch);
  host->watch = NULL;
  for (script *at = host->scripts; at != NULL; at = at->next)
    script_quiesce(at);
  host->stop_ms = iotops_mono_ms(host->context) + host->options.drain_ms;
  iotops_task_late(host->context, &host->finish);
}

static void stop_now(host *host) {
  if (host->result == HOST_INTERRUPTED)
    _exit(130); /* told a third time: not even the broker is waited for */
  note(host, IOTOPS_LOG_WARN, "stopping at once");
  host->result = HOST_INTERRUPTED;
  leave(host);
}

void host_call_ended(host *host) {
  if (host->phase == HOST_FINISHING)
    iotops_task_late(host->context, &host->finish);
}

void host_fail(host *host) {
  host->result = HOST_FAILED;
  host->phase = HOST_ENDED;
  iotops_context_stop(host->context);
}

/* ------------------------------------------------------------- events -- */

static void log_counters(const host *host) {
  for (const script *at = host->scripts; at != NULL; at = at->next)
    script_log_counters(at);
}

static void signalled(void *user, int number) {
  host *host = user;
  if (number == SIGCHLD) {
    if (host->options.child != NULL)
      host->options.child(host->options.child_user);
  } else if (number == SIGUSR1) {
    log_counters(host);
  } else if (number == SIGHUP) {
    if (host->phase == HOST_SERVING) {
      note(host, IOTOPS_LOG_INFO, "SIGHUP: looking for changed scripts");
      look_around(host, SCRIPT_LOOK_FORCED);
    }
  } else if (host->phase == HOST_SERVING) {
    stop(host);
  } else {
    stop_now(host);
  }
}

static void connected(void *user, const iotops_connected_event *event) {
  host *host = user;
  (void)event;
  if (host->phase != HOST_SERVING)
    return;
  for (script *at = host->scripts; at != NULL; at = at->next) {
    reload_reopen(at);
    if (at->retry) {
      at->retry = false;
      script_consider(at, SCRIPT_LOOK_FORCED);
    }
  }
}

static void disconnected(void *user, const iotops_disconnected_event *event) {
  host *host = user;
  (void)event;
  host->offline_ms = iotops_wall_ms(host->context);
}

static void ended(void *user, const iotops_error *err) {
  host *host = user;
  iotops_session_metrics metrics;
  iotops_session_get_metrics(host->session, &metrics);
  if (err != NULL && host->phase < HOST_LEAVING) {
    if (metrics.connects == 0)
      host->result = HOST_UNREACHABLE;
    else if (iotops_session_was_lost(host->session))
      host->result = HOST_SESSION_LOST;
    else
      host->result = HOST_SESSION_ENDED;
    note(host, IOTOPS_LOG_INFO, "the host ends with its session");
  }
  host->phase = HOST_ENDED;
  iotops_context_stop(host->context);
}

iotops_state_store *host_state_store(host *host, iotops_error *err) {
  if (host->store == NULL &&
      iotops_state_store_new(host->client, NULL, &host->store, err) != 0)
    return NULL;
  return host->store;
}

/* ---------------------------------------------------------------- life -- */

/* The sink of the context. */
static void write_record(void *user, const iotops_log_record *record) {
  host *host = user;
  logger_write(&host->logger, record);
  log_ring_keep(&host->records, record);
}

int host_new(const host_options *options, host **made, iotops_error *err) {
  iotops_context_options context = IOTOPS_CONTEXT_OPTIONS_INIT;
  host *host = calloc(1, sizeof *host);
  if (host == NULL)
    return iotops_error_memory(err);
  host->options = *options;
  logger_init(&host->logger, STDERR_FILENO, options->log_format);
  context.log = write_record;
  context.log_user = host;
  context.log_level = options->log_level;
  context.allocator = options->allocator;
  context.clock = options->clock;
  host->limit.fire = limit_passed;
  host->limit.user = host;
  host->finish.run = look_finished;
  host->finish.user = host;
  host->context = options->context;
  host->client = options->client;
  if (host->context == NULL &&
      iotops_context_new(&context, &host->context, err) != 0)
    goto failed;
  if (options->context == NULL)
    log_ring_begin(&host->records, host->context);
  if (!module_cache_init(&host->modules, host->context) ||
      (host->settings = iotops_settings_new(host->context)) == NULL) {
    iotops_error_memory(err);
    goto failed;
  }
  if (set_limits(host, err) != 0)
    goto failed;
  *made = host;
  return 0;
failed:
  host_free(host);
  return -1;
}

/* Lets the operator in. */
static int open_door(host *host, iotops_error *err) {
  iotops_error why;
  const char *path = host->options.control;
  if (path != NULL && path[0] == '\0')
    return 0;
  if (operator_new(host, path, &host->operator, & why) == 0)
    return 0;
  if (path == NULL) {
    note(host, IOTOPS_LOG_WARN, "`iotops ctl` cannot reach this host: %s",
         why.message);
    return 0;
  }
  if (err != NULL)
    *err = why;
  return -1;
}

/* Guards the scripts' turns. */
void host_watch_over(host *host) {
  held_start(&host->held, host);
  if ((host->options.turn_limit_ms != 0 || host->options.load_limit_ms != 0 ||
       host->options.memory_limit != 0) &&
      !guard_start(&host->guard))
    note(host, IOTOPS_LOG_WARN,
         "a script that does not end cannot be stopped: %s", strerror(errno));
}

static int start(host *host, iotops_error *err) {
  iotops_session_options session = IOTOPS_SESSION_OPTIONS_INIT;
  session.settings = host->settings;
  session.connected = connected;
  session.disconnected = disconnected;
  session.ended = ended;
  session.user = host;
  if (iotops_session_new(host->context, &session, &host->session, err) != 0)
    return -1;
  host->client = iotops_session_client(host->session);
  host->started_ms = host->offline_ms = iotops_wall_ms(host->context);
  host->pulse = pulse_new(host->context);
  host->close_http = http_close;
  if (host->options.http != NULL) {
    if (http_new(host->context, host->options.http, probes_serve, host,
                 &host->http, err) != 0)
      return -1;
    note(host, IOTOPS_LOG_INFO, "metrics and probes on http://%s",
         http_where(host->http));
  }
  if (open_door(host, err) != 0)
    return -1;
  host->signals = signals_new(host->context, signalled, host);
  host->watch = watch_new(host->context, changed, host);
  if (host->signals == NULL || host->watch == NULL)
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "the event loop takes no signals");
  /* Watched before they are read, so that no change falls in between. */
  watch_targets(host);
  mounted_begin(host);
  host_watch_over(host);
  host->phase = HOST_SERVING;
  look_around(host, SCRIPT_LOOK_CONTENT);
  if (host->scripts == NULL)
    note(host, IOTOPS_LOG_WARN, "there is no script yet; waiting for one");
  return iotops_session_run(host->session, err);
}

void host_look(host *host) {
  if (host->phase == HOST_STARTING)
    host_watch_over(host);
  host->phase = HOST_SERVING;
  look_around(host, SCRIPT_LOOK_FORCED);
}

void host_each_path(const host *host,
                    void (*each)(void *user, const char *path), void *user) {
  for (size_t i = 0; i < host->target_count; i++)
    if (!host->targets[i].is_folder)
      each(user, host->targets[i].path);
    else
      each_in(host->targets[i].path, each, user);
}

host_result host_run(host *host, iotops_error *err) {
  if (start(host, err) != 0)
    return HOST_FAILED;
  while (host->phase != HOST_ENDED)
    iotops_context_run(host->context);
  log_counters(host);
  return host->result;
}

void host_free(host *host) {
  if (host == NULL)
    return;
  host->phase = HOST_ENDED;
  guard_stop(&host->guard);
  held_stop(&host->held);
  if (host->http != NULL)
    host->close_http(host->http);
  operator_free(host->operator);
  pulse_close(host->pulse);
  watch_close(host->watch);
  signals_close(host->signals);
  for (script *at = host->scripts; at != NULL; at = at->next)
    script_close(at);
  iotops_state_store_free(host->store);
  if (host->session != NULL)
    iotops_session_free(host->session);
  if (host->context != NULL) {
    iotops_timer_stop(host->context, &host->limit);
    iotops_task_cancel(host->context, &host->finish);
    /* Handles that were closed, operations that were cancelled. */
    for (int i = 0; i < 3; i++)
      iotops_context_run_once(host->context, false);
  }
  while (host->scripts != NULL) {
    script *script = host->scripts;
    host->scripts = script->next;
    script_free(script);
  }
  for (size_t i = 0; i < host->target_count; i++)
    iotops_free(host->context, host->targets[i].path);
  if (host->context != NULL) {
    iotops_free(host->context, host->targets);
    module_cache_free(&host->modules);
    iotops_settings_free(host->settings);
  }
  log_ring_end(&host->records);
  if (host->options.context == NULL)
    iotops_context_free(host->context);
  free(host);
}
