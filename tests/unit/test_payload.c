#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/payload.h"
#include "protocol/payload_check.h"
#include "protocol/protocol_version.h"

static iotops_text T(const char *string) {
  return iotops_text_of(string);
}

static iotops_error err;

static void formats_write_their_content_type(void **state) {
  (void)state;
  iotops_payload json = iotops_format_payload(IOTOPS_FORMAT_JSON, T("1"));
  assert_true(iotops_text_equal(json.content_type, T("application/json")));
  assert_int_equal(json.format_indicator, 1);
  assert_true(iotops_text_equal(json.bytes, T("1")));
  iotops_payload raw = iotops_format_payload(IOTOPS_FORMAT_RAW, T("1"));
  assert_true(
      iotops_text_equal(raw.content_type, T("application/octet-stream")));
  assert_int_equal(raw.format_indicator, 0);
  iotops_payload empty = iotops_format_payload(IOTOPS_FORMAT_EMPTY, T("1"));
  assert_null(empty.content_type.data);
  assert_int_equal(empty.bytes.size, 0);
  assert_int_equal(empty.format_indicator, 0);
}

static int accepts(iotops_format format, const char *content_type,
                   const char *bytes) {
  iotops_payload payload = {T(bytes), T(content_type), 0};
  return iotops_format_accepts(format, &payload, &err);
}

static void formats_accept_what_peers_write(void **state) {
  (void)state;
  assert_int_equal(accepts(IOTOPS_FORMAT_JSON, NULL, "1"), 0);
  assert_int_equal(accepts(IOTOPS_FORMAT_JSON, "", "1"), 0);
  assert_int_equal(accepts(IOTOPS_FORMAT_JSON, "application/json", "1"), 0);
  assert_int_equal(
      accepts(IOTOPS_FORMAT_JSON, "application/json;charset=utf-8", "1"), 0);
  assert_int_equal(accepts(IOTOPS_FORMAT_JSON, "application/json+x", "1"), 0);
  assert_int_equal(accepts(IOTOPS_FORMAT_RAW, NULL, ""), 0);
  assert_int_equal(accepts(IOTOPS_FORMAT_RAW, "application/octet-stream", ""),
                   0);
  assert_int_equal(
      accepts(IOTOPS_FORMAT_RAW, "application/octet-stream;x", "1"), 0);
  assert_int_equal(accepts(IOTOPS_FORMAT_EMPTY, "application/json", NULL), 0);
  assert_int_equal(accepts(IOTOPS_FORMAT_CUSTOM, "any thing", "1"), 0);
}

static void other_content_types_are_invalid_headers(void **state) {
  (void)state;
  static const struct {
    iotops_format format;
    const char *content_type;
  } bad[] = {{IOTOPS_FORMAT_JSON, "raw/0"},
             {IOTOPS_FORMAT_JSON, "application/jsonx"},
             {IOTOPS_FORMAT_JSON, "application/jso"},
             {IOTOPS_FORMAT_JSON, "Application/json"},
             {IOTOPS_FORMAT_RAW, "application/json"},
             {IOTOPS_FORMAT_RAW, "application/octet-stream+x"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(accepts(bad[i].format, bad[i].content_type, "1"), -1);
    assert_int_equal(err.kind, IOTOPS_INVALID_HEADER);
    assert_string_equal(err.header_name, "Content Type");
    assert_string_equal(err.header_value, bad[i].content_type);
    assert_false(err.is_shallow);
  }
}

static void payloads_of_the_wrong_size_are_invalid(void **state) {
  (void)state;
  assert_int_equal(accepts(IOTOPS_FORMAT_JSON, NULL, ""), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_PAYLOAD);
  assert_int_equal(accepts(IOTOPS_FORMAT_JSON, NULL, NULL), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_PAYLOAD);
  assert_int_equal(accepts(IOTOPS_FORMAT_EMPTY, NULL, "1"), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_PAYLOAD);
}

static void a_content_type_is_checked_before_sending(void **state) {
  (void)state;
  iotops_payload payload = {T("x"), T("non.conforming"), 1};
  assert_int_equal(payload_check(&payload, &err), 0);
  payload.content_type = T("a\nb");
  assert_int_equal(payload_check(&payload, &err), -1);
  assert_string_equal(err.property_name, "content_type");
  payload.content_type = T(NULL);
  assert_int_equal(payload_check(&payload, &err), 0);
  payload.format_indicator = 2;
  assert_int_equal(payload_check(&payload, &err), -1);
  assert_string_equal(err.property_name, "format_indicator");
}

static void an_empty_content_type_is_not_sent(void **state) {
  (void)state;
  iotops_payload payload = {T("x"), T(""), 1};
  iotops_message message = IOTOPS_MESSAGE_INIT;
  payload_put(&payload, &message);
  assert_null(message.content_type.data);
  assert_int_equal(message.format_indicator, 1);
  message.format_indicator = -1;
  assert_int_equal(payload_of(&message).format_indicator, 0);
}

static void an_application_error_exists_when_it_has_a_code(void **state) {
  (void)state;
  iotops_text code, payload;
  iotops_user_property pairs[] = {{T("AppErrPayload"), T("{}")},
                                  {T("AppErrCode"), T("1")},
                                  {T("AppErrCode"), T("2")}};
  assert_false(iotops_application_error(pairs, 1, &code, &payload));
  assert_null(payload.data);
  assert_true(iotops_application_error(pairs, 3, &code, &payload));
  assert_true(iotops_text_equal(code, T("2")));
  assert_true(iotops_text_equal(payload, T("{}")));
  assert_true(iotops_application_error(pairs + 1, 1, &code, &payload));
  assert_null(payload.data);
}

static void an_application_error_needs_a_code(void **state) {
  (void)state;
  iotops_user_property pairs[2];
  size_t count = 7;
  assert_int_equal(
      iotops_application_error_pairs(T(" \t"), T("x"), pairs, &count, &err),
      -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_int_equal(count, 7);
  assert_int_equal(
      iotops_application_error_pairs(T(NULL), T("x"), pairs, &count, &err), -1);
  assert_int_equal(
      iotops_application_error_pairs(T("a\x01"), T("x"), pairs, &count, &err),
      -1);
  assert_int_equal(
      iotops_application_error_pairs(T("E1"), T(" "), pairs, &count, &err), 0);
  assert_int_equal(count, 1);
  assert_int_equal(
      iotops_application_error_pairs(T("E1"), T("{}"), pairs, &count, &err), 0);
  assert_int_equal(count, 2);
  iotops_text code, payload;
  assert_true(iotops_application_error(pairs, count, &code, &payload));
  assert_true(iotops_text_equal(code, T("E1")));
  assert_true(iotops_text_equal(payload, T("{}")));
}

static void versions_of_major_1_are_read(void **state) {
  (void)state;
  assert_int_equal(protocol_version_check(T(NULL), &err), 0);
  assert_int_equal(protocol_version_check(T("1.0"), &err), 0);
  assert_int_equal(protocol_version_check(T("1.65535"), &err), 0);
  assert_int_equal(protocol_version_check(T("01.007"), &err), 0);
}

static void other_versions_are_unsupported(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "1",
                                    "1.",
                                    ".1",
                                    "1.2.3",
                                    "1.a",
                                    "2.3 ",
                                    " 1.0",
                                    "65536.0",
                                    "-1.0",
                                    "0.1",
                                    "2.0",
                                    "65535.1",
                                    "123456.0",
                                    "1.65536",
                                    "1,0",
                                    "+1.0",
                                    "1.0x",
                                    "99999999999999999999.0"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    if (protocol_version_check(T(bad[i]), &err) == 0)
      fail_msg("accepted: %s", bad[i]);
    assert_int_equal(err.kind, IOTOPS_UNSUPPORTED_VERSION);
    assert_false(err.is_shallow);
    assert_false(err.is_remote);
    assert_string_equal(err.protocol_version, bad[i]);
    assert_int_equal(err.supported_major_count, 1);
    assert_int_equal(err.supported_majors[0], 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(formats_write_their_content_type),
      cmocka_unit_test(formats_accept_what_peers_write),
      cmocka_unit_test(other_content_types_are_invalid_headers),
      cmocka_unit_test(payloads_of_the_wrong_size_are_invalid),
      cmocka_unit_test(a_content_type_is_checked_before_sending),
      cmocka_unit_test(an_empty_content_type_is_not_sent),
      cmocka_unit_test(an_application_error_exists_when_it_has_a_code),
      cmocka_unit_test(an_application_error_needs_a_code),
      cmocka_unit_test(versions_of_major_1_are_read),
      cmocka_unit_test(other_versions_are_unsupported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
