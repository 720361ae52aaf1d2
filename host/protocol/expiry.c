#include "protocol/expiry.h"

#include <stdio.h>

int expiry_from_us(int64_t us, const char *property, uint32_t *seconds,
                   iotops_error *err) {
  char text[32];
  if (us > 0 && (us - 1) / 1000000 + 1 <= UINT32_MAX) {
    *seconds = (uint32_t)((us - 1) / 1000000 + 1);
    return 0;
  }
  /* In seconds, as the caller of an API thinks of it. */
  snprintf(text, sizeof text, "%.6g", (double)us / 1e6);
  return iotops_error_configuration(
      err, property, iotops_text_of(text),
      "%s must be more than 0 and at most 4294967295 seconds", property);
}

uint32_t expiry_left(uint64_t deadline_ms, uint64_t now_ms) {
  if (now_ms >= deadline_ms)
    return 0;
  uint64_t seconds = (deadline_ms - now_ms - 1) / 1000 + 1;
  return seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}
