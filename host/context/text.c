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

/* Takes one character off `*at`; -1 when it is malformed. */
static int32_t next_character(const unsigned char **at,
                              const unsigned char *end) {
  unsigned char first = *(*at)++;
  if (first < 0x80)
    return first;
  int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  if (first < 0xC2 || first > 0xF4 || end - *at < more)
    return -1;
  static const int32_t least[] = {0, 0x80, 0x800, 0x10000};
  int32_t character = first & (0x3F >> more);
  for (int i = 0; i < more; i++) {
    unsigned char next = *(*at)++;
    if ((next & 0xC0) != 0x80)
      return -1;
    character = (character << 6) | (next & 0x3F);
  }
  bool surrogate = character >= 0xD800 && character <= 0xDFFF;
  return character < least[more] || character > 0x10FFFF || surrogate
             ? -1
             : character;
}

bool text_is_utf8(iotops_text text) {
  const unsigned char *at = (const unsigned char *)text.data;
  const unsigned char *end = at + text.size;
  while (at < end)
    if (next_character(&at, end) < 0)
      return false;
  return true;
}

bool text_is_clean(iotops_text text) {
  const unsigned char *at = (const unsigned char *)text.data;
  const unsigned char *end = at + text.size;
  while (at < end) {
    int32_t character = next_character(&at, end);
    if (character < 0x20 || (character >= 0x7F && character <= 0x9F) ||
        (character >= 0xFDD0 && character <= 0xFDEF) ||
        (character & 0xFFFE) == 0xFFFE)
      return false;
  }
  return true;
}
