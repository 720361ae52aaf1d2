/*
** test_runtime_logger.c -- each record is one line of valid text, whatever it
** holds.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <unistd.h>

#include "runtime/logger.h"

enum { SIZE = 65536 };

/* What the logger writes for `record`; to be freed. */
static char *written(bool json, const iotops_log_record *record) {
  char *text = test_calloc(1, SIZE);
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  logger logger;
  logger_init(&logger, ends[1], json ? LOGGER_JSON : LOGGER_TEXT);
  logger_write(&logger, record);
  close(ends[1]);
  size_t have = 0;
  ssize_t got = 0;
  while ((got = read(ends[0], text + have, SIZE - 1 - have)) > 0)
    have += (size_t)got;
  close(ends[0]);
  return text;
}

static json_t *parsed(const iotops_log_record *record) {
  char *text = written(true, record);
  json_error_t failure;
  assert_non_null(strchr(text, '\n'));
  assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
  json_t *json = json_loads(text, 0, &failure);
  if (json == NULL)
    fail_msg("%s: %s", failure.text, text);
  test_free(text);
  return json;
}

static const char *member(const json_t *json, const char *name) {
  return json_string_value(json_object_get(json, name));
}

static iotops_log_record record_of(const char *message) {
  return (iotops_log_record){.level = IOTOPS_LOG_WARN,
                             .component = "host",
                             .message = iotops_text_of(message)};
}

static void a_record_is_a_line_of_json(void **state) {
  (void)state;
  iotops_log_field fields[] = {{"script", iotops_text_of("line1"), false},
                               {"generation", iotops_text_of("3"), true}};
  iotops_log_record record = record_of("reloaded");
  record.fields = fields;
  record.field_count = 2;
  json_t *json = parsed(&record);
  assert_string_equal(member(json, "level"), "warn");
  assert_string_equal(member(json, "component"), "host");
  assert_string_equal(member(json, "message"), "reloaded");
  assert_string_equal(member(json, "script"), "line1");
  assert_int_equal(json_integer_value(json_object_get(json, "generation")), 3);
  assert_int_equal(strlen(member(json, "time")), 24);
  json_decref(json);
}

static void only_a_number_is_written_as_one(void **state) {
  static const char *const texts[] = {
      "",  "-",  "1e",  "01", "-01", "1.",  ".1",  "1.e1", "0x1",  "1,",
      "}", "\"", "1e+", "1 ", " 1",  "nan", "inf", "+1",   "1..2", "1e1.5"};
  static const char *const numbers[] = {"0",    "7",      "10",  "-3",
                                        "0.25", "-1e+06", "1e9", "12.50E-3"};
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    iotops_log_field field = {"count", iotops_text_of(texts[i]), true};
    iotops_log_record record = record_of("counters");
    record.fields = &field;
    record.field_count = 1;
    json_t *json = parsed(&record);
    assert_string_equal(member(json, "count"), texts[i]);
    json_decref(json);
  }
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    iotops_log_field field = {"count", iotops_text_of(numbers[i]), true};
    iotops_log_record record = record_of("counters");
    record.fields = &field;
    record.field_count = 1;
    json_t *json = parsed(&record);
    const json_t *count = json_object_get(json, "count");
    assert_true(json_is_number(count));
    assert_true(json_number_value(count) == strtod(numbers[i], NULL));
    json_decref(json);
  }
}

static void quotes_line_ends_and_control_characters_are_escaped(void **state) {
  (void)state;
  const char *message = "a \"b\" \\ \n\t\x1b[2J \x7f";
  iotops_log_record record = record_of(message);
  json_t *json = parsed(&record);
  assert_string_equal(member(json, "message"), message);
  json_decref(json);
}

static void bytes_that_are_no_text_are_replaced(void **state) {
  (void)state;
  const char *const broken[] = {
      "\xff",    "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
      "\xe2\x82"};
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
    iotops_log_record record = record_of(broken[i]);
    json_t *json = parsed(&record);
    assert_non_null(strstr(member(json, "message"), "\xEF\xBF\xBD"));
    json_decref(json);
  }
}

static void what_is_too_long_is_cut_and_stays_valid(void **state) {
  (void)state;
  char *message = test_malloc(40001);
  iotops_log_field fields[64];
  /* The worst to escape: six bytes for one. */
  memset(message, '\x01', 40000);
  message[40000] = '\0';
  iotops_log_record record = record_of(message);
  for (size_t i = 0; i < 64; i++)
    fields[i] = (iotops_log_field){"field", iotops_text_of(message), false};
  record.fields = fields;
  record.field_count = 64;
  json_t *json = parsed(&record);
  assert_non_null(member(json, "message"));
  json_decref(json);
  test_free(message);
}

static void text_goes_by_the_scripts_name(void **state) {
  (void)state;
  iotops_log_field fields[] = {{"script", iotops_text_of("line1"), false},
                               {"generation", iotops_text_of("3"), false},
                               {"topic", iotops_text_of("a b"), false}};
  iotops_log_record record = record_of("failed");
  record.fields = fields;
  record.field_count = 3;
  char *text = written(false, &record);
  assert_non_null(strstr(text, "warn  line1#3: failed  topic=\"a b\"\n"));
  test_free(text);
}

static void a_traceback_comes_after_the_fields(void **state) {
  (void)state;
  iotops_log_field fields[] = {{"topic", iotops_text_of("a/b"), false}};
  iotops_log_record record = record_of("failed\nstack:\n\tline 1");
  record.fields = fields;
  record.field_count = 1;
  char *text = written(false, &record);
  assert_non_null(strstr(
      text, "warn  host: failed  topic=a/b\n    stack:\n      line 1\n"));
  test_free(text);
}

static void a_message_cannot_move_the_cursor(void **state) {
  (void)state;
  iotops_log_record record = record_of("\x1b[2Jgone\rx");
  char *text = written(false, &record);
  assert_null(strchr(text, '\x1b'));
  assert_null(strchr(text, '\r'));
  assert_non_null(strstr(text, "\\x1b[2Jgone\\x0dx"));
  test_free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_record_is_a_line_of_json),
      cmocka_unit_test(only_a_number_is_written_as_one),
      cmocka_unit_test(quotes_line_ends_and_control_characters_are_escaped),
      cmocka_unit_test(bytes_that_are_no_text_are_replaced),
      cmocka_unit_test(what_is_too_long_is_cut_and_stays_valid),
      cmocka_unit_test(text_goes_by_the_scripts_name),
      cmocka_unit_test(a_traceback_comes_after_the_fields),
      cmocka_unit_test(a_message_cannot_move_the_cursor),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
