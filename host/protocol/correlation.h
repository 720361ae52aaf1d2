/*
** correlation.h -- correlation data of commands (protocol.md section 3.4):
** 16 opaque bytes that name one invocation.
*/
#ifndef PROTOCOL_CORRELATION_H
#define PROTOCOL_CORRELATION_H

#include "iotops/context.h"

enum {
  CORRELATION_BYTES = 16,
  CORRELATION_TEXT_SIZE = 37 /* RFC 4122 text, terminator included */
};

/* The bytes when `data` is correlation data of ours, else NULL.  A view. */
const uint8_t *correlation_bytes(iotops_text data);

/* As text for logs, in the order of the bytes. */
void correlation_text(const uint8_t bytes[CORRELATION_BYTES],
                      char text[CORRELATION_TEXT_SIZE]);

#endif
