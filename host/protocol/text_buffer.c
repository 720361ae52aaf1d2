#include "protocol/text_buffer.h"

#include <string.h>

void text_buffer_init(text_buffer *buffer, iotops_context *context) {
  *buffer = (text_buffer){.context = context};
}

void text_buffer_clear(text_buffer *buffer) {
  iotops_free(buffer->context, buffer->data);
  text_buffer_init(buffer, buffer->context);
}

void text_buffer_reset(text_buffer *buffer) {
  buffer->size = 0;
  buffer->failed = false;
}

static bool reserve(text_buffer *buffer, size_t more) {
  if (more <= buffer->capacity - buffer->size)
    return true;
  if (more > SIZE_MAX / 2 - buffer->size)
    return false;
  size_t capacity = buffer->capacity == 0 ? 64 : buffer->capacity;
  while (capacity < buffer->size + more)
    capacity *= 2;
  char *data = iotops_resize(buffer->context, buffer->data, capacity);
  if (data == NULL)
    return false;
  buffer->data = data;
  buffer->capacity = capacity;
  return true;
}

void text_buffer_add(text_buffer *buffer, iotops_text text) {
  if (text.size == 0 || buffer->failed)
    return;
  if (!reserve(buffer, text.size)) {
    buffer->failed = true;
    return;
  }
  memcpy(buffer->data + buffer->size, text.data, text.size);
  buffer->size += text.size;
}

void text_buffer_add_char(text_buffer *buffer, char c) {
  iotops_text text = {&c, 1};
  text_buffer_add(buffer, text);
}

iotops_text text_buffer_text(const text_buffer *buffer) {
  iotops_text text = {buffer->data == NULL ? "" : buffer->data, buffer->size};
  return text;
}
