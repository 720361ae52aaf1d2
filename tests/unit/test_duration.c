#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/correlation.h"
#include "protocol/duration.h"
#include "protocol/expiry.h"
#include "protocol/rfc3339.h"

static iotops_text T(const char *string) {
  return iotops_text_of(string);
}

static void durations_are_written_shortly(void **state) {
  (void)state;
  static const struct {
    int64_t us;
    const char *text;
  } cases[] = {
      {0, "PT0S"},
      {1000000, "PT1S"},
      {61000000, "PT1M1S"},
      {1500000, "PT1.5S"},
      {600000000, "PT10M"},
      {1, "PT0.000001S"},
      {3600000000, "PT1H"},
      {90000000000, "PT25H"},
      {3600000000 + 1250000, "PT1H1.25S"},
      {-1500000, "-PT1.5S"},
      {60000001, "PT1M0.000001S"},
  };
  char text[DURATION_TEXT_SIZE];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int64_t back;
    assert_int_equal(duration_format(cases[i].us, text, sizeof text),
                     strlen(cases[i].text));
    assert_string_equal(text, cases[i].text);
    assert_true(duration_parse(T(text), &back));
    assert_int_equal(back, cases[i].us);
  }
}

static void the_longest_duration_fits(void **state) {
  (void)state;
  char text[DURATION_TEXT_SIZE], small[5];
  assert_true(duration_format(INT64_MIN, text, sizeof text) < sizeof text);
  assert_string_equal(text, "-PT2562047788H54.775808S");
  assert_true(duration_format(INT64_MAX, text, sizeof text) < sizeof text);
  assert_int_equal(duration_format(1500000, small, sizeof small), 4);
  assert_string_equal(small, "PT1.");
}

static void durations_of_peers_are_read(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t us;
  } cases[] = {
      {"PT1S", 1000000},
      {"PT1,5S", 1500000},
      {"PT0.5M", 30000000},
      {"P1D", INT64_C(86400000000)},
      {"P1DT1S", INT64_C(86401000000)},
      {"P1W", INT64_C(604800000000)},
      {"P1Y", INT64_C(31536000000000)},
      {"P1M", INT64_C(2592000000000)},
      {"P1Y1M1W1DT1H1M1S", INT64_C(34822861000000)},
      {"+PT2S", 2000000},
      {"-PT2S", -2000000},
      {"PT0.0000019S", 1},
      {"PT0.00000000000000000001S", 0},
      {"PT0S", 0},
      {"P0D", 0},
      {"PT007S", 7000000},
      {"P0.5Y", INT64_C(15768000000000)},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int64_t us = -1;
    if (!duration_parse(T(cases[i].text), &us) || us != cases[i].us)
      fail_msg("%s is %lld", cases[i].text, (long long)us);
  }
}

static void malformed_durations_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "P",
                                    "PT",
                                    "1S",
                                    "PT1",
                                    "P1S",
                                    "PT1D",
                                    "PT1S1M",
                                    "PT.5S",
                                    "PT1.S",
                                    "PT1.5M1S",
                                    "PT1S ",
                                    " PT1S",
                                    "P1DT",
                                    "PT-1S",
                                    "--PT1S",
                                    "pt1s",
                                    "PT1S1S",
                                    "P1D1Y",
                                    "T1S",
                                    "P T1S",
                                    "PT99999999999999999999S",
                                    "P9223372036854775807Y",
                                    "PTS",
                                    "+"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    int64_t us;
    if (duration_parse(T(bad[i]), &us))
      fail_msg("accepted: %s", bad[i]);
  }
  int64_t us;
  assert_false(duration_parse(T(NULL), &us));
}

static void an_expiry_is_rounded_up(void **state) {
  (void)state;
  uint32_t seconds;
  assert_int_equal(expiry_from_us(1, "x", &seconds, NULL), 0);
  assert_int_equal(seconds, 1);
  assert_int_equal(expiry_from_us(500, "x", &seconds, NULL), 0);
  assert_int_equal(seconds, 1);
  assert_int_equal(expiry_from_us(3000000, "x", &seconds, NULL), 0);
  assert_int_equal(seconds, 3);
  assert_int_equal(expiry_from_us(3000001, "x", &seconds, NULL), 0);
  assert_int_equal(seconds, 4);
  assert_int_equal(
      expiry_from_us(INT64_C(4294967295000000), "x", &seconds, NULL), 0);
  assert_true(seconds == UINT32_MAX);
}

static void an_expiry_out_of_range_is_refused(void **state) {
  (void)state;
  static const int64_t bad[] = {
      0, -1, -500000, INT64_MIN, INT64_C(4294967295000001), INT64_MAX};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    uint32_t seconds;
    iotops_error err;
    assert_int_equal(expiry_from_us(bad[i], "message_expiry", &seconds, &err),
                     -1);
    assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
    assert_true(err.is_shallow);
    assert_string_equal(err.property_name, "message_expiry");
  }
  iotops_error err;
  uint32_t seconds;
  assert_int_equal(expiry_from_us(-500000, "x", &seconds, &err), -1);
  assert_string_equal(err.property_value, "-0.5");
}

static void what_is_left_of_an_expiry_is_rounded_up(void **state) {
  (void)state;
  assert_int_equal(expiry_left(3000, 0), 3);
  assert_int_equal(expiry_left(3000, 1), 3);
  assert_int_equal(expiry_left(3000, 1000), 2);
  assert_int_equal(expiry_left(3000, 2999), 1);
  assert_int_equal(expiry_left(3000, 3000), 0);
  assert_int_equal(expiry_left(3000, UINT64_MAX), 0);
  assert_true(expiry_left(UINT64_MAX, 0) == UINT32_MAX);
}

static void instants_are_read(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t ms;
  } cases[] = {
      {"1970-01-01T00:00:00Z", 0},
      {"1955-11-12T22:04:00Z", INT64_C(-446090160000)},
      {"1955-11-12t22:04:00z", INT64_C(-446090160000)},
      {"1955-11-12T23:34:00+01:30", INT64_C(-446090160000)},
      {"1955-11-12T14:04:00-08:00", INT64_C(-446090160000)},
      {"2000-02-29T12:00:00.5Z", INT64_C(951825600500)},
      {"2024-12-31T23:59:60Z", INT64_C(1735689600000)},
      {"1969-12-31T23:59:59.999Z", -1},
      {"0000-01-01T00:00:00Z", INT64_C(-62167219200000)},
      {"9999-12-31T23:59:59Z", INT64_C(253402300799000)},
      {"2023-10-03T23:07:05.1234567Z", INT64_C(1696374425123)},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int64_t ms = 1;
    if (!rfc3339_parse(T(cases[i].text), &ms) || ms != cases[i].ms)
      fail_msg("%s is %lld", cases[i].text, (long long)ms);
  }
}

static void what_is_no_instant_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "11/12/1955 22:04:00 UTC",
                                    "1955-11-12",
                                    "1955-11-12T22:04:00",
                                    "1955-11-12 22:04:00Z",
                                    "1955-13-12T22:04:00Z",
                                    "1955-00-12T22:04:00Z",
                                    "1955-11-31T22:04:00Z",
                                    "1955-11-00T22:04:00Z",
                                    "1955-02-29T22:04:00Z",
                                    "1900-02-29T00:00:00Z",
                                    "1955-11-12T24:00:00Z",
                                    "1955-11-12T22:60:00Z",
                                    "1955-11-12T22:04:61Z",
                                    "1955-11-12T22:04:00.Z",
                                    "1955-11-12T22:04:00+0100",
                                    "1955-11-12T22:04:00+24:00",
                                    "1955-11-12T22:04:00Z ",
                                    " 1955-11-12T22:04:00Z",
                                    "55-11-12T22:04:00Z",
                                    "+1955-11-12T22:04:00Z",
                                    "1955-11-12T22:04Z",
                                    "1955-11-12T22:04:00,5Z"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    int64_t ms;
    if (rfc3339_parse(T(bad[i]), &ms))
      fail_msg("accepted: %s", bad[i]);
  }
  int64_t ms;
  assert_false(rfc3339_parse(T(NULL), &ms));
}

static void instants_of_every_age_are_written(void **state) {
  (void)state;
  char text[RFC3339_TEXT_SIZE];
  assert_true(rfc3339_format(INT64_C(-446090160000), text));
  assert_string_equal(text, "1955-11-12T22:04:00Z");
  assert_true(rfc3339_format(-1, text));
  assert_string_equal(text, "1969-12-31T23:59:59Z");
  assert_true(rfc3339_format(INT64_C(951825600500), text));
  assert_string_equal(text, "2000-02-29T12:00:00Z");
  assert_true(rfc3339_format(INT64_C(-62167219200000), text));
  assert_string_equal(text, "0000-01-01T00:00:00Z");
  assert_false(rfc3339_format(INT64_C(-62167219200001), text));
  assert_true(rfc3339_format(INT64_C(253402300799999), text));
  assert_string_equal(text, "9999-12-31T23:59:59Z");
  assert_false(rfc3339_format(INT64_C(253402300800000), text));
  assert_false(rfc3339_format(INT64_MAX, text));
  assert_false(rfc3339_format(INT64_MIN, text));
}

static void every_day_of_four_centuries_is_read_as_written(void **state) {
  (void)state;
  char text[RFC3339_TEXT_SIZE];
  for (int64_t day = -146097; day <= 146097; day++) {
    int64_t ms;
    assert_true(rfc3339_format(day * 86400000 + 3723000, text));
    assert_true(rfc3339_parse(T(text), &ms));
    assert_int_equal(ms, day * 86400000 + 3723000);
  }
}

static void correlation_data_has_16_bytes(void **state) {
  (void)state;
  iotops_text good = {"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x14"
                      "\x17\x40\x00",
                      16};
  char text[CORRELATION_TEXT_SIZE];
  const uint8_t *bytes = correlation_bytes(good);
  assert_non_null(bytes);
  correlation_text(bytes, text);
  assert_string_equal(text, "123e4567-e89b-12d3-a456-426614174000");
  assert_null(correlation_bytes(T("NotGuid")));
  assert_null(correlation_bytes(T("")));
  assert_null(correlation_bytes(T(NULL)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(durations_are_written_shortly),
      cmocka_unit_test(the_longest_duration_fits),
      cmocka_unit_test(durations_of_peers_are_read),
      cmocka_unit_test(malformed_durations_are_refused),
      cmocka_unit_test(an_expiry_is_rounded_up),
      cmocka_unit_test(an_expiry_out_of_range_is_refused),
      cmocka_unit_test(what_is_left_of_an_expiry_is_rounded_up),
      cmocka_unit_test(instants_are_read),
      cmocka_unit_test(what_is_no_instant_is_refused),
      cmocka_unit_test(instants_of_every_age_are_written),
      cmocka_unit_test(every_day_of_four_centuries_is_read_as_written),
      cmocka_unit_test(correlation_data_has_16_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
