/*
** hlc.h -- the hybrid logical clock (protocol.md section 4).
**
** A context has one, shared by all its envoys and sessions.
*/
#ifndef IOTOPS_HLC_H
#define IOTOPS_HLC_H

#include "iotops/context.h"

enum {
  IOTOPS_HLC_NODE_SIZE = 128, /* longest node id kept, terminator included */
  IOTOPS_HLC_TEXT_SIZE = 172  /* longest text, terminator included */
};

typedef struct iotops_hlc {
  int64_t ms;       /* Unix time, milliseconds */
  uint64_t counter; /* orders events of one millisecond */
  char node[IOTOPS_HLC_NODE_SIZE];
} iotops_hlc;

#ifdef __cplusplus
extern "C" {
#endif

/*
** Reads `<ms>:<counter>:<node>`.  Anything else is an invalid header `__ts`
** with the text as its value.  A node id longer than IOTOPS_HLC_NODE_SIZE - 1
** bytes is malformed.
*/
IOTOPS_API int iotops_hlc_parse(iotops_text text, iotops_hlc *hlc,
                                iotops_error *err);

/* Writes the text form, terminated; returns its length. */
IOTOPS_API size_t iotops_hlc_format(const iotops_hlc *hlc,
                                    char text[IOTOPS_HLC_TEXT_SIZE]);

/* By ms, then counter, then node (bytes): <0, 0 or >0. */
IOTOPS_API int iotops_hlc_compare(const iotops_hlc *a, const iotops_hlc *b);

/*
** The rules of section 4.3 on one clock value, `wall_ms` given.  On failure
** (invalid state, property Counter or MaxClockDrift) `*local` is unchanged.
*/
IOTOPS_API int iotops_hlc_advance(iotops_hlc *local, int64_t wall_ms,
                                  uint64_t max_drift_ms, iotops_error *err);
IOTOPS_API int iotops_hlc_merge(iotops_hlc *local, const iotops_hlc *remote,
                                int64_t wall_ms, uint64_t max_drift_ms,
                                iotops_error *err);

/* The context's clock: its value, before sending, on receiving. */
IOTOPS_API const iotops_hlc *iotops_context_hlc(iotops_context *context);
IOTOPS_API int iotops_context_hlc_now(iotops_context *context, iotops_hlc *now,
                                      iotops_error *err);
IOTOPS_API int iotops_context_hlc_receive(iotops_context *context,
                                          const iotops_hlc *remote,
                                          iotops_error *err);

#ifdef __cplusplus
}
#endif

#endif
