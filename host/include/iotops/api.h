/*
** api.h -- what every public header shares: export macro, version, text view.
**
** All functions of the library are called on the thread that runs the
** context's loop; iotops_context_post() is the one exception.  The library
** never calls back into the caller before a call has returned, and completes
** every accepted operation exactly once.
**
** Functions that can fail return 0 and, on failure, -1 with `*err` filled in
** when `err` is not NULL.  Option structs start with their own size, set by
** their _INIT macro, so that they can grow without breaking callers.
*/
#ifndef IOTOPS_API_H
#define IOTOPS_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define IOTOPS_API               __attribute__((visibility("default")))
#define IOTOPS_PRINTF(at, first) __attribute__((format(printf, at, first)))
#else
#define IOTOPS_API
#define IOTOPS_PRINTF(at, first)
#endif

#define IOTOPS_VERSION "0.1.0"

/*
** A borrowed run of bytes, not terminated.  `data == NULL` means absent,
** which the protocol tells apart from present and empty.
*/
typedef struct iotops_text {
  const char *data; /* borrowed; NULL: absent */
  size_t size;      /* bytes */
} iotops_text;

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that was linked, as IOTOPS_VERSION. */
IOTOPS_API const char *iotops_version(void);

/* A view of a C string; NULL gives an absent text. */
IOTOPS_API iotops_text iotops_text_of(const char *string);

/* True when both are present with the same bytes, or both are absent. */
IOTOPS_API bool iotops_text_equal(iotops_text a, iotops_text b);

#ifdef __cplusplus
}
#endif

#endif
