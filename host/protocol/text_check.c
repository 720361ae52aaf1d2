#include "protocol/text_check.h"

#include <string.h>

/*
** The size of the character at `at`, 0 when it is not well-formed UTF-8
** (overlong forms, surrogates and what is past U+10FFFF are not).
*/
static size_t character(const unsigned char *at, size_t left) {
  unsigned char first = at[0], low = 0x80, high = 0xBF;
  size_t size;
  if (first < 0x80)
    return 1;
  if (first >= 0xC2 && first <= 0xDF)
    size = 2;
  else if ((first & 0xF0) == 0xE0)
    size = 3;
  else if (first >= 0xF0 && first <= 0xF4)
    size = 4;
  else
    return 0;
  if (left < size)
    return 0;
  if (first == 0xE0)
    low = 0xA0;
  else if (first == 0xED)
    high = 0x9F;
  else if (first == 0xF0)
    low = 0x90;
  else if (first == 0xF4)
    high = 0x8F;
  if (at[1] < low || at[1] > high)
    return 0;
  for (size_t i = 2; i < size; i++)
    if ((at[i] & 0xC0) != 0x80)
      return 0;
  return size;
}

static bool is_control(const unsigned char *at) {
  return at[0] < 0x20 || at[0] == 0x7F ||
         (at[0] == 0xC2 && at[1] >= 0x80 && at[1] <= 0x9F);
}

bool property_text_valid(iotops_text text) {
  const unsigned char *at = (const unsigned char *)text.data;
  for (size_t left = text.size; left > 0;) {
    size_t size = character(at, left);
    if (size == 0 || is_control(at))
      return false;
    at += size;
    left -= size;
  }
  return true;
}

size_t text_sanitise(iotops_text text, char *out, size_t size) {
  const unsigned char *at = (const unsigned char *)text.data;
  size_t left = text.size, written = 0;
  while (left > 0) {
    size_t step = character(at, left);
    if (step > 0 && !is_control(at)) {
      if (size - written < step)
        break;
      memcpy(out + written, at, step);
      written += step;
    }
    if (step == 0)
      step = 1; /* not a character: leave out one byte and go on */
    at += step;
    left -= step;
  }
  return written;
}
