#include <string.h>

#include "context/context_fields.h"

static void system_random(iotops_context *context, void *bytes, size_t size) {
  if (uv_random(NULL, NULL, bytes, size, 0, NULL) == 0)
    return;
  /* No source at all (a chroot without devices on an old kernel).  What is
  ** drawn here has to differ from call to call, not to be secret. */
  iotops_log(context, IOTOPS_LOG_ERROR, "context",
             "the system has no source of randomness");
  uint8_t *at = bytes;
  uint64_t state = uv_hrtime() ^ ((uint64_t)uv_os_getpid() << 32) ^
                   (uint64_t)(uintptr_t)context;
  for (size_t i = 0; i < size; i++) {
    state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t mixed = (state ^ (state >> 31)) * UINT64_C(0xBF58476D1CE4E5B9);
    at[i] = (uint8_t)(mixed >> 56);
  }
}

void iotops_random(iotops_context *context, void *bytes, size_t size) {
  if (context->random != NULL) {
    context->random(context->random_user, bytes, size);
    return;
  }
  if (size > RANDOM_POOL_SIZE) {
    system_random(context, bytes, size);
    return;
  }
  /* Drawn ahead, so that a message id does not cost a system call each. */
  if (size > context->random_left) {
    system_random(context, context->random_pool, RANDOM_POOL_SIZE);
    context->random_left = RANDOM_POOL_SIZE;
  }
  context->random_left -= size;
  uint8_t *drawn = context->random_pool + context->random_left;
  if (size > 0) {
    memcpy(bytes, drawn, size);
    memset(drawn, 0, size);
  }
}

void iotops_uuid(iotops_context *context, uint8_t bytes[16]) {
  iotops_random(context, bytes, 16);
  bytes[6] = (uint8_t)((bytes[6] & 0x0F) | 0x40);
  bytes[8] = (uint8_t)((bytes[8] & 0x3F) | 0x80);
}

void iotops_uuid_text(const uint8_t bytes[16], char text[37]) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      *text++ = '-';
    *text++ = digits[bytes[i] >> 4];
    *text++ = digits[bytes[i] & 0x0F];
  }
  *text = '\0';
}
