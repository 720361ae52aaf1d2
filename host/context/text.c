#include "context/text.h"

#include <stdio.h>
#include <string.h>

const char *iotops_version(void) {
  return IOTOPS_VERSION;
}

iotops_text iotops_text_of(const char *string) {
  iotops_text text = {string, string == NULL ? 0 : strlen(string)};
  return text;
}

bool iotops_text_equal(iotops_text a, iotops_text b) {
  if (a.data == NULL || b.data == NULL)
    return a.data == b.data;
  return a.size == b.size &&
         (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Ends `field`, which is full up to `size`, in "..."; returns the length. */
static size_t cut(char *field, size_t size) {
  size_t end = size - 4;
  /* A continuation byte at `end` would be cut off from its first byte; no
  ** character has more than three. */
  for (int back = 0; back < 3 && end > 0; back++) {
    if (((unsigned char)field[end] & 0xC0) != 0x80)
      break;
    end--;
  }
  memcpy(field + end, "...", 4);
  return end + 3;
}

size_t text_fit(char *field, size_t size, iotops_text text) {
  size_t length = text.size;
  bool too_long = length >= size;
  if (too_long)
    length = size - 1;
  for (size_t i = 0; i < length; i++)
    field[i] = text.data[i] == '\0' ? '?' : text.data[i];
  field[length] = '\0';
  return too_long ? cut(field, size) : length;
}

size_t text_vformat(char *field, size_t size, const char *format,
                    va_list args) {
  int length = vsnprintf(field, size, format, args);
  if (length < 0) {
    field[0] = '\0';
    return 0;
  }
  return (size_t)length >= size ? cut(field, size) : (size_t)length;
}
