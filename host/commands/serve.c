#include "commands/serve.h"

#include <stdlib.h>
#include <string.h>

#include "commands/command.h"
#include "runtime/allow.h"
#include "runtime/http.h"

const char serve_options_help[] =
    "  --drain SECONDS          at the end, and when a script is replaced, "
    "let\n"
    "                           running handlers take this long (20)\n"
    "  --grant-timeout SECONDS  a reload waits this long for the broker to "
    "grant\n"
    "                           new subscriptions (10)\n"
    "  --handoff-timeout SECONDS\n"
    "                           before a script hands its state to its next\n"
    "                           version, running handlers may take so long "
    "(2)\n"
    "  --probation SECONDS      a script that mostly fails within so long "
    "after\n"
    "                           a reload goes back to its last version (30; "
    "0:\n"
    "                           never)\n"
    "  --probation-errors COUNT but not with fewer errors than this (5)\n"
    "  --turn-limit SECONDS     stop a handler that computes for so long "
    "without\n"
    "                           waiting (1; 0: never)\n"
    "  --load-limit SECONDS     the same for a script's main chunk (5)\n"
    "  --memory-limit MIB       stop a script that needs more (64; 0: "
    "never)\n"
    "  --http [ADDRESS:]PORT    answer /metrics, /livez and /readyz there; "
    "without\n"
    "                           ADDRESS on 127.0.0.1, *:PORT for all "
    "addresses\n"
    "  --no-trace-context       what handlers send does not carry on the "
    "traceparent\n"
    "                           that they were given\n"
    "  --coroutine-limit N      stop a script that has more coroutines, "
    "spawned\n"
    "                           functions or timers (10000; 0: never)\n"
    "  --held-age SECONDS       report a message that a script holds, or waits "
    "with,\n"
    "                           for so long (60; 0: never)\n"
    "  --held-share PERCENT     report a script that holds so much of "
    "receive_max\n"
    "                           (50; 0: never)\n"
    "  --forgotten ack|keep     settle messages held for twice --held-age, or "
    "that\n"
    "                           fill receive_max (ack), or only report them\n"
    "  --control PATH           where `iotops ctl` reaches the host (a socket "
    "in the\n"
    "                           user's own folder, named by the client id); "
    "none: nowhere\n"
    "  --allow LIST             what scripts may load besides iotops and their "
    "own\n"
    "                           folder: modules (lpeg), parts of Lua's "
    "library\n"
    "                           (io, debug, os.execute), \"default\" "
    "(" ALLOW_DEFAULT "),\n"
    "                           \"all\", \"none\"\n"
    "  --end-session            at the end, have the broker forget the "
    "session;\n"
    "                           without it the broker queues for the next "
    "start\n"
    "  --client-id ID           the MQTT client id; overrides the configured "
    "one\n"
    "  --set NAME=VALUE         overrides a setting: keep_alive, "
    "session_expiry,\n"
    "                           receive_max, publish_queue_qos1, ...\n"
    "  --log-level LEVEL        trace, debug, info (default), warn, error, "
    "off\n"
    "  --log-format FORMAT      text, json, auto (default: text on a "
    "terminal)\n"
    "  -h, --help               this text\n";

static int add_setting(const char *command, serve_options *options,
                       const char *value) {
  if (options->setting_count == SERVE_SETTINGS)
    return command_usage_error(command, "more than %d settings",
                               SERVE_SETTINGS);
  options->settings[options->setting_count++] = value;
  return COMMAND_DONE;
}

/* Seconds, or 0 for no limit. */
static bool seconds_or_none(const char *value, uint64_t *milliseconds) {
  if (strcmp(value, "0") != 0)
    return command_seconds(value, milliseconds);
  *milliseconds = 0;
  return true;
}

static bool whole_number(const char *value, uint64_t *number) {
  char *end = NULL;
  *number = strtoul(value, &end, 10);
  return value[0] >= '0' && value[0] <= '9' && *end == '\0' && *number > 0 &&
         *number <= 1000000;
}

/* Whole mebibytes, or 0 for no limit. */
static bool mebibytes(const char *value, size_t *bytes) {
  char *end = NULL;
  unsigned long count = strtoul(value, &end, 10);
  if (value[0] < '0' || value[0] > '9' || *end != '\0' || count > 1024UL * 1024)
    return false;
  *bytes = (size_t)count * 1024 * 1024;
  return true;
}

/* A whole number, or 0 for no limit. */
static bool whole(const char *value, size_t *number) {
  char *end = NULL;
  unsigned long count = strtoul(value, &end, 10);
  if (value[0] < '0' || value[0] > '9' || *end != '\0' ||
      count > 1000UL * 1000 * 1000)
    return false;
  *number = (size_t)count;
  return true;
}

int serve_option(const char *command, serve_options *options, int option,
                 const char *value) {
  int level = 0;
  switch (option) {
  case SERVE_TURN_LIMIT:
    if (!seconds_or_none(value, &options->host.turn_limit_ms))
      return command_usage_error(
          command, "--turn-limit takes seconds, such as 0.5, not \"%s\"",
          value);
    return COMMAND_DONE;
  case SERVE_LOAD_LIMIT:
    if (!seconds_or_none(value, &options->host.load_limit_ms))
      return command_usage_error(
          command, "--load-limit takes seconds, such as 5, not \"%s\"", value);
    return COMMAND_DONE;
  case SERVE_MEMORY_LIMIT:
    if (!mebibytes(value, &options->host.memory_limit))
      return command_usage_error(
          command,
          "--memory-limit takes whole mebibytes, such as 64, not \"%s\"",
          value);
    return COMMAND_DONE;
  case SERVE_COROUTINE_LIMIT:
    if (!whole(value, &options->host.coroutine_limit))
      return command_usage_error(
          command,
          "--coroutine-limit takes a number, such as 10000, not \"%s\"", value);
    return COMMAND_DONE;
  case SERVE_HELD_AGE:
    if (!seconds_or_none(value, &options->host.held_age_ms))
      return command_usage_error(
          command, "--held-age takes seconds, such as 60, not \"%s\"", value);
    return COMMAND_DONE;
  case SERVE_HELD_SHARE:
    if (!whole(value, &options->host.held_share) ||
        options->host.held_share > 100)
      return command_usage_error(
          command, "--held-share takes percent, such as 50, not \"%s\"", value);
    return COMMAND_DONE;
  case SERVE_FORGOTTEN:
    if (strcmp(value, "ack") != 0 && strcmp(value, "keep") != 0)
      return command_usage_error(
          command, "--forgotten takes ack or keep, not \"%s\"", value);
    options->host.forgotten = value[0] == 'a' ? HELD_ACKNOWLEDGE : HELD_KEEP;
    return COMMAND_DONE;
  case SERVE_ALLOW:
    if (!allow_is_list(value))
      return command_usage_error(
          command,
          "--allow takes names, such as default,lpeg,os.execute, not \"%s\"",
          value);
    options->host.allow = value;
    return COMMAND_DONE;
  case SERVE_DRAIN:
    if (!seconds_or_none(value, &options->host.drain_ms))
      return command_usage_error(
          command, "--drain takes seconds, such as 20, not \"%s\"", value);
    return COMMAND_DONE;
  case SERVE_GRANT_TIMEOUT:
    if (!command_seconds(value, &options->host.grant_timeout_ms))
      return command_usage_error(
          command, "--grant-timeout takes seconds, such as 10, not \"%s\"",
          value);
    return COMMAND_DONE;
  case SERVE_HTTP:
    if (!http_is_address(value))
      return command_usage_error(
          command,
          "--http takes [ADDRESS:]PORT, such as 9464 or *:9464, not \"%s\"",
          value);
    options->host.http = value;
    return COMMAND_DONE;
  case SERVE_CONTROL:
    if (value[0] == '\0')
      return command_usage_error(command,
                                 "--control takes a path, or none to be out of "
                                 "reach of `iotops ctl`");
    options->host.control = strcmp(value, "none") == 0 ? "" : value;
    return COMMAND_DONE;
  case SERVE_HANDOFF_TIMEOUT:
    if (!seconds_or_none(value, &options->host.handoff_timeout_ms))
      return command_usage_error(
          command, "--handoff-timeout takes seconds, such as 2, not \"%s\"",
          value);
    return COMMAND_DONE;
  case SERVE_PROBATION:
    if (!seconds_or_none(value, &options->host.probation_ms))
      return command_usage_error(
          command, "--probation takes seconds, such as 30, not \"%s\"", value);
    return COMMAND_DONE;
  case SERVE_PROBATION_ERRORS:
    if (!whole_number(value, &options->host.probation_errors))
      return command_usage_error(
          command, "--probation-errors takes a count above 0, not \"%s\"",
          value);
    return COMMAND_DONE;
  case SERVE_NO_TRACE_CONTEXT:
    options->host.no_trace_context = true;
    return COMMAND_DONE;
  case SERVE_END_SESSION:
    options->host.end_session = true;
    return COMMAND_DONE;
  case SERVE_LOG_LEVEL:
    level = iotops_log_level_from(iotops_text_of(value));
    if (level < 0)
      return command_usage_error(command,
                                 "--log-level takes trace, debug, info, warn, "
                                 "error or off, not \"%s\"",
                                 value);
    options->host.log_level = (iotops_log_level)level;
    options->has_log_level = true;
    return COMMAND_DONE;
  case SERVE_LOG_FORMAT:
    if (!logger_format_from(value, &options->host.log_format))
      return command_usage_error(
          command, "--log-format takes text, json or auto, not \"%s\"", value);
    return COMMAND_DONE;
  case SERVE_CLIENT_ID:
    options->client_id = value;
    return COMMAND_DONE;
  case SERVE_SET:
    if (strchr(value, '=') == NULL)
      return command_usage_error(
          command, "--set takes NAME=VALUE, such as keep_alive=30, not \"%s\"",
          value);
    return add_setting(command, options, value);
  default:
    return command_usage_error(command, "it has no such option");
  }
}

int serve_settings(const serve_options *options, host *host,
                   iotops_error *err) {
  for (size_t i = 0; i < options->setting_count; i++) {
    char name[64];
    const char *value = strchr(options->settings[i], '=');
    size_t size = (size_t)(value - options->settings[i]);
    if (size >= sizeof name)
      return iotops_error_configuration(err, "--set",
                                        iotops_text_of(options->settings[i]),
                                        "there is no such setting");
    memcpy(name, options->settings[i], size);
    name[size] = '\0';
    if (iotops_settings_set(host->settings, name, iotops_text_of(value + 1),
                            err) != 0)
      return -1;
  }
  if (options->has_log_level)
    iotops_log_set_level(host->context, options->host.log_level);
  if (options->client_id != NULL)
    return iotops_settings_set(host->settings, "client_id",
                               iotops_text_of(options->client_id), err);
  return 0;
}

int serve_status(host_result result) {
  switch (result) {
  case HOST_STOPPED:
    return COMMAND_DONE;
  case HOST_SESSION_ENDED:
    return COMMAND_REFUSED;
  case HOST_SESSION_LOST:
    return COMMAND_SESSION_LOST;
  case HOST_UNREACHABLE:
    return COMMAND_UNREACHABLE;
  case HOST_INTERRUPTED:
    return COMMAND_INTERRUPTED;
  case HOST_FAILED:
    break;
  }
  return COMMAND_REFUSED;
}
