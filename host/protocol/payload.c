#include "iotops/payload.h"

#include <string.h>

#include "protocol/payload_check.h"
#include "protocol/property_names.h"
#include "protocol/text_check.h"

static const char json[] = "application/json";
static const char raw[] = "application/octet-stream";

iotops_payload iotops_format_payload(iotops_format format, iotops_text bytes) {
  iotops_payload payload = {.bytes = bytes};
  if (format == IOTOPS_FORMAT_JSON) {
    payload.content_type = iotops_text_of(json);
    payload.format_indicator = 1;
  } else if (format == IOTOPS_FORMAT_RAW) {
    payload.content_type = iotops_text_of(raw);
  } else if (format == IOTOPS_FORMAT_EMPTY) {
    payload.bytes = (iotops_text){NULL, 0};
  }
  return payload;
}

/* `name`, alone or followed by one of `marks`; an empty one is none. */
static bool accepts(iotops_text content_type, const char *name,
                    const char *marks) {
  size_t size = strlen(name);
  if (content_type.size == 0)
    return true;
  if (content_type.size < size || memcmp(content_type.data, name, size) != 0)
    return false;
  return content_type.size == size ||
         memchr(marks, content_type.data[size], strlen(marks)) != NULL;
}

static int content_type_error(iotops_error *err, iotops_text content_type) {
  if (content_type.data == NULL)
    content_type = iotops_text_of("None");
  iotops_error_set(err, IOTOPS_INVALID_HEADER,
                   "the content type \"%.*s\" is not supported",
                   (int)(content_type.size < 200 ? content_type.size : 200),
                   content_type.data);
  if (err != NULL) {
    iotops_error_name(err->header_name, iotops_text_of(HEADER_CONTENT_TYPE));
    iotops_error_header_value(err, content_type);
  }
  return -1;
}

int iotops_format_accepts(iotops_format format, const iotops_payload *payload,
                          iotops_error *err) {
  switch (format) {
  case IOTOPS_FORMAT_JSON:
    if (!accepts(payload->content_type, json, ";+"))
      return content_type_error(err, payload->content_type);
    if (payload->bytes.size == 0)
      return iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                              "the payload is empty, not JSON");
    return 0;
  case IOTOPS_FORMAT_RAW:
    if (!accepts(payload->content_type, raw, ";"))
      return content_type_error(err, payload->content_type);
    return 0;
  case IOTOPS_FORMAT_EMPTY:
    if (payload->bytes.size != 0)
      return iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                              "the payload has %zu bytes where none may be",
                              payload->bytes.size);
    return 0;
  default:
    return 0;
  }
}

/* ------------------------------------------------------------- user data -- */

static bool may_send(iotops_text text) {
  return text.size <= PROPERTY_TEXT_MAX && property_text_valid(text);
}

int iotops_user_data_check(const iotops_user_property *pairs, size_t count,
                           iotops_error *err) {
  for (size_t i = 0; i < count; i++) {
    const char *which = NULL;
    if (!may_send(pairs[i].name))
      which = "name";
    else if (!may_send(pairs[i].value))
      which = "value";
    if (which == NULL)
      continue;
    char name[64];
    size_t size = text_sanitise(pairs[i].name, name, sizeof name);
    iotops_text text = {name, size};
    return iotops_error_configuration(
        err, "metadata", text,
        "pair %zu of the user data (\"%.*s\") has a %s that is not UTF-8 "
        "without control characters of at most 65535 bytes",
        i + 1, (int)size, name, which);
  }
  return 0;
}

bool iotops_application_error(const iotops_user_property *pairs, size_t count,
                              iotops_text *code, iotops_text *payload) {
  const iotops_text code_name = iotops_text_of(PROPERTY_APP_ERROR_CODE);
  const iotops_text payload_name = iotops_text_of(PROPERTY_APP_ERROR_PAYLOAD);
  *code = *payload = (iotops_text){NULL, 0};
  for (size_t i = 0; i < count; i++) {
    if (iotops_text_equal(pairs[i].name, code_name))
      *code = pairs[i].value;
    else if (iotops_text_equal(pairs[i].name, payload_name))
      *payload = pairs[i].value;
  }
  if (code->data != NULL)
    return true;
  *payload = (iotops_text){NULL, 0};
  return false;
}

static bool is_blank(iotops_text text) {
  for (size_t i = 0; i < text.size; i++)
    if (memchr(" \t\r\n\v\f", text.data[i], 6) == NULL)
      return false;
  return true;
}

int iotops_application_error_pairs(iotops_text code, iotops_text payload,
                                   iotops_user_property pairs[2], size_t *count,
                                   iotops_error *err) {
  if (is_blank(code))
    return iotops_error_configuration(
        err, PROPERTY_APP_ERROR_CODE, code,
        "the code of an application error must not be blank");
  iotops_user_property made[2] = {
      {iotops_text_of(PROPERTY_APP_ERROR_CODE), code},
      {iotops_text_of(PROPERTY_APP_ERROR_PAYLOAD), payload}};
  size_t made_count = is_blank(payload) ? 1 : 2;
  if (iotops_user_data_check(made, made_count, err) != 0)
    return -1;
  memcpy(pairs, made, made_count * sizeof *made);
  *count = made_count;
  return 0;
}

/* -------------------------------------------------------------- messages -- */

int payload_check(const iotops_payload *payload, iotops_error *err) {
  if (!may_send(payload->content_type))
    return iotops_error_configuration(
        err, "content_type", payload->content_type,
        "the content type is not UTF-8 without control characters");
  if (payload->format_indicator != 0 && payload->format_indicator != 1)
    return iotops_error_configuration(
        err, "format_indicator", (iotops_text){NULL, 0},
        "the payload format indicator must be 0 or 1, not %d",
        payload->format_indicator);
  return 0;
}

void payload_put(const iotops_payload *payload, iotops_message *message) {
  message->payload = payload->bytes;
  message->format_indicator = payload->format_indicator;
  message->content_type = payload->content_type.size > 0
                              ? payload->content_type
                              : (iotops_text){NULL, 0};
}

iotops_payload payload_of(const iotops_message *message) {
  iotops_payload payload = {
      message->payload, message->content_type,
      message->format_indicator > 0 ? message->format_indicator : 0};
  return payload;
}
