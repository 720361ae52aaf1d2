#include "services/store_change.h"

#include <string.h>

#include "services/resp3.h"

static int digit_of(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  return -1;
}

iotops_text store_change_key(iotops_text topic,
                             char bytes[STORE_NOTIFY_KEY_MAX]) {
  iotops_text none = {NULL, 0};
  size_t start = topic.size;
  while (start > 0 && topic.data[start - 1] != '/')
    start--;
  size_t size = topic.size - start;
  if (size == 0 || size % 2 != 0 || size / 2 > STORE_NOTIFY_KEY_MAX)
    return none;
  for (size_t i = 0; i < size; i += 2) {
    int high = digit_of(topic.data[start + i]);
    int low = digit_of(topic.data[start + i + 1]);
    if (high < 0 || low < 0)
      return none;
    bytes[i / 2] = (char)(high * 16 + low);
  }
  return (iotops_text){bytes, size / 2};
}

bool store_change_read(iotops_text payload, iotops_store_notification *what) {
  iotops_text rest = payload;
  iotops_text words[4];
  resp3_value array;
  if (!resp3_read(&rest, &array) || array.type != RESP3_ARRAY ||
      (array.count != 2 && array.count != 4))
    return false;
  for (size_t i = 0; i < array.count; i++) {
    resp3_value word;
    if (!resp3_read(&rest, &word) || word.type != RESP3_BLOB)
      return false;
    words[i] = word.text;
  }
  if (rest.size != 0 || !iotops_text_equal(words[0], iotops_text_of("NOTIFY")))
    return false;
  what->deleted = array.count == 2;
  what->value = (iotops_text){NULL, 0};
  if (what->deleted)
    return iotops_text_equal(words[1], iotops_text_of("DELETE"));
  what->value = words[3];
  return iotops_text_equal(words[1], iotops_text_of("SET")) &&
         iotops_text_equal(words[2], iotops_text_of("VALUE"));
}
