#include "protocol/topic_pattern.h"

#include <string.h>

#include "protocol/text_check.h"

static int shown(iotops_text text) { /* bytes of a text that a message shows */
  return (int)(text.size < 200 ? text.size : 200);
}

int topic_namespace_check(iotops_text topic_namespace, iotops_error *err) {
  if (topic_namespace.data == NULL ||
      iotops_topic_namespace_valid(topic_namespace))
    return 0;
  return iotops_error_configuration(
      err, "topic_namespace", topic_namespace,
      "the topic namespace \"%.*s\" is not valid: it needs one or more levels "
      "of printable ASCII without space and \" + # { }, and must not start "
      "with $",
      shown(topic_namespace), topic_namespace.data);
}

int share_group_check(iotops_text group, iotops_error *err) {
  if (group.data == NULL || iotops_share_group_valid(group))
    return 0;
  return iotops_error_configuration(
      err, "service_group_id", group,
      "the service group \"%.*s\" is not valid: it must be printable ASCII "
      "without space and \" + # { } /",
      shown(group), group.data);
}

/* Takes the next level off `rest`, which becomes absent after the last. */
static iotops_text take_level(iotops_text *rest) {
  const char *slash =
      rest->size == 0 ? NULL : memchr(rest->data, '/', rest->size);
  iotops_text level = *rest;
  if (slash == NULL) {
    *rest = (iotops_text){NULL, 0};
    return level;
  }
  level.size = (size_t)(slash - rest->data);
  rest->data = slash + 1;
  rest->size -= level.size + 1;
  return level;
}

/* The name in a level that is a token, else absent. */
static iotops_text token_name(iotops_text level) {
  iotops_text name = {NULL, 0};
  if (level.size > 2 && level.data[0] == '{') {
    name.data = level.data + 1;
    name.size = level.size - 2;
  }
  return name;
}

/* The value of a token in a map; absent when it has none. */
static iotops_text value_of(const iotops_token *tokens, size_t count,
                            iotops_text name) {
  for (size_t i = 0; i < count; i++)
    if (iotops_text_equal(tokens[i].name, name))
      return tokens[i].value;
  return (iotops_text){NULL, 0};
}

static int name_error(iotops_error *err, iotops_text name, iotops_text value,
                      const char *what) {
  char field[IOTOPS_ERROR_NAME_SIZE];
  iotops_error_name(field, name);
  return iotops_error_configuration(
      err, field, value, "%s {%s}%s%.*s%s", what, field,
      value.data == NULL ? "" : ": \"", shown(value),
      value.data == NULL ? "" : value.data, value.data == NULL ? "" : "\"");
}

/* `first`: the value would start the topic, where `$` has a meaning. */
static int value_check(iotops_text name, iotops_text value, bool first,
                       iotops_error *err) {
  if (iotops_token_value_valid(value) && !(first && value.data[0] == '$'))
    return 0;
  return name_error(err, name, value, "not a valid value for the topic token");
}

static int too_long(const topic_pattern *pattern, iotops_error *err) {
  iotops_text text = {pattern->text, pattern->text_size};
  return iotops_error_configuration(
      err, pattern->property, text,
      "the topic is longer than the 65535 bytes that MQTT allows");
}

/* Checks everything of section 2.2, in its order. */
static int check(const char *property, iotops_text text,
                 iotops_text topic_namespace, const iotops_token *tokens,
                 size_t count, iotops_error *err) {
  if (topic_namespace_check(topic_namespace, err) != 0)
    return -1;
  if (!iotops_topic_pattern_valid(text))
    return iotops_error_configuration(
        err, property, text,
        "the topic pattern \"%.*s\" is not valid: it needs levels that are "
        "printable ASCII without space and \" + # { }, or a {token} as a "
        "whole level, and must not start with $",
        shown(text), text.data == NULL ? "" : text.data);
  bool first = topic_namespace.data == NULL;
  for (iotops_text rest = text; rest.data != NULL; first = false) {
    iotops_text name = token_name(take_level(&rest));
    iotops_text value = value_of(tokens, count, name);
    if (name.data != NULL && value.data != NULL &&
        value_check(name, value, first, err) != 0)
      return -1;
  }
  return 0;
}

/*
** The resolved pattern, and behind it name and value of each occurrence of a
** constructor token; returns the size of the former.
*/
static size_t build(text_buffer *buffer, iotops_text text,
                    iotops_text topic_namespace, const iotops_token *tokens,
                    size_t count) {
  if (topic_namespace.data != NULL) {
    text_buffer_add(buffer, topic_namespace);
    text_buffer_add_char(buffer, '/');
  }
  for (iotops_text rest = text; rest.data != NULL;) {
    iotops_text level = take_level(&rest);
    iotops_text name = token_name(level), value = {NULL, 0};
    if (name.data != NULL)
      value = value_of(tokens, count, name);
    text_buffer_add(buffer, value.data == NULL ? level : value);
    if (rest.data != NULL)
      text_buffer_add_char(buffer, '/');
  }
  size_t size = buffer->size;
  for (iotops_text rest = text; rest.data != NULL;) {
    iotops_text name = token_name(take_level(&rest)), value = {NULL, 0};
    if (name.data != NULL)
      value = value_of(tokens, count, name);
    if (value.data == NULL)
      continue;
    text_buffer_add(buffer, name);
    text_buffer_add(buffer, value);
  }
  return size;
}

/* The number of the token called `name`, which is added when it is new. */
static uint32_t number(topic_pattern *pattern, iotops_text name,
                       iotops_text value) {
  size_t i = 0;
  while (i < pattern->token_count &&
         !iotops_text_equal(pattern->tokens[i].name, name))
    i++;
  if (i == pattern->token_count) {
    pattern->tokens[i].name = name;
    pattern->tokens[i].value = value;
    pattern->token_count++;
  }
  return (uint32_t)i;
}

static void number_fixed(topic_pattern *pattern, iotops_text text,
                         const iotops_token *tokens, size_t count) {
  const char *at = pattern->text + pattern->text_size;
  for (iotops_text rest = text; rest.data != NULL;) {
    iotops_text name = token_name(take_level(&rest)), value = {NULL, 0};
    if (name.data != NULL)
      value = value_of(tokens, count, name);
    if (value.data == NULL)
      continue;
    name.data = at;
    value.data = at + name.size;
    at += name.size + value.size;
    number(pattern, name, value);
  }
  pattern->fixed_count = pattern->token_count;
}

static void take_apart(topic_pattern *pattern) {
  const iotops_text none = {NULL, 0};
  iotops_text rest = {pattern->text, pattern->text_size};
  while (rest.data != NULL) {
    iotops_text text = take_level(&rest);
    iotops_text name = token_name(text);
    topic_level *level = &pattern->levels[pattern->level_count++];
    level->is_token = name.data != NULL;
    level->text = level->is_token ? name : text;
    level->token = level->is_token ? number(pattern, name, none) : 0;
  }
}

int topic_pattern_init(topic_pattern *pattern, iotops_context *context,
                       const char *property, iotops_text text,
                       iotops_text topic_namespace, const iotops_token *tokens,
                       size_t token_count, iotops_error *err) {
  if (check(property, text, topic_namespace, tokens, token_count, err) != 0)
    return -1;

  text_buffer buffer;
  size_t levels = 1, names = 0;
  text_buffer_init(&buffer, context);
  *pattern = (topic_pattern){.context = context, .property = property};
  pattern->text_size =
      build(&buffer, text, topic_namespace, tokens, token_count);
  pattern->text = buffer.data; /* owned from now on */
  if (buffer.failed) {
    iotops_error_memory(err);
    goto failed;
  }
  if (pattern->text_size > PROPERTY_TEXT_MAX) {
    too_long(pattern, err);
    goto failed;
  }
  for (size_t i = 0; i < pattern->text_size; i++)
    levels += pattern->text[i] == '/';
  for (size_t i = 0; i < text.size; i++)
    names += text.data[i] == '{';
  pattern->levels = iotops_zalloc(context, levels * sizeof *pattern->levels);
  pattern->tokens =
      iotops_zalloc(context, (names + 1) * sizeof *pattern->tokens);
  if (pattern->levels == NULL || pattern->tokens == NULL) {
    iotops_error_memory(err);
    goto failed;
  }
  number_fixed(pattern, text, tokens, token_count);
  take_apart(pattern);
  return 0;

failed:
  topic_pattern_clear(pattern);
  return -1;
}

void topic_pattern_clear(topic_pattern *pattern) {
  if (pattern->context == NULL)
    return;
  iotops_free(pattern->context, pattern->text);
  iotops_free(pattern->context, pattern->levels);
  iotops_free(pattern->context, pattern->tokens);
  *pattern = (topic_pattern){.context = NULL};
}

int topic_pattern_filter(const topic_pattern *pattern, iotops_text group,
                         text_buffer *buffer, iotops_error *err) {
  text_buffer_reset(buffer);
  if (group.data != NULL) {
    text_buffer_add(buffer, iotops_text_of("$share/"));
    text_buffer_add(buffer, group);
    text_buffer_add_char(buffer, '/');
  }
  for (size_t i = 0; i < pattern->level_count; i++) {
    const topic_level *level = &pattern->levels[i];
    if (i > 0)
      text_buffer_add_char(buffer, '/');
    text_buffer_add(buffer,
                    level->is_token ? iotops_text_of("+") : level->text);
  }
  if (buffer->failed)
    return iotops_error_memory(err);
  if (buffer->size > PROPERTY_TEXT_MAX)
    return too_long(pattern, err);
  return 0;
}

int topic_pattern_publish(const topic_pattern *pattern,
                          const iotops_token *tokens, size_t token_count,
                          text_buffer *buffer, iotops_text *topic,
                          iotops_error *err) {
  if (pattern->token_count == pattern->fixed_count) {
    *topic = (iotops_text){pattern->text, pattern->text_size};
    return 0;
  }
  text_buffer_reset(buffer);
  for (size_t i = 0; i < pattern->level_count; i++) {
    const topic_level *level = &pattern->levels[i];
    iotops_text text = level->text;
    if (level->is_token) {
      text = value_of(tokens, token_count, level->text);
      if (text.data == NULL)
        return name_error(err, level->text, text,
                          "no value is given for the topic token");
      if (value_check(level->text, text, i == 0, err) != 0)
        return -1;
    }
    if (i > 0)
      text_buffer_add_char(buffer, '/');
    text_buffer_add(buffer, text);
  }
  if (buffer->failed)
    return iotops_error_memory(err);
  if (buffer->size > PROPERTY_TEXT_MAX)
    return too_long(pattern, err);
  *topic = text_buffer_text(buffer);
  return 0;
}

bool topic_pattern_match(const topic_pattern *pattern, iotops_text topic,
                         iotops_token *tokens) {
  if (topic.size == 0)
    return false;
  if (pattern->token_count > 0)
    memcpy(tokens, pattern->tokens, pattern->token_count * sizeof *tokens);
  for (size_t i = 0; i < pattern->level_count; i++) {
    const topic_level *level = &pattern->levels[i];
    if (topic.data == NULL)
      return false;
    iotops_text text = take_level(&topic);
    if (!level->is_token) {
      if (!iotops_text_equal(level->text, text))
        return false;
      continue;
    }
    if (text.size == 0)
      return false;
    tokens[level->token].value = text;
  }
  return topic.data == NULL;
}
