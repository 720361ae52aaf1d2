/*
** The state store client against the tables of services.md, sections 3.3 to
** 3.6: what is asked, how each answer is read, what each failure is called.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store_world.h"

static iotops_text of(const char *text) {
  return iotops_text_of(text);
}

static int get(const char *key) {
  return iotops_store_get(stores.store, of(key), NULL, note_store_end, NULL,
                          NULL);
}

static int set(const char *key, const char *value,
               const iotops_store_options *options) {
  return iotops_store_set(stores.store, of(key), of(value), options,
                          note_store_end, NULL, NULL);
}

static int del(const char *key, const iotops_store_options *options) {
  return iotops_store_del(stores.store, of(key), options, note_store_end, NULL,
                          NULL);
}

static int vdel(const char *key, const char *value,
                const iotops_store_options *options) {
  return iotops_store_vdel(stores.store, of(key), of(value), options,
                           note_store_end, NULL, NULL);
}

/* -------------------------------------------------------------- requests -- */

static void each_request_is_the_bytes_of_the_table(void **state) {
  (void)state;
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  assert_int_equal(get("testkey"), 0);
  assert_int_equal(set("SETKEY2", "VALUE5", NULL), 0);
  options.condition = IOTOPS_STORE_IF_ABSENT;
  assert_int_equal(set("testkey", "testvalue", &options), 0);
  options.condition = IOTOPS_STORE_IF_ABSENT_OR_EQUAL;
  assert_int_equal(set("testkey", "testvalue", &options), 0);
  options.expiry_ms = 10000;
  assert_int_equal(set("testkey", "testvalue", &options), 0);
  options.condition = IOTOPS_STORE_ALWAYS;
  options.expiry_ms = 10;
  assert_int_equal(set("testkey", "testvalue", &options), 0);
  assert_int_equal(del("SETKEY2", NULL), 0);
  assert_int_equal(vdel("SETKEY2", "ABC", NULL), 0);
  settle_down();
  assert_asked(0, "*2\r\n$3\r\nGET\r\n$7\r\ntestkey\r\n");
  assert_asked(1, "*3\r\n$3\r\nSET\r\n$7\r\nSETKEY2\r\n$6\r\nVALUE5\r\n");
#define TEST_SET "$3\r\nSET\r\n$7\r\ntestkey\r\n$9\r\ntestvalue\r\n"
  assert_asked(2, "*4\r\n" TEST_SET "$2\r\nNX\r\n");
  assert_asked(3, "*4\r\n" TEST_SET "$3\r\nNEX\r\n");
  assert_asked(4, "*6\r\n" TEST_SET "$3\r\nNEX\r\n$2\r\nPX\r\n$5\r\n10000\r\n");
  assert_asked(5, "*5\r\n" TEST_SET "$2\r\nPX\r\n$2\r\n10\r\n");
  assert_asked(6, "*2\r\n$3\r\nDEL\r\n$7\r\nSETKEY2\r\n");
  assert_asked(7, "*3\r\n$4\r\nVDEL\r\n$7\r\nSETKEY2\r\n$3\r\nABC\r\n");
}

static void a_request_carries_what_section_2_1_asks_for(void **state) {
  (void)state;
  get("a");
  settle_down();
  const iotops_message *request = published(0);
  assert_true(iotops_text_equal(request->topic, of(REQUEST_TOPIC)));
  assert_true(iotops_text_equal(request->response_topic, of(RESPONSE_TOPIC)));
  assert_int_equal(request->qos, 1);
  assert_int_equal(request->correlation_data.size, 16);
  assert_int_equal(request->expiry_s, 10);
  assert_int_equal(request->format_indicator, 0);
  assert_true(
      iotops_text_equal(request->content_type, of("application/octet-stream")));
  assert_string_equal(property_of(request, "__srcId"), "me");
  assert_string_equal(property_of(request, "$partition"), "me");
  assert_string_equal(property_of(request, "__protVer"), "1.0");
  assert_non_null(property_of(request, "__ts"));
  assert_null(property_of(request, "__ft"));
  assert_null(property_of(request, "aio-persistence"));
}

static void
a_fencing_token_goes_with_every_change_and_with_no_reading(void **state) {
  (void)state;
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  iotops_hlc token;
  assert_int_equal(iotops_hlc_parse(of("1696374425000:1:S"), &token, NULL), 0);
  options.fencing_token = &token;
  options.persist = true;
  set("a", "1", &options);
  del("a", &options);
  vdel("a", "1", &options);
  iotops_store_get(stores.store, of("a"), &options, note_store_end, NULL, NULL);
  settle_down();
  for (size_t i = 0; i < 3; i++)
    assert_string_equal(property_of(published(i), "__ft"),
                        "001696374425000:00001:S");
  assert_null(property_of(published(3), "__ft"));
  assert_string_equal(property_of(published(0), "aio-persistence"), "true");
  for (size_t i = 1; i < 4; i++)
    assert_null(property_of(published(i), "aio-persistence"));
}

static void keys_and_values_may_hold_any_byte_and_be_long(void **state) {
  (void)state;
  static char key[6500];
  static char value[65000];
  for (size_t i = 0; i < sizeof key; i++)
    key[i] = (char)(i * 7);
  for (size_t i = 0; i < sizeof value; i++)
    value[i] = (char)(i % 5 == 0 ? '\r' : i % 5 == 1 ? '\n' : i);
  iotops_store_set(stores.store, (iotops_text){key, sizeof key},
                   (iotops_text){value, sizeof value}, NULL, note_store_end,
                   NULL, NULL);
  settle_down();
  iotops_text bytes = asked(0);
  static const char head[] = "*3\r\n$3\r\nSET\r\n$6500\r\n";
  static const char middle[] = "\r\n$65000\r\n";
  assert_int_equal(bytes.size, sizeof head - 1 + sizeof key + sizeof middle -
                                   1 + sizeof value + 2);
  const char *at = bytes.data;
  assert_memory_equal(at, head, sizeof head - 1);
  at += sizeof head - 1;
  assert_memory_equal(at, key, sizeof key);
  at += sizeof key;
  assert_memory_equal(at, middle, sizeof middle - 1);
  at += sizeof middle - 1;
  assert_memory_equal(at, value, sizeof value);
}

static void
an_empty_value_is_sent_and_read_as_empty_not_as_absent(void **state) {
  (void)state;
  set("k", "", NULL);
  settle_down();
  assert_asked(0, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
  answer(0, "+OK\r\n", T1);
  get("k");
  settle_down();
  answer(1, "$0\r\n\r\n", T1);
  assert_ended(2, 0);
  assert_true(last_end()->has_value);
  assert_string_equal(last_end()->value, "");
  assert_string_equal(last_end()->version, T1);
}

static void assert_refused(int failed, const iotops_error *err,
                           const char *property) {
  assert_int_equal(failed, -1);
  assert_int_equal(err->kind, IOTOPS_INVALID_CONFIGURATION);
  assert_string_equal(err->property_name, property);
  settle_down();
  assert_int_equal(publish_count(), 0);
  assert_int_equal(stores.end_count, 0);
}

static void bad_arguments_are_refused_before_anything_is_sent(void **state) {
  (void)state;
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  iotops_state_store *store = stores.store;
  iotops_error err;
  assert_refused(
      iotops_store_get(store, of(""), NULL, note_store_end, NULL, &err), &err,
      "key");
  assert_refused(iotops_store_set(store, of(NULL), of("v"), NULL,
                                  note_store_end, NULL, &err),
                 &err, "key");
  assert_refused(
      iotops_store_del(store, of(""), NULL, note_store_end, NULL, &err), &err,
      "key");
  assert_refused(iotops_store_vdel(store, of(""), of("v"), NULL, note_store_end,
                                   NULL, &err),
                 &err, "key");
  static const int64_t bad[] = {0, -2, INT64_MIN};
  for (size_t i = 0; i < 3; i++) {
    options.expiry_ms = bad[i];
    assert_refused(iotops_store_set(store, of("k"), of("v"), &options,
                                    note_store_end, NULL, &err),
                   &err, "expiry");
  }
  options.expiry_ms = -1;
  options.timeout_us = 0;
  assert_refused(
      iotops_store_get(store, of("k"), &options, note_store_end, NULL, &err),
      &err, "command_timeout");
}

/* --------------------------------------------------------------- answers -- */

typedef enum verb { GET, SET, DEL, VDEL } verb;

static void call(verb verb) {
  if (verb == GET)
    get("k");
  else if (verb == SET)
    set("k", "v", NULL);
  else if (verb == DEL)
    del("k", NULL);
  else
    vdel("k", "v", NULL);
  settle_down();
}

static void each_answer_is_read_as_the_table_says(void **state) {
  (void)state;
  static const struct {
    verb verb;
    const char *payload, *stamp;
    int count;
    const char *value, *version;
  } rows[] = {
      {SET, "+OK\r\n", T1, 1, NULL, T1},
      {SET, ":-1\r\n", T2, 0, NULL, T2},
      {GET, "$4\r\n1234\r\n", T1, 0, "1234", T1},
      {GET, "$-1\r\n", NULL, 0, NULL, ""},
      {GET, "$-1\r\n", T1, 0, NULL, ""}, /* absent keys have no version */
      {DEL, ":1\r\n", T1, 1, NULL, T1},
      {DEL, ":0\r\n", NULL, 0, NULL, ""},
      {VDEL, ":1\r\n", T1, 1, NULL, T1},
      {VDEL, ":0\r\n", NULL, 0, NULL, ""},
      {VDEL, ":-1\r\n", T1, -1, NULL, T1},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    call(rows[i].verb);
    answer(i, rows[i].payload, rows[i].stamp);
    assert_ended(i + 1, rows[i].count);
    assert_int_equal(last_end()->has_value, rows[i].value != NULL);
    if (rows[i].value != NULL)
      assert_string_equal(last_end()->value, rows[i].value);
    assert_string_equal(last_end()->version, rows[i].version);
  }
}

static void an_answer_that_does_not_fit_is_an_unexpected_payload(void **state) {
  (void)state;
  static const struct {
    verb verb;
    const char *payload;
  } rows[] = {
      {GET, "+OK\r\n"},
      {GET, ":1\r\n"},
      {GET, "*0\r\n"},
      {GET, "$-2\r\n"},
      {GET, "$4\r\n123\r\n"},
      {GET, "$1\r\n1\r\n "},
      {GET, ""},
      {GET, "garbage"},
      {SET, "+ok\r\n"},
      {SET, ":1\r\n"},
      {SET, ":0\r\n"},
      {SET, "$2\r\nOK\r\n"},
      {SET, "-1\r\n "},
      {DEL, "+OK\r\n"},
      {DEL, ":-1\r\n"},
      {DEL, ":2\r\n"},
      {VDEL, ":2\r\n"},
      {VDEL, ":-2\r\n"},
      {VDEL, "$-1\r\n"},
      {SET, "+OK"},
      {DEL, ":4294967297\r\n"},
      {VDEL, ":4294967295\r\n"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    call(rows[i].verb);
    answer(i, rows[i].payload, T1);
    assert_failed(i + 1, IOTOPS_UNEXPECTED_PAYLOAD);
    assert_true(last_end()->err.has_property_value);
    assert_string_equal(last_end()->err.property_value, rows[i].payload);
  }
}

#define CLOCKS                                                                 \
  " timestamp is too far in the future; ensure that the client and broker "    \
  "system clocks are synchronized"

static void each_refusal_has_its_kind(void **state) {
  (void)state;
  static const struct {
    const char *text, *kind;
  } rows[] = {
      {"the request" CLOCKS, "timestamp_skew"},
      {"a fencing token is required for this request", "missing_fencing_token"},
      {"the request fencing token" CLOCKS, "fencing_token_skew"},
      {"the request fencing token is a lower version than the fencing token "
       "protecting the resource",
       "fencing_token_lower_version"},
      {"the request fencing token is a lower version that the fencing token "
       "protecting the resource",
       "fencing_token_lower_version"},
      {"the quota has been exceeded", "key_quota_exceeded"},
      {"syntax error", "syntax_error"},
      {"not authorized", "not_authorized"},
      {"unknown command", "unknown_command"},
      {"wrong number of arguments", "wrong_number_of_arguments"},
      {"missing timestamp", "timestamp_missing"},
      {"malformed timestamp", "timestamp_malformed"},
      {"the key length is zero", "key_length_zero"},
      {"hello: syntax error near x", "syntax_error"},
      {"something else", "unknown"},
      {"", "unknown"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char payload[512];
    snprintf(payload, sizeof payload, "-ERR %s\r\n", rows[i].text);
    call((verb)(i % 4));
    answer(i, payload, T1);
    assert_failed(i + 1, IOTOPS_SERVICE_ERROR);
    assert_true(last_end()->err.is_remote);
    assert_string_equal(last_end()->err.service_error, rows[i].kind);
    assert_non_null(strstr(last_end()->err.message, rows[i].text));
  }
}

static void
the_word_err_is_stripped_with_a_colon_and_only_as_a_word(void **state) {
  (void)state;
  call(GET);
  answer(0, "-ERR: syntax error\r\n", T1);
  assert_string_equal(last_end()->err.message,
                      "the state store refused: syntax error");
  call(GET);
  answer(1, "-ERRATIC\r\n", T1);
  assert_string_equal(last_end()->err.message,
                      "the state store refused: ERRATIC");
}

static void another_content_type_is_an_invalid_header(void **state) {
  (void)state;
  call(GET);
  iotops_user_property pair = {of("__stat"), of("200")};
  iotops_message response = IOTOPS_MESSAGE_INIT;
  response.topic = published(0)->response_topic;
  response.correlation_data = published(0)->correlation_data;
  response.payload = of("$1\r\nv\r\n");
  response.content_type = of("text/plain");
  response.user_properties = &pair;
  response.user_property_count = 1;
  stub_deliver(world.stub, &response);
  assert_failed(1, IOTOPS_INVALID_HEADER);
  assert_string_equal(last_end()->err.header_name, "Content Type");
}

static void a_server_that_never_answers_is_a_timeout(void **state) {
  (void)state;
  call(GET);
  virtual_time_pass(world.time, 9999);
  assert_int_equal(stores.end_count, 0);
  virtual_time_pass(world.time, 1);
  assert_failed(1, IOTOPS_TIMEOUT);
}

static void a_second_or_a_late_answer_changes_nothing(void **state) {
  (void)state;
  call(GET);
  answer(0, "$1\r\na\r\n", T1);
  answer(0, "$1\r\nb\r\n", T2);
  assert_ended(1, 0);
  assert_string_equal(last_end()->value, "a");
  call(GET);
  virtual_time_pass(world.time, 10000);
  answer(1, "$1\r\nb\r\n", T2);
  assert_failed(2, IOTOPS_TIMEOUT);
}

static void answers_find_their_questions_in_any_order(void **state) {
  (void)state;
  get("a");
  get("b");
  settle_down();
  answer(1, "$1\r\nB\r\n", T1);
  assert_string_equal(last_end()->value, "B");
  answer(0, "$1\r\nA\r\n", T1);
  assert_string_equal(last_end()->value, "A");
}

static void a_call_may_be_made_without_a_callback(void **state) {
  (void)state;
  assert_int_equal(
      iotops_store_del(stores.store, of("a"), NULL, NULL, NULL, NULL), 0);
  settle_down();
  answer(0, ":1\r\n", T1);
}

static void freeing_the_store_cancels_what_is_out_later(void **state) {
  (void)state;
  call(GET);
  get("b");
  iotops_state_store_free(stores.store);
  stores.store = NULL;
  assert_int_equal(stores.end_count, 0);
  settle_down();
  assert_failed(2, IOTOPS_CANCELLATION);
  assert_true(stores.ends[0].failed);
}

static void free_store(void *user, const iotops_store_result *result,
                       const iotops_error *err) {
  note_store_end(user, result, err);
  iotops_state_store_free(stores.store);
  stores.store = NULL;
}

static void a_completion_may_free_the_store(void **state) {
  (void)state;
  iotops_store_get(stores.store, of("a"), NULL, free_store, NULL, NULL);
  settle_down();
  answer(0, "$1\r\na\r\n", T1);
  assert_ended(1, 0);
}

static void a_client_id_that_is_no_topic_level_is_refused(void **state) {
  (void)state;
  stub_client *odd = stub_client_new(world.time->context, "a{b");
  iotops_state_store *store = NULL;
  iotops_error err;
  assert_int_equal(iotops_state_store_new(&odd->client, NULL, &store, &err),
                   -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_null(store);
  stub_client_free(odd);
}

static void any_allocation_may_fail(void **state) {
  bool failed = true;
  for (long k = 0; failed && k < 200; k++) {
    store_world_close(state);
    memset(&stores, 0, sizeof stores);
    assert_int_equal(command_world_open(), 0);
    world.stub->automatic = true;
    world.time->fail_from = k;
    size_t accepted = 0;
    if (store_world_make(false) == 0) {
      for (int verb = GET; verb <= VDEL; verb++) {
        size_t before = publish_count();
        int rc = verb == GET   ? get("k")
                 : verb == SET ? set("k", "v", NULL)
                 : verb == DEL ? del("k", NULL)
                               : vdel("k", "v", NULL);
        accepted += rc == 0;
        settle_down();
        if (publish_count() > before)
          answer(before,
                 verb == GET   ? "$1\r\na\r\n"
                 : verb == SET ? "+OK\r\n"
                               : ":1\r\n",
                 T1);
      }
    }
    failed = world.time->fail_from == 0;
    world.time->fail_from = -1;
    virtual_time_pass(world.time, 20000);
    assert_int_equal(stores.end_count, accepted);
    if (!failed)
      assert_int_equal(accepted, 4);
  }
  assert_false(failed);
}

#define test(name)                                                             \
  cmocka_unit_test_setup_teardown(name, store_world_open, store_world_close)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(each_request_is_the_bytes_of_the_table),
      test(a_request_carries_what_section_2_1_asks_for),
      test(a_fencing_token_goes_with_every_change_and_with_no_reading),
      test(keys_and_values_may_hold_any_byte_and_be_long),
      test(an_empty_value_is_sent_and_read_as_empty_not_as_absent),
      test(bad_arguments_are_refused_before_anything_is_sent),
      test(each_answer_is_read_as_the_table_says),
      test(an_answer_that_does_not_fit_is_an_unexpected_payload),
      test(each_refusal_has_its_kind),
      test(the_word_err_is_stripped_with_a_colon_and_only_as_a_word),
      test(another_content_type_is_an_invalid_header),
      test(a_server_that_never_answers_is_a_timeout),
      test(a_second_or_a_late_answer_changes_nothing),
      test(answers_find_their_questions_in_any_order),
      test(a_call_may_be_made_without_a_callback),
      test(freeing_the_store_cancels_what_is_out_later),
      test(a_completion_may_free_the_store),
      test(a_client_id_that_is_no_topic_level_is_refused),
      test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests_name("state_store", tests, NULL, NULL);
}
