/* bytes.c -- see bytes.h. */
#include "bytes.h"

#include <stdlib.h>
#include <string.h>

void *metl_resize(void *block, size_t size) {
  void *resized = realloc(block, size ? size : 1);
  if (!resized) {
    abort();
  }
  return resized;
}

void metl_bytes_add(metl_bytes *bytes, const void *data, size_t size) {
  if (size == 0) {
    return;
  }
  if (bytes->size + size > bytes->capacity) {
    bytes->capacity = 2 * (bytes->size + size);
    bytes->data = metl_resize(bytes->data, bytes->capacity);
  }
  memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
}

void metl_bytes_drop(metl_bytes *bytes, size_t size) {
  bytes->size -= size;
  memmove(bytes->data, bytes->data + size, bytes->size);
}

void metl_bytes_free(metl_bytes *bytes) {
  free(bytes->data);
  *bytes = (metl_bytes){0};
}
