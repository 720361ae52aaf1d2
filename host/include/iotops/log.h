/*
** log.h -- log records and where they go (session.md section 15, ADR 5).
**
** A record is a level, the component it comes from, a sentence and a few
** fields.  Secrets (passwords, tokens, authentication data) are never logged
** at any level.
*/
#ifndef IOTOPS_LOG_H
#define IOTOPS_LOG_H

#include "iotops/clock.h"

typedef enum iotops_log_level {
  IOTOPS_LOG_TRACE,
  IOTOPS_LOG_DEBUG,
  IOTOPS_LOG_INFO,
  IOTOPS_LOG_WARN,
  IOTOPS_LOG_ERROR,
  IOTOPS_LOG_OFF
} iotops_log_level;

typedef struct iotops_log_field {
  const char *name;  /* borrowed, snake_case */
  iotops_text value; /* borrowed */
  bool is_number;    /* the value is a number, as JSON writes it */
} iotops_log_field;

typedef struct iotops_log_record {
  iotops_log_level level;
  const char *component; /* borrowed; "session", "executor", ... */
  iotops_text message;   /* borrowed */
  const iotops_log_field *fields;
  size_t field_count;
} iotops_log_record;

/* Receives records; everything in them dies when it returns. */
typedef void (*iotops_log_sink)(void *user, const iotops_log_record *record);

#ifdef __cplusplus
extern "C" {
#endif

/* True when a record of `level` would reach the sink. */
IOTOPS_API bool iotops_log_enabled(const iotops_context *context,
                                   iotops_log_level level);

/* Formats and hands over one record; cut at 2 KiB. */
IOTOPS_API void iotops_log(const iotops_context *context,
                           iotops_log_level level, const char *component,
                           const char *format, ...) IOTOPS_PRINTF(4, 5);

/* The same with fields. */
IOTOPS_API void iotops_log_fields(const iotops_context *context,
                                  const iotops_log_record *record);

IOTOPS_API void iotops_log_set_level(iotops_context *context,
                                     iotops_log_level level);

/* "trace" ... "off"; -1 when `name` is none of them. */
IOTOPS_API int iotops_log_level_from(iotops_text name);
IOTOPS_API const char *iotops_log_level_name(iotops_log_level level);

#ifdef __cplusplus
}
#endif

#endif
