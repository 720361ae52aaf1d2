/*
** error.h -- the one error type (protocol.md section 6.1, session.md
** section 18).
**
** An error is a plain value: it owns nothing, is copied by assignment and
** needs no clean-up, so reporting a failed allocation cannot itself fail.
** Texts that do not fit are cut at a character boundary and end in "...".
*/
#ifndef IOTOPS_ERROR_H
#define IOTOPS_ERROR_H

#include <stdarg.h>

#include "iotops/api.h"

typedef enum iotops_error_kind { /* protocol.md section 6.2 */
                                 IOTOPS_NO_ERROR = 0,
                                 IOTOPS_MISSING_HEADER,
                                 IOTOPS_INVALID_HEADER,
                                 IOTOPS_INVALID_PAYLOAD,
                                 IOTOPS_TIMEOUT,
                                 IOTOPS_CANCELLATION,
                                 IOTOPS_INVALID_CONFIGURATION,
                                 IOTOPS_INVALID_STATE,
                                 IOTOPS_INTERNAL_LOGIC_ERROR,
                                 IOTOPS_UNKNOWN_ERROR,
                                 IOTOPS_EXECUTION_ERROR,
                                 IOTOPS_MQTT_ERROR,
                                 IOTOPS_UNSUPPORTED_VERSION,
                                 IOTOPS_SERVICE_ERROR, /* refused by a service;
                                                          see service_error */
                                 IOTOPS_UNEXPECTED_PAYLOAD /* a service's answer
                                                              does not fit */
} iotops_error_kind;

enum {
  IOTOPS_ERROR_MESSAGE_SIZE = 1024, /* bytes, terminator included */
  IOTOPS_ERROR_NAME_SIZE = 128,
  IOTOPS_ERROR_VALUE_SIZE = 1024,
  IOTOPS_ERROR_MAJORS = 8 /* supported major versions kept at most */
};

typedef struct iotops_error {
  iotops_error_kind kind;
  bool is_shallow; /* found before any network activity of this call */
  bool is_remote;  /* reported by the peer in a response */
  char message[IOTOPS_ERROR_MESSAGE_SIZE];

  /* "" in a name: not given.  Values have a flag, since "" is a value. */
  char header_name[IOTOPS_ERROR_NAME_SIZE];
  bool has_header_value;
  char header_value[IOTOPS_ERROR_VALUE_SIZE];

  char timeout_name[IOTOPS_ERROR_NAME_SIZE];
  bool has_timeout_value;
  int64_t timeout_ms;

  char property_name[IOTOPS_ERROR_NAME_SIZE];
  bool has_property_value;
  char property_value[IOTOPS_ERROR_VALUE_SIZE];

  char command_name[IOTOPS_ERROR_NAME_SIZE];

  char protocol_version[IOTOPS_ERROR_NAME_SIZE];
  int supported_majors[IOTOPS_ERROR_MAJORS];
  int supported_major_count; /* 0: not given */

  char service_error[IOTOPS_ERROR_NAME_SIZE]; /* services.md section 3.5 */

  int reason_code; /* MQTT v5 reason code; -1: none */
} iotops_error;

#ifdef __cplusplus
extern "C" {
#endif

/*
** Makes `*err` an error of `kind` with a formatted message and every other
** field unset.  A NULL `err` is allowed.  Always returns -1, so that a
** function can `return iotops_error_set(...)`.
*/
IOTOPS_API int iotops_error_set(iotops_error *err, iotops_error_kind kind,
                                const char *format, ...) IOTOPS_PRINTF(3, 4);
IOTOPS_API int iotops_error_vset(iotops_error *err, iotops_error_kind kind,
                                 const char *format, va_list args);

/*
** Invalid configuration, shallow and local, about the property `name` with
** the value `value` (absent: no value is recorded).  Returns -1.
*/
IOTOPS_API int iotops_error_configuration(iotops_error *err, const char *name,
                                          iotops_text value, const char *format,
                                          ...) IOTOPS_PRINTF(4, 5);

/* Invalid state "out of memory", shallow.  Returns -1. */
IOTOPS_API int iotops_error_memory(iotops_error *err);

/* Copy a text into a field, cut at a character boundary when too long. */
IOTOPS_API void iotops_error_name(char field[IOTOPS_ERROR_NAME_SIZE],
                                  iotops_text text);
IOTOPS_API void iotops_error_header_value(iotops_error *err, iotops_text text);
IOTOPS_API void iotops_error_property_value(iotops_error *err,
                                            iotops_text text);

/* The kind's name as users read it, such as "invalid configuration". */
IOTOPS_API const char *iotops_error_kind_name(iotops_error_kind kind);

/* The MQTT v5 name of a reason code, such as "Not authorized"; never NULL. */
IOTOPS_API const char *iotops_reason_name(int reason_code);

#ifdef __cplusplus
}
#endif

#endif
