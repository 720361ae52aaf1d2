#include "iotops/settings.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "context/text.h"
#include "session/settings_fields.h"

enum { TEXT_MAX = 65535 }; /* the longest string MQTT can carry */

typedef struct setting {
  const char *names[SOURCE_COUNT]; /* NULL: not in this source's vocabulary */
  setting_type type;
  uint64_t least, most;
  const char *initial;
} setting;

static const setting table[SETTING_COUNT] = {
#define SETTING_ROW(id, name, type, least, most, initial, env, key, file)      \
  {{name, env, key, file}, SETTING_##type, least, most, initial},
    SETTINGS(SETTING_ROW)
#undef SETTING_ROW
};

static const char *const choices[] = {"wait", "drop_newest", "drop_oldest"};

const char *settings_name(setting_id id, setting_source source) {
  const char *name = table[id].names[source];
  return name != NULL ? name : table[id].names[SOURCE_API];
}

bool settings_has_name(setting_id id, setting_source source) {
  return table[id].names[source] != NULL;
}

const char *settings_written_as(const iotops_settings *settings,
                                setting_id id) {
  const setting_value *value = &settings->values[id];
  return settings_name(id,
                       value->text == NULL ? settings->base : value->source);
}

/* ------------------------------------------------------ text to number -- */

static bool parse_number(iotops_text text, uint64_t *number) {
  *number = 0;
  if (text.size == 0 || text.size > 19) /* 19 digits always fit */
    return false;
  for (size_t i = 0; i < text.size; i++) {
    if (text.data[i] < '0' || text.data[i] > '9')
      return false;
    *number = *number * 10 + (uint64_t)(text.data[i] - '0');
  }
  return true;
}

static bool is_word(iotops_text text, const char *word) {
  return text.size == strlen(word) &&
         strncasecmp(text.data, word, text.size) == 0;
}

static bool parse_bool(iotops_text text, bool words_only, uint64_t *number) {
  if (is_word(text, "true") ||
      (!words_only && (is_word(text, "1") || is_word(text, "t")))) {
    *number = 1;
    return true;
  }
  *number = 0;
  return is_word(text, "false") ||
         (!words_only && (is_word(text, "0") || is_word(text, "f")));
}

static bool parse_choice(iotops_text text, uint64_t *number) {
  for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++)
    if (iotops_text_equal(text, iotops_text_of(choices[i]))) {
      *number = i;
      return true;
    }
  return false;
}

#define SHOWN(text) (int)((text).size > 512 ? 512 : (text).size), (text).data

static int check_text(setting_type type, const char *name, iotops_text value,
                      iotops_error *err) {
  if (value.size > TEXT_MAX)
    return iotops_error_configuration(err, name, iotops_text_of(NULL),
                                      "%s: longer than 65535 bytes (%zu)", name,
                                      value.size);
  if (type == SETTING_SECRET)
    return 0;
  if (!text_is_utf8(value))
    return iotops_error_configuration(err, name, value, "%s: not valid UTF-8",
                                      name);
  if (memchr(value.data, '\0', value.size) != NULL)
    return iotops_error_configuration(err, name, value,
                                      "%s: contains a NUL character", name);
  return 0;
}

static int parse(setting_id id, setting_source source, iotops_text value,
                 uint64_t *number, iotops_error *err) {
  const setting *row = &table[id];
  const char *name = settings_name(id, source);
  bool fits;
  *number = 0;
  switch (row->type) {
  case SETTING_TEXT:
  case SETTING_PATH:
  case SETTING_SECRET:
    return check_text(row->type, name, value, err);
  case SETTING_BOOL:
    if (parse_bool(value, source == SOURCE_STRING, number))
      return 0;
    return iotops_error_configuration(
        err, name, value, "%s: expected true or false, got \"%.*s\"", name,
        SHOWN(value));
  case SETTING_CHOICE:
    if (parse_choice(value, number))
      return 0;
    return iotops_error_configuration(
        err, name, value,
        "%s: expected wait, drop_newest or drop_oldest, got \"%.*s\"", name,
        SHOWN(value));
  case SETTING_INTEGER:
  case SETTING_SECONDS:
    break;
  }
  fits = parse_number(value, number);
  if (fits && *number >= row->least && *number <= row->most)
    return 0;
  if (fits && *number == 0 &&
      (id == SETTING_RECEIVE_MAX || id == SETTING_RECEIVE_PACKET_SIZE_MAX))
    return iotops_error_configuration(err, name, value, "%s must be at least 1",
                                      settings_name(id, SOURCE_API));
  return iotops_error_configuration(
      err, name, value, "%s: expected %s from %llu to %llu, got \"%.*s\"", name,
      row->type == SETTING_SECONDS ? "seconds" : "an integer",
      (unsigned long long)row->least, (unsigned long long)row->most,
      SHOWN(value));
}

/* -------------------------------------------------------------- values -- */

static void drop_text(iotops_context *context, char *text, size_t size) {
  if (text != NULL)
    OPENSSL_cleanse(text, size); /* it may be a password */
  iotops_free(context, text);
}

static char *keep_text(iotops_context *context, iotops_text text) {
  char *kept = iotops_zalloc(context, text.size + 1);
  if (kept != NULL && text.size > 0)
    memcpy(kept, text.data, text.size);
  return kept;
}

static void unset(iotops_settings *settings, setting_id id) {
  setting_value *value = &settings->values[id];
  drop_text(settings->context, value->text, value->size);
  memset(value, 0, sizeof *value);
  if (table[id].initial != NULL)
    parse(id, SOURCE_API, iotops_text_of(table[id].initial), &value->number,
          NULL);
}

int settings_put(iotops_settings *settings, setting_id id,
                 setting_source source, iotops_text text, iotops_error *err) {
  setting_value *value = &settings->values[id];
  uint64_t number;
  if (text.data == NULL) {
    unset(settings, id);
    return 0;
  }
  if (parse(id, source, text, &number, err) != 0)
    return -1;
  if (table[id].type == SETTING_BOOL)
    text = iotops_text_of(number != 0 ? "true" : "false");
  char *kept = keep_text(settings->context, text);
  if (kept == NULL)
    return iotops_error_memory(err);
  drop_text(settings->context, value->text, value->size);
  value->text = kept;
  value->size = text.size;
  value->number = number;
  value->source = source;
  return 0;
}

void settings_start(iotops_settings *settings, setting_source source) {
  for (int id = 0; id < SETTING_COUNT; id++)
    unset(settings, (setting_id)id);
  settings->base = source;
}

static int find(const char *name) {
  for (int id = 0; name != NULL && id < SETTING_COUNT; id++)
    if (strcmp(table[id].names[SOURCE_API], name) == 0)
      return id;
  return -1;
}

int iotops_settings_set(iotops_settings *settings, const char *name,
                        iotops_text value, iotops_error *err) {
  int id = find(name);
  if (id < 0)
    return iotops_error_configuration(err, name, iotops_text_of(NULL),
                                      "there is no setting \"%s\"",
                                      name == NULL ? "" : name);
  return settings_put(settings, (setting_id)id, SOURCE_API, value, err);
}

iotops_text iotops_settings_get(const iotops_settings *settings,
                                const char *name) {
  int id = find(name);
  if (id < 0)
    return iotops_text_of(NULL);
  if (settings_has(settings, (setting_id)id))
    return settings_text(settings, (setting_id)id);
  return iotops_text_of(table[id].initial);
}

/* --------------------------------------------------- user properties -- */

static void drop_property(iotops_context *context,
                          iotops_user_property *property) {
  iotops_free(context, (char *)property->name.data);
  iotops_free(context, (char *)property->value.data);
}

static int check_property(const char *what, iotops_text text,
                          iotops_error *err) {
  if (text.size > TEXT_MAX)
    return iotops_error_configuration(err, what, iotops_text_of(NULL),
                                      "%s: longer than 65535 bytes (%zu)", what,
                                      text.size);
  if (!text_is_clean(text))
    return iotops_error_configuration(
        err, what, text, "%s: not valid UTF-8 without control characters",
        what);
  return 0;
}

int iotops_settings_add_user_property(iotops_settings *settings,
                                      iotops_text name, iotops_text value,
                                      iotops_error *err) {
  static const char what[] = "connect_user_properties";
  iotops_context *context = settings->context;
  if (name.data == NULL)
    name = iotops_text_of("");
  if (value.data == NULL)
    value = iotops_text_of("");
  if (check_property(what, name, err) != 0 ||
      check_property(what, value, err) != 0)
    return -1;
  size_t count = settings->user_property_count;
  iotops_user_property *grown = iotops_resize(
      context, settings->user_properties, (count + 1) * sizeof *grown);
  if (grown == NULL)
    return iotops_error_memory(err);
  settings->user_properties = grown;
  iotops_user_property *added = &grown[count];
  added->name.data = keep_text(context, name);
  added->name.size = name.size;
  added->value.data = keep_text(context, value);
  added->value.size = value.size;
  if (added->name.data == NULL || added->value.data == NULL) {
    drop_property(context, added);
    return iotops_error_memory(err);
  }
  settings->user_property_count++;
  return 0;
}

/* ---------------------------------------------------------------- will -- */

static int refuse_will(iotops_error *err, iotops_text value, const char *why) {
  return iotops_error_configuration(err, "will", value, "will: %s", why);
}

static int check_will(const iotops_message *will, iotops_error *err) {
  iotops_text none = iotops_text_of(NULL);
  if (will->topic.data == NULL || will->topic.size == 0)
    return refuse_will(err, iotops_text_of(""), "topic is required");
  if (memchr(will->topic.data, '+', will->topic.size) != NULL ||
      memchr(will->topic.data, '#', will->topic.size) != NULL)
    return refuse_will(err, will->topic, "topic must not hold + or #");
  if (will->qos > 1)
    return refuse_will(err, none, "qos must be 0 or 1");
  if (will->payload.size > TEXT_MAX)
    return refuse_will(err, none, "payload is longer than 65535 bytes");
  if (will->correlation_data.size > TEXT_MAX)
    return refuse_will(err, none,
                       "correlation data is longer than 65535 bytes");
  if (check_property("will", will->topic, err) != 0 ||
      check_property("will", will->content_type, err) != 0 ||
      check_property("will", will->response_topic, err) != 0)
    return -1;
  for (size_t i = 0; i < will->user_property_count; i++)
    if (check_property("will", will->user_properties[i].name, err) != 0 ||
        check_property("will", will->user_properties[i].value, err) != 0)
      return -1;
  return 0;
}

int iotops_settings_set_will(iotops_settings *settings,
                             const iotops_message *will, uint32_t delay_s,
                             iotops_error *err) {
  iotops_message *copy = NULL;
  if (will != NULL) {
    if (check_will(will, err) != 0)
      return -1;
    copy = iotops_message_copy(settings->context, will);
    if (copy == NULL)
      return iotops_error_memory(err);
  }
  iotops_free(settings->context, settings->will);
  settings->will = copy;
  settings->will_delay_s = delay_s;
  return 0;
}

/* ------------------------------------------------------ making, copying -- */

iotops_settings *iotops_settings_new(iotops_context *context) {
  iotops_settings *settings = iotops_zalloc(context, sizeof *settings);
  if (settings == NULL)
    return NULL;
  settings->context = context;
  settings_start(settings, SOURCE_API);
  return settings;
}

iotops_settings *iotops_settings_copy(const iotops_settings *settings) {
  iotops_settings *copy = iotops_settings_new(settings->context);
  if (copy == NULL)
    return NULL;
  copy->base = settings->base;
  for (int id = 0; id < SETTING_COUNT; id++) {
    const setting_value *value = &settings->values[id];
    char *text = NULL;
    if (value->text != NULL) {
      text = keep_text(copy->context, settings_text(settings, (setting_id)id));
      if (text == NULL)
        goto failed;
    }
    copy->values[id] = *value;
    copy->values[id].text = text;
  }
  for (size_t i = 0; i < settings->user_property_count; i++)
    if (iotops_settings_add_user_property(
            copy, settings->user_properties[i].name,
            settings->user_properties[i].value, NULL) != 0)
      goto failed;
  if (iotops_settings_set_will(copy, settings->will, settings->will_delay_s,
                               NULL) != 0)
    goto failed;
  return copy;

failed:
  iotops_settings_free(copy);
  return NULL;
}

void iotops_settings_free(iotops_settings *settings) {
  if (settings == NULL)
    return;
  for (int id = 0; id < SETTING_COUNT; id++)
    unset(settings, (setting_id)id);
  for (size_t i = 0; i < settings->user_property_count; i++)
    drop_property(settings->context, &settings->user_properties[i]);
  iotops_free(settings->context, settings->user_properties);
  iotops_free(settings->context, settings->will);
  iotops_free(settings->context, settings);
}

/* ------------------------------------------------------------ printing -- */

typedef struct printer {
  char *text;
  size_t size, length;
} printer;

static void print_text(printer *to, iotops_text text) {
  for (size_t i = 0; i < text.size; i++) {
    unsigned char c = (unsigned char)text.data[i];
    if (to->length + 1 < to->size)
      to->text[to->length] = (char)(c < 0x20 || c == 0x7F ? '?' : c);
    to->length++;
  }
}

static void print_line(printer *to, const char *name, iotops_text value) {
  print_text(to, iotops_text_of(name));
  print_text(to, iotops_text_of("="));
  print_text(to, value);
  if (to->length + 1 < to->size)
    to->text[to->length] = '\n';
  to->length++;
}

size_t iotops_settings_print(const iotops_settings *settings, char *text,
                             size_t size) {
  printer to = {text, size, 0};
  for (int id = 0; id < SETTING_COUNT; id++) {
    const char *name = table[id].names[SOURCE_API];
    iotops_text value = iotops_settings_get(settings, name);
    if (value.data != NULL && table[id].type == SETTING_SECRET)
      value = iotops_text_of("***");
    if (value.data != NULL)
      print_line(&to, name, value);
  }
  for (size_t i = 0; i < settings->user_property_count; i++)
    print_line(&to, "connect_user_property", settings->user_properties[i].name);
  if (settings->will != NULL)
    print_line(&to, "will", settings->will->topic);
  if (size > 0)
    text[to.length < size ? to.length : size - 1] = '\0';
  return to.length;
}
