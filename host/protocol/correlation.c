#include "protocol/correlation.h"

const uint8_t *correlation_bytes(iotops_text data) {
  return data.size == CORRELATION_BYTES ? (const uint8_t *)data.data : NULL;
}

void correlation_text(const uint8_t bytes[CORRELATION_BYTES],
                      char text[CORRELATION_TEXT_SIZE]) {
  iotops_uuid_text(bytes, text);
}
