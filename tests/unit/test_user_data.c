#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/payload.h"
#include "protocol/property_list.h"
#include "protocol/received_properties.h"
#include "protocol/text_buffer.h"
#include "protocol/text_check.h"

static iotops_text T(const char *string) {
  return iotops_text_of(string);
}

static iotops_context *context;
static unsigned warnings;
static iotops_error err;

static void count_warnings(void *user, const iotops_log_record *record) {
  (void)user;
  warnings += record->level == IOTOPS_LOG_WARN;
}

static int set_up(void **state) {
  (void)state;
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  options.log = count_warnings;
  warnings = 0;
  return iotops_context_new(&options, &context, NULL);
}

static int tear_down(void **state) {
  (void)state;
  iotops_context_free(context);
  return 0;
}

static void assert_pair(const iotops_user_property *pair, const char *name,
                        const char *value) {
  assert_true(iotops_text_equal(pair->name, T(name)));
  assert_true(iotops_text_equal(pair->value, T(value)));
}

static void clean_texts_are_utf8_without_controls(void **state) {
  (void)state;
  static const char *const good[] = {"",
                                     "a b",
                                     "caf\xc3\xa9",
                                     "\xe2\x82\xac",
                                     "\xf0\x9f\x98\x80",
                                     "\xc2\xa0",
                                     "\xef\xbf\xbd",
                                     "~",
                                     "\xf4\x8f\xbf\xbf",
                                     "\xed\x9f\xbf"};
  static const char *const bad[] = {"\x01",
                                    "a\n",
                                    "\x1f",
                                    "\x7f",
                                    "\xc2\x80",
                                    "\xc2\x9f",
                                    "\x80",
                                    "\xff",
                                    "\xc0\x80",
                                    "\xc1\xbf",
                                    "\xc3",
                                    "\xe0\x9f\xbf",
                                    "\xed\xa0\x80",
                                    "\xf0\x8f\xbf\xbf",
                                    "\xf4\x90\x80\x80",
                                    "\xf5\x80\x80\x80",
                                    "\xe2\x82",
                                    "\xf0\x9f\x98",
                                    "\xe2\x28\xa1"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    if (!property_text_valid(T(good[i])))
      fail_msg("refused: %zu", i);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (property_text_valid(T(bad[i])))
      fail_msg("accepted: %zu", i);
  iotops_text nul = {"a\0b", 3};
  assert_false(property_text_valid(nul));
  assert_true(property_text_valid(T(NULL)));
}

static void what_may_not_be_sent_is_removed(void **state) {
  (void)state;
  char out[32];
  iotops_text text = {"a\0\x01\xff"
                      "b\xc2\x85\xc3\xa9\xe2\x82",
                      11};
  size_t size = text_sanitise(text, out, sizeof out);
  assert_int_equal(size, 4);
  assert_memory_equal(out, "ab\xc3\xa9", 4);
  assert_int_equal(text_sanitise(text, out, 3), 2); /* no half character */
  assert_int_equal(text_sanitise(T(NULL), out, sizeof out), 0);
}

static void user_data_is_checked(void **state) {
  (void)state;
  static char bytes[65536];
  memset(bytes, 'a', sizeof bytes);
  iotops_user_property good[] = {
      {T("a"), T("")}, {T(""), T("x")}, {{bytes, 65535}, {bytes, 65535}}};
  assert_int_equal(iotops_user_data_check(good, 3, &err), 0);
  assert_int_equal(iotops_user_data_check(NULL, 0, &err), 0);
  iotops_user_property bad[] = {{T("a\n"), T("x")},
                                {T("a"), T("x\xff")},
                                {T("a"), {bytes, 65536}},
                                {{bytes, 65536}, T("x")}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(iotops_user_data_check(&bad[i], 1, &err), -1);
    assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
    assert_true(err.is_shallow);
    assert_string_equal(err.property_name, "metadata");
  }
}

static void each_name_of_the_envoy_is_written_once(void **state) {
  (void)state;
  property_list list;
  iotops_user_property user[] = {{T("k"), T("1")},
                                 {T("__ts"), T("forged")},
                                 {T("k"), T("2")},
                                 {T("__ft"), T("kept")},
                                 {T("__ts"), T("forged")}};
  property_list_init(&list, context);
  property_list_add(&list, "__protVer", T("1.0"));
  property_list_add(&list, "__ts", T("now"));
  property_list_add_user_data(&list, user, 5, "test");
  assert_int_equal(list.count, 5);
  assert_pair(&list.pairs[0], "__protVer", "1.0");
  assert_pair(&list.pairs[1], "__ts", "now");
  assert_pair(&list.pairs[2], "k", "1");
  assert_pair(&list.pairs[3], "k", "2");
  assert_pair(&list.pairs[4], "__ft", "kept");
  assert_int_equal(warnings, 2);
  property_list_reset(&list);
  for (int i = 0; i < 100; i++)
    property_list_add(&list, "n", T("v"));
  assert_int_equal(list.count, 100);
  assert_false(list.failed);
  property_list_clear(&list);
}

static iotops_user_property mixed[] = {
    {{"k", 1}, {"1", 1}},           {{"__protVer", 9}, {"9.9", 3}},
    {{"__ts", 4}, {"first", 5}},    {{"k", 1}, {"2", 1}},
    {{"__srcId", 7}, {"me", 2}},    {{"__invId", 7}, {"old", 3}},
    {{"$partition", 10}, {"p", 1}}, {{"__ft", 4}, {"5", 1}},
    {{"__ts", 4}, {"last", 4}},     {{"__protVer", 9}, {"", 0}},
    {{"__stat", 6}, {"200", 3}},    {{"aio-persistence", 15}, {"true", 4}},
    {{"source", 6}, {"s", 1}},      {{"$high_priority", 14}, {"", 0}},
    {{"__", 2}, {"x", 1}},          {{"", 0}, {"y", 1}}};
enum { MIXED = sizeof mixed / sizeof *mixed };

static void read_mixed(received_properties *read, message_kind kind) {
  iotops_message message = IOTOPS_MESSAGE_INIT;
  message.user_properties = mixed;
  message.user_property_count = MIXED;
  warnings = 0;
  assert_int_equal(received_properties_read(read, &message, kind, "test"), 0);
}

static void the_last_of_a_protocol_name_wins(void **state) {
  (void)state;
  received_properties read;
  received_properties_init(&read, context);
  read_mixed(&read, MESSAGE_REQUEST);
  assert_true(iotops_text_equal(read.timestamp, T("last")));
  assert_true(iotops_text_equal(read.source, T("me")));
  assert_non_null(read.version.data); /* present and empty */
  assert_int_equal(read.version.size, 0);
  iotops_message bare = IOTOPS_MESSAGE_INIT;
  assert_int_equal(
      received_properties_read(&read, &bare, MESSAGE_REQUEST, "test"), 0);
  assert_null(read.version.data);
  assert_null(read.source.data);
  assert_null(read.timestamp.data);
  assert_int_equal(read.user_data_count, 0);
  received_properties_clear(&read);
}

static void protocol_names_are_not_user_data(void **state) {
  (void)state;
  received_properties read;
  received_properties_init(&read, context);
  read_mixed(&read, MESSAGE_REQUEST);
  assert_int_equal(read.user_data_count, 6);
  assert_pair(&read.user_data[0], "k", "1");
  assert_pair(&read.user_data[1], "k", "2");
  assert_pair(&read.user_data[2], "__ft", "5"); /* unknown ones are kept */
  assert_pair(&read.user_data[3], "source", "s");
  assert_pair(&read.user_data[4], "__", "x");
  assert_pair(&read.user_data[5], "", "y");
  assert_int_equal(warnings, 1); /* a status on a request */
  read_mixed(&read, MESSAGE_RESPONSE);
  assert_int_equal(read.user_data_count, 6);
  assert_int_equal(warnings, 0);
  read_mixed(&read, MESSAGE_TELEMETRY);
  assert_int_equal(read.user_data_count, 9); /* the $ names are not ours */
  assert_int_equal(warnings, 1);
  received_properties_clear(&read);
}

static void a_text_is_built_of_pieces(void **state) {
  (void)state;
  text_buffer buffer;
  text_buffer_init(&buffer, context);
  assert_non_null(text_buffer_text(&buffer).data);
  assert_int_equal(text_buffer_text(&buffer).size, 0);
  for (int i = 0; i < 1000; i++) {
    text_buffer_add(&buffer, T("ab"));
    text_buffer_add_char(&buffer, '/');
  }
  text_buffer_add(&buffer, T(NULL));
  assert_int_equal(buffer.size, 3000);
  assert_memory_equal(buffer.data + 2997, "ab/", 3);
  text_buffer_reset(&buffer);
  assert_int_equal(text_buffer_text(&buffer).size, 0);
  text_buffer_clear(&buffer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(clean_texts_are_utf8_without_controls),
      TEST(what_may_not_be_sent_is_removed),
      TEST(user_data_is_checked),
      TEST(each_name_of_the_envoy_is_written_once),
      TEST(the_last_of_a_protocol_name_wins),
      TEST(protocol_names_are_not_user_data),
      TEST(a_text_is_built_of_pieces),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
