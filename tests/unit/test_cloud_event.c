#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/cloud_event.h"
#include "protocol/cloud_event_write.h"
#include "protocol/uri.h"

static iotops_text T(const char *string) {
  return iotops_text_of(string);
}

static const char json[] = "application/json";

static iotops_context *context;
static property_list list;
static iotops_error err;

static int set_up(void **state) {
  (void)state;
  if (iotops_context_new(NULL, &context, NULL) != 0)
    return -1;
  property_list_init(&list, context);
  memset(&err, 0, sizeof err);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  property_list_clear(&list);
  iotops_context_free(context);
  return 0;
}

static void assert_text(iotops_text text, const char *expected) {
  if (text.data == NULL || text.size != strlen(expected) ||
      memcmp(text.data, expected, text.size) != 0)
    fail_msg("%.*s is not %s", (int)text.size,
             text.data == NULL ? "" : text.data, expected);
}

static iotops_text written(const char *name) {
  iotops_text found = T(NULL);
  for (size_t i = 0; i < list.count; i++)
    if (iotops_text_equal(list.pairs[i].name, T(name))) {
      assert_null(found.data); /* once only */
      found = list.pairs[i].value;
    }
  return found;
}

/* -------------------------------------------------------------- receiving */

static iotops_user_property full[] = {
    {{"id", 2}, {"dtmi:test:someAssignedId;1", 26}},
    {{"source", 6}, {"dtmi:test:myEventSource;1", 25}},
    {{"type", 4}, {"test-type", 9}},
    {{"specversion", 11}, {"1.0", 3}},
    {{"time", 4}, {"1955-11-12T22:04:00Z", 20}},
    {{"subject", 7}, {"mock/test", 9}},
    {{"dataschema", 10}, {"dtmi:test:MyModel:_contents:__test;1", 36}},
};
enum { FULL = sizeof full / sizeof *full };

/* Reads the full event with one attribute replaced; NULL leaves it out. */
static int read_with(const char *name, const char *value,
                     const char *content_type, iotops_cloud_event *event) {
  iotops_user_property pairs[FULL];
  size_t count = 0;
  for (size_t i = 0; i < FULL; i++) {
    pairs[count] = full[i];
    if (iotops_text_equal(full[i].name, T(name))) {
      if (value == NULL)
        continue;
      pairs[count].value = T(value);
    }
    count++;
  }
  return iotops_cloud_event_from(pairs, count, T(content_type), event, &err);
}

static void a_full_event_is_read(void **state) {
  (void)state;
  iotops_cloud_event event;
  assert_int_equal(read_with("", NULL, json, &event), 0);
  assert_text(event.id, "dtmi:test:someAssignedId;1");
  assert_text(event.source, "dtmi:test:myEventSource;1");
  assert_text(event.type, "test-type");
  assert_text(event.spec_version, "1.0");
  assert_text(event.time, "1955-11-12T22:04:00Z");
  assert_text(event.subject, "mock/test");
  assert_text(event.data_schema, "dtmi:test:MyModel:_contents:__test;1");
  assert_text(event.data_content_type, json);
}

static void malformed_events_are_no_events(void **state) {
  (void)state;
  static const struct {
    const char *name, *value;
  } bad[] = {{"id", NULL},
             {"id", ""},
             {"source", NULL},
             {"source", ""},
             {"source", "::::"},
             {"source", "a b"},
             {"type", NULL},
             {"type", ""},
             {"specversion", NULL},
             {"specversion", ""},
             {"specversion", "0.707"},
             {"specversion", "1.1"},
             {"time", ""},
             {"time", "11/12/1955 22:04:00 UTC"},
             {"subject", ""},
             {"dataschema", ""},
             {"dataschema", "note/absence/of/scheme"},
             {"dataschema", "::::"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    iotops_cloud_event event;
    if (read_with(bad[i].name, bad[i].value, json, &event) == 0)
      fail_msg("accepted: %s", bad[i].name);
    assert_int_equal(err.kind, IOTOPS_INVALID_HEADER);
    assert_string_equal(err.header_name, bad[i].name);
    assert_int_equal(err.has_header_value, bad[i].value != NULL);
  }
}

static void odd_but_legal_attributes_are_read(void **state) {
  (void)state;
  iotops_cloud_event event;
  assert_int_equal(read_with("id", "::::", json, &event), 0);
  assert_int_equal(read_with("type", "::Wait!!thisIsLegal?--&%@", json, &event),
                   0);
  assert_text(event.type, "::Wait!!thisIsLegal?--&%@");
  assert_int_equal(read_with("subject", "any thing \xc3\xa9", json, &event), 0);
  assert_int_equal(read_with("source", "myEventSource", json, &event), 0);
}

static void absent_optional_attributes_are_absent(void **state) {
  (void)state;
  iotops_cloud_event event;
  assert_int_equal(read_with("time", NULL, json, &event), 0);
  assert_null(event.time.data);
  assert_int_equal(read_with("subject", NULL, json, &event), 0);
  assert_null(event.subject.data);
  assert_int_equal(read_with("dataschema", NULL, json, &event), 0);
  assert_null(event.data_schema.data);
  assert_int_equal(read_with("", NULL, NULL, &event), 0);
  assert_null(event.data_content_type.data);
  assert_int_equal(read_with("", NULL, "", &event), 0);
  assert_null(event.data_content_type.data);
}

static void the_last_of_an_attribute_wins(void **state) {
  (void)state;
  iotops_user_property pairs[FULL + 2];
  iotops_cloud_event event;
  pairs[0] = (iotops_user_property){T("type"), T("")};
  memcpy(pairs + 1, full, sizeof full);
  pairs[FULL + 1] = (iotops_user_property){T("id"), T("last")};
  assert_int_equal(
      iotops_cloud_event_from(pairs, FULL + 2, T(json), &event, &err), 0);
  assert_text(event.id, "last");
}

static void content_types_follow_the_grammar(void **state) {
  (void)state;
  static const char *const good[] = {"application/json",
                                     "application/json;charset=utf-8",
                                     "application/vnd.x-1+json",
                                     "a/1",
                                     "text/x;",
                                     "a-b/c+d;e f\xc3\xa9"};
  static const char *const bad[] = {
      "non.conforming", "application/",     "/json",
      "application",    "Application/json", "application/json ",
      "a/b+",           "a/b+c+d",          "a/b/c",
      "a1/b",           "application/+json"};
  iotops_cloud_event event;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    if (read_with("", NULL, good[i], &event) != 0)
      fail_msg("refused: %s", good[i]);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (read_with("", NULL, bad[i], &event) == 0)
      fail_msg("accepted: %s", bad[i]);
}

static void uris_are_told_from_what_is_none(void **state) {
  (void)state;
  static const struct {
    const char *text;
    bool reference, absolute;
  } cases[] = {
      {"dtmi:test:x;1", true, true},
      {"myEventSource", true, false},
      {"note/absence/of/scheme", true, false},
      {"::::", false, false},
      {"", false, false},
      {"http://a/b?c#d", true, true},
      {"a/b:c", true, false},
      {"?x:y", true, false},
      {"1a:b", false, false},
      {"a+b-c.d:e", true, true},
      {"a_b:c", false, false},
      {"a#b#c", false, false},
      {"a%20b", true, false},
      {"a%2", false, false},
      {"a%zz", false, false},
      {"a b", false, false},
      {"a\"b", false, false},
      {"\xc3\xa9", false, false},
      {"a:", true, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (uri_is_reference(T(cases[i].text)) != cases[i].reference ||
        uri_is_absolute(T(cases[i].text)) != cases[i].absolute)
      fail_msg("%s", cases[i].text);
}

/* ---------------------------------------------------------------- sending */

static int write_event(const iotops_cloud_event *event,
                       cloud_event_texts *texts) {
  return cloud_event_write(event, CLOUD_EVENT_TELEMETRY, T("mock/test"),
                           T(json), texts, &list, &err);
}

static void what_is_not_given_takes_its_default(void **state) {
  (void)state;
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  cloud_event_texts texts;
  event.source = T("dtmi:test:myEventSource;1");
  assert_int_equal(write_event(&event, &texts), 0);
  assert_int_equal(list.count, 6);
  assert_text(written("source"), "dtmi:test:myEventSource;1");
  assert_text(written("type"), "ms.aio.telemetry");
  assert_text(written("specversion"), "1.0");
  assert_text(written("subject"), "mock/test");
  assert_int_equal(written("id").size, 36);
  int64_t ms, now = iotops_wall_ms(context);
  assert_true(rfc3339_parse(written("time"), &ms));
  assert_in_range(now - ms, 0, 60000);
  assert_null(written("dataschema").data);
}

static void what_is_given_is_written(void **state) {
  (void)state;
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  cloud_event_texts texts;
  event.source = T("dtmi:test:myEventSource;1");
  event.type = T("::Wait!!thisIsLegal?--&%@");
  event.spec_version = T("one point zero");
  event.id = T("::::");
  event.time = T("1955-11-12T22:04:00Z");
  event.subject = T("TheEventSubject");
  event.data_schema = T("dtmi:test:MyModel:_contents:__test;1");
  assert_int_equal(write_event(&event, &texts), 0);
  assert_int_equal(list.count, 7);
  assert_text(written("type"), "::Wait!!thisIsLegal?--&%@");
  assert_text(written("specversion"), "one point zero");
  assert_text(written("id"), "::::");
  assert_text(written("time"), "1955-11-12T22:04:00Z");
  assert_text(written("subject"), "TheEventSubject");
  assert_text(written("dataschema"), "dtmi:test:MyModel:_contents:__test;1");
}

static void a_time_is_written_in_utc(void **state) {
  (void)state;
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  cloud_event_texts texts;
  event.source = T("s");
  event.time = T("1955-11-13T00:04:00.25+02:00");
  assert_int_equal(write_event(&event, &texts), 0);
  assert_text(written("time"), "1955-11-12T22:04:00Z");
  property_list_reset(&list);
  event.time = T("0000-01-01T00:00:00+01:00"); /* the year before, in UTC */
  assert_int_equal(write_event(&event, &texts), 0);
  assert_text(written("time"), "0000-01-01T00:00:00+01:00");
}

static void time_and_subject_can_be_left_out(void **state) {
  (void)state;
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  cloud_event_texts texts;
  event.source = T("s");
  event.no_time = event.no_subject = true;
  assert_int_equal(write_event(&event, &texts), 0);
  assert_int_equal(list.count, 4);
}

static void an_event_against_the_rules_is_not_sent(void **state) {
  (void)state;
  static const struct {
    size_t at;
    const char *value;
  } bad[] = {
      {offsetof(iotops_cloud_event, source), NULL},
      {offsetof(iotops_cloud_event, source), ""},
      {offsetof(iotops_cloud_event, source), "::::"},
      {offsetof(iotops_cloud_event, type), ""},
      {offsetof(iotops_cloud_event, spec_version), ""},
      {offsetof(iotops_cloud_event, id), ""},
      {offsetof(iotops_cloud_event, id), "a\x01"},
      {offsetof(iotops_cloud_event, subject), ""},
      {offsetof(iotops_cloud_event, subject), "a\xff"},
      {offsetof(iotops_cloud_event, time), ""},
      {offsetof(iotops_cloud_event, time), "11/12/1955 22:04:00 UTC"},
      {offsetof(iotops_cloud_event, data_schema), ""},
      {offsetof(iotops_cloud_event, data_schema), "::::"},
      {offsetof(iotops_cloud_event, data_schema), "note/absence/of/scheme"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
    cloud_event_texts texts;
    event.source = T("s");
    *(iotops_text *)(void *)((char *)&event + bad[i].at) = T(bad[i].value);
    if (write_event(&event, &texts) == 0)
      fail_msg("accepted: case %zu", i);
    assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
    assert_true(err.is_shallow);
    assert_false(err.is_remote);
    assert_string_equal(err.property_name, "cloud_event");
    assert_int_equal(list.count, 0);
  }
}

static void an_event_needs_a_conforming_content_type(void **state) {
  (void)state;
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  event.source = T("s");
  assert_int_equal(iotops_cloud_event_check(&event, T(json), &err), 0);
  static const char *const bad[] = {NULL, "", "non.conforming"};
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(iotops_cloud_event_check(&event, T(bad[i]), &err), -1);
    assert_string_equal(err.property_name, "cloud_event");
  }
}

static void user_data_must_not_carry_attributes(void **state) {
  (void)state;
  iotops_user_property pairs[] = {{T("a"), T("b")}, {T("subject"), T("x")}};
  assert_int_equal(cloud_event_check_user_data(pairs, 1, &err), 0);
  assert_int_equal(cloud_event_check_user_data(pairs, 2, &err), -1);
  assert_string_equal(err.property_name, "metadata");
  assert_false(iotops_cloud_event_is_attribute(T("Subject")));
  assert_false(iotops_cloud_event_is_attribute(T("datacontenttype")));
}

static void a_raw_message_gets_an_event(void **state) {
  (void)state;
  iotops_user_property pairs[] = {{T("mine"), T("1")}, {T("id"), T("old")}};
  iotops_message message = IOTOPS_MESSAGE_INIT;
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT, read;
  message.topic = T("a/b");
  message.payload = T("p");
  message.content_type = T("text/plain");
  message.user_properties = pairs;
  message.user_property_count = 2;
  event.source = T("s");
  assert_null(iotops_cloud_event_set(context, &message, &event, &err));
  assert_string_equal(err.property_name, "cloud_event"); /* no type */
  event.type = T("t");
  event.data_content_type = T(json);
  iotops_message *made =
      iotops_cloud_event_set(context, &message, &event, &err);
  assert_non_null(made);
  assert_text(made->topic, "a/b");
  assert_text(made->payload, "p");
  assert_text(made->content_type, json);
  assert_text(iotops_message_property(made, "mine"), "1");
  assert_int_equal(iotops_cloud_event_from(made->user_properties,
                                           made->user_property_count,
                                           made->content_type, &read, &err),
                   0);
  assert_int_equal(read.id.size, 36);
  assert_null(read.subject.data);
  assert_non_null(read.time.data);
  assert_int_equal(made->user_property_count, 6); /* the old id has gone */
  iotops_free(context, made);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_full_event_is_read),
      TEST(malformed_events_are_no_events),
      TEST(odd_but_legal_attributes_are_read),
      TEST(absent_optional_attributes_are_absent),
      TEST(the_last_of_an_attribute_wins),
      TEST(content_types_follow_the_grammar),
      TEST(uris_are_told_from_what_is_none),
      TEST(what_is_not_given_takes_its_default),
      TEST(what_is_given_is_written),
      TEST(a_time_is_written_in_utc),
      TEST(time_and_subject_can_be_left_out),
      TEST(an_event_against_the_rules_is_not_sent),
      TEST(an_event_needs_a_conforming_content_type),
      TEST(user_data_must_not_carry_attributes),
      TEST(a_raw_message_gets_an_event),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
