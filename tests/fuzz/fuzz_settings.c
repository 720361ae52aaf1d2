/*
** fuzz_settings.c -- connection strings, environment variables and mounted
** files that say anything at all give settings or a reason, never both.
**
** First byte: the source; the rest: a connection string, lines of NAME=VALUE,
** or the file MQTT_CONNECTION_CONFIGURATION.
*/
#include "fuzz.h"

#include <fcntl.h>
#include <unistd.h>

#include "iotops/settings.h"

enum { VARIABLES = 32 };

typedef struct environment {
  char *names[VARIABLES], *values[VARIABLES];
  size_t count;
} environment;

static const char *look_up(void *user, const char *name) {
  environment *environment = user;

  for (size_t i = 0; i < environment->count; i++)
    if (strcmp(environment->names[i], name) == 0)
      return environment->values[i];
  return NULL;
}

static int from_environment(iotops_settings *settings, fuzz_input *input,
                            iotops_error *err) {
  environment environment = {.count = 0};
  int rc;

  while (environment.count < VARIABLES && input->at < input->end) {
    iotops_text line = fuzz_line(input);
    char *name = strndup(line.data, line.size), *equals = strchr(name, '=');

    FUZZ_CHECK(name != NULL);
    if (equals)
      *equals = 0;
    environment.names[environment.count] = name;
    environment.values[environment.count++] = equals ? equals + 1 : "";
  }
  rc = iotops_settings_from_environment(settings, look_up, &environment, err);
  for (size_t i = 0; i < environment.count; i++)
    free(environment.names[i]);
  return rc;
}

static char folder[64];

static void forget_folder(void) {
  char path[128];

  (void)snprintf(path, sizeof path, "%s/MQTT_CONNECTION_CONFIGURATION", folder);
  (void)unlink(path);
  (void)rmdir(folder);
}

static int from_files(iotops_settings *settings, fuzz_input *input,
                      iotops_error *err) {
  environment environment = {
      {"CONNECTOR_ID", "CONNECTOR_CONFIGURATION_MOUNT_PATH"},
      {"me", folder},
      2};
  size_t size = (size_t)(input->end - input->at);
  char path[128];
  int file;

  if (!folder[0]) {
    strcpy(folder, "/tmp/fuzz_settings.XXXXXX");
    FUZZ_CHECK(mkdtemp(folder) != NULL);
    (void)atexit(forget_folder);
  }
  (void)snprintf(path, sizeof path, "%s/MQTT_CONNECTION_CONFIGURATION", folder);
  file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  FUZZ_CHECK(file >= 0 && write(file, input->at, size) == (ssize_t)size);
  (void)close(file);
  return iotops_settings_from_files(settings, look_up, &environment, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const numbers[] = {"tcp_port", "keep_alive",
                                        "session_expiry", "receive_max"};
  fuzz_input input = {data, data + size};
  iotops_settings *settings = iotops_settings_new(fuzz_context()), *copy;
  iotops_text rest;
  iotops_error err;
  char text[512];
  int rc;

  FUZZ_CHECK(settings != NULL);
  memset(&err, 0, sizeof err);
  switch (fuzz_byte(&input) % 3) {
  case 0:
    rest.data = (const char *)input.at;
    rest.size = (size_t)(input.end - input.at);
    rc = iotops_settings_from_string(settings, rest, &err);
    break;
  case 1:
    rc = from_environment(settings, &input, &err);
    break;
  default:
    rc = from_files(settings, &input, &err);
  }
  if (rc == 0) {
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
      iotops_text value = iotops_settings_get(settings, numbers[i]);

      FUZZ_CHECK(value.size > 0 && value.size < 11);
      memcpy(text, value.data, value.size);
      text[value.size] = 0;
      FUZZ_CHECK(iotops_settings_set(settings, numbers[i], iotops_text_of(text),
                                     &err) == 0);
    }
    copy = iotops_settings_copy(settings);
    FUZZ_CHECK(copy != NULL);
    (void)iotops_settings_print(copy, text, sizeof text);
    FUZZ_CHECK(memchr(text, 0, sizeof text) != NULL);
    iotops_settings_free(copy);
  } else {
    FUZZ_CHECK(err.message[0] != 0);
  }
  iotops_settings_free(settings);
  return 0;
}
