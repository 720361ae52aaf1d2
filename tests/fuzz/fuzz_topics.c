/*
** fuzz_topics.c -- the trie of filters agrees with a matcher that looks at
** each, and a topic made from a pattern matches that pattern.
**
** Lines: a topic, a pattern, a namespace, a token's value, then filters.
*/
#include "fuzz.h"

#include "protocol/topic_pattern.h"
#include "session/dispatcher.h"

enum { FILTERS = 16 };

static void ignore(void *user, const iotops_message *message, iotops_ack ack) {
  (void)user;
  (void)message;
  (void)ack;
}

/* MQTT v5 section 4.7, as short as it can be said. */
static bool matches(const char *filter, const char *filter_end,
                    const char *topic, const char *topic_end) {
  if (filter < filter_end && *filter == '#')
    return true;
  if (topic == topic_end && filter_end - filter == 2 && filter[0] == '/' &&
      filter[1] == '#')
    return true;
  if (filter < filter_end && *filter == '+') {
    while (topic < topic_end && *topic != '/')
      topic++;
    return matches(filter + 1, filter_end, topic, topic_end);
  }
  if (filter == filter_end || topic == topic_end)
    return filter == filter_end && topic == topic_end;
  return *filter == *topic &&
         matches(filter + 1, filter_end, topic + 1, topic_end);
}

static bool naive(iotops_text filter, iotops_text topic) {
  const char *end = filter.data + filter.size;

  if (filter.size > 7 && memcmp(filter.data, "$share/", 7) == 0) {
    filter.data = memchr(filter.data + 7, '/', filter.size - 7);
    filter.data++;
    filter.size = (size_t)(end - filter.data);
  }
  if (topic.data[0] == '$' && filter.data[0] != '$')
    return false;
  return matches(filter.data, end, topic.data, topic.data + topic.size);
}

static size_t depth(iotops_text text) {
  size_t levels = 1;

  for (size_t i = 0; i < text.size; i++)
    levels += text.data[i] == '/';
  return levels;
}

static void dispatch(iotops_text topic, fuzz_input *input) {
  struct {
    iotops_text filter;
    iotops_receiver *receiver;
  } all[FILTERS];
  dispatcher dispatcher;
  size_t count = 0, expected = 0;

  FUZZ_CHECK(dispatcher_init(&dispatcher, fuzz_context()));
  while (count < FILTERS && input->at < input->end) {
    all[count].filter = fuzz_line(input);
    if (!iotops_topic_filter_valid(all[count].filter) ||
        depth(all[count].filter) > DISPATCH_LEVELS_MAX)
      continue;
    all[count].receiver =
        dispatcher_add(&dispatcher, all[count].filter, ignore, NULL);
    FUZZ_CHECK(all[count].receiver != NULL);
    count++;
  }
  if (iotops_topic_name_valid(topic)) {
    FUZZ_CHECK(dispatcher_match(&dispatcher, topic, NULL, 0));
    for (size_t i = 0; i < count; i++) {
      bool wanted = naive(all[i].filter, topic), found = false;

      FUZZ_CHECK(iotops_topic_filter_matches(all[i].filter, topic) == wanted);
      for (size_t k = 0; k < dispatcher.matched_count; k++)
        found |= dispatcher.matched[k] == all[i].receiver;
      FUZZ_CHECK(found == wanted);
      expected += wanted;
    }
    FUZZ_CHECK(dispatcher.matched_count == expected);
    dispatcher_end(&dispatcher);
  }
  for (size_t i = 0; i < count; i++)
    dispatcher_remove(&dispatcher, all[i].receiver);
  FUZZ_CHECK(dispatcher.node_count == 0 && dispatcher.ids.count == 0);
  dispatcher_free(&dispatcher);
}

static void patterns(iotops_text topic, iotops_text text, iotops_text space,
                     iotops_text value) {
  text_buffer buffer = {.context = fuzz_context()};
  topic_pattern pattern = {0};
  iotops_token *given = NULL, *found = NULL;
  iotops_text made;
  iotops_error err;

  if (topic_pattern_init(&pattern, fuzz_context(), "pattern", text,
                         space.size ? space : (iotops_text){0}, NULL, 0,
                         &err) != 0) {
    FUZZ_CHECK(!iotops_topic_pattern_valid(text) ||
               (space.size && !iotops_topic_namespace_valid(space)) ||
               text.size + space.size + 1 > 65535);
    return;
  }
  FUZZ_CHECK(iotops_topic_pattern_valid(text));
  given = calloc(pattern.token_count + 1, sizeof *given);
  found = calloc(pattern.token_count + 1, sizeof *found);
  FUZZ_CHECK(given && found);
  if (topic.size > 0)
    (void)topic_pattern_match(&pattern, topic, found);
  for (size_t i = 0; i < pattern.token_count; i++) {
    given[i].name = pattern.tokens[i].name;
    given[i].value = value;
  }
  if (topic_pattern_publish(&pattern, given, pattern.token_count, &buffer,
                            &made, &err) == 0) {
    text_buffer filter = {.context = fuzz_context()};
    bool flat = !value.size || !memchr(value.data, '/', value.size);

    FUZZ_CHECK(iotops_topic_name_valid(made));
    if (flat) {
      FUZZ_CHECK(topic_pattern_match(&pattern, made, found));
      for (size_t i = 0; i < pattern.token_count; i++)
        FUZZ_CHECK(iotops_text_equal(found[i].value, value));
      if (topic_pattern_filter(&pattern, (iotops_text){0}, &filter, &err) ==
          0) {
        iotops_text wanted = text_buffer_text(&filter);

        FUZZ_CHECK(iotops_topic_filter_valid(wanted));
        FUZZ_CHECK(iotops_topic_filter_matches(wanted, made));
      }
    }
    text_buffer_clear(&filter);
  }
  text_buffer_clear(&buffer);
  free(given);
  free(found);
  topic_pattern_clear(&pattern);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_input input = {data, data + size};
  iotops_text topic, pattern, space, value;

  if (size > 2000)
    return 0;
  topic = fuzz_line(&input);
  pattern = fuzz_line(&input);
  space = fuzz_line(&input);
  value = fuzz_line(&input);
  (void)iotops_share_group_valid(value);
  (void)iotops_response_topic_valid(topic);
  patterns(topic, pattern, space, value);
  dispatch(topic, &input);
  return 0;
}
