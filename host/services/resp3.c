#include "services/resp3.h"

#include <stdio.h>
#include <string.h>

/* Cuts the line off the front of `*rest`, without its CR LF. */
static bool read_line(iotops_text *rest, iotops_text *line) {
  if (rest->size == 0)
    return false;
  const char *cr = memchr(rest->data, '\r', rest->size);
  if (cr == NULL)
    return false;
  size_t size = (size_t)(cr - rest->data);
  if (rest->size - size < 2 || cr[1] != '\n')
    return false;
  line->data = rest->data;
  line->size = size;
  rest->data += size + 2;
  rest->size -= size + 2;
  return true;
}

static bool read_number(iotops_text text, int64_t *number) {
  bool negative = text.size > 0 && text.data[0] == '-';
  size_t at = negative ? 1 : 0;
  if (at == text.size)
    return false;
  uint64_t value = 0;
  uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
  for (; at < text.size; at++) {
    if (text.data[at] < '0' || text.data[at] > '9')
      return false;
    uint64_t digit = (uint64_t)(text.data[at] - '0');
    if (value > (limit - digit) / 10)
      return false;
    value = value * 10 + digit;
  }
  *number = negative ? (int64_t)(0 - value) : (int64_t)value;
  return true;
}

static bool read_blob(iotops_text *rest, iotops_text line, resp3_value *value) {
  int64_t size;
  if (!read_number(line, &size) || size < -1)
    return false;
  if (size == -1) {
    value->type = RESP3_NULL;
    value->text = (iotops_text){"", 0};
    return true;
  }
  if (rest->size < 2 || (uint64_t)size > rest->size - 2)
    return false;
  const char *end = rest->data + size;
  if (end[0] != '\r' || end[1] != '\n')
    return false;
  value->type = RESP3_BLOB;
  value->text = (iotops_text){rest->data, (size_t)size};
  rest->data += size + 2;
  rest->size -= (size_t)size + 2;
  return true;
}

static bool read_array(const iotops_text *rest, iotops_text line,
                       resp3_value *value) {
  int64_t count;
  /* The shortest element, "+\r\n", takes three bytes. */
  if (!read_number(line, &count) || count < 0 ||
      (uint64_t)count > rest->size / 3)
    return false;
  value->type = RESP3_ARRAY;
  value->count = (size_t)count;
  return true;
}

/* The real broker's page once prints "-ERR: text". */
static iotops_text without_err(iotops_text text) {
  if (text.size < 3 || memcmp(text.data, "ERR", 3) != 0)
    return text;
  size_t at = 3;
  if (at < text.size && text.data[at] != ':' && text.data[at] != ' ')
    return text; /* a longer word */
  if (at < text.size && text.data[at] == ':')
    at++;
  if (at < text.size && text.data[at] == ' ')
    at++;
  return (iotops_text){text.data + at, text.size - at};
}

bool resp3_read(iotops_text *rest, resp3_value *value) {
  iotops_text line;
  if (!read_line(rest, &line) || line.size == 0)
    return false;
  char kind = line.data[0];
  line.data++;
  line.size--;
  *value = (resp3_value){.text = line};
  switch (kind) {
  case '*':
    return read_array(rest, line, value);
  case '$':
    return read_blob(rest, line, value);
  case ':':
    value->type = RESP3_NUMBER;
    return read_number(line, &value->number);
  case '+':
    value->type = RESP3_STRING;
    return memchr(line.data, '\n', line.size) == NULL;
  case '-':
    value->type = RESP3_ERROR;
    value->text = without_err(line);
    return memchr(line.data, '\n', line.size) == NULL;
  default:
    return false;
  }
}

bool resp3_read_scalar(iotops_text payload, resp3_value *value) {
  return resp3_read(&payload, value) && value->type != RESP3_ARRAY &&
         payload.size == 0;
}

enum { HEADER_SIZE = 24 }; /* sign, 20 digits, CR LF and a terminator */

iotops_text resp3_write_blobs(iotops_context *context, const iotops_text *blobs,
                              size_t count) {
  size_t size = HEADER_SIZE;
  for (size_t i = 0; i < count; i++)
    size += HEADER_SIZE + blobs[i].size + 2;
  char *bytes = iotops_resize(context, NULL, size);
  if (bytes == NULL)
    return (iotops_text){NULL, 0};
  char *at = bytes + snprintf(bytes, HEADER_SIZE, "*%zu\r\n", count);
  for (size_t i = 0; i < count; i++) {
    at += snprintf(at, HEADER_SIZE, "$%zu\r\n", blobs[i].size);
    if (blobs[i].size > 0)
      memcpy(at, blobs[i].data, blobs[i].size);
    at += blobs[i].size;
    *at++ = '\r';
    *at++ = '\n';
  }
  return (iotops_text){bytes, (size_t)(at - bytes)};
}
