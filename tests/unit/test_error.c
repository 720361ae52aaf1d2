#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/error.h"

static void setting_an_error_unsets_what_was_there(void **state) {
  (void)state;
  iotops_error err;
  memset(&err, 0x55, sizeof err);
  assert_int_equal(iotops_error_set(&err, IOTOPS_TIMEOUT, "after %d", 3), -1);
  assert_int_equal(err.kind, IOTOPS_TIMEOUT);
  assert_string_equal(err.message, "after 3");
  assert_false(err.is_shallow);
  assert_false(err.is_remote);
  assert_string_equal(err.header_name, "");
  assert_false(err.has_header_value);
  assert_string_equal(err.property_name, "");
  assert_false(err.has_property_value);
  assert_int_equal(err.supported_major_count, 0);
  assert_int_equal(err.reason_code, -1);
}

static void no_error_to_fill_in_is_allowed(void **state) {
  (void)state;
  assert_int_equal(iotops_error_set(NULL, IOTOPS_TIMEOUT, "x"), -1);
  assert_int_equal(
      iotops_error_configuration(NULL, "name", iotops_text_of("v"), "x"), -1);
  assert_int_equal(iotops_error_memory(NULL), -1);
  iotops_error_header_value(NULL, iotops_text_of("v"));
  iotops_error_property_value(NULL, iotops_text_of("v"));
}

static void an_error_can_be_wrapped_in_itself(void **state) {
  (void)state;
  iotops_error err;
  iotops_error_configuration(&err, "keep_alive", iotops_text_of("0"), "inner");
  iotops_error_configuration(&err, err.property_name,
                             iotops_text_of(err.property_value), "outer: %s",
                             err.message);
  assert_string_equal(err.message, "outer: inner");
  assert_string_equal(err.property_name, "keep_alive");
  assert_string_equal(err.property_value, "0");
  assert_true(err.is_shallow);
  iotops_error_set(&err, IOTOPS_MQTT_ERROR, "again: %s", err.message);
  assert_string_equal(err.message, "again: outer: inner");
}

static void an_absent_value_differs_from_an_empty_one(void **state) {
  (void)state;
  iotops_error err;
  iotops_error_configuration(&err, "a", iotops_text_of(NULL), "m");
  assert_false(err.has_property_value);
  iotops_error_configuration(&err, "a", iotops_text_of(""), "m");
  assert_true(err.has_property_value);
  assert_string_equal(err.property_value, "");
  iotops_error_header_value(&err, iotops_text_of(""));
  assert_true(err.has_header_value);
}

static void memory_errors_are_shallow_invalid_state(void **state) {
  (void)state;
  iotops_error err;
  iotops_error_memory(&err);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
  assert_true(err.is_shallow);
}

/* Whatever the length and wherever a character falls: valid, terminated. */
static void long_texts_are_cut_between_characters(void **state) {
  (void)state;
  static const char *const characters[] = {"x", "\xC3\xA9", "\xE2\x82\xAC",
                                           "\xF0\x9F\x98\x80"};
  for (size_t c = 0; c < 4; c++) {
    size_t width = strlen(characters[c]);
    for (size_t lead = 0; lead < 4; lead++) {
      char text[300];
      size_t length = lead;
      memset(text, 'a', lead);
      while (length + width < sizeof text) {
        memcpy(text + length, characters[c], width);
        length += width;
      }
      for (size_t size = 100; size <= length; size++) {
        char field[IOTOPS_ERROR_NAME_SIZE];
        memset(field, 0x55, sizeof field);
        iotops_text given = {text, size};
        iotops_error_name(field, given);
        size_t kept = strlen(field);
        assert_true(kept < sizeof field);
        if (size < sizeof field) {
          assert_int_equal(kept, size);
          continue;
        }
        assert_true(kept >= sizeof field - 4);
        assert_string_equal(field + kept - 3, "...");
        assert_int_equal((kept - 3 - lead) % width, 0);
        assert_memory_equal(field, text, kept - 3);
      }
    }
  }
}

static void bytes_that_are_not_utf8_are_cut_within_bounds(void **state) {
  (void)state;
  char text[500], field[IOTOPS_ERROR_NAME_SIZE];
  memset(text, 0x80, sizeof text);
  iotops_text given = {text, sizeof text};
  iotops_error_name(field, given);
  assert_true(strlen(field) >= sizeof field - 8);
  memset(text, 0xFF, sizeof text);
  iotops_error_name(field, given);
  assert_int_equal(strlen(field), sizeof field - 1);
}

static void a_nul_inside_does_not_hide_the_rest(void **state) {
  (void)state;
  iotops_error err;
  iotops_text given = {"a\0b", 3};
  iotops_error_configuration(&err, "p", given, "m");
  assert_string_equal(err.property_value, "a?b");
}

static void a_long_message_is_cut(void **state) {
  (void)state;
  iotops_error err;
  char text[3000];
  memset(text, 'm', sizeof text);
  text[sizeof text - 1] = '\0';
  iotops_error_set(&err, IOTOPS_UNKNOWN_ERROR, "%s", text);
  assert_int_equal(strlen(err.message), IOTOPS_ERROR_MESSAGE_SIZE - 1);
  assert_string_equal(err.message + IOTOPS_ERROR_MESSAGE_SIZE - 4, "...");
}

static void kinds_and_reasons_have_names(void **state) {
  (void)state;
  for (int kind = 0; kind <= IOTOPS_UNSUPPORTED_VERSION; kind++)
    for (int other = 0; other < kind; other++)
      assert_string_not_equal(iotops_error_kind_name((iotops_error_kind)kind),
                              iotops_error_kind_name((iotops_error_kind)other));
  assert_string_equal(iotops_error_kind_name(IOTOPS_INVALID_CONFIGURATION),
                      "invalid configuration");
  assert_string_equal(iotops_reason_name(0x87), "Not authorized");
  assert_string_equal(iotops_reason_name(0x8E), "Session taken over");
  assert_string_equal(iotops_reason_name(0xA2),
                      "Wildcard Subscriptions not supported");
  for (int code = -5; code < 300; code++)
    assert_non_null(iotops_reason_name(code));
  assert_string_equal(iotops_reason_name(0x99), "Payload format invalid");
  assert_string_equal(iotops_reason_name(0xFF), "Unknown reason");
}

static void texts_compare_by_presence_and_bytes(void **state) {
  (void)state;
  iotops_text absent = iotops_text_of(NULL), empty = iotops_text_of("");
  iotops_text with_nul = {"a\0b", 3}, other_nul = {"a\0c", 3};
  assert_true(iotops_text_equal(absent, absent));
  assert_false(iotops_text_equal(absent, empty));
  assert_true(iotops_text_equal(empty, empty));
  assert_false(iotops_text_equal(with_nul, other_nul));
  assert_false(iotops_text_equal(with_nul, iotops_text_of("a")));
  assert_string_equal(iotops_version(), IOTOPS_VERSION);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(setting_an_error_unsets_what_was_there),
      cmocka_unit_test(no_error_to_fill_in_is_allowed),
      cmocka_unit_test(an_error_can_be_wrapped_in_itself),
      cmocka_unit_test(an_absent_value_differs_from_an_empty_one),
      cmocka_unit_test(memory_errors_are_shallow_invalid_state),
      cmocka_unit_test(long_texts_are_cut_between_characters),
      cmocka_unit_test(bytes_that_are_not_utf8_are_cut_within_bounds),
      cmocka_unit_test(a_nul_inside_does_not_hide_the_rest),
      cmocka_unit_test(a_long_message_is_cut),
      cmocka_unit_test(kinds_and_reasons_have_names),
      cmocka_unit_test(texts_compare_by_presence_and_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
