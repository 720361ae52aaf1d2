/*
** text_buffer.h -- bytes put together piece by piece, in memory that is kept
** for the next text.
**
** A failed allocation is remembered, so that a text is built without a check
** at each piece and `failed` is looked at once, at the end.
*/
#ifndef PROTOCOL_TEXT_BUFFER_H
#define PROTOCOL_TEXT_BUFFER_H

#include "iotops/context.h"

typedef struct text_buffer {
  iotops_context *context; /* borrowed */
  char *data;              /* owned; not terminated */
  size_t size, capacity;
  bool failed; /* memory was short: the text is incomplete */
} text_buffer;

/* Prepares an empty buffer; allocates nothing. */
void text_buffer_init(text_buffer *buffer, iotops_context *context);

/* Frees the memory; the buffer can be used again. */
void text_buffer_clear(text_buffer *buffer);

/* Starts a new text in the same memory. */
void text_buffer_reset(text_buffer *buffer);

void text_buffer_add(text_buffer *buffer, iotops_text text);
void text_buffer_add_char(text_buffer *buffer, char c);

/* The text so far: present even when empty; dies at the next call. */
iotops_text text_buffer_text(const text_buffer *buffer);

#endif
