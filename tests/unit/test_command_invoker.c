/*
** Calls, their requests and their responses.
*/
#include "invoker_scene.h"

/* ----------------------------------------------------------- the options -- */

static void assert_refused(const iotops_command_invoker_options *options,
                           const char *property, const char *value) {
  iotops_command_invoker *none = NULL;
  iotops_error err;
  assert_int_equal(
      iotops_command_invoker_new(&world.stub->client, options, &none, &err),
      -1);
  assert_null(none);
  assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_true(err.is_shallow);
  assert_string_equal(err.property_name, property);
  if (value)
    assert_string_equal(err.property_value, value);
}

static void each_bad_option_is_named(void **state) {
  (void)state;
  iotops_command_invoker_options options = options_of();
  options.command_name = iotops_text_of(NULL);
  assert_refused(&options, "command_name", NULL);
  options = options_of();
  options.request_topic_pattern = iotops_text_of("mock/{in/valid}");
  assert_refused(&options, "request_topic_pattern", "mock/{in/valid}");
  options = options_of();
  options.response_topic_prefix = iotops_text_of("prefix/{in/valid}");
  assert_refused(&options, "response_topic_prefix", "prefix/{in/valid}");
  options = options_of();
  options.response_topic_suffix = iotops_text_of("suffix/{in/valid}");
  assert_refused(&options, "response_topic_suffix", "suffix/{in/valid}");
  options = options_of();
  options.response_topic_pattern = iotops_text_of("a//b");
  assert_refused(&options, "response_topic_pattern", "a//b");
  options = options_of();
  options.topic_namespace = iotops_text_of("a/");
  assert_refused(&options, "topic_namespace", "a/");
  iotops_token token = {iotops_text_of("modelId"), iotops_text_of("a//b")};
  options = options_of();
  options.response_topic_prefix = iotops_text_of("r/{modelId}");
  options.tokens = &token;
  options.token_count = 1;
  assert_refused(&options, "modelId", "a//b");
}

static void a_client_id_that_is_no_level_needs_a_response_topic(void **state) {
  (void)state;
  world.stub->id = "a/b+c";
  iotops_command_invoker_options options = options_of();
  options.response_topic_prefix = iotops_text_of("");
  assert_refused(&options, "response_topic_pattern", NULL);
}

static const char *filter_of(const iotops_command_invoker_options *options) {
  make(options);
  iotops_command_invoker_start(the.invoker, NULL, NULL, NULL);
  const char *filter = stub_nth(world.stub, STUB_SUBSCRIBE,
                                stub_count(world.stub, STUB_SUBSCRIBE) - 1)
                           ->filter;
  iotops_command_invoker_free(the.invoker);
  the.invoker = NULL;
  return filter;
}

static void the_response_topic_follows_from_the_options(void **state) {
  (void)state;
  iotops_token tokens[] = {{iotops_text_of("ex:f"), iotops_text_of("V")}};
  iotops_command_invoker_options options = options_of();
  options.request_topic_pattern = iotops_text_of("{executorId}/test/{ex:f}");
  options.tokens = tokens;
  options.token_count = 1;
  assert_string_equal(filter_of(&options), "response/+/test/V");
  options.response_topic_suffix = iotops_text_of("end/{x}");
  assert_string_equal(filter_of(&options), "response/+/test/V/end/+");
  options.response_topic_prefix = iotops_text_of("");
  assert_string_equal(filter_of(&options), "+/test/V/end/+");
  options.response_topic_suffix = iotops_text_of(NULL);
  options.topic_namespace = iotops_text_of("ns/a");
  assert_string_equal(filter_of(&options), "ns/a/clients/me/+/test/V");
  options.response_topic_pattern = iotops_text_of("own/{executorId}");
  options.response_topic_prefix = iotops_text_of("ignored");
  assert_string_equal(filter_of(&options), "ns/a/own/+");
}

/* ------------------------------------------------------------- the calls -- */

static void each_bad_argument_fails_at_once(void **state) {
  (void)state;
  make_default();
  iotops_invoke_options options = IOTOPS_INVOKE_OPTIONS_INIT;
  iotops_error err;
  iotops_invocation invocation = 5;
  static const int64_t bad[] = {0, -1, 4294967295000001, INT64_MAX, INT64_MIN};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    options.timeout_us = bad[i];
    assert_int_equal(invoke_with(&options, &invocation, &err), -1);
    assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
    assert_true(err.is_shallow);
    assert_string_equal(err.property_name, "command_timeout");
    assert_string_equal(err.command_name, "test");
    assert_true(invocation == 0);
  }
  options = (iotops_invoke_options)IOTOPS_INVOKE_OPTIONS_INIT;
  iotops_user_property pair = {iotops_text_of("a\n"), iotops_text_of("1")};
  options.user_data = &pair;
  options.user_data_count = 1;
  assert_int_equal(invoke_with(&options, NULL, &err), -1);
  assert_string_equal(err.property_name, "metadata");
  options.user_data_count = 0;
  options.payload.content_type = iotops_text_of("a\x01");
  assert_int_equal(invoke_with(&options, NULL, &err), -1);
  assert_string_equal(err.property_name, "content_type");
  options.payload.content_type = iotops_text_of(NULL);
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  options.cloud_event = &event;
  assert_int_equal(invoke_with(&options, NULL, &err), -1);
  assert_string_equal(err.property_name, "cloud_event");
  settle_down();
  assert_int_equal(world.stub->operation_count, 0);
  assert_int_equal(world.outcome_count, 0);
}

static void a_missing_token_is_named_and_nothing_is_sent(void **state) {
  (void)state;
  iotops_command_invoker_options options = options_of();
  options.response_topic_suffix = iotops_text_of("x/{modelId}");
  make(&options);
  iotops_invoke_options call = IOTOPS_INVOKE_OPTIONS_INIT;
  iotops_error err;
  assert_int_equal(invoke_with(&call, NULL, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_string_equal(err.property_name, "modelId");
  assert_false(err.has_property_value);
  assert_int_equal(world.stub->operation_count, 0);
}

static void a_request_carries_what_the_protocol_says(void **state) {
  (void)state;
  iotops_command_invoker_options options = options_of();
  options.request_topic_pattern = iotops_text_of("mock/{executorId}/test");
  options.topic_namespace = iotops_text_of("ns");
  make(&options);
  iotops_token token = {iotops_text_of("executorId"), iotops_text_of("fan")};
  iotops_user_property pairs[] = {
      {iotops_text_of("$partition"), iotops_text_of("mine")},
      {iotops_text_of("__ft"), iotops_text_of("1")},
      {iotops_text_of("k"), iotops_text_of("v")}};
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  event.source = iotops_text_of("urn:x");
  iotops_invoke_options call = IOTOPS_INVOKE_OPTIONS_INIT;
  call.payload =
      iotops_format_payload(IOTOPS_FORMAT_JSON, iotops_text_of("{}"));
  call.timeout_us = 500; /* rounded up to a second */
  call.tokens = &token;
  call.token_count = 1;
  call.user_data = pairs;
  call.user_data_count = 3;
  call.cloud_event = &event;
  assert_int_equal(invoke_with(&call, NULL, NULL), 0);
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  const iotops_message *request = published(0);
  assert_true(
      iotops_text_equal(request->topic, iotops_text_of("ns/mock/fan/test")));
  assert_true(iotops_text_equal(request->response_topic,
                                iotops_text_of("ns/response/mock/fan/test")));
  assert_int_equal(request->qos, 1);
  assert_false(request->retain);
  assert_true(request->has_expiry);
  assert_int_equal(request->expiry_s, 1);
  assert_int_equal(request->correlation_data.size, 16);
  assert_int_equal(request->format_indicator, 1);
  assert_string_equal(property_of(request, "__protVer"), "1.0");
  assert_string_equal(property_of(request, "__srcId"), "me");
  assert_string_equal(property_of(request, "$partition"), "me");
  assert_int_equal(stub_property_count(request, "$partition"), 1);
  assert_string_equal(property_of(request, "$high_priority"), "");
  assert_non_null(property_of(request, "__ts"));
  assert_string_equal(property_of(request, "__ft"), "1");
  assert_string_equal(property_of(request, "k"), "v");
  assert_string_equal(property_of(request, "type"), "ms.aio.rpc.request");
  assert_string_equal(property_of(request, "subject"), "ns/mock/fan/test");

  response_message response = response_to(0);
  response.message.topic = iotops_text_of("ns/response/mock/fan/test");
  add(&response, "__stat", "200");
  add(&response, "k", "1");
  add(&response, "__srcId", "fan");
  add(&response, "k", "2");
  deliver(&response);
  assert_false(last()->failed);
  assert_string_equal(last()->payload, "\"yes\"");
  assert_string_equal(the.tokens, "executorId=fan;");
  assert_string_equal(the.user_data, "k=1;k=2;");
  assert_string_equal(acks(), "1,");
}

static void calls_differ_in_their_correlation_data(void **state) {
  (void)state;
  make_ready();
  for (size_t i = 0; i < 50; i++)
    invoke();
  for (size_t i = 0; i < 50; i++)
    for (size_t j = 0; j < i; j++)
      assert_false(iotops_text_equal(published(i)->correlation_data,
                                     published(j)->correlation_data));
  for (size_t i = 50; i > 0; i--)
    succeed(i - 1);
  assert_int_equal(world.outcome_count, 50);
}

static void concurrent_first_calls_share_one_subscribe(void **state) {
  (void)state;
  make_default();
  invoke();
  invoke();
  iotops_command_invoker_start(the.invoker, note_end, NULL, NULL);
  invoke();
  settle_down();
  assert_int_equal(stub_count(world.stub, STUB_SUBSCRIBE), 1);
  assert_int_equal(publish_count(), 0);
  answer_nth(STUB_SUBSCRIBE, 0, 0); /* less than asked is granted too */
  assert_int_equal(publish_count(), 3);
  assert_int_equal(world.outcome_count, 1);
  invoke();
  assert_int_equal(stub_count(world.stub, STUB_SUBSCRIBE), 1);
  assert_int_equal(publish_count(), 4);
  for (size_t i = 0; i < 4; i++)
    succeed(i);
  assert_int_equal(world.outcome_count, 5);
}

static void a_refused_subscribe_fails_all_and_is_tried_again(void **state) {
  (void)state;
  make_default();
  invoke();
  invoke();
  the.calls = true; /* the first failure invokes again */
  answer_nth(STUB_SUBSCRIBE, 0, 0x87);
  assert_int_equal(world.outcome_count, 2);
  assert_local(IOTOPS_MQTT_ERROR);
  assert_int_equal(last()->err.reason_code, 0x87);
  assert_int_equal(publish_count(), 0);
  assert_int_equal(stub_count(world.stub, STUB_SUBSCRIBE), 2);
  answer_nth(STUB_SUBSCRIBE, 1, 1);
  assert_int_equal(publish_count(), 1);
  succeed(0);
  assert_false(last()->failed);
}

static void time_runs_from_the_call_on(void **state) {
  (void)state;
  make_default();
  invoke(); /* 10 s */
  virtual_time_pass(world.time, 9000);
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  assert_int_equal(published(0)->expiry_s, 10);
  virtual_time_pass(world.time, 999);
  assert_int_equal(world.outcome_count, 0);
  virtual_time_pass(world.time, 1);
  assert_local(IOTOPS_TIMEOUT);
  assert_string_equal(last()->err.timeout_name, "command_timeout");
  assert_true(last()->err.has_timeout_value);
  assert_int_equal(last()->err.timeout_ms, 10000);
  /* A publish that has not been acknowledged is not waited for. */
  assert_true(stub_nth(world.stub, STUB_PUBLISH, 0)->cancelled);
}

static void a_call_may_time_out_before_the_subscription(void **state) {
  (void)state;
  make_default();
  invoke();
  virtual_time_pass(world.time, 10000);
  assert_local(IOTOPS_TIMEOUT);
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  assert_int_equal(publish_count(), 0);
  assert_int_equal(world.outcome_count, 1);
}

static void a_refused_publish_fails_one_call_only(void **state) {
  (void)state;
  make_ready();
  invoke();
  answer_nth(STUB_PUBLISH, 0, 0x80);
  assert_local(IOTOPS_MQTT_ERROR);
  invoke();
  answer_nth(STUB_PUBLISH, 1, 0);
  succeed(1);
  assert_false(last()->failed);
  assert_int_equal(world.outcome_count, 2);
}

static void a_full_client_fails_the_call_at_once(void **state) {
  (void)state;
  make_ready();
  iotops_invoke_options options = IOTOPS_INVOKE_OPTIONS_INIT;
  iotops_error err;
  iotops_error_set(&world.stub->refuse, IOTOPS_INVALID_STATE, "full");
  assert_int_equal(invoke_with(&options, NULL, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
  assert_string_equal(err.command_name, "test");
  settle_down();
  assert_int_equal(world.outcome_count, 0);
  assert_true(iotops_context_next_due(world.time->context) == UINT64_MAX);
}

static void a_response_may_overtake_the_puback(void **state) {
  (void)state;
  make_ready();
  invoke();
  succeed(0);
  assert_int_equal(world.outcome_count, 1);
  assert_false(last()->failed);
  answer_nth(STUB_PUBLISH, 0, 0x97); /* only logged */
  assert_int_equal(world.outcome_count, 1);
  assert_non_null(strstr(world.time->log, "test"));
}

/* ---------------------------------------------------------- the responses --
 */

static void unknown_late_and_double_responses_are_acknowledged(void **state) {
  (void)state;
  make_ready();
  invoke();
  succeed(0);
  succeed(0);
  response_message response = response_to(0);
  response.message.correlation_data = iotops_text_of("0123456789abcdef");
  response.message.packet_id = 7;
  deliver(&response);
  response.message.correlation_data = iotops_text_of("short");
  deliver(&response);
  response.message.correlation_data = iotops_text_of(NULL);
  deliver(&response);
  invoke();
  virtual_time_pass(world.time, 10000);
  succeed(1);
  assert_string_equal(acks(), "1,1,7,7,7,2,");
  assert_int_equal(world.outcome_count, 2);
}

static void a_bad_response_is_acknowledged_all_the_same(void **state) {
  (void)state;
  make_ready();
  invoke();
  response_message response = response_to(0);
  deliver(&response);
  assert_string_equal(acks(), "1,");
  assert_local(IOTOPS_MISSING_HEADER);
  assert_string_equal(last()->err.header_name, "__stat");
}

static void the_version_of_a_response_is_checked_first(void **state) {
  (void)state;
  make_ready();
  invoke();
  response_message response = response_to(0);
  add(&response, "__protVer", "1234.0");
  deliver(&response);
  assert_local(IOTOPS_UNSUPPORTED_VERSION);
  assert_string_equal(last()->err.protocol_version, "1234.0");
  assert_int_equal(last()->err.supported_major_count, 1);
  assert_int_equal(last()->err.supported_majors[0], 1);
}

static void the_timestamp_of_a_response_is_checked(void **state) {
  (void)state;
  make_ready();
  invoke();
  response_message response = response_to(0);
  add(&response, "__stat", "200");
  add(&response, "__ts", "noon");
  deliver(&response);
  assert_local(IOTOPS_INVALID_HEADER);
  assert_string_equal(last()->err.header_name, "__ts");
  assert_string_equal(last()->err.header_value, "noon");

  invoke();
  char stamp[64];
  snprintf(stamp, sizeof stamp, "%015lld:00000:n",
           (long long)world.time->wall_ms + 120000);
  response = response_to(1);
  add(&response, "__stat", "500"); /* comes after the clock */
  add(&response, "__ts", stamp);
  deliver(&response);
  assert_local(IOTOPS_INVALID_STATE);
  assert_string_equal(last()->err.property_name, "MaxClockDrift");
}

static void a_remote_error_is_the_calls_error(void **state) {
  (void)state;
  make_ready();
  invoke();
  response_message response = response_to(0);
  add(&response, "__stat", "422");
  add(&response, "__stMsg", "no");
  add(&response, "__apErr", "true");
  add(&response, "__propName", "p");
  deliver(&response);
  assert_int_equal(last()->err.kind, IOTOPS_UNKNOWN_ERROR);
  assert_true(last()->err.is_remote);
  assert_false(last()->err.is_shallow);
  assert_string_equal(last()->err.message, "no");
  assert_string_equal(last()->err.property_name, "p");
  assert_string_equal(last()->err.command_name, "test");
}

static void no_content_must_have_none(void **state) {
  (void)state;
  make_ready();
  invoke();
  response_message response = response_to(0);
  add(&response, "__stat", "204");
  deliver(&response);
  assert_local(IOTOPS_INVALID_PAYLOAD);
  invoke();
  response = response_to(1);
  response.message.payload = (iotops_text){0};
  add(&response, "__stat", "204");
  deliver(&response);
  assert_false(last()->failed);
  assert_int_equal(last()->status, 204);
  invoke();
  response = response_to(2); /* other SDKs say 200 with nothing in it */
  response.message.payload = (iotops_text){0};
  add(&response, "__stat", "200");
  deliver(&response);
  assert_false(last()->failed);
  assert_int_equal(last()->status, 200);
}

#define TEST(name)                                                             \
  cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(each_bad_option_is_named),
      TEST(a_client_id_that_is_no_level_needs_a_response_topic),
      TEST(the_response_topic_follows_from_the_options),
      TEST(each_bad_argument_fails_at_once),
      TEST(a_missing_token_is_named_and_nothing_is_sent),
      TEST(a_request_carries_what_the_protocol_says),
      TEST(calls_differ_in_their_correlation_data),
      TEST(concurrent_first_calls_share_one_subscribe),
      TEST(a_refused_subscribe_fails_all_and_is_tried_again),
      TEST(time_runs_from_the_call_on),
      TEST(a_call_may_time_out_before_the_subscription),
      TEST(a_refused_publish_fails_one_call_only),
      TEST(a_full_client_fails_the_call_at_once),
      TEST(a_response_may_overtake_the_puback),
      TEST(unknown_late_and_double_responses_are_acknowledged),
      TEST(a_bad_response_is_acknowledged_all_the_same),
      TEST(the_version_of_a_response_is_checked_first),
      TEST(the_timestamp_of_a_response_is_checked),
      TEST(a_remote_error_is_the_calls_error),
      TEST(no_content_must_have_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
