#include "protocol/uri.h"

#include <string.h>

static bool is_alpha(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_hex(char c) {
  return is_digit(c) || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
}

/* Only characters of RFC 3986, at most one `#`. */
static bool has_uri_characters(iotops_text text) {
  static const char marks[] = "-._~:/?#[]@!$&'()*+,;=";
  unsigned hashes = 0;
  for (size_t i = 0; i < text.size; i++) {
    char c = text.data[i];
    if (c == '%') {
      if (text.size - i < 3 || !is_hex(text.data[i + 1]) ||
          !is_hex(text.data[i + 2]))
        return false;
      i += 2;
    } else if (!is_alpha(c) && !is_digit(c) &&
               memchr(marks, c, sizeof marks - 1) == NULL) {
      return false;
    }
    hashes += c == '#';
  }
  return text.size > 0 && hashes <= 1;
}

/* Where the first `:` is, when it comes before any of `/ ? #`; -1: nowhere. */
static long colon(iotops_text text) {
  for (size_t i = 0; i < text.size; i++) {
    char c = text.data[i];
    if (c == ':')
      return (long)i;
    if (c == '/' || c == '?' || c == '#')
      break;
  }
  return -1;
}

static bool is_scheme(const char *data, long size) {
  if (size < 1 || !is_alpha(data[0]))
    return false;
  for (long i = 1; i < size; i++)
    if (!is_alpha(data[i]) && !is_digit(data[i]) && data[i] != '+' &&
        data[i] != '-' && data[i] != '.')
      return false;
  return true;
}

bool uri_is_reference(iotops_text text) {
  if (!has_uri_characters(text))
    return false;
  long at = colon(text);
  return at < 0 || is_scheme(text.data, at);
}

bool uri_is_absolute(iotops_text text) {
  return uri_is_reference(text) && colon(text) >= 0;
}
