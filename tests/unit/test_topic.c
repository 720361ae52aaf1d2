#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/topic.h"

static iotops_text T(const char *string) {
  return iotops_text_of(string);
}

static void patterns_of_the_grammar_are_valid(void **state) {
  (void)state;
  static const char *const good[] = {"a",
                                     "a/b",
                                     "mock/{executorId}/{executorId}/test",
                                     "{a}",
                                     "{ex:foo}",
                                     "a$/b",
                                     "dtmi:test:My;1/x",
                                     "a/$b",
                                     "a/!~'()*,-.<=>?@[]^_`|&%/b"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    if (!iotops_topic_pattern_valid(T(good[i])))
      fail_msg("refused: %s", good[i]);
}

static void patterns_against_the_grammar_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",      " ",     "$a/b",  "/a",      "a/",     "a//b",    "a/ /b",
      "a b/c", "a+b",   "a#b",   "a}b",     "a{b",    "{a}{b}",  "{}",
      "{{a}",  "{a/b}", "{a+b}", "a\"b",    "a\tb",   "a\x7f/b", "caf\xc3\xa9",
      "{a b}", "a{b}",  "{a}b",  "{\"a\"}", "a/{}/b", "+",       "a/#",
      "{a}}",  "{",     "}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (iotops_topic_pattern_valid(T(bad[i])))
      fail_msg("accepted: %s", bad[i]);
  assert_false(iotops_topic_pattern_valid(T(NULL)));
  iotops_text nul = {"a\0b", 3};
  assert_false(iotops_topic_pattern_valid(nul));
}

static void namespaces_are_checked(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    " ",
                                    "a b",
                                    "a+b",
                                    "a#b",
                                    "a{b",
                                    "a}b",
                                    "/a",
                                    "a/",
                                    "a//b",
                                    "$a",
                                    "{a}",
                                    "invalid/{modelId}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (iotops_topic_namespace_valid(T(bad[i])))
      fail_msg("accepted: %s", bad[i]);
  assert_true(iotops_topic_namespace_valid(T("a")));
  assert_true(iotops_topic_namespace_valid(T("this/is/a/namespace")));
}

static void token_values_may_have_levels(void **state) {
  (void)state;
  static const char *const bad[] = {"",    " ",   "a b",  "a+b", "a#b",
                                    "a{b", "a}b", "a//b", "/a",  "a/"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (iotops_token_value_valid(T(bad[i])))
      fail_msg("accepted: %s", bad[i]);
  assert_true(iotops_token_value_valid(T("a/b")));
  assert_true(iotops_token_value_valid(T("dtmi:test:MyModel;1")));
}

static void a_share_group_is_one_label(void **state) {
  (void)state;
  assert_true(iotops_share_group_valid(T("group-1")));
  assert_false(iotops_share_group_valid(T("a/b")));
  assert_false(iotops_share_group_valid(T("")));
  assert_false(iotops_share_group_valid(T(NULL)));
  assert_false(iotops_share_group_valid(T("a b")));
  assert_false(iotops_share_group_valid(T("+")));
}

static void a_response_topic_may_have_a_quote_but_no_wildcard(void **state) {
  (void)state;
  static const char *const bad[] = {"",     "/a",    "a/",      "a//b",
                                    "a b",  "a/+",   "a#",      "{a}",
                                    "$a/b", "a\x01", "\xc3\xa9"};
  assert_true(iotops_response_topic_valid(T("clients/C/mock/test")));
  assert_true(iotops_response_topic_valid(T("a\"b/c")));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (iotops_response_topic_valid(T(bad[i])))
      fail_msg("accepted: %s", bad[i]);
  assert_false(iotops_response_topic_valid(T(NULL)));
}

static void a_topic_of_65536_bytes_is_refused(void **state) {
  (void)state;
  static char bytes[65536];
  memset(bytes, 'a', sizeof bytes);
  iotops_text fits = {bytes, 65535}, does_not = {bytes, 65536};
  assert_true(iotops_topic_pattern_valid(fits));
  assert_true(iotops_topic_name_valid(fits));
  assert_true(iotops_topic_filter_valid(fits));
  assert_false(iotops_topic_pattern_valid(does_not));
  assert_false(iotops_topic_name_valid(does_not));
  assert_false(iotops_topic_filter_valid(does_not));
}

static void mqtt_names_have_no_wildcards(void **state) {
  (void)state;
  assert_true(iotops_topic_name_valid(T("/a b//caf\xc3\xa9/$x/")));
  assert_false(iotops_topic_name_valid(T("")));
  assert_false(iotops_topic_name_valid(T(NULL)));
  assert_false(iotops_topic_name_valid(T("a/+")));
  assert_false(iotops_topic_name_valid(T("a#")));
  assert_false(iotops_topic_name_valid(T("a\xff")));
  iotops_text nul = {"a\0b", 3};
  assert_false(iotops_topic_name_valid(nul));
}

static void mqtt_filters_have_whole_wildcard_levels(void **state) {
  (void)state;
  static const char *const good[] = {
      "a",          "+",          "#",       "+/+",   "a/+/b",
      "a/#",        "/",          "/+",      "+/#",   "$share/g/a",
      "$share/g/#", "$share/g//", "$sharex", "$SYS/#"};
  static const char *const bad[] = {
      "",          "a+",      "+a",         "a/b+/c",      "#/a",
      "a#",        "a/#/b",   "##",         "$share/g",    "$share/g/",
      "$share//a", "$share/", "$share/+/a", "$share/g#/a", "$share/g/a+"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    if (!iotops_topic_filter_valid(T(good[i])))
      fail_msg("refused: %s", good[i]);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (iotops_topic_filter_valid(T(bad[i])))
      fail_msg("accepted: %s", bad[i]);
}

static void filters_match_as_mqtt_says(void **state) {
  (void)state;
  static const struct {
    const char *filter, *topic;
    bool matches;
  } cases[] = {
      {"a/b", "a/b", true},
      {"a/b", "a/b/c", false},
      {"a/b/c", "a/b", false},
      {"a/+", "a/b", true},
      {"a/+", "a/", true},
      {"a/+", "a", false},
      {"a/+/c", "a/b/c", true},
      {"a/#", "a", true},
      {"a/#", "a/b/c", true},
      {"a/#", "ab", false},
      {"#", "a/b", true},
      {"#", "$SYS/x", false},
      {"+/x", "$SYS/x", false},
      {"$SYS/+", "$SYS/x", true},
      {"a/+/#", "a", false},
      {"a/+/#", "a/b", true},
      {"+", "/a", false},
      {"+/+", "/a", true},
      {"/+", "/a", true},
      {"$share/g/a/+", "a/b", true},
      {"$share/g/a/+", "$share/g/a/b", false},
      {"$share/g/#", "$SYS/x", false},
      {"$share/g", "g", false},
      {"A", "a", false},
      {"a", "", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (iotops_topic_filter_matches(T(cases[i].filter), T(cases[i].topic)) !=
        cases[i].matches)
      fail_msg("%s and %s", cases[i].filter, cases[i].topic);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(patterns_of_the_grammar_are_valid),
      cmocka_unit_test(patterns_against_the_grammar_are_refused),
      cmocka_unit_test(namespaces_are_checked),
      cmocka_unit_test(token_values_may_have_levels),
      cmocka_unit_test(a_share_group_is_one_label),
      cmocka_unit_test(a_response_topic_may_have_a_quote_but_no_wildcard),
      cmocka_unit_test(a_topic_of_65536_bytes_is_refused),
      cmocka_unit_test(mqtt_names_have_no_wildcards),
      cmocka_unit_test(mqtt_filters_have_whole_wildcard_levels),
      cmocka_unit_test(filters_match_as_mqtt_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
