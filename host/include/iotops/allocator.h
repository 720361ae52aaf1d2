/*
** allocator.h -- where memory comes from.
**
** Handed in when a context is made, so that a test can fail any allocation
** and a host can count them.
*/
#ifndef IOTOPS_ALLOCATOR_H
#define IOTOPS_ALLOCATOR_H

#include "iotops/api.h"

typedef struct iotops_allocator {
  /*
  ** Resizes `block` (NULL: allocates) to `size` bytes; 0 frees it and returns
  ** NULL.  Returns NULL on failure and leaves `block` as it was.
  */
  void *(*resize)(void *user, void *block, size_t size);
  void *user; /* borrowed; passed to resize */
} iotops_allocator;

#endif
