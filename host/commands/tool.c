#include "commands/tool.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/command.h"
#include "commands/dev_record.h"
#include "iotops/topic.h"
#include "runtime/signals.h"

enum {
  TIMEOUT_MS = 10000,
  EXIT_TIMEOUT_MS = 2000, /* for the broker to take our leave */
  PAYLOAD_LIMIT = 256 * 1024 * 1024
};

const char tool_options_help[] =
    "  --client-id ID        the MQTT client id (made up)\n"
    "  --timeout SECONDS     give up after so long (10)\n"
    "  --verbose             say what happens on the connection\n"
    "  -h, --help            this text\n\n"
    "The broker is the one that the AIO_* environment variables name, else "
    "that "
    "of a\nrunning `iotops dev`.\n";

void tool_init(tool *tool, const char *verb) {
  memset(tool, 0, sizeof *tool);
  tool->verb = verb;
  tool->timeout_ms = TIMEOUT_MS;
  tool->interrupted_status = COMMAND_INTERRUPTED;
}

int tool_option(tool *tool, int option, const char *value) {
  const char *equals = NULL;
  switch (option) {
  case TOOL_CLIENT_ID:
    tool->client_id = value;
    return COMMAND_DONE;
  case TOOL_TIMEOUT:
    if (!command_seconds(value, &tool->timeout_ms))
      return command_usage_error(
          tool->verb, "--timeout takes seconds, such as 10, not \"%s\"", value);
    return COMMAND_DONE;
  case TOOL_VERBOSE:
    tool->verbose = true;
    return COMMAND_DONE;
  case TOOL_PROPERTY:
    equals = strchr(value, '=');
    if (equals == NULL || tool->property_count == TOOL_PROPERTIES)
      return command_usage_error(
          tool->verb,
          "--property takes NAME=VALUE, at most %d times, not "
          "\"%s\"",
          TOOL_PROPERTIES, value);
    tool->properties[tool->property_count++] = (iotops_user_property){
        {value, (size_t)(equals - value)}, iotops_text_of(equals + 1)};
    return COMMAND_DONE;
  default:
    return command_usage_error(tool->verb, "see its options");
  }
}

/* ---------------------------------------------------------- connecting -- */

static bool is_set(const char *name) {
  const char *value = getenv(name);
  return value != NULL && value[0] != '\0';
}

static int set(tool *tool, const char *name, const char *value,
               iotops_error *err) {
  return iotops_settings_set(tool->settings, name, iotops_text_of(value), err);
}

static int find_broker(tool *tool, iotops_error *err) {
  dev_record record = {0};
  iotops_error why;
  char port[8];
  if (is_set("CONNECTOR_CONFIGURATION_MOUNT_PATH"))
    return iotops_settings_from_files(tool->settings, NULL, NULL, err);
  if (is_set("AIO_BROKER_HOSTNAME"))
    return iotops_settings_from_environment(tool->settings, NULL, NULL, err);
  if (dev_record_read(&record, &why) != 0)
    return iotops_error_configuration(
        err, "AIO_BROKER_HOSTNAME", (iotops_text){0},
        "no broker is configured (AIO_BROKER_HOSTNAME is not set) and no "
        "`iotops dev` was found: %s",
        why.message);
  snprintf(port, sizeof port, "%u", record.port);
  if (set(tool, "hostname", "127.0.0.1", err) != 0 ||
      set(tool, "tcp_port", port, err) != 0)
    return -1;
  return set(tool, "use_tls", "false", err);
}

static int name_client(tool *tool, iotops_error *err) {
  iotops_text base = iotops_settings_get(tool->settings, "client_id");
  uint8_t random[4];
  char name[300];
  if (tool->client_id != NULL)
    return set(tool, "client_id", tool->client_id, err);
  if (base.data == NULL || base.size == 0)
    base = iotops_text_of("iotops");
  iotops_random(tool->context, random, sizeof random);
  snprintf(name, sizeof name, "%.*s-%s-%02x%02x%02x%02x",
           base.size < 256 ? (int)base.size : 256, base.data, tool->verb,
           random[0], random[1], random[2], random[3]);
  return set(tool, "client_id", name, err);
}

/* An attempt that hangs ends before we give up, and says what it waited for. */
static int limit_attempt(tool *tool, iotops_error *err) {
  uint64_t seconds = tool->timeout_ms / 1000;
  char text[24];
  if (seconds > 30)
    return 0; /* what it is anyway */
  snprintf(text, sizeof text, "%llu",
           (unsigned long long)(seconds > 1 ? seconds - 1 : 1));
  return set(tool, "connection_timeout", text, err);
}

/* The usual policy; notes the reason, to be told if we give up. */
static int64_t reconnect(void *user, iotops_context *context,
                         const iotops_reconnect_question *question) {
  tool *tool = user;
  tool->last_cause = *question->cause;
  return iotops_reconnect_backoff(NULL, context, question);
}

static void connected(void *user, const iotops_connected_event *event) {
  tool *tool = user;
  (void)event;
  if (tool->connected || tool->finishing)
    return;
  tool->connected = true;
  iotops_timer_stop(tool->context, &tool->limit);
  tool->go(tool);
}

static void ended(void *user, const iotops_error *err) {
  tool *tool = user;
  if (!tool->finishing) {
    tool->finishing = true;
    tool->status = tool->connected ? COMMAND_REFUSED : COMMAND_UNREACHABLE;
    if (err != NULL)
      command_report(err);
  }
  tool->ended = true;
  iotops_context_stop(tool->context);
}

static void limit_passed(iotops_timer *timer) {
  tool *tool = timer->user;
  if (tool->finishing) { /* the broker does not answer our leave */
    tool->ended = true;
    iotops_context_stop(tool->context);
    return;
  }
  fprintf(stderr, "iotops %s: cannot connect to %s:%s within %.1f s%s%s\n",
          tool->verb, iotops_settings_get(tool->settings, "hostname").data,
          iotops_settings_get(tool->settings, "tcp_port").data,
          (double)tool->timeout_ms / 1000.0,
          tool->last_cause.kind != IOTOPS_NO_ERROR ? ": " : "",
          tool->last_cause.message);
  tool_finish(tool, COMMAND_UNREACHABLE);
}

static void signalled(void *user, int number) {
  tool *tool = user;
  if (tool->signalled != NULL && tool->signalled(tool, number))
    return;
  if (number == SIGINT || number == SIGTERM)
    tool_finish(tool, tool->interrupted_status);
}

int tool_open(tool *tool, iotops_error *err) {
  iotops_context_options context = IOTOPS_CONTEXT_OPTIONS_INIT;
  iotops_session_options session = IOTOPS_SESSION_OPTIONS_INIT;
  logger_init(&tool->logger, STDERR_FILENO, LOGGER_TEXT);
  context.log = logger_write;
  context.log_user = &tool->logger;
  context.log_level = tool->verbose ? IOTOPS_LOG_DEBUG : IOTOPS_LOG_OFF;
  tool->limit.fire = limit_passed;
  tool->limit.user = tool;
  if (iotops_context_new(&context, &tool->context, err) != 0)
    return -1;
  if ((tool->settings = iotops_settings_new(tool->context)) == NULL)
    return iotops_error_memory(err);
  if (find_broker(tool, err) != 0 || name_client(tool, err) != 0 ||
      set(tool, "clean_start", "true", err) != 0 ||
      set(tool, "session_expiry", "60", err) != 0 ||
      limit_attempt(tool, err) != 0)
    return -1;
  session.settings = tool->settings;
  session.reconnect = reconnect;
  session.reconnect_user = tool;
  session.connected = connected;
  session.ended = ended;
  session.user = tool;
  if (iotops_session_new(tool->context, &session, &tool->session, err) != 0)
    return -1;
  tool->client = iotops_session_client(tool->session);
  return 0;
}

int tool_run(tool *tool) {
  iotops_error err;
  tool->signals = signals_new(tool->context, signalled, tool);
  if (iotops_session_run(tool->session, &err) != 0) {
    command_report(&err);
    return COMMAND_USAGE;
  }
  iotops_timer_start(tool->context, &tool->limit, tool->timeout_ms);
  while (!tool->ended)
    iotops_context_run(tool->context);
  return tool->status;
}

void tool_finish(tool *tool, int status) {
  if (tool->finishing)
    return;
  tool->finishing = true;
  tool->status = status;
  iotops_timer_start(tool->context, &tool->limit, EXIT_TIMEOUT_MS);
  if (iotops_session_exit(tool->session, NULL, NULL) != 0)
    iotops_session_force_exit(tool->session);
}

void tool_fail(tool *tool, const iotops_error *err) {
  if (tool->finishing)
    return;
  command_report(err);
  if (err->kind == IOTOPS_TIMEOUT)
    tool_finish(tool, COMMAND_TIMEOUT);
  else if (err->kind == IOTOPS_INVALID_CONFIGURATION && err->is_shallow)
    tool_finish(tool, COMMAND_USAGE);
  else
    tool_finish(tool, COMMAND_REFUSED);
}

void tool_close(tool *tool) {
  if (tool->context == NULL)
    return;
  signals_close(tool->signals);
  if (tool->session != NULL)
    iotops_session_free(tool->session);
  iotops_timer_stop(tool->context, &tool->limit);
  for (int i = 0; i < 3; i++)
    iotops_context_run_once(tool->context, false);
  iotops_settings_free(tool->settings);
  iotops_context_free(tool->context);
}

/* ------------------------------------------------------------- payload -- */

/* All of a file; "-" is the standard input.  NULL with errno. */
static char *read_all(const char *path, size_t *size) {
  FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
  char *bytes = NULL;
  size_t have = 0, room = 0;
  if (file == NULL)
    return NULL;
  do {
    if (have == room) {
      room = room == 0 ? 65536 : room * 2;
      char *larger = room > PAYLOAD_LIMIT ? NULL : realloc(bytes, room);
      if (larger == NULL) {
        errno = room > PAYLOAD_LIMIT ? EFBIG : ENOMEM;
        goto failed;
      }
      bytes = larger;
    }
    have += fread(bytes + have, 1, room - have, file);
    if (ferror(file))
      goto failed;
  } while (!feof(file));
  if (file != stdin)
    fclose(file);
  *size = have;
  return bytes;
failed:
  if (file != stdin)
    fclose(file);
  free(bytes);
  return NULL;
}

int tool_payload(const tool *tool, const char *json, const char *raw,
                 iotops_text *payload, char **owned) {
  json_error_t failure;
  const char *file = raw != NULL ? raw : strcmp(json, "-") == 0 ? "-" : NULL;
  *owned = NULL;
  *payload = iotops_text_of(json);
  if (file != NULL) {
    *owned = read_all(file, &payload->size);
    if (*owned == NULL)
      return command_usage_error(tool->verb, "cannot read %s: %s", file,
                                 strerror(errno));
    payload->data = *owned;
  }
  if (raw != NULL)
    return COMMAND_DONE;
  json_t *value = json_loadb(
      payload->data, payload->size,
      JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &failure);
  if (value == NULL) {
    free(*owned);
    *owned = NULL;
    return command_usage_error(
        tool->verb,
        "the payload is not JSON: %s at column %d.  Quote it for the shell, "
        "as in '{\"celsius\": 95}'; bytes of another kind are sent with "
        "--raw FILE",
        failure.text, failure.column);
  }
  json_decref(value);
  return COMMAND_DONE;
}

int tool_check_topic(const tool *tool, const char *topic) {
  iotops_text text = iotops_text_of(topic);
  if (strpbrk(topic, "{}") != NULL)
    return command_usage_error(
        tool->verb,
        "the topic is taken as it is: put values for the tokens in \"%s\"",
        topic);
  if (!iotops_topic_name_valid(text) || !iotops_topic_pattern_valid(text))
    return command_usage_error(tool->verb,
                               "\"%s\" cannot be a topic: levels between "
                               "slashes, none empty, without + and #",
                               topic);
  return COMMAND_DONE;
}

static bool is_utf8(iotops_text text) {
  json_t *string = json_stringn(text.data, text.size);
  bool valid = string != NULL;
  json_decref(string);
  return valid;
}

bool tool_is_text(iotops_text payload) {
  if (payload.data == NULL || payload.size == 0)
    return true;
  return is_utf8(payload) && memchr(payload.data, '\0', payload.size) == NULL;
}

void tool_print_text(iotops_text text) {
  for (size_t i = 0; text.data != NULL && i < text.size; i++) {
    unsigned char c = (unsigned char)text.data[i];
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F)
      printf("\\x%02x", c);
    else
      putchar(c);
  }
}

/* A line that could not be written is forgotten: flushing alone is content. */
bool tool_is_read(void) {
  return fflush(stdout) == 0 && !ferror(stdout);
}
