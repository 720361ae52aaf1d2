/*
** serve.h -- what `iotops run` and `iotops dev` have in common: options of
** the host and the way from its result to an exit status.
*/
#ifndef COMMANDS_SERVE_H
#define COMMANDS_SERVE_H

#include <getopt.h>

#include "runtime/host.h"

enum { SERVE_SETTINGS = 32 };

typedef struct serve_options {
  host_options host;
  const char *settings[SERVE_SETTINGS]; /* borrowed; NAME=VALUE */
  size_t setting_count;
  const char *client_id; /* borrowed; NULL: the configured one */
  bool has_log_level;    /* it was said: mounted files do not change it */
} serve_options;

#define SERVE_OPTIONS_INIT                                                     \
  { .host = HOST_OPTIONS_INIT }

/* Values of the options below, for getopt_long(); a command's own start at
** SERVE_OPTION_END. */
enum {
  SERVE_DRAIN = 256,
  SERVE_GRANT_TIMEOUT,
  SERVE_HANDOFF_TIMEOUT,
  SERVE_PROBATION,
  SERVE_PROBATION_ERRORS,
  SERVE_TURN_LIMIT,
  SERVE_LOAD_LIMIT,
  SERVE_MEMORY_LIMIT,
  SERVE_COROUTINE_LIMIT,
  SERVE_HELD_AGE,
  SERVE_HELD_SHARE,
  SERVE_FORGOTTEN,
  SERVE_ALLOW,
  SERVE_END_SESSION,
  SERVE_HTTP,
  SERVE_NO_TRACE_CONTEXT,
  SERVE_CONTROL,
  SERVE_LOG_LEVEL,
  SERVE_LOG_FORMAT,
  SERVE_CLIENT_ID,
  SERVE_SET,
  SERVE_OPTION_END
};

#define SERVE_LONG_OPTIONS                                                     \
  {"drain", required_argument, NULL, SERVE_DRAIN},                             \
      {"grant-timeout", required_argument, NULL, SERVE_GRANT_TIMEOUT},         \
      {"handoff-timeout", required_argument, NULL, SERVE_HANDOFF_TIMEOUT},     \
      {"probation", required_argument, NULL, SERVE_PROBATION},                 \
      {"probation-errors", required_argument, NULL, SERVE_PROBATION_ERRORS},   \
      {"turn-limit", required_argument, NULL, SERVE_TURN_LIMIT},               \
      {"load-limit", required_argument, NULL, SERVE_LOAD_LIMIT},               \
      {"memory-limit", required_argument, NULL, SERVE_MEMORY_LIMIT},           \
      {"no-trace-context", no_argument, NULL, SERVE_NO_TRACE_CONTEXT},         \
      {"coroutine-limit", required_argument, NULL, SERVE_COROUTINE_LIMIT},     \
      {"held-age", required_argument, NULL, SERVE_HELD_AGE},                   \
      {"held-share", required_argument, NULL, SERVE_HELD_SHARE},               \
      {"forgotten", required_argument, NULL, SERVE_FORGOTTEN},                 \
      {"allow", required_argument, NULL, SERVE_ALLOW},                         \
      {"http", required_argument, NULL, SERVE_HTTP},                           \
      {"end-session", no_argument, NULL, SERVE_END_SESSION},                   \
      {"control", required_argument, NULL, SERVE_CONTROL},                     \
      {"log-level", required_argument, NULL, SERVE_LOG_LEVEL},                 \
      {"log-format", required_argument, NULL, SERVE_LOG_FORMAT},               \
      {"client-id", required_argument, NULL, SERVE_CLIENT_ID},                 \
      {"set", required_argument, NULL, SERVE_SET}, {                           \
    "help", no_argument, NULL, 'h'                                             \
  }

/* The help text of these options. */
extern const char serve_options_help[];

/*
** Takes one option.  COMMAND_DONE, or COMMAND_USAGE after saying what is
** wrong with it.
*/
int serve_option(const char *command, serve_options *options, int option,
                 const char *value);

/* Applies --set and --client-id to the host's settings. */
int serve_settings(const serve_options *options, host *host, iotops_error *err);

/* The exit status of a host's result. */
int serve_status(host_result result);

#endif
