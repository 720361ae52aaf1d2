/*
** test_runtime_message_line.c -- a message comes back from its line as it was,
** and a line that is wrong is refused with the member at fault.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/message_line.h"

static int make_context(void **state) {
  iotops_context *context = NULL;
  int result = iotops_context_new(NULL, &context, NULL);
  *state = context;
  return result;
}

static int free_context(void **state) {
  iotops_context_free(*state);
  return 0;
}

/* The line of a message; the buffer is to be cleared. */
static iotops_text written(text_buffer *buffer, iotops_context *context,
                           const iotops_message *message,
                           const message_line *line) {
  text_buffer_init(buffer, context);
  message_line_write(buffer, message, line);
  assert_false(buffer->failed);
  text_buffer_add_char(buffer, '\0');
  buffer->size--;
  return text_buffer_text(buffer);
}

static void assert_text(iotops_text a, iotops_text b) {
  if (a.size == 0 && b.size == 0)
    return;
  assert_int_equal(a.size, b.size);
  assert_memory_equal(a.data, b.data, a.size);
}

static void assert_same(const iotops_message *a, const iotops_message *b) {
  assert_text(a->topic, b->topic);
  assert_text(a->payload, b->payload);
  assert_int_equal(a->qos, b->qos);
  assert_int_equal(a->retain, b->retain);
  assert_int_equal(a->format_indicator, b->format_indicator);
  assert_int_equal(a->has_expiry, b->has_expiry);
  if (a->has_expiry)
    assert_int_equal(a->expiry_s, b->expiry_s);
  assert_int_equal(a->content_type.data == NULL, b->content_type.data == NULL);
  assert_text(a->content_type, b->content_type);
  assert_text(a->response_topic, b->response_topic);
  assert_int_equal(a->correlation_data.data == NULL,
                   b->correlation_data.data == NULL);
  assert_text(a->correlation_data, b->correlation_data);
  assert_int_equal(a->user_property_count, b->user_property_count);
  for (size_t i = 0; i < a->user_property_count; i++) {
    assert_text(a->user_properties[i].name, b->user_properties[i].name);
    assert_text(a->user_properties[i].value, b->user_properties[i].value);
  }
}

static void a_line_says_what_a_message_is(void **state) {
  text_buffer buffer;
  iotops_user_property properties[] = {
      {iotops_text_of("__ts"), iotops_text_of("1\"\\\n\x7F")},
      {iotops_text_of(""), iotops_text_of("\xFF")}};
  iotops_message message = {
      .topic = iotops_text_of("line/1"),
      .payload = iotops_text_of("{\"n\":\n9007199254740993}"),
      .qos = 1,
      .format_indicator = 1,
      .has_expiry = true,
      .expiry_s = 10,
      .content_type = iotops_text_of("application/json"),
      .response_topic = iotops_text_of("answers"),
      .correlation_data = {"\0\1\2", 3},
      .user_properties = properties,
      .user_property_count = 2,
  };
  message_line line = {.has_time = true,
                       .time_ms = 1700000000007,
                       .direction = MESSAGE_OUT,
                       .script = "fans",
                       .outcome = "sent"};
  assert_string_equal(
      written(&buffer, *state, &message, &line).data,
      "{\"time\":\"2023-11-14T22:13:20.007Z\",\"direction\":\"out\","
      "\"script\":\"fans\",\"outcome\":\"sent\",\"topic\":\"line/1\","
      "\"payload_text\":\"{\\\"n\\\":\\n9007199254740993}\",\"qos\":1,"
      "\"retain\":false,\"content_type\":\"application/json\","
      "\"format_indicator\":1,\"message_expiry\":10,\"response_topic\":"
      "\"answers\",\"correlation_data_base64\":\"AAEC\",\"user_properties\":"
      "[[\"__ts\",\"1\\\"\\\\\\n\\u007f\"],[\"\",\"\xEF\xBF\xBD\"]]}\n");
  text_buffer_clear(&buffer);
  line = (message_line){.readable = true};
  message = (iotops_message){.topic = iotops_text_of("t"),
                             .payload = iotops_text_of("{\"n\":\n1.50}"),
                             .format_indicator = -1};
  assert_string_equal(written(&buffer, *state, &message, &line).data,
                      "{\"topic\":\"t\",\"payload\":{\"n\": 1.50},\"qos\":0,"
                      "\"retain\":false,\"user_properties\":[]}\n");
  text_buffer_clear(&buffer);
}

/* A small generator, the same at each run. */
static uint32_t next(uint64_t *seed) {
  *seed = *seed * 6364136223846793005U + 1442695040888963407U;
  return (uint32_t)(*seed >> 33);
}

/* Text of up to `limit` characters of one to four bytes, none of them NUL. */
static iotops_text some_text(uint64_t *seed, char *into, uint32_t limit) {
  static const char *const pieces[] = {"a",
                                       "\"",
                                       "\\",
                                       "\n",
                                       "\x01",
                                       "\x7F",
                                       "\xC3\xA9",
                                       "\xE2\x82\xAC",
                                       "{",
                                       "}",
                                       "\xF0\x9F\x94\xA5"};
  uint32_t count = next(seed) % (limit + 1);
  size_t size = 0;
  for (uint32_t i = 0; i < count; i++) {
    const char *piece = pieces[next(seed) % (sizeof pieces / sizeof *pieces)];
    memcpy(into + size, piece, strlen(piece));
    size += strlen(piece);
  }
  return (iotops_text){into, size};
}

static void whatever_a_message_holds_comes_back(void **state) {
  uint64_t seed = 20260131;
  char texts[12][256], bytes[512] = {0};
  for (int round = 0; round < 3000; round++) {
    iotops_user_property properties[4];
    text_buffer buffer;
    iotops_message *back = NULL;
    iotops_message message = IOTOPS_MESSAGE_INIT;
    message_line line = {.has_time = next(&seed) % 2 == 0,
                         .time_ms =
                             (int64_t)next(&seed) * 1000 + next(&seed) % 1000,
                         .direction = next(&seed) % 3},
                 found;
    iotops_error err;
    message.topic = iotops_text_of("a/b");
    message.payload = some_text(&seed, texts[0], 40);
    if (next(&seed) % 2 == 0) {
      size_t size = next(&seed) % sizeof bytes;
      for (size_t i = 0; i < size; i++)
        bytes[i] = (char)next(&seed);
      message.payload = (iotops_text){bytes, size};
    }
    message.qos = next(&seed) % 2;
    message.retain = next(&seed) % 2;
    message.format_indicator = (int)(next(&seed) % 3) - 1;
    message.has_expiry = next(&seed) % 2;
    message.expiry_s = next(&seed);
    if (next(&seed) % 2 == 0)
      message.content_type = some_text(&seed, texts[1], 20);
    if (next(&seed) % 2 == 0)
      message.correlation_data = (iotops_text){bytes, next(&seed) % 20};
    message.user_properties = properties;
    message.user_property_count = next(&seed) % 5;
    for (size_t i = 0; i < message.user_property_count; i++) {
      properties[i].name = some_text(&seed, texts[2 + 2 * i], 10);
      properties[i].value = some_text(&seed, texts[3 + 2 * i], 10);
    }
    iotops_text text = written(&buffer, *state, &message, &line);
    assert_ptr_equal(memchr(text.data, '\n', text.size),
                     text.data + text.size - 1);
    if (message_line_read(*state, text, &back, &found, &err) != 0)
      fail_msg("%s in %s", err.message, text.data);
    assert_same(&message, back);
    assert_int_equal(found.has_time, line.has_time);
    if (line.has_time)
      assert_true(found.time_ms == line.time_ms);
    assert_int_equal(found.direction, line.direction);
    iotops_free(*state, back);
    text_buffer_clear(&buffer);
  }
}

static void a_line_that_is_wrong_is_refused_by_name(void **state) {
  static const struct {
    const char *line, *says;
  } cases[] = {
      {"", "line: is not JSON"},
      {"{\"topic\":\"a\"", "line: is not JSON"},
      {"[1]", "line: is not a JSON object"},
      {"{}", "topic: is missing"},
      {"{\"topic\":7}", "topic: is not a string"},
      {"{\"topic\":\"a/#\"}", "topic: is not a topic that MQTT takes"},
      {"{\"topic\":\"\"}", "topic: is not a topic"},
      {"{\"topic\":\"a\\u0000b\"}", "topic: has a NUL in it"},
      {"{\"topic\":\"a\",\"topic\":\"b\"}", "line: is not JSON"},
      {"{\"topic\":\"a\",\"tpoic\":1}", "tpoic: there is no such member"},
      {"{\"topic\":\"a\",\"payload\":1,\"payload_text\":\"\"}",
       "payload_text: there is another payload"},
      {"{\"topic\":\"a\",\"payload_base64\":\"AB\"}",
       "payload_base64: is not base64"},
      {"{\"topic\":\"a\",\"payload_base64\":\"AB==\"}",
       "payload_base64: is not base64"},
      {"{\"topic\":\"a\",\"payload_base64\":\"A===\"}",
       "payload_base64: is not base64"},
      {"{\"topic\":\"a\",\"payload_base64\":\"AA==AAAA\"}",
       "payload_base64: is not base64"},
      {"{\"topic\":\"a\",\"qos\":2}", "qos: is not a whole number up to 1"},
      {"{\"topic\":\"a\",\"qos\":-1}", "qos: is not a whole number up to 1"},
      {"{\"topic\":\"a\",\"retain\":1}", "retain: is neither true nor false"},
      {"{\"topic\":\"a\",\"time\":\"now\"}", "time: is not a time such as"},
      {"{\"topic\":\"a\",\"direction\":\"up\"}", "direction: is neither"},
      {"{\"topic\":\"a\",\"message_expiry\":4294967296}",
       "message_expiry: is not a whole number up to 4294967295"},
      {"{\"topic\":\"a\",\"user_properties\":{}}",
       "user_properties: is not a list"},
      {"{\"topic\":\"a\",\"user_properties\":[[\"k\"]]}",
       "user_properties: entry 1 is not [name, value]"},
      {"{\"topic\":\"a\",\"user_properties\":[[\"k\",\"v\"],[\"k\",3]]}",
       "user_properties: is not a string"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    iotops_message *message = NULL;
    iotops_error err = {0};
    assert_int_equal(message_line_read(*state, iotops_text_of(cases[i].line),
                                       &message, NULL, &err),
                     -1);
    assert_int_equal(err.kind, IOTOPS_INVALID_PAYLOAD);
    if (strncmp(err.message, cases[i].says, strlen(cases[i].says)) != 0)
      fail_msg("%s: %s", cases[i].line, err.message);
    assert_null(message);
  }
}

static void what_is_too_long_or_too_many_is_refused(void **state) {
  iotops_message *message = NULL;
  iotops_error err;
  text_buffer buffer;
  text_buffer_init(&buffer, *state);
  text_buffer_add(&buffer, iotops_text_of("{\"topic\":\"a\","
                                          "\"content_type\":\""));
  for (int i = 0; i < 65536; i++)
    text_buffer_add_char(&buffer, 'x');
  text_buffer_add(&buffer, iotops_text_of("\"}"));
  assert_int_equal(message_line_read(*state, text_buffer_text(&buffer),
                                     &message, NULL, &err),
                   -1);
  assert_string_equal(err.message, "content_type: is longer than 65535 bytes");
  text_buffer_reset(&buffer);
  text_buffer_add(&buffer,
                  iotops_text_of("{\"topic\":\"a\",\"user_properties\":["));
  for (int i = 0; i <= MESSAGE_LINE_PROPERTIES; i++)
    text_buffer_add(&buffer,
                    iotops_text_of(i > 0 ? ",[\"k\",\"v\"]" : "[\"k\",\"v\"]"));
  text_buffer_add(&buffer, iotops_text_of("]}"));
  assert_int_equal(message_line_read(*state, text_buffer_text(&buffer),
                                     &message, NULL, &err),
                   -1);
  assert_string_equal(err.message,
                      "user_properties: has more than 1024 entries");
  text_buffer_clear(&buffer);
}

static void no_bytes_upset_the_reader(void **state) {
  static const char sound[] =
      "{\"time\":\"2023-11-14T22:13:20.007Z\",\"direction\":\"in\",\"topic\":"
      "\"line/1\",\"payload_base64\":\"AAEC\",\"qos\":1,\"retain\":false,"
      "\"message_expiry\":10,\"user_properties\":[[\"k\",\"v\"]]}";
  uint64_t seed = 7;
  size_t taken = 0;
  for (int round = 0; round < 20000; round++) {
    char line[sizeof sound];
    iotops_message *message = NULL;
    memcpy(line, sound, sizeof sound);
    for (uint32_t changes = 1 + next(&seed) % 3; changes > 0; changes--)
      line[next(&seed) % (sizeof sound - 1)] =
          next(&seed) % 2 == 0 ? (char)next(&seed)
                               : sound[next(&seed) % (sizeof sound - 1)];
    size_t size =
        next(&seed) % 4 == 0 ? next(&seed) % sizeof sound : sizeof sound - 1;
    if (message_line_read(*state, (iotops_text){line, size}, &message, NULL,
                          NULL) == 0) {
      taken++;
      iotops_free(*state, message);
    } else {
      assert_null(message);
    }
  }
  assert_in_range(taken, 1, 19999);
}

static void
a_file_is_read_line_by_line_and_says_where_it_is_wrong(void **state) {
  char content[] = "{\"topic\":\"a\"}\n\n \r\n{\"topic\":\n{\"topic\":\"b\","
                   "\"payload\":{\"n\": 1.5, \"s\":[null]}}";
  FILE *file = fmemopen(content, sizeof content - 1, "r");
  iotops_message *message = NULL;
  message_lines lines;
  iotops_error err;
  message_lines_init(&lines, *state, file, "day.jsonl");
  assert_int_equal(message_lines_next(&lines, &message, NULL, &err), 1);
  assert_text(message->topic, iotops_text_of("a"));
  iotops_free(*state, message);
  assert_int_equal(message_lines_next(&lines, &message, NULL, &err), -1);
  assert_non_null(strstr(err.message, "day.jsonl:4: line: is not JSON"));
  assert_int_equal(message_lines_next(&lines, &message, NULL, &err), 1);
  assert_text(message->topic, iotops_text_of("b"));
  assert_text(message->payload, iotops_text_of("{\"n\":1.5,\"s\":[null]}"));
  iotops_free(*state, message);
  assert_int_equal(message_lines_next(&lines, &message, NULL, &err), 0);
  message_lines_clear(&lines);
  fclose(file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_line_says_what_a_message_is),
      cmocka_unit_test(whatever_a_message_holds_comes_back),
      cmocka_unit_test(a_line_that_is_wrong_is_refused_by_name),
      cmocka_unit_test(what_is_too_long_or_too_many_is_refused),
      cmocka_unit_test(no_bytes_upset_the_reader),
      cmocka_unit_test(a_file_is_read_line_by_line_and_says_where_it_is_wrong),
  };
  return cmocka_run_group_tests(tests, make_context, free_context);
}
