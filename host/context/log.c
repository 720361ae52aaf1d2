#include "iotops/log.h"

#include "context/context_fields.h"
#include "context/text.h"

enum { RECORD_SIZE = 2048 };

static const char *const level_names[] = {"trace", "debug", "info",
                                          "warn",  "error", "off"};

bool iotops_log_enabled(const iotops_context *context, iotops_log_level level) {
  return context->log != NULL && level >= context->log_level &&
         level < IOTOPS_LOG_OFF;
}

void iotops_log(const iotops_context *context, iotops_log_level level,
                const char *component, const char *format, ...) {
  if (!iotops_log_enabled(context, level))
    return;
  char message[RECORD_SIZE];
  va_list args;
  va_start(args, format);
  size_t length = text_vformat(message, sizeof message, format, args);
  va_end(args);
  iotops_log_record record = {
      .level = level, .component = component, .message = {message, length}};
  context->log(context->log_user, &record);
}

void iotops_log_fields(const iotops_context *context,
                       const iotops_log_record *record) {
  if (iotops_log_enabled(context, record->level))
    context->log(context->log_user, record);
}

void iotops_log_set_level(iotops_context *context, iotops_log_level level) {
  context->log_level = level;
}

int iotops_log_level_from(iotops_text name) {
  for (int level = IOTOPS_LOG_TRACE; level <= IOTOPS_LOG_OFF; level++)
    if (iotops_text_equal(name, iotops_text_of(level_names[level])))
      return level;
  return -1;
}

const char *iotops_log_level_name(iotops_log_level level) {
  return level >= IOTOPS_LOG_TRACE && level <= IOTOPS_LOG_OFF
             ? level_names[level]
             : "unknown";
}
