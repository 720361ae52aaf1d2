#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/command_status.h"

enum { PAIRS_MAX = 8 };

typedef struct response {
  iotops_message message;
  iotops_user_property pairs[PAIRS_MAX];
} response;

/* A response with the given names and values, NULL ends them. */
static void make(response *made, ...) {
  va_list args;
  *made = (response){.message = IOTOPS_MESSAGE_INIT};
  made->message.user_properties = made->pairs;
  va_start(args, made);
  const char *name;
  while ((name = va_arg(args, const char *))) {
    assert_true(made->message.user_property_count < PAIRS_MAX);
    iotops_user_property *pair =
        &made->pairs[made->message.user_property_count++];
    pair->name = iotops_text_of(name);
    pair->value = iotops_text_of(va_arg(args, const char *));
  }
  va_end(args);
}

static int check(const response *response, iotops_error *err) {
  uint16_t code;
  memset(err, 0, sizeof *err);
  if (command_status_code(&response->message, &code, err))
    return -1;
  return command_status_check(&response->message, code, err);
}

static void assert_text(iotops_text text, const char *expected) {
  assert_true(iotops_text_equal(text, iotops_text_of(expected)));
}

static void two_hundred_and_two_hundred_four_are_successes(void **state) {
  (void)state;
  response made;
  iotops_error err;
  make(&made, "__stat", "200", NULL);
  assert_int_equal(check(&made, &err), 0);
  make(&made, "__stat", "204", "__apErr", "false", NULL);
  assert_int_equal(check(&made, &err), 0);
}

static void the_last_status_of_several_wins(void **state) {
  (void)state;
  response made;
  iotops_error err;
  make(&made, "__stat", "500", "__stat", "200", NULL);
  assert_int_equal(check(&made, &err), 0);
}

static void a_missing_status_is_a_local_missing_header(void **state) {
  (void)state;
  response made;
  iotops_error err;
  make(&made, NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.kind, IOTOPS_MISSING_HEADER);
  assert_string_equal(err.header_name, "__stat");
  assert_false(err.has_header_value);
  assert_false(err.is_remote);
  assert_false(err.is_shallow);
}

static void a_status_that_is_no_number_is_a_local_invalid_header(void **state) {
  (void)state;
  static const char *const bad[] = {"",    "x",    "-1",   "65536",
                                    "2e2", " 200", "200 ", "not a number"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    response made;
    iotops_error err;
    make(&made, "__stat", bad[i], NULL);
    assert_int_equal(check(&made, &err), -1);
    assert_int_equal(err.kind, IOTOPS_INVALID_HEADER);
    assert_string_equal(err.header_name, "__stat");
    assert_true(err.has_header_value);
    assert_string_equal(err.header_value, bad[i]);
    assert_false(err.is_remote);
  }
}

static void a_bad_request_is_told_apart_by_name_and_value(void **state) {
  (void)state;
  response made;
  iotops_error err;
  make(&made, "__stat", "400", "__stMsg", "why", "__propName", "h", "__propVal",
       "", NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_HEADER);
  assert_string_equal(err.message, "why");
  assert_string_equal(err.header_name, "h");
  assert_true(err.has_header_value);
  assert_string_equal(err.header_value, "");
  assert_true(err.is_remote);

  make(&made, "__stat", "400", "__propName", "h", NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.kind, IOTOPS_MISSING_HEADER);
  assert_string_equal(err.header_name, "h");

  make(&made, "__stat", "400", "__propVal", "v", NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_PAYLOAD);
}

static void a_remote_timeout_has_a_name_and_a_duration(void **state) {
  (void)state;
  response made;
  iotops_error err;
  make(&made, "__stat", "408", "__propName", "ExecutionTimeout", "__propVal",
       "PT1.5S", NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.kind, IOTOPS_TIMEOUT);
  assert_string_equal(err.timeout_name, "ExecutionTimeout");
  assert_true(err.has_timeout_value);
  assert_int_equal(err.timeout_ms, 1500);

  make(&made, "__stat", "408", "__propName", "t", "__propVal", "soon", NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.kind, IOTOPS_TIMEOUT);
  assert_false(err.has_timeout_value);
}

static void content_that_is_not_supported_is_an_invalid_header(void **state) {
  (void)state;
  response made;
  iotops_error err;
  make(&made, "__stat", "415", "__propName", "Content Type", NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_HEADER);
  assert_string_equal(err.header_name, "Content Type");
  assert_false(err.has_header_value);
}

static void every_spelling_of_an_application_error_is_understood(void **state) {
  (void)state;
  static const struct {
    const char *value;
    bool is_one;
  } spellings[] = {{"true", true},   {"TRUE", true},   {"1", true},
                   {"yes", true},    {"", false},      {"false", false},
                   {"False", false}, {"FALSE", false}, {"falsch", true},
                   {"fals", true}};
  response made;
  iotops_error err;
  for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
    make(&made, "__stat", "500", "__apErr", spellings[i].value, NULL);
    assert_int_equal(check(&made, &err), -1);
    assert_int_equal(err.kind, spellings[i].is_one ? IOTOPS_EXECUTION_ERROR
                                                   : IOTOPS_UNKNOWN_ERROR);
  }
  make(&made, "__stat", "500", NULL);
  check(&made, &err);
  assert_int_equal(err.kind, IOTOPS_UNKNOWN_ERROR);
}

static void an_execution_error_keeps_its_property(void **state) {
  (void)state;
  response made;
  iotops_error err;
  make(&made, "__stat", "500", "__apErr", "true", "__propName", "p",
       "__propVal", "v", "__stMsg", "m", NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.kind, IOTOPS_EXECUTION_ERROR);
  assert_string_equal(err.property_name, "p");
  assert_string_equal(err.property_value, "v");
  assert_string_equal(err.message, "m");
  assert_true(err.is_remote);
}

static void a_named_internal_error_is_a_logic_error(void **state) {
  (void)state;
  response made;
  iotops_error err;
  make(&made, "__stat", "500", "__apErr", "false", "__propName", "p", NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INTERNAL_LOGIC_ERROR);
  assert_string_equal(err.property_name, "p");
}

static void an_unavailable_executor_is_an_invalid_state(void **state) {
  (void)state;
  response made;
  iotops_error err;
  make(&made, "__stat", "503", "__propName", "MaxClockDrift", NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
  assert_string_equal(err.property_name, "MaxClockDrift");
  assert_true(err.is_remote);
}

static void a_refused_version_says_which_and_what_is_supported(void **state) {
  (void)state;
  response made;
  iotops_error err;
  make(&made, "__stat", "505", "__protVer", "1.0", "__requestProtVer", "9.7",
       "__supProtMajVer", " 1 x 2\t3 -4 99999 5", NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.kind, IOTOPS_UNSUPPORTED_VERSION);
  assert_string_equal(err.protocol_version, "9.7");
  assert_int_equal(err.supported_major_count, 4);
  assert_int_equal(err.supported_majors[0], 1);
  assert_int_equal(err.supported_majors[3], 5);
}

static void more_majors_than_are_kept_do_not_overflow(void **state) {
  (void)state;
  response made;
  iotops_error err;
  make(&made, "__stat", "505", "__supProtMajVer",
       "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19", NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_int_equal(err.supported_major_count, IOTOPS_ERROR_MAJORS);
}

static void any_other_status_is_unknown_with_its_property(void **state) {
  (void)state;
  static const char *const others[] = {"0",   "100", "201", "202",  "302",
                                       "401", "418", "422", "65535"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    response made;
    iotops_error err;
    make(&made, "__stat", others[i], "__apErr", "true", "__propName", "p",
         "__propVal", "v", NULL);
    assert_int_equal(check(&made, &err), -1);
    assert_int_equal(err.kind, IOTOPS_UNKNOWN_ERROR);
    assert_string_equal(err.property_name, "p");
    assert_string_equal(err.property_value, "v");
  }
}

static void a_long_status_message_is_cut_and_not_overrun(void **state) {
  (void)state;
  static char text[5000];
  response made;
  iotops_error err;
  memset(text, 'm', sizeof text - 1);
  make(&made, "__stat", "500", "__stMsg", text, NULL);
  assert_int_equal(check(&made, &err), -1);
  assert_true(strlen(err.message) < IOTOPS_ERROR_MESSAGE_SIZE);
}

static void each_error_of_an_executor_has_its_status(void **state) {
  (void)state;
  static const struct {
    iotops_error_kind kind;
    uint16_t code;
    bool is_application_error;
  } rows[] = {{IOTOPS_MISSING_HEADER, 400, false},
              {IOTOPS_INVALID_HEADER, 400, false},
              {IOTOPS_INVALID_PAYLOAD, 400, false},
              {IOTOPS_TIMEOUT, 408, false},
              {IOTOPS_INVALID_STATE, 503, false},
              {IOTOPS_UNSUPPORTED_VERSION, 505, false},
              {IOTOPS_INTERNAL_LOGIC_ERROR, 500, false},
              {IOTOPS_UNKNOWN_ERROR, 500, false},
              {IOTOPS_EXECUTION_ERROR, 500, true}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    iotops_error err;
    command_status status;
    iotops_error_set(&err, rows[i].kind, "why");
    command_status_of(&err, &status);
    assert_int_equal(status.code, rows[i].code);
    assert_int_equal(status.is_application_error, rows[i].is_application_error);
    assert_text(status.message, "why");
    assert_null(status.name.data);
    assert_null(status.value.data);
  }
}

static void content_headers_have_a_status_of_their_own(void **state) {
  (void)state;
  static const char *const names[] = {"Content Type",
                                      "Payload Format Indicator"};
  for (size_t i = 0; i < 2; i++) {
    iotops_error err;
    command_status status;
    iotops_error_set(&err, IOTOPS_INVALID_HEADER, "no");
    iotops_error_name(err.header_name, iotops_text_of(names[i]));
    iotops_error_header_value(&err, iotops_text_of("None"));
    command_status_of(&err, &status);
    assert_int_equal(status.code, 415);
    assert_text(status.name, names[i]);
    assert_text(status.value, "None");
  }
}

static void an_execution_timeout_says_how_long_it_was(void **state) {
  (void)state;
  iotops_error err;
  command_status status;
  iotops_error_set(&err, IOTOPS_TIMEOUT, "late");
  iotops_error_name(err.timeout_name, iotops_text_of(EXECUTION_TIMEOUT_NAME));
  err.has_timeout_value = true;
  err.timeout_ms = 1000;
  command_status_of(&err, &status);
  assert_text(status.name, "ExecutionTimeout");
  assert_text(status.value, "PT1S");
}

static void a_clock_that_drifts_is_named_without_a_value(void **state) {
  (void)state;
  iotops_error err;
  command_status status;
  iotops_error_set(&err, IOTOPS_INVALID_STATE, "drift");
  iotops_error_name(err.property_name, iotops_text_of("MaxClockDrift"));
  iotops_error_property_value(&err, iotops_text_of("60000"));
  command_status_of(&err, &status);
  assert_text(status.name, "MaxClockDrift");
  assert_null(status.value.data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_hundred_and_two_hundred_four_are_successes),
      cmocka_unit_test(the_last_status_of_several_wins),
      cmocka_unit_test(a_missing_status_is_a_local_missing_header),
      cmocka_unit_test(a_status_that_is_no_number_is_a_local_invalid_header),
      cmocka_unit_test(a_bad_request_is_told_apart_by_name_and_value),
      cmocka_unit_test(a_remote_timeout_has_a_name_and_a_duration),
      cmocka_unit_test(content_that_is_not_supported_is_an_invalid_header),
      cmocka_unit_test(every_spelling_of_an_application_error_is_understood),
      cmocka_unit_test(an_execution_error_keeps_its_property),
      cmocka_unit_test(a_named_internal_error_is_a_logic_error),
      cmocka_unit_test(an_unavailable_executor_is_an_invalid_state),
      cmocka_unit_test(a_refused_version_says_which_and_what_is_supported),
      cmocka_unit_test(more_majors_than_are_kept_do_not_overflow),
      cmocka_unit_test(any_other_status_is_unknown_with_its_property),
      cmocka_unit_test(a_long_status_message_is_cut_and_not_overrun),
      cmocka_unit_test(each_error_of_an_executor_has_its_status),
      cmocka_unit_test(content_headers_have_a_status_of_their_own),
      cmocka_unit_test(an_execution_timeout_says_how_long_it_was),
      cmocka_unit_test(a_clock_that_drifts_is_named_without_a_value),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
