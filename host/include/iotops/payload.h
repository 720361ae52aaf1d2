/*
** payload.h -- serialized values and the formats they come in (protocol.md
** sections 3.5 and 13), and application errors in headers (section 12).
**
** The core moves bytes; turning values of a language into bytes and back is
** the caller's.  The checks that every format shares are here.
*/
#ifndef IOTOPS_PAYLOAD_H
#define IOTOPS_PAYLOAD_H

#include "iotops/message.h"

typedef struct iotops_payload {
  iotops_text bytes;        /* absent is the same as empty */
  iotops_text content_type; /* absent: none is sent */
  int format_indicator;     /* 0 or 1; received: 0 when absent */
} iotops_payload;

typedef enum iotops_format {
  IOTOPS_FORMAT_JSON,  /* application/json, 1 */
  IOTOPS_FORMAT_RAW,   /* application/octet-stream, 0 */
  IOTOPS_FORMAT_EMPTY, /* no payload, no content type, 0 */
  IOTOPS_FORMAT_CUSTOM /* the caller's */
} iotops_format;

#ifdef __cplusplus
extern "C" {
#endif

/* What a format writes: its content type (absent: none) and indicator. */
IOTOPS_API iotops_payload iotops_format_payload(iotops_format format,
                                                iotops_text bytes);

/*
** Whether a received payload may be read as `format`.  Fails with invalid
** header `Content Type` (the received value, "None" when absent) or with
** invalid payload (bytes where none may be, an empty JSON text).
*/
IOTOPS_API int iotops_format_accepts(iotops_format format,
                                     const iotops_payload *payload,
                                     iotops_error *err);

/*
** User data for sending: valid UTF-8 without control characters (section
** 3.2).  Fails with invalid configuration, `metadata`.
*/
IOTOPS_API int iotops_user_data_check(const iotops_user_property *pairs,
                                      size_t count, iotops_error *err);

/*
** The application error of a successful response (section 12): true when
** there is one.  `payload` is absent when not given.  Views.
*/
IOTOPS_API bool iotops_application_error(const iotops_user_property *pairs,
                                         size_t count, iotops_text *code,
                                         iotops_text *payload);

/*
** Writes an application error as one or two pairs of user data, views of the
** arguments; a blank payload is left out.  Fails with invalid configuration:
** `AppErrCode` when the code is blank, `metadata`.
*/
IOTOPS_API int iotops_application_error_pairs(iotops_text code,
                                              iotops_text payload,
                                              iotops_user_property pairs[2],
                                              size_t *count, iotops_error *err);

#ifdef __cplusplus
}
#endif

#endif
