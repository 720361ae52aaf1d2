#include "iotops/error.h"

#include <string.h>

#include "context/text.h"

static void reset(iotops_error *err, iotops_error_kind kind) {
  memset(err, 0, sizeof *err);
  err->kind = kind;
  err->reason_code = -1;
}

int iotops_error_set(iotops_error *err, iotops_error_kind kind,
                     const char *format, ...) {
  va_list args;
  va_start(args, format);
  iotops_error_vset(err, kind, format, args);
  va_end(args);
  return -1;
}

int iotops_error_vset(iotops_error *err, iotops_error_kind kind,
                      const char *format, va_list args) {
  if (err == NULL)
    return -1;
  /* Formatted aside: the arguments may be fields of `*err` itself. */
  char message[IOTOPS_ERROR_MESSAGE_SIZE];
  size_t length = text_vformat(message, sizeof message, format, args);
  reset(err, kind);
  memcpy(err->message, message, length + 1);
  return -1;
}

int iotops_error_configuration(iotops_error *err, const char *name,
                               iotops_text value, const char *format, ...) {
  if (err == NULL)
    return -1;
  iotops_error made;
  va_list args;
  va_start(args, format);
  iotops_error_vset(&made, IOTOPS_INVALID_CONFIGURATION, format, args);
  va_end(args);
  made.is_shallow = true;
  iotops_error_name(made.property_name, iotops_text_of(name));
  iotops_error_property_value(&made, value);
  *err = made;
  return -1;
}

int iotops_error_memory(iotops_error *err) {
  iotops_error_set(err, IOTOPS_INVALID_STATE, "out of memory");
  if (err != NULL)
    err->is_shallow = true;
  return -1;
}

void iotops_error_name(char field[IOTOPS_ERROR_NAME_SIZE], iotops_text text) {
  text_fit(field, IOTOPS_ERROR_NAME_SIZE, text);
}

void iotops_error_header_value(iotops_error *err, iotops_text text) {
  if (err == NULL)
    return;
  err->has_header_value = text.data != NULL;
  text_fit(err->header_value, sizeof err->header_value, text);
}

void iotops_error_property_value(iotops_error *err, iotops_text text) {
  if (err == NULL)
    return;
  err->has_property_value = text.data != NULL;
  text_fit(err->property_value, sizeof err->property_value, text);
}
