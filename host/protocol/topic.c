#include "iotops/topic.h"

#include <string.h>

#include "protocol/text_check.h"

/* A character of a level; `"` is refused in what is configured here. */
static bool is_label_char(char c, bool quote) {
  switch (c) {
  case '"':
    return quote;
  case '+':
  case '#':
  case '{':
  case '}':
  case '/':
    return false;
  default:
    return c > 0x20 && c < 0x7F;
  }
}

static bool is_label(const char *data, size_t size, bool quote) {
  for (size_t i = 0; i < size; i++)
    if (!is_label_char(data[i], quote))
      return false;
  return size > 0;
}

static bool is_token(const char *data, size_t size) {
  return size > 2 && data[0] == '{' && data[size - 1] == '}' &&
         is_label(data + 1, size - 2, false);
}

/* Levels of `label`s, and of tokens when `tokens`. */
static bool are_levels(iotops_text text, bool tokens, bool quote) {
  size_t from = 0;
  if (text.data == NULL || text.size > PROPERTY_TEXT_MAX)
    return false;
  for (size_t at = 0; at <= text.size; at++) {
    if (at < text.size && text.data[at] != '/')
      continue;
    const char *level = text.data + from;
    size_t size = at - from;
    if (!is_label(level, size, quote) && !(tokens && is_token(level, size)))
      return false;
    from = at + 1;
  }
  return true;
}

static bool starts_with_dollar(iotops_text text) {
  return text.size > 0 && text.data[0] == '$';
}

bool iotops_topic_pattern_valid(iotops_text pattern) {
  return !starts_with_dollar(pattern) && are_levels(pattern, true, false);
}

bool iotops_topic_namespace_valid(iotops_text text) {
  return !starts_with_dollar(text) && are_levels(text, false, false);
}

bool iotops_token_value_valid(iotops_text value) {
  return are_levels(value, false, false);
}

bool iotops_share_group_valid(iotops_text group) {
  return group.data != NULL && group.size <= PROPERTY_TEXT_MAX &&
         is_label(group.data, group.size, false);
}

bool iotops_response_topic_valid(iotops_text topic) {
  return !starts_with_dollar(topic) && are_levels(topic, false, true);
}

/* ----------------------------------------------------- MQTT v5 section 4.7 */

static bool is_mqtt_string(iotops_text text) {
  return text.size > 0 && text.size <= PROPERTY_TEXT_MAX &&
         memchr(text.data, '\0', text.size) == NULL && text_is_utf8(text);
}

bool iotops_topic_name_valid(iotops_text name) {
  return is_mqtt_string(name) && memchr(name.data, '+', name.size) == NULL &&
         memchr(name.data, '#', name.size) == NULL;
}

static const char share[] = "$share/";

static bool is_shared(iotops_text filter) {
  return filter.size >= sizeof share - 1 &&
         memcmp(filter.data, share, sizeof share - 1) == 0;
}

/* The filter behind `$share/<group>/`; absent when that is malformed. */
static iotops_text unshared(iotops_text filter) {
  const iotops_text none = {NULL, 0};
  if (!is_shared(filter))
    return filter;
  const char *group = filter.data + sizeof share - 1;
  const char *end = filter.data + filter.size;
  const char *slash = memchr(group, '/', (size_t)(end - group));
  if (slash == NULL || slash == group || slash + 1 == end)
    return none;
  for (const char *at = group; at < slash; at++)
    if (*at == '+' || *at == '#')
      return none;
  iotops_text rest = {slash + 1, (size_t)(end - slash - 1)};
  return rest;
}

bool iotops_topic_filter_valid(iotops_text filter) {
  if (!is_mqtt_string(filter))
    return false;
  filter = unshared(filter);
  if (filter.data == NULL)
    return false;
  for (size_t i = 0; i < filter.size; i++) {
    char c = filter.data[i];
    if (c != '+' && c != '#')
      continue;
    bool starts = i == 0 || filter.data[i - 1] == '/';
    bool last = i + 1 == filter.size;
    bool ends = last || (c == '+' && filter.data[i + 1] == '/');
    if (!starts || !ends)
      return false;
  }
  return true;
}

/* Takes the next level off `rest`, which becomes absent after the last. */
static iotops_text take_level(iotops_text *rest) {
  const char *slash =
      rest->size == 0 ? NULL : memchr(rest->data, '/', rest->size);
  iotops_text level = *rest;
  if (slash == NULL) {
    rest->data = NULL;
    rest->size = 0;
    return level;
  }
  level.size = (size_t)(slash - rest->data);
  rest->data = slash + 1;
  rest->size -= level.size + 1;
  return level;
}

static bool is_one(iotops_text level, char c) {
  return level.size == 1 && level.data[0] == c;
}

bool iotops_topic_filter_matches(iotops_text filter, iotops_text topic) {
  filter = unshared(filter);
  if (filter.size == 0 || topic.size == 0)
    return false;
  if (topic.data[0] == '$' && (filter.data[0] == '+' || filter.data[0] == '#'))
    return false;
  while (filter.data != NULL) {
    iotops_text wanted = take_level(&filter);
    if (is_one(wanted, '#'))
      return true; /* also when no level of the topic is left */
    if (topic.data == NULL)
      return false;
    iotops_text level = take_level(&topic);
    if (!is_one(wanted, '+') && !iotops_text_equal(wanted, level))
      return false;
  }
  return topic.data == NULL;
}
