/*
** bytes.h -- growing runs of bytes for the test doubles.
**
** Memory is malloc's; running out of it aborts the test.
*/
#ifndef METL_BYTES_H
#define METL_BYTES_H

#include "iotops/api.h"

typedef struct metl_bytes {
  uint8_t *data; /* owned */
  size_t size, capacity;
} metl_bytes;

/* realloc that does not fail; new memory is not zeroed. */
void *metl_resize(void *block, size_t size);

void metl_bytes_add(metl_bytes *bytes, const void *data, size_t size);

/* Drops the first `size` bytes. */
void metl_bytes_drop(metl_bytes *bytes, size_t size);

void metl_bytes_free(metl_bytes *bytes);

#endif
