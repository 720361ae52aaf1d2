#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "iotops/topic.h"
#include "protocol/rfc3339.h"
#include "runtime/message_line.h"

enum { MQTT_TEXT_MAX = 65535 };

typedef struct reading {
  iotops_context *context;
  iotops_message message; /* a view of what follows */
  message_line line;
  json_t *json; /* owned; so for the next three */
  iotops_user_property *properties;
  char *payload;
  char *correlation;
  bool has_payload;
  iotops_error *err;
} reading;

static int wrong(reading *reading, const char *name, const char *format, ...)
    IOTOPS_PRINTF(3, 4);

static int wrong(reading *reading, const char *name, const char *format, ...) {
  char why[512];
  va_list args;
  va_start(args, format);
  vsnprintf(why, sizeof why, format, args);
  va_end(args);
  iotops_error_set(reading->err, IOTOPS_INVALID_PAYLOAD, "%.64s: %s", name,
                   why);
  return -1;
}

/* The text of a member, of at most `limit` bytes; borrowed of the JSON. */
static int take_text(reading *reading, const char *name, const json_t *value,
                     size_t limit, iotops_text *text) {
  *text = (iotops_text){"", 0};
  if (!json_is_string(value))
    return wrong(reading, name, "is not a string");
  *text = (iotops_text){json_string_value(value), json_string_length(value)};
  if (text->size > limit)
    return wrong(reading, name, "is longer than %zu bytes", limit);
  if (memchr(text->data, '\0', text->size) != NULL)
    return wrong(reading, name, "has a NUL in it");
  return 0;
}

static int take_name(reading *reading, const char *name, const json_t *value,
                     char field[MESSAGE_LINE_NAME]) {
  iotops_text text;
  if (take_text(reading, name, value, MESSAGE_LINE_NAME - 1, &text) != 0)
    return -1;
  memcpy(field, text.data, text.size);
  field[text.size] = '\0';
  return 0;
}

static int take_number(reading *reading, const char *name, const json_t *value,
                       uint64_t limit, uint64_t *number) {
  if (!json_is_integer(value) || json_integer_value(value) < 0 ||
      (uint64_t)json_integer_value(value) > limit)
    return wrong(reading, name, "is not a whole number up to %" PRIu64, limit);
  *number = (uint64_t)json_integer_value(value);
  return 0;
}

/* Which digit of base64 `c` is; -1: none. */
static int digit(char c) {
  if (c >= 'A' && c <= 'Z')
    return c - 'A';
  if (c >= 'a' && c <= 'z')
    return c - 'a' + 26;
  if (c >= '0' && c <= '9')
    return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes padded base64; `out` has room.  False when it is none. */
static bool decode(iotops_text text, char *out, size_t *size) {
  size_t padding = 0;
  *size = 0;
  if (text.size % 4 != 0)
    return false;
  while (padding < 2 && padding < text.size &&
         text.data[text.size - 1 - padding] == '=')
    padding++;
  for (size_t i = 0; i < text.size; i += 4) {
    uint32_t bits = 0;
    size_t missing = i + 4 == text.size ? padding : 0;
    for (size_t k = 0; k < 4; k++) {
      int value = k < 4 - missing ? digit(text.data[i + k]) : 0;
      if (value < 0)
        return false;
      bits = bits << 6 | (uint32_t)value;
    }
    /* Bits that no byte takes are 0: one text for the same bytes. */
    if ((missing == 1 && (bits & 0xFFU) != 0) ||
        (missing == 2 && (bits & 0xFFFFU) != 0))
      return false;
    for (size_t k = 0; k < 3 - missing; k++)
      out[(*size)++] = (char)(bits >> (16 - 8 * k) & 0xFFU);
  }
  return true;
}

static int take_base64(reading *reading, const char *name, const json_t *value,
                       size_t limit, char **owned, iotops_text *bytes) {
  iotops_text text;
  if (take_text(reading, name, value, MESSAGE_LINE_MAX, &text) != 0)
    return -1;
  *owned = iotops_zalloc(reading->context, text.size / 4 * 3 + 1);
  if (*owned == NULL)
    return iotops_error_memory(reading->err);
  if (!decode(text, *owned, &bytes->size))
    return wrong(reading, name, "is not base64");
  if (bytes->size > limit)
    return wrong(reading, name, "is longer than %zu bytes", limit);
  bytes->data = *owned;
  return 0;
}

static int take_payload(reading *reading, const char *name,
                        const json_t *value) {
  iotops_text *payload = &reading->message.payload;
  if (reading->has_payload)
    return wrong(reading, name, "there is another payload on the line");
  reading->has_payload = true;
  if (strcmp(name, "payload_text") == 0)
    return take_text(reading, name, value, MESSAGE_LINE_MAX, payload);
  if (strcmp(name, "payload_base64") == 0)
    return take_base64(reading, name, value, MESSAGE_LINE_MAX,
                       &reading->payload, payload);
  size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
  size_t size = json_dumpb(value, NULL, 0, flags);
  reading->payload = iotops_zalloc(reading->context, size + 1);
  if (reading->payload == NULL)
    return iotops_error_memory(reading->err);
  *payload = (iotops_text){reading->payload,
                           json_dumpb(value, reading->payload, size, flags)};
  return 0;
}

static int take_properties(reading *reading, const char *name,
                           const json_t *list) {
  size_t count = json_array_size(list);
  if (!json_is_array(list))
    return wrong(reading, name, "is not a list");
  if (count > MESSAGE_LINE_PROPERTIES)
    return wrong(reading, name, "has more than %d entries",
                 MESSAGE_LINE_PROPERTIES);
  if (count == 0)
    return 0;
  reading->properties =
      iotops_zalloc(reading->context, count * sizeof *reading->properties);
  if (reading->properties == NULL)
    return iotops_error_memory(reading->err);
  for (size_t i = 0; i < count; i++) {
    const json_t *pair = json_array_get(list, i);
    if (!json_is_array(pair) || json_array_size(pair) != 2)
      return wrong(reading, name, "entry %zu is not [name, value]", i + 1);
    if (take_text(reading, name, json_array_get(pair, 0), MQTT_TEXT_MAX,
                  &reading->properties[i].name) != 0 ||
        take_text(reading, name, json_array_get(pair, 1), MQTT_TEXT_MAX,
                  &reading->properties[i].value) != 0)
      return -1;
  }
  reading->message.user_properties = reading->properties;
  reading->message.user_property_count = count;
  return 0;
}

static int take_topic(reading *reading, const char *name, const json_t *value) {
  if (take_text(reading, name, value, MQTT_TEXT_MAX, &reading->message.topic) !=
      0)
    return -1;
  if (!iotops_topic_name_valid(reading->message.topic))
    return wrong(reading, name, "is not a topic that MQTT takes");
  return 0;
}

static int take_time(reading *reading, const char *name, const json_t *value) {
  iotops_text text;
  if (take_text(reading, name, value, 64, &text) != 0)
    return -1;
  if (!rfc3339_parse(text, &reading->line.time_ms))
    return wrong(reading, name,
                 "is not a time such as 2026-01-31T23:59:59.999Z");
  reading->line.has_time = true;
  return 0;
}

static int take_direction(reading *reading, const char *name,
                          const json_t *value) {
  iotops_text text;
  if (take_text(reading, name, value, 8, &text) != 0)
    return -1;
  if (strcmp(text.data, "in") == 0)
    reading->line.direction = MESSAGE_IN;
  else if (strcmp(text.data, "out") == 0)
    reading->line.direction = MESSAGE_OUT;
  else
    return wrong(reading, name, "is neither \"in\" nor \"out\"");
  return 0;
}

static int take_script(reading *reading, const char *name,
                       const json_t *value) {
  return take_name(reading, name, value, reading->line.script);
}

static int take_outcome(reading *reading, const char *name,
                        const json_t *value) {
  return take_name(reading, name, value, reading->line.outcome);
}

static int take_qos(reading *reading, const char *name, const json_t *value) {
  uint64_t number = 0;
  if (take_number(reading, name, value, 1, &number) != 0)
    return -1;
  reading->message.qos = (uint8_t)number;
  return 0;
}

static int take_retain(reading *reading, const char *name,
                       const json_t *value) {
  if (!json_is_boolean(value))
    return wrong(reading, name, "is neither true nor false");
  reading->message.retain = json_is_true(value);
  return 0;
}

static int take_content_type(reading *reading, const char *name,
                             const json_t *value) {
  return take_text(reading, name, value, MQTT_TEXT_MAX,
                   &reading->message.content_type);
}

static int take_format(reading *reading, const char *name,
                       const json_t *value) {
  uint64_t number = 0;
  if (take_number(reading, name, value, 1, &number) != 0)
    return -1;
  reading->message.format_indicator = (int)number;
  return 0;
}

static int take_expiry(reading *reading, const char *name,
                       const json_t *value) {
  uint64_t number = 0;
  if (take_number(reading, name, value, UINT32_MAX, &number) != 0)
    return -1;
  reading->message.has_expiry = true;
  reading->message.expiry_s = (uint32_t)number;
  return 0;
}

static int take_response_topic(reading *reading, const char *name,
                               const json_t *value) {
  return take_text(reading, name, value, MQTT_TEXT_MAX,
                   &reading->message.response_topic);
}

static int take_correlation(reading *reading, const char *name,
                            const json_t *value) {
  return take_base64(reading, name, value, MQTT_TEXT_MAX, &reading->correlation,
                     &reading->message.correlation_data);
}

static const struct member {
  const char *name;
  int (*take)(reading *reading, const char *name, const json_t *value);
} members[] = {
    {"time", take_time},
    {"direction", take_direction},
    {"script", take_script},
    {"outcome", take_outcome},
    {"topic", take_topic},
    {"payload", take_payload},
    {"payload_text", take_payload},
    {"payload_base64", take_payload},
    {"qos", take_qos},
    {"retain", take_retain},
    {"content_type", take_content_type},
    {"format_indicator", take_format},
    {"message_expiry", take_expiry},
    {"response_topic", take_response_topic},
    {"correlation_data_base64", take_correlation},
    {"user_properties", take_properties},
};

static int take_members(reading *reading) {
  const char *name = NULL;
  json_t *value = NULL;
  json_object_foreach(reading->json, name, value) {
    const struct member *known = NULL;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
      if (strcmp(members[i].name, name) == 0)
        known = &members[i];
    if (known == NULL)
      return wrong(reading, name, "there is no such member");
    if (known->take(reading, name, value) != 0)
      return -1;
  }
  if (reading->message.topic.data == NULL)
    return wrong(reading, "topic", "is missing");
  return 0;
}

int message_line_read(iotops_context *context, iotops_text text,
                      iotops_message **message, message_line *line,
                      iotops_error *err) {
  reading reading = {
      .context = context, .message = IOTOPS_MESSAGE_INIT, .err = err};
  json_error_t failure;
  int result = -1;
  if (text.size > MESSAGE_LINE_MAX) {
    wrong(&reading, "line", "is longer than %d bytes", MESSAGE_LINE_MAX);
    goto done;
  }
  reading.json = json_loadb(text.data, text.size,
                            JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &failure);
  if (reading.json == NULL) {
    wrong(&reading, "line", "is not JSON: %s at column %d", failure.text,
          failure.column);
    goto done;
  }
  if (!json_is_object(reading.json)) {
    wrong(&reading, "line", "is not a JSON object");
    goto done;
  }
  if (take_members(&reading) != 0)
    goto done;
  if ((*message = iotops_message_copy(context, &reading.message)) == NULL) {
    iotops_error_memory(err);
    goto done;
  }
  if (line != NULL)
    *line = reading.line;
  result = 0;
done:
  json_decref(reading.json);
  iotops_free(context, reading.properties);
  iotops_free(context, reading.payload);
  iotops_free(context, reading.correlation);
  return result;
}

/* ---------------------------------------------------------------- file -- */

void message_lines_init(message_lines *lines, iotops_context *context,
                        FILE *file, const char *name) {
  *lines = (message_lines){.context = context, .file = file, .name = name};
  text_buffer_init(&lines->buffer, context);
}

/*
** Reads a line into the buffer, as much of it as is allowed and one byte more.
** False at the end of the file.
*/
static bool next_line(message_lines *lines) {
  text_buffer *buffer = &lines->buffer;
  bool some = false;
  int c = 0;
  text_buffer_reset(buffer);
  while ((c = getc_unlocked(lines->file)) != EOF) {
    some = true;
    if (c == '\n')
      break;
    if (buffer->size <= MESSAGE_LINE_MAX)
      text_buffer_add_char(buffer, (char)c);
  }
  lines->number += some;
  return some;
}

static bool is_blank(iotops_text text) {
  for (size_t i = 0; i < text.size; i++)
    if (strchr(" \t\r", text.data[i]) == NULL)
      return false;
  return true;
}

int message_lines_next(message_lines *lines, iotops_message **message,
                       message_line *line, iotops_error *err) {
  iotops_error why;
  iotops_text text;
  do {
    if (!next_line(lines)) {
      if (ferror(lines->file))
        return iotops_error_set(err, IOTOPS_INVALID_PAYLOAD, "%s: %s",
                                lines->name, strerror(errno));
      return 0;
    }
    text = text_buffer_text(&lines->buffer);
  } while (is_blank(text));
  if (lines->buffer.failed)
    return iotops_error_memory(err);
  if (message_line_read(lines->context, text, message, line, &why) != 0)
    return iotops_error_set(err, why.kind, "%s:%zu: %s", lines->name,
                            lines->number, why.message);
  return 1;
}

void message_lines_clear(message_lines *lines) {
  text_buffer_clear(&lines->buffer);
}
