#include "runtime/message_line.h"

#include <inttypes.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <string.h>

#include "context/text.h"
#include "protocol/rfc3339.h"

enum { CHUNK = 3 * 1024 };

/* ------------------------------------------------------------- writing -- */

static void add(text_buffer *buffer, const char *text) {
  text_buffer_add(buffer, iotops_text_of(text));
}

void message_line_string(text_buffer *buffer, iotops_text text) {
  size_t plain = 0; /* where what is copied as it is begins */
  if (text.data == NULL || !text_is_utf8(text))
    text =
        text.data == NULL ? iotops_text_of("") : iotops_text_of("\xEF\xBF\xBD");
  text_buffer_add_char(buffer, '"');
  for (size_t i = 0; i < text.size; i++) {
    unsigned char c = (unsigned char)text.data[i];
    char escape[8];
    if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7F)
      continue;
    text_buffer_add(buffer, (iotops_text){text.data + plain, i - plain});
    plain = i + 1;
    if (c == '"' || c == '\\')
      snprintf(escape, sizeof escape, "\\%c", c);
    else if (c == '\n')
      snprintf(escape, sizeof escape, "\\n");
    else
      snprintf(escape, sizeof escape, "\\u%04x", (unsigned)c);
    add(buffer, escape);
  }
  text_buffer_add(buffer, (iotops_text){text.data + plain, text.size - plain});
  text_buffer_add_char(buffer, '"');
}

static void add_base64(text_buffer *buffer, iotops_text bytes) {
  unsigned char text[CHUNK / 3 * 4 + 1];
  text_buffer_add_char(buffer, '"');
  for (size_t i = 0; i < bytes.size; i += CHUNK) {
    size_t size = bytes.size - i < CHUNK ? bytes.size - i : CHUNK;
    int length =
        EVP_EncodeBlock(text, (const unsigned char *)bytes.data + i, (int)size);
    text_buffer_add(buffer, (iotops_text){(const char *)text, (size_t)length});
  }
  text_buffer_add_char(buffer, '"');
}

/* The name of a further member; the first one has no comma before it. */
static void add_name(text_buffer *buffer, const char *name) {
  if (buffer->size > 0 && buffer->data[buffer->size - 1] != '{')
    text_buffer_add_char(buffer, ',');
  text_buffer_add_char(buffer, '"');
  add(buffer, name);
  add(buffer, "\":");
}

static void add_text(text_buffer *buffer, const char *name, iotops_text text) {
  if (text.data == NULL)
    return;
  add_name(buffer, name);
  message_line_string(buffer, text);
}

static void add_number(text_buffer *buffer, const char *name, uint64_t value) {
  char text[24];
  snprintf(text, sizeof text, "%" PRIu64, value);
  add_name(buffer, name);
  add(buffer, text);
}

static void add_time(text_buffer *buffer, int64_t time_ms) {
  char text[RFC3339_TEXT_SIZE], fraction[8];
  int64_t part = time_ms % 1000;
  if (!rfc3339_format(time_ms, text))
    return;
  snprintf(fraction, sizeof fraction, ".%03dZ",
           (int)(part < 0 ? part + 1000 : part));
  add_name(buffer, "time");
  text_buffer_add_char(buffer, '"');
  text_buffer_add(buffer, (iotops_text){text, strlen(text) - 1});
  add(buffer, fraction);
  text_buffer_add_char(buffer, '"');
}

static bool is_json(iotops_text payload) {
  json_t *value = json_loadb(payload.data, payload.size,
                             JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
  bool valid = value != NULL;
  json_decref(value);
  return valid;
}

static void add_payload(text_buffer *buffer, iotops_text payload,
                        bool readable) {
  if (payload.data == NULL || payload.size == 0)
    return;
  if (readable && is_json(payload)) {
    add_name(buffer, "payload");
    /* Exactly as it came; a line end can only be between two tokens. */
    for (size_t i = 0; i < payload.size; i++) {
      char c = payload.data[i];
      text_buffer_add_char(buffer, (char)(c == '\n' || c == '\r' ? ' ' : c));
    }
  } else if (text_is_utf8(payload) &&
             memchr(payload.data, '\0', payload.size) == NULL) {
    add_text(buffer, "payload_text", payload);
  } else {
    add_name(buffer, "payload_base64");
    add_base64(buffer, payload);
  }
}

void message_line_write(text_buffer *buffer, const iotops_message *message,
                        const message_line *line) {
  text_buffer_add_char(buffer, '{');
  if (line->has_time)
    add_time(buffer, line->time_ms);
  if (line->direction != MESSAGE_NO_DIRECTION)
    add_text(buffer, "direction",
             iotops_text_of(line->direction == MESSAGE_IN ? "in" : "out"));
  if (line->script[0] != '\0')
    add_text(buffer, "script", iotops_text_of(line->script));
  if (line->outcome[0] != '\0')
    add_text(buffer, "outcome", iotops_text_of(line->outcome));
  add_name(buffer, "topic");
  message_line_string(buffer, message->topic);
  add_payload(buffer, message->payload, line->readable);
  add_number(buffer, "qos", message->qos);
  add_name(buffer, "retain");
  add(buffer, message->retain ? "true" : "false");
  add_text(buffer, "content_type", message->content_type);
  if (message->format_indicator >= 0)
    add_number(buffer, "format_indicator", (uint64_t)message->format_indicator);
  if (message->has_expiry)
    add_number(buffer, "message_expiry", message->expiry_s);
  add_text(buffer, "response_topic", message->response_topic);
  if (message->correlation_data.data != NULL) {
    add_name(buffer, "correlation_data_base64");
    add_base64(buffer, message->correlation_data);
  }
  add_name(buffer, "user_properties");
  text_buffer_add_char(buffer, '[');
  for (size_t i = 0; i < message->user_property_count; i++) {
    const iotops_user_property *property = &message->user_properties[i];
    add(buffer, i > 0 ? ",[" : "[");
    message_line_string(buffer, property->name);
    text_buffer_add_char(buffer, ',');
    message_line_string(buffer, property->value);
    text_buffer_add_char(buffer, ']');
  }
  add(buffer, "]}\n");
}
