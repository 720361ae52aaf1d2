/* The environment and the connection string (session.md 1.2 and 1.3). */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "session/settings_fields.h"

static const char *system_lookup(void *user, const char *name) {
  (void)user;
  return getenv(name);
}

/* --------------------------------------------------------- environment -- */

int iotops_settings_from_environment(iotops_settings *settings,
                                     iotops_lookup lookup, void *user,
                                     iotops_error *err) {
  if (lookup == NULL)
    lookup = system_lookup;
  settings_start(settings, SOURCE_ENVIRONMENT);
  for (int i = 0; i < SETTING_COUNT; i++) {
    setting_id id = (setting_id)i;
    if (!settings_has_name(id, SOURCE_ENVIRONMENT))
      continue;
    const char *value = lookup(user, settings_name(id, SOURCE_ENVIRONMENT));
    if (value == NULL || value[0] == '\0') /* manifests template to "" */
      continue;
    if (settings_put(settings, id, SOURCE_ENVIRONMENT, iotops_text_of(value),
                     err) != 0)
      return -1;
  }
  return 0;
}

int iotops_settings_auto(iotops_settings *settings, iotops_lookup lookup,
                         void *user, iotops_error *err) {
  const char *mounted = (lookup != NULL ? lookup : system_lookup)(
      user, "CONNECTOR_CONFIGURATION_MOUNT_PATH");
  return mounted != NULL && mounted[0] != '\0'
             ? iotops_settings_from_files(settings, lookup, user, err)
             : iotops_settings_from_environment(settings, lookup, user, err);
}

/* --------------------------------------------------- connection string -- */

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static iotops_text trim(iotops_text text) {
  while (text.size > 0 && is_blank(text.data[0])) {
    text.data++;
    text.size--;
  }
  while (text.size > 0 && is_blank(text.data[text.size - 1]))
    text.size--;
  return text;
}

/* The key that `text` begins with, up to its `=`; absent when it has none. */
static iotops_text key_of(iotops_text text) {
  const char *end = memchr(text.data, '=', text.size);
  iotops_text key = {text.data, 0};
  if (end == NULL)
    return iotops_text_of(NULL);
  key.size = (size_t)(end - text.data);
  key = trim(key);
  for (size_t i = 0; i < key.size; i++) {
    char c = key.data[i];
    if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
          (c >= '0' && c <= '9')))
      return iotops_text_of(NULL);
  }
  return key.size > 0 ? key : iotops_text_of(NULL);
}

/* Up to the next `;` that another key follows, or the end. */
static size_t value_size(iotops_text rest) {
  for (size_t i = 0; i < rest.size; i++) {
    if (rest.data[i] != ';')
      continue;
    iotops_text after = {rest.data + i + 1, rest.size - i - 1};
    const char *stop = memchr(after.data, ';', after.size);
    if (stop != NULL)
      after.size = (size_t)(stop - after.data);
    if (key_of(after).data != NULL || trim(after).size == 0)
      return i;
  }
  return rest.size;
}

static int find_key(iotops_text key) {
  for (int id = 0; id < SETTING_COUNT; id++) {
    const char *name = settings_name((setting_id)id, SOURCE_STRING);
    if (settings_has_name((setting_id)id, SOURCE_STRING) &&
        strlen(name) == key.size && strncasecmp(name, key.data, key.size) == 0)
      return id;
  }
  return -1;
}

int iotops_settings_from_string(iotops_settings *settings, iotops_text string,
                                iotops_error *err) {
  bool seen[SETTING_COUNT] = {false};
  iotops_text rest = string.data != NULL ? string : iotops_text_of("");
  settings_start(settings, SOURCE_STRING);
  while (rest.size > 0) {
    if (rest.data[0] == ';' || is_blank(rest.data[0])) {
      rest.data++;
      rest.size--;
      continue;
    }
    iotops_text key = key_of(rest);
    if (key.data == NULL)
      return iotops_error_configuration(
          err, "connection string", iotops_text_of(NULL),
          "connection string: expected Key=Value pairs separated by ;");
    const char *value_start = memchr(rest.data, '=', rest.size);
    size_t skipped = (size_t)(value_start + 1 - rest.data);
    iotops_text value = {rest.data + skipped, rest.size - skipped};
    value.size = value_size(value);
    rest.data = value.data + value.size;
    rest.size -= skipped + value.size;
    int id = find_key(key);
    if (id < 0)
      continue;
    const char *name = settings_name((setting_id)id, SOURCE_STRING);
    if (seen[id])
      return iotops_error_configuration(err, name, trim(value),
                                        "%s is given twice", name);
    seen[id] = true;
    if (settings_put(settings, (setting_id)id, SOURCE_STRING, trim(value),
                     err) != 0)
      return -1;
  }
  return 0;
}
