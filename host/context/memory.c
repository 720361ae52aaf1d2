#include <string.h>

#include "context/context_fields.h"

void *iotops_zalloc(iotops_context *context, size_t size) {
  if (size == 0)
    size = 1; /* NULL is for failure alone */
  void *block = context->allocator.resize(context->allocator.user, NULL, size);
  if (block != NULL)
    memset(block, 0, size);
  return block;
}

void *iotops_resize(iotops_context *context, void *block, size_t size) {
  return context->allocator.resize(context->allocator.user, block, size);
}

void iotops_free(iotops_context *context, void *block) {
  if (block != NULL)
    context->allocator.resize(context->allocator.user, block, 0);
}
