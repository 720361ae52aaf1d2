#include "protocol/command_status.h"

#include <string.h>

#include "protocol/duration.h"
#include "protocol/property_names.h"

/* ------------------------------------------------------ error to status -- */

static bool is_content_header(const char *name) {
  return strcmp(name, HEADER_CONTENT_TYPE) == 0 ||
         strcmp(name, HEADER_FORMAT_INDICATOR) == 0;
}

/* An error's empty name is one that was not given. */
static iotops_text given(const char *name) {
  return iotops_text_of(*name ? name : NULL);
}

void command_status_of(const iotops_error *err, command_status *status) {
  const char *value = NULL;
  *status = (command_status){.code = STATUS_INTERNAL_ERROR};
  status->message = iotops_text_of(err->message);
  switch (err->kind) {
  case IOTOPS_MISSING_HEADER:
  case IOTOPS_INVALID_HEADER:
    status->code = is_content_header(err->header_name)
                       ? STATUS_UNSUPPORTED_CONTENT
                       : STATUS_BAD_REQUEST;
    status->name = given(err->header_name);
    value = err->has_header_value ? err->header_value : NULL;
    break;
  case IOTOPS_INVALID_PAYLOAD:
    status->code = STATUS_BAD_REQUEST;
    break;
  case IOTOPS_TIMEOUT:
    status->code = STATUS_REQUEST_TIMEOUT;
    status->name = given(err->timeout_name);
    if (err->has_timeout_value) {
      duration_format(err->timeout_ms * 1000, status->duration,
                      sizeof status->duration);
      value = status->duration;
    }
    break;
  case IOTOPS_INVALID_STATE:
    status->code = STATUS_UNAVAILABLE;
    status->name = given(err->property_name);
    break;
  case IOTOPS_UNSUPPORTED_VERSION:
    status->code = STATUS_UNSUPPORTED_VERSION;
    break;
  case IOTOPS_INTERNAL_LOGIC_ERROR:
    status->name = given(err->property_name);
    break;
  case IOTOPS_EXECUTION_ERROR:
    status->is_application_error = true;
    break;
  default:
    break;
  }
  if (status->name.data)
    status->value = iotops_text_of(value);
}

/* ------------------------------------------------------ status to error -- */

/* The properties of a response that tell what went wrong. */
typedef struct failure {
  const iotops_message *response;
  iotops_text message, name, value;
} failure;

/* A decimal integer of 0 to 65535. */
static bool read_code(iotops_text text, uint16_t *code) {
  uint32_t number = 0;
  if (text.size == 0)
    return false;
  for (size_t i = 0; i < text.size; i++) {
    char c = text.data[i];
    if (c < '0' || c > '9')
      return false;
    number = number * 10 + (uint32_t)(c - '0');
    if (number > UINT16_MAX)
      return false;
  }
  *code = (uint16_t)number;
  return true;
}

/* False when absent, empty or "false" in any case; else true. */
static bool is_application_error(const iotops_message *response) {
  static const char no[] = "false";
  iotops_text text = iotops_message_property(response, PROPERTY_APP_ERROR);
  if (!text.data || text.size == 0)
    return false;
  if (text.size != sizeof no - 1)
    return true;
  for (size_t i = 0; i < text.size; i++)
    if ((text.data[i] | 0x20) != no[i])
      return true;
  return false;
}

static int remote(iotops_error *err, iotops_error_kind kind,
                  const failure *failure, const char *otherwise) {
  if (failure->message.size > 0)
    iotops_error_set(err, kind, "%.*s",
                     (int)(failure->message.size < IOTOPS_ERROR_MESSAGE_SIZE
                               ? failure->message.size
                               : IOTOPS_ERROR_MESSAGE_SIZE),
                     failure->message.data);
  else
    iotops_error_set(err, kind, "%s", otherwise);
  err->is_remote = true;
  return -1;
}

static int bad_header(iotops_error *err, iotops_error_kind kind,
                      const failure *failure) {
  remote(err, kind, failure, "the executor did not accept a header");
  iotops_error_name(err->header_name, failure->name);
  if (failure->value.data)
    iotops_error_header_value(err, failure->value);
  return -1;
}

/* The property fields as they came, whatever the kind. */
static int with_property(iotops_error *err, const failure *failure) {
  if (failure->name.data)
    iotops_error_name(err->property_name, failure->name);
  if (failure->value.data)
    iotops_error_property_value(err, failure->value);
  return -1;
}

static int bad_request(iotops_error *err, const failure *failure) {
  if (!failure->name.data)
    return remote(err, IOTOPS_INVALID_PAYLOAD, failure,
                  "the executor could not read the payload");
  return bad_header(
      err, failure->value.data ? IOTOPS_INVALID_HEADER : IOTOPS_MISSING_HEADER,
      failure);
}

static int timed_out(iotops_error *err, const failure *failure) {
  int64_t us;
  remote(err, IOTOPS_TIMEOUT, failure, "the command timed out");
  iotops_error_name(err->timeout_name, failure->name);
  if (failure->value.data && duration_parse(failure->value, &us)) {
    err->has_timeout_value = true;
    err->timeout_ms = us / 1000;
  }
  return -1;
}

static int internal_error(iotops_error *err, const failure *failure) {
  if (is_application_error(failure->response)) {
    remote(err, IOTOPS_EXECUTION_ERROR, failure, "the command failed");
    return with_property(err, failure);
  }
  if (!failure->name.data)
    return remote(err, IOTOPS_UNKNOWN_ERROR, failure,
                  "the executor failed for an unknown reason");
  remote(err, IOTOPS_INTERNAL_LOGIC_ERROR, failure, "the executor failed");
  return with_property(err, failure);
}

/* Whitespace-separated integers; what is none is skipped. */
static void read_majors(iotops_text text, iotops_error *err) {
  size_t at = 0;
  while (at < text.size && err->supported_major_count < IOTOPS_ERROR_MAJORS) {
    size_t from = at;
    while (at < text.size && !strchr(" \t\r\n", text.data[at]))
      at++;
    uint16_t major;
    if (read_code((iotops_text){text.data + from, at - from}, &major))
      err->supported_majors[err->supported_major_count++] = major;
    at++;
  }
}

static int unsupported_version(iotops_error *err, const failure *failure) {
  remote(err, IOTOPS_UNSUPPORTED_VERSION, failure,
         "the executor does not support the version of the request");
  iotops_error_name(
      err->protocol_version,
      iotops_message_property(failure->response, PROPERTY_REQUEST_VERSION));
  read_majors(
      iotops_message_property(failure->response, PROPERTY_SUPPORTED_MAJORS),
      err);
  return -1;
}

int command_status_code(const iotops_message *response, uint16_t *code,
                        iotops_error *err) {
  iotops_text text = iotops_message_property(response, PROPERTY_STATUS);
  if (text.data && read_code(text, code))
    return 0;
  iotops_error_set(err,
                   text.data ? IOTOPS_INVALID_HEADER : IOTOPS_MISSING_HEADER,
                   text.data ? "the status of the response is not a number"
                             : "the response has no status");
  iotops_error_name(err->header_name, iotops_text_of(PROPERTY_STATUS));
  if (text.data)
    iotops_error_header_value(err, text);
  return -1;
}

int command_status_check(const iotops_message *response, uint16_t code,
                         iotops_error *err) {
  if (code == STATUS_OK || code == STATUS_NO_CONTENT)
    return 0;
  failure failure = {
      response,
      iotops_message_property(response, PROPERTY_STATUS_MESSAGE),
      iotops_message_property(response, PROPERTY_NAME),
      iotops_message_property(response, PROPERTY_VALUE),
  };
  switch (code) {
  case STATUS_BAD_REQUEST:
    return bad_request(err, &failure);
  case STATUS_REQUEST_TIMEOUT:
    return timed_out(err, &failure);
  case STATUS_UNSUPPORTED_CONTENT:
    return bad_header(err, IOTOPS_INVALID_HEADER, &failure);
  case STATUS_INTERNAL_ERROR:
    return internal_error(err, &failure);
  case STATUS_UNAVAILABLE:
    remote(err, IOTOPS_INVALID_STATE, &failure,
           "the executor is not able to answer");
    return with_property(err, &failure);
  case STATUS_UNSUPPORTED_VERSION:
    return unsupported_version(err, &failure);
  default:
    remote(err, IOTOPS_UNKNOWN_ERROR, &failure,
           "the response has an unknown status");
    return with_property(err, &failure);
  }
}
