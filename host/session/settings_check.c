/* The settings as a whole (session.md 1.6). */
#include <stdio.h>
#include <string.h>

#include "session/credentials.h"
#include "session/file_read.h"
#include "session/settings_fields.h"
#include "session/tls.h"

static int refuse(const iotops_settings *settings, setting_id id,
                  const char *text, iotops_error *err) {
  iotops_text value = settings_text(settings, id);
  if (id == SETTING_PASSWORD)
    value = iotops_text_of(NULL);
  else if (value.data == NULL)
    value = iotops_text_of("");
  return iotops_error_configuration(err, settings_written_as(settings, id),
                                    value, "%s", text);
}

/* Says how to give it, where that is not by its name. */
static int require(const iotops_settings *settings, setting_id id,
                   const char *name, iotops_error *err) {
  const char *written = settings_written_as(settings, id);
  char text[128];
  if (strcmp(written, name) == 0)
    snprintf(text, sizeof text, "%s is required", name);
  else
    snprintf(text, sizeof text, "%s is required: %s is not set", name, written);
  return refuse(settings, id, text, err);
}

static bool is_blank(iotops_text text) {
  for (size_t i = 0; i < text.size; i++)
    if (strchr(" \t\r\n\v\f", text.data[i]) == NULL)
      return false;
  return true;
}

/* What getaddrinfo could make sense of; catches "mqtt://host" and the like. */
static int check_hostname(const iotops_settings *settings, iotops_error *err) {
  iotops_text name = settings_text(settings, SETTING_HOSTNAME);
  if (is_blank(name))
    return require(settings, SETTING_HOSTNAME, "hostname", err);
  bool fits = name.size <= 255;
  for (size_t i = 0; fits && i < name.size; i++)
    fits = strchr(" \t\r\n/\\?#@[]\"'<>,;", name.data[i]) == NULL;
  if (fits)
    return 0;
  const char *written = settings_written_as(settings, SETTING_HOSTNAME);
  return iotops_error_configuration(
      err, written, name,
      "%s: expected a DNS name or an IP address, got \"%.255s\"", written,
      name.data);
}

static int check_credentials(const iotops_settings *settings,
                             iotops_error *err) {
  static const setting_id exclusive[] = {
      SETTING_PASSWORD, SETTING_PASSWORD_FILE, SETTING_SAT_FILE};
  int given = 0;
  for (int i = 0; i < 3; i++)
    if (settings_has(settings, exclusive[i]) && ++given > 1)
      return refuse(settings, exclusive[i],
                    "only one of password, password_file and sat_file may be "
                    "set",
                    err);
  return 0;
}

static int check_tls(const iotops_settings *settings, iotops_error *err) {
  static const setting_id files[] = {SETTING_CA_FILE, SETTING_CA_DIRECTORY,
                                     SETTING_CERT_FILE, SETTING_KEY_FILE,
                                     SETTING_KEY_PASSWORD_FILE};
  iotops_text cert = settings_text(settings, SETTING_CERT_FILE);
  iotops_text key = settings_text(settings, SETTING_KEY_FILE);
  if ((cert.data != NULL || key.data != NULL) &&
      (cert.size == 0 || key.size == 0))
    return refuse(settings,
                  cert.size == 0 ? SETTING_CERT_FILE : SETTING_KEY_FILE,
                  "cert_file and key_file must be set together", err);
  if (settings_has(settings, SETTING_KEY_PASSWORD_FILE) && key.data == NULL)
    return refuse(settings, SETTING_KEY_PASSWORD_FILE,
                  "key_password_file is set but key_file is not", err);
  if (settings_bool(settings, SETTING_USE_TLS))
    return 0;
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
    if (settings_has(settings, files[i]))
      return refuse(settings, files[i],
                    "TLS files are set but use_tls is false", err);
  return 0;
}

static int check_numbers(const iotops_settings *settings, iotops_error *err) {
  uint64_t keep_alive = settings_number(settings, SETTING_KEEP_ALIVE);
  uint64_t ping = settings_ping_timeout_s(settings);
  if (ping > keep_alive) {
    const char *name =
        settings_written_as(settings, SETTING_PING_RESPONSE_TIMEOUT);
    return iotops_error_configuration(
        err, name, settings_text(settings, SETTING_PING_RESPONSE_TIMEOUT),
        "%s: expected seconds from 1 to %llu (keep_alive), got \"%llu\"", name,
        (unsigned long long)keep_alive, (unsigned long long)ping);
  }
  if (settings_bool(settings, SETTING_AIO_PERSISTENCE) &&
      !settings_bool(settings, SETTING_AIO_BROKER_FEATURES))
    return refuse(settings, SETTING_AIO_PERSISTENCE,
                  "aio_persistence needs aio_broker_features", err);
  return 0;
}

static int check_file(const iotops_settings *settings, setting_id id,
                      iotops_error *err) {
  iotops_text content;
  if (!settings_has(settings, id))
    return 0;
  if (credentials_read_file(settings, id, &content, err) != 0)
    return -1;
  file_wipe(settings->context, &content);
  return 0;
}

int iotops_settings_check(const iotops_settings *settings, iotops_error *err) {
  if (check_hostname(settings, err) != 0)
    return -1;
  if (settings_text(settings, SETTING_CLIENT_ID).size == 0)
    return require(settings, SETTING_CLIENT_ID, "client_id", err);
  if (check_credentials(settings, err) != 0 || check_tls(settings, err) != 0 ||
      check_numbers(settings, err) != 0 ||
      check_file(settings, SETTING_PASSWORD_FILE, err) != 0 ||
      check_file(settings, SETTING_SAT_FILE, err) != 0)
    return -1;
  if (settings_bool(settings, SETTING_USE_TLS)) {
    SSL_CTX *made = tls_context_new(settings, err);
    if (made == NULL)
      return -1;
    SSL_CTX_free(made);
  }
  return 0;
}
