/* What the Akri operator mounts into a connector (session.md 1.4). */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "session/ca_directory.h"
#include "session/file_read.h"
#include "session/settings_fields.h"

enum { JSON_SIZE_MAX = 1024 * 1024 };

typedef struct mount_reader {
  iotops_settings *settings;
  iotops_lookup lookup;
  void *user;
  iotops_error *err;
} mount_reader;

/* NULL when unset or empty. */
static const char *variable(const mount_reader *reader, const char *name) {
  const char *value = reader->lookup != NULL
                          ? reader->lookup(reader->user, name)
                          : getenv(name);
  return value != NULL && value[0] != '\0' ? value : NULL;
}

static int missing(const mount_reader *reader, const char *name) {
  return iotops_error_configuration(reader->err, name, iotops_text_of(""),
                                    "%s is not set", name);
}

static int check_path(const mount_reader *reader, const char *name,
                      const char *path) {
  struct stat status;
  if (stat(path, &status) == 0)
    return 0;
  return iotops_error_configuration(reader->err, name, iotops_text_of(path),
                                    "%s: path \"%s\" does not exist", name,
                                    path);
}

/* ---------------------------------------------------------------- JSON -- */

/*
** Parses FOLDER/`file` into `*root`, NULL when an optional one is absent.
*/
static int read_json(const mount_reader *reader, const char *folder,
                     const char *file, bool required, json_t **root) {
  iotops_context *context = reader->settings->context;
  char path[PATH_MAX], reason[FILE_REASON_SIZE];
  iotops_text content;
  json_error_t at;
  struct stat status;

  *root = NULL;
  int length = snprintf(path, sizeof path, "%s/%s", folder, file);
  if (length < 0 || (size_t)length >= sizeof path)
    return iotops_error_configuration(reader->err, file, iotops_text_of(folder),
                                      "the path of file %s is too long", file);
  if (stat(path, &status) != 0) {
    if (!required)
      return 0;
    return iotops_error_configuration(reader->err, file, iotops_text_of(path),
                                      "file \"%s\" does not exist", path);
  }
  if (file_read(context, path, JSON_SIZE_MAX, &content, reason) != 0)
    return iotops_error_configuration(reader->err, file, iotops_text_of(path),
                                      "cannot read file \"%s\": %s", path,
                                      reason);
  *root = json_loadb(content.data, content.size, 0, &at);
  file_wipe(context, &content);
  if (*root == NULL && at.text[0] == '\0') /* a mistake has a text */
    return iotops_error_memory(reader->err);
  if (*root == NULL)
    return iotops_error_configuration(reader->err, file, iotops_text_of(path),
                                      "%s: %s at line %d, column %d", path,
                                      at.text, at.line, at.column);
  if (!json_is_object(*root)) {
    json_decref(*root);
    *root = NULL;
    return iotops_error_configuration(reader->err, file, iotops_text_of(path),
                                      "%s: expected an object", path);
  }
  return 0;
}

/* The text of a member, as settings take it: a string's or a number's. */
static iotops_text member_text(const json_t *member, char *buffer,
                               size_t size) {
  if (json_is_string(member)) {
    iotops_text text = {json_string_value(member), json_string_length(member)};
    return text;
  }
  if (json_is_integer(member))
    snprintf(buffer, size, "%lld", (long long)json_integer_value(member));
  else if (json_is_real(member))
    snprintf(buffer, size, "%g", json_real_value(member));
  else if (json_is_boolean(member))
    snprintf(buffer, size, "%s", json_is_true(member) ? "true" : "false");
  else
    snprintf(buffer, size, "%s",
             json_is_object(member)  ? "{...}"
             : json_is_array(member) ? "[...]"
                                     : "");
  return iotops_text_of(buffer);
}

static int put_number(const mount_reader *reader, const json_t *root,
                      setting_id id) {
  char buffer[64];
  const char *name = settings_name(id, SOURCE_FILES);
  const json_t *member = json_object_get(root, name);
  if (member == NULL || json_is_null(member))
    return 0;
  iotops_text text = member_text(member, buffer, sizeof buffer);
  /* A number in quotes does not fit, whatever it says. */
  if (json_is_string(member))
    return iotops_error_configuration(reader->err, name, text,
                                      "%s: expected a number, got \"%s\"", name,
                                      json_string_value(member));
  return settings_put(reader->settings, id, SOURCE_FILES, text, reader->err);
}

static int refuse_host(const mount_reader *reader, iotops_text host) {
  return iotops_error_configuration(
      reader->err, "host", host,
      "host: expected \"<hostname>:<port>\", got \"%.*s\"",
      (int)(host.size > 512 ? 512 : host.size), host.data);
}

static int put_host(const mount_reader *reader, const json_t *root) {
  char buffer[64];
  iotops_text host =
      member_text(json_object_get(root, "host"), buffer, sizeof buffer);
  size_t colon = host.size;
  while (colon > 0 && host.data[colon - 1] != ':' &&
         host.data[colon - 1] != ']')
    colon--;
  if (colon == 0 || host.data[colon - 1] != ':')
    return refuse_host(reader, host);
  iotops_text name = {host.data, colon - 1};
  iotops_text port = {host.data + colon, host.size - colon};
  if (name.size >= 2 && name.data[0] == '[' &&
      name.data[name.size - 1] == ']') {
    name.data++;
    name.size -= 2;
  } else if (memchr(name.data, ':', name.size) != NULL) {
    return refuse_host(reader, host); /* IPv6 without brackets */
  }
  if (name.size == 0 || settings_put(reader->settings, SETTING_TCP_PORT,
                                     SOURCE_FILES, port, NULL) != 0)
    return refuse_host(reader, host);
  return settings_put(reader->settings, SETTING_HOSTNAME, SOURCE_FILES, name,
                      reader->err);
}

static int put_tls_mode(const mount_reader *reader, const json_t *root) {
  char buffer[64];
  const json_t *mode = json_object_get(json_object_get(root, "tls"), "mode");
  iotops_text text = member_text(mode, buffer, sizeof buffer);
  const char *use_tls = NULL;
  if (text.size == 7 && strncasecmp(text.data, "enabled", 7) == 0)
    use_tls = "true";
  else if (text.size == 8 && strncasecmp(text.data, "disabled", 8) == 0)
    use_tls = "false";
  else
    return iotops_error_configuration(
        reader->err, "tls.mode", text,
        "tls.mode: expected Enabled or Disabled, got \"%.*s\"",
        (int)(text.size > 512 ? 512 : text.size), text.data);
  return settings_put(reader->settings, SETTING_USE_TLS, SOURCE_FILES,
                      iotops_text_of(use_tls), reader->err);
}

static int check_protocol(const mount_reader *reader, const json_t *root) {
  char buffer[64];
  const json_t *member = json_object_get(root, "protocol");
  if (member == NULL || json_is_null(member))
    return 0;
  iotops_text text = member_text(member, buffer, sizeof buffer);
  if (text.size == 4 && strncasecmp(text.data, "mqtt", 4) == 0)
    return 0;
  return iotops_error_configuration(
      reader->err, "protocol", text, "protocol: expected mqtt, got \"%.*s\"",
      (int)(text.size > 512 ? 512 : text.size), text.data);
}

static int read_connection(const mount_reader *reader, const char *folder) {
  json_t *root;
  if (read_json(reader, folder, "MQTT_CONNECTION_CONFIGURATION", true, &root) !=
      0)
    return -1;
  int rc = put_host(reader, root);
  if (rc == 0)
    rc = put_number(reader, root, SETTING_KEEP_ALIVE);
  if (rc == 0)
    rc = put_number(reader, root, SETTING_RECEIVE_MAX);
  if (rc == 0)
    rc = put_number(reader, root, SETTING_SESSION_EXPIRY);
  if (rc == 0)
    rc = check_protocol(reader, root);
  if (rc == 0)
    rc = put_tls_mode(reader, root);
  json_decref(root);
  return rc;
}

static int read_diagnostics(const mount_reader *reader, const char *folder) {
  char buffer[64];
  json_t *root;
  int rc = 0;
  if (read_json(reader, folder, "DIAGNOSTICS", false, &root) != 0)
    return -1;
  const json_t *member =
      json_object_get(json_object_get(root, "logs"), "level");
  if (member != NULL && !json_is_null(member)) {
    iotops_text text = member_text(member, buffer, sizeof buffer);
    int level = iotops_log_level_from(text);
    if (level >= 0 && level != IOTOPS_LOG_OFF)
      iotops_log_set_level(reader->settings->context, (iotops_log_level)level);
    else
      rc = iotops_error_configuration(
          reader->err, "logs.level", text,
          "logs.level: expected trace, debug, info, warn or error, got "
          "\"%.*s\"",
          (int)(text.size > 512 ? 512 : text.size), text.data);
  }
  json_decref(root);
  return rc;
}

/* ------------------------------------------------------------- the rest -- */

static int put_trust_bundle(const mount_reader *reader) {
  const char *name = settings_name(SETTING_CA_DIRECTORY, SOURCE_FILES);
  const char *path = variable(reader, name);
  ca_directory directory;
  if (path == NULL || !settings_bool(reader->settings, SETTING_USE_TLS))
    return 0;
  if (check_path(reader, name, path) != 0 ||
      settings_put(reader->settings, SETTING_CA_DIRECTORY, SOURCE_FILES,
                   iotops_text_of(path), reader->err) != 0 ||
      ca_directory_open(&directory, reader->settings, reader->err) != 0)
    return -1;
  ca_directory_close(&directory);
  return 0;
}

static int put_token_file(const mount_reader *reader) {
  const char *name = settings_name(SETTING_SAT_FILE, SOURCE_FILES);
  const char *path = variable(reader, name);
  if (path == NULL)
    return 0;
  if (check_path(reader, name, path) != 0)
    return -1;
  return settings_put(reader->settings, SETTING_SAT_FILE, SOURCE_FILES,
                      iotops_text_of(path), reader->err);
}

int iotops_settings_from_files(iotops_settings *settings, iotops_lookup lookup,
                               void *user, iotops_error *err) {
  static const char folder_name[] = "CONNECTOR_CONFIGURATION_MOUNT_PATH";
  mount_reader reader = {settings, lookup, user, err};
  settings_start(settings, SOURCE_FILES);
  const char *client_id = variable(&reader, "CONNECTOR_ID");
  if (client_id == NULL)
    return missing(&reader, "CONNECTOR_ID");
  const char *folder = variable(&reader, folder_name);
  if (folder == NULL)
    return missing(&reader, folder_name);
  if (settings_put(settings, SETTING_CLIENT_ID, SOURCE_FILES,
                   iotops_text_of(client_id), err) != 0 ||
      check_path(&reader, folder_name, folder) != 0 ||
      read_connection(&reader, folder) != 0 ||
      read_diagnostics(&reader, folder) != 0 ||
      put_trust_bundle(&reader) != 0 || put_token_file(&reader) != 0)
    return -1;
  return 0;
}
