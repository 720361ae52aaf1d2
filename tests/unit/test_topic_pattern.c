#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/topic_pattern.h"

static iotops_text T(const char *string) {
  return iotops_text_of(string);
}

static iotops_context *context;
static text_buffer buffer;
static topic_pattern pattern;
static iotops_error err;

static int set_up(void **state) {
  (void)state;
  if (iotops_context_new(NULL, &context, NULL) != 0)
    return -1;
  text_buffer_init(&buffer, context);
  memset(&err, 0, sizeof err);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  topic_pattern_clear(&pattern);
  text_buffer_clear(&buffer);
  iotops_context_free(context);
  return 0;
}

static int make(const char *text, const char *topic_namespace,
                const iotops_token *tokens, size_t count) {
  topic_pattern_clear(&pattern);
  return topic_pattern_init(&pattern, context, "topic_pattern", T(text),
                            T(topic_namespace), tokens, count, &err);
}

static void assert_text(iotops_text text, const char *expected) {
  if (text.data == NULL || text.size != strlen(expected) ||
      memcmp(text.data, expected, text.size) != 0)
    fail_msg("%.*s is not %s", (int)text.size,
             text.data == NULL ? "" : text.data, expected);
}

static void assert_filter(const char *group, const char *expected) {
  assert_int_equal(topic_pattern_filter(&pattern, T(group), &buffer, &err), 0);
  assert_text(text_buffer_text(&buffer), expected);
}

static void assert_topic(const iotops_token *tokens, size_t count,
                         const char *expected) {
  iotops_text topic;
  assert_int_equal(
      topic_pattern_publish(&pattern, tokens, count, &buffer, &topic, &err), 0);
  assert_text(topic, expected);
}

static void assert_configuration_error(const char *name, const char *value) {
  assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_true(err.is_shallow);
  assert_false(err.is_remote);
  assert_string_equal(err.property_name, name);
  assert_int_equal(err.has_property_value, value != NULL);
  if (value != NULL)
    assert_string_equal(err.property_value, value);
}

static void a_token_twice_is_one_token(void **state) {
  (void)state;
  assert_int_equal(make("mock/{executorId}/{executorId}/test", NULL, NULL, 0),
                   0);
  assert_filter(NULL, "mock/+/+/test");
  iotops_token call = {T("executorId"), T("x")};
  assert_topic(&call, 1, "mock/x/x/test");
  assert_int_equal(pattern.token_count, 1);
  iotops_token found[1];
  assert_true(topic_pattern_match(&pattern, T("mock/x/y/test"), found));
  assert_text(found[0].name, "executorId");
  assert_text(found[0].value, "y"); /* the last occurrence wins */
}

static void namespace_and_constructor_tokens_are_frozen_in(void **state) {
  (void)state;
  iotops_token tokens[] = {{T("modelId"), T("dtmi:test:MyModel;1")}};
  assert_int_equal(make("mock/{modelId}/test/{ex:foobar}", "a/b", tokens, 1),
                   0);
  assert_filter(NULL, "a/b/mock/dtmi:test:MyModel;1/test/+");
  assert_filter("g", "$share/g/a/b/mock/dtmi:test:MyModel;1/test/+");
  iotops_token found[2];
  assert_int_equal(pattern.token_count, 2);
  assert_true(topic_pattern_match(
      &pattern, T("a/b/mock/dtmi:test:MyModel;1/test/MyValue"), found));
  assert_text(found[0].name, "modelId");
  assert_text(found[0].value, "dtmi:test:MyModel;1");
  assert_text(found[1].name, "ex:foobar");
  assert_text(found[1].value, "MyValue");
  iotops_token call[] = {{T("modelId"), T("other")}, {T("ex:foobar"), T("v")}};
  assert_topic(call, 2, "a/b/mock/dtmi:test:MyModel;1/test/v");
}

static void resident_and_transient_tokens_are_resolved(void **state) {
  (void)state;
  iotops_token resident = {T("ex:resident"), T("MyRes")};
  assert_int_equal(
      make("telemetry/{ex:resident}/{ex:transient}", NULL, &resident, 1), 0);
  assert_filter(NULL, "telemetry/MyRes/+");
  iotops_token call = {T("ex:transient"), T("MyTrans")};
  assert_topic(&call, 1, "telemetry/MyRes/MyTrans");
}

static void a_response_pattern_of_a_prefix_is_resolved(void **state) {
  (void)state;
  iotops_token tokens[] = {{T("commandName"), T("test")},
                           {T("ex:f"), T("V")},
                           {T("unused"), T("not a value")}};
  assert_int_equal(make("response/{executorId}/commands/{commandName}/{ex:f}",
                        NULL, tokens, 3),
                   0);
  assert_filter(NULL, "response/+/commands/test/V");
}

static void a_pattern_without_tokens_is_its_topic(void **state) {
  (void)state;
  assert_int_equal(make("clients/C/mock/test", NULL, NULL, 0), 0);
  assert_filter(NULL, "clients/C/mock/test");
  assert_topic(NULL, 0, "clients/C/mock/test");
  assert_true(topic_pattern_match(&pattern, T("clients/C/mock/test"), NULL));
  assert_false(topic_pattern_match(&pattern, T("clients/C/mock"), NULL));
  assert_false(topic_pattern_match(&pattern, T("clients/C/mock/test/x"), NULL));
  assert_false(topic_pattern_match(&pattern, T("clients/C/mock/tesT"), NULL));
  assert_false(topic_pattern_match(&pattern, T(""), NULL));
}

static void a_value_of_several_levels_does_not_shift_tokens(void **state) {
  (void)state;
  iotops_token tokens[] = {{T("site"), T("eu/north")}};
  assert_int_equal(make("s/{site}/{line}", NULL, tokens, 1), 0);
  assert_filter(NULL, "s/eu/north/+");
  iotops_token found[2];
  assert_true(topic_pattern_match(&pattern, T("s/eu/north/7"), found));
  assert_text(found[0].value, "eu/north");
  assert_text(found[1].value, "7");
  iotops_token call = {T("line"), T("a/b")};
  assert_topic(&call, 1, "s/eu/north/a/b");
  assert_false(topic_pattern_match(&pattern, T("s/eu/north/a/b"), found));
}

static void an_empty_level_matches_no_token(void **state) {
  (void)state;
  iotops_token found[1];
  assert_int_equal(make("a/{b}", NULL, NULL, 0), 0);
  assert_false(topic_pattern_match(&pattern, T("a/"), found));
  assert_true(topic_pattern_match(&pattern, T("a/\"odd\" \xc3\xa9"), found));
  assert_text(found[0].value, "\"odd\" \xc3\xa9");
}

static void checks_come_in_their_order(void **state) {
  (void)state;
  iotops_token bad = {T("modelId"), T("not valid")};
  assert_int_equal(make("/{modelId}", "invalid/{modelId}", &bad, 1), -1);
  assert_configuration_error("topic_namespace", "invalid/{modelId}");
  assert_int_equal(make("/{modelId}", "valid", &bad, 1), -1);
  assert_configuration_error("topic_pattern", "/{modelId}");
  assert_int_equal(make("{modelId}", "valid", &bad, 1), -1);
  assert_configuration_error("modelId", "not valid");
  assert_int_equal(make("", NULL, NULL, 0), -1);
  assert_configuration_error("topic_pattern", "");
  assert_int_equal(make(NULL, NULL, NULL, 0), -1);
  assert_configuration_error("topic_pattern", NULL);
}

static void
an_empty_value_is_a_bad_one_and_an_absent_one_is_none(void **state) {
  (void)state;
  iotops_token empty = {T("a"), T("")}, absent = {T("a"), T(NULL)};
  assert_int_equal(make("x/{a}", NULL, &empty, 1), -1);
  assert_configuration_error("a", "");
  assert_int_equal(make("x/{a}", NULL, &absent, 1), 0);
  assert_filter(NULL, "x/+");
}

static void a_token_without_a_value_cannot_be_published(void **state) {
  (void)state;
  iotops_text topic;
  iotops_token bad = {T("b"), T("a+b")}, other = {T("c"), T("x")};
  assert_int_equal(make("a/{b}", NULL, NULL, 0), 0);
  assert_int_equal(
      topic_pattern_publish(&pattern, &other, 1, &buffer, &topic, &err), -1);
  assert_configuration_error("b", NULL);
  assert_int_equal(
      topic_pattern_publish(&pattern, &bad, 1, &buffer, &topic, &err), -1);
  assert_configuration_error("b", "a+b");
}

static void a_first_token_must_not_become_a_system_topic(void **state) {
  (void)state;
  iotops_text topic;
  iotops_token dollar = {T("a"), T("$share/g")};
  assert_int_equal(make("{a}/b", NULL, &dollar, 1), -1);
  assert_configuration_error("a", "$share/g");
  assert_int_equal(make("{a}/b", "ns", &dollar, 1), 0);
  assert_int_equal(make("{a}/b", NULL, NULL, 0), 0);
  assert_int_equal(
      topic_pattern_publish(&pattern, &dollar, 1, &buffer, &topic, &err), -1);
}

static void a_topic_too_long_for_mqtt_is_refused(void **state) {
  (void)state;
  static char bytes[65535];
  memset(bytes, 'a', sizeof bytes);
  iotops_token token = {T("t"), {bytes, sizeof bytes}};
  iotops_text topic;
  assert_int_equal(make("{t}", NULL, &token, 1), 0);
  assert_int_equal(make("x/{t}", NULL, &token, 1), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_string_equal(err.property_name, "topic_pattern");
  assert_int_equal(make("x/{t}", NULL, NULL, 0), 0);
  assert_int_equal(
      topic_pattern_publish(&pattern, &token, 1, &buffer, &topic, &err), -1);
  assert_string_equal(err.property_name, "topic_pattern");
  iotops_text group = {bytes, sizeof bytes};
  assert_int_equal(topic_pattern_filter(&pattern, group, &buffer, &err), -1);
}

static void a_share_group_is_checked(void **state) {
  (void)state;
  assert_int_equal(share_group_check(T(NULL), &err), 0);
  assert_int_equal(share_group_check(T("g"), &err), 0);
  assert_int_equal(share_group_check(T("a/b"), &err), -1);
  assert_configuration_error("service_group_id", "a/b");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_token_twice_is_one_token),
      TEST(namespace_and_constructor_tokens_are_frozen_in),
      TEST(resident_and_transient_tokens_are_resolved),
      TEST(a_response_pattern_of_a_prefix_is_resolved),
      TEST(a_pattern_without_tokens_is_its_topic),
      TEST(a_value_of_several_levels_does_not_shift_tokens),
      TEST(an_empty_level_matches_no_token),
      TEST(checks_come_in_their_order),
      TEST(an_empty_value_is_a_bad_one_and_an_absent_one_is_none),
      TEST(a_token_without_a_value_cannot_be_published),
      TEST(a_first_token_must_not_become_a_system_topic),
      TEST(a_topic_too_long_for_mqtt_is_refused),
      TEST(a_share_group_is_checked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
