/*
** Requests and responses: their order, refusals, the life of an executor.
*/
#include "executor_scene.h"

/* ----------------------------------------------------------- the options -- */

static void assert_refused(const iotops_command_executor_options *options,
                           const char *property) {
  iotops_command_executor *none = NULL;
  iotops_error err;
  assert_int_equal(
      iotops_command_executor_new(&world.stub->client, options, &none, &err),
      -1);
  assert_null(none);
  assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_true(err.is_shallow);
  assert_false(err.is_remote);
  assert_string_equal(err.property_name, property);
}

static void each_bad_option_is_named(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.command_name = iotops_text_of(NULL);
  assert_refused(&options, "command_name");
  options.command_name = iotops_text_of("set speed");
  assert_refused(&options, "command_name");
  options = options_of();
  options.request_topic_pattern = iotops_text_of("a//b");
  assert_refused(&options, "request_topic_pattern");
  options.request_topic_pattern = iotops_text_of(NULL);
  assert_refused(&options, "request_topic_pattern");
  options = options_of();
  options.topic_namespace = iotops_text_of("a/{b}");
  assert_refused(&options, "topic_namespace");
  options = options_of();
  options.service_group_id = iotops_text_of("a/b");
  assert_refused(&options, "service_group_id");
  options = options_of();
  options.execution_timeout_us = 0;
  assert_refused(&options, "execution_timeout");
  options = options_of();
  options.cacheable_duration_us = 1;
  assert_refused(&options, "cacheable_duration");
  options.is_idempotent = true;
  options.cacheable_duration_us = -1;
  assert_refused(&options, "cacheable_duration");
  options = options_of();
  options.handler = NULL;
  assert_refused(&options, "handler");
  iotops_token token = {iotops_text_of("modelId"), iotops_text_of("a b")};
  options = options_of();
  options.request_topic_pattern = iotops_text_of("mock/{modelId}");
  options.tokens = &token;
  options.token_count = 1;
  assert_refused(&options, "modelId");
}

static void a_shared_executor_subscribes_with_its_group(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.request_topic_pattern = iotops_text_of("mock/{executorId}/test");
  options.topic_namespace = iotops_text_of("ns/x");
  options.service_group_id = iotops_text_of("group");
  make(&options);
  iotops_command_executor_start(the.executor, note_end, NULL, NULL);
  stub_operation *subscribe = stub_nth(world.stub, STUB_SUBSCRIBE, 0);
  assert_string_equal(subscribe->filter, "$share/group/ns/x/mock/+/test");
  assert_int_equal(subscribe->options.qos, 1);
  assert_false(subscribe->options.no_local);
  assert_false(subscribe->options.retain_as_published);

  request_message request = request_of(0);
  request.message.topic = iotops_text_of("ns/x/mock/me/test");
  deliver(&request);
  assert_string_equal(the.seen, "ns/x/mock/me/test|\"ask\"||executorId=me;|");
  iotops_request_fail(the.requests[0], NULL);
}

/* ------------------------------------------------------------- the order -- */

static void a_request_is_answered_and_only_then_acknowledged(void **state) {
  (void)state;
  make_default();
  request_message request = request_of(0);
  add(&request, "__srcId", "caller");
  add(&request, "__protVer", "1.3");
  add(&request, "__ft", "9");
  add(&request, "a", "1");
  add(&request, "$partition", "caller");
  add(&request, "a", "2");
  deliver(&request);
  assert_int_equal(the.executed, 1);
  assert_string_equal(the.seen, "mock/test|\"ask\"|caller||__ft=9;a=1;a=2;");
  virtual_time_pass(world.time, 2500);
  respond(the.requests[0], "\"yes\"");
  settle_down();
  assert_int_equal(publish_count(), 1);
  assert_string_equal(acks(), "");
  assert_int_equal(world.outcome_count, 0);

  const iotops_message *answer = published(0);
  assert_true(iotops_text_equal(answer->topic, iotops_text_of("answers/here")));
  assert_memory_equal(answer->correlation_data.data, request.correlation, 16);
  assert_int_equal(answer->correlation_data.size, 16);
  assert_int_equal(answer->qos, 1);
  assert_false(answer->retain);
  assert_int_equal(answer->expiry_s, 8); /* of 7.5 s left */
  assert_int_equal(answer->format_indicator, 1);
  assert_true(iotops_text_equal(answer->content_type,
                                iotops_text_of("application/json")));
  assert_null(answer->response_topic.data);
  assert_string_equal(property_of(answer, "__stat"), "200");
  assert_string_equal(property_of(answer, "__protVer"), "1.0");
  assert_string_equal(property_of(answer, "__srcId"), "me");
  assert_non_null(property_of(answer, "__ts"));
  assert_string_equal(property_of(answer, "$high_priority"), "");
  assert_null(property_of(answer, "$partition"));
  assert_null(property_of(answer, "__stMsg"));
  assert_null(property_of(answer, "__apErr"));
  assert_null(property_of(answer, "a"));

  answer_nth(STUB_PUBLISH, 0, 0);
  assert_string_equal(acks(), "1,");
  assert_int_equal(world.outcome_count, 1);
  assert_false(world.outcomes[0].failed);
}

static void an_empty_response_has_status_204(void **state) {
  (void)state;
  make_default();
  ask(0);
  iotops_respond_options options = IOTOPS_RESPOND_OPTIONS_INIT;
  assert_int_equal(iotops_request_respond(the.requests[0], &options, NULL), 0);
  assert_string_equal(property_of(published(0), "__stat"), "204");
  assert_null(published(0)->content_type.data);
}

static void a_handler_cannot_fake_what_the_protocol_writes(void **state) {
  (void)state;
  make_default();
  ask(0);
  iotops_user_property pairs[] = {
      {iotops_text_of("__stat"), iotops_text_of("500")},
      {iotops_text_of("AppErrCode"), iotops_text_of("E1")},
      {iotops_text_of("x"), iotops_text_of("1")},
      {iotops_text_of("x"), iotops_text_of("2")}};
  iotops_respond_options options = IOTOPS_RESPOND_OPTIONS_INIT;
  options.user_data = pairs;
  options.user_data_count = 4;
  assert_int_equal(iotops_request_respond(the.requests[0], &options, NULL), 0);
  assert_int_equal(stub_property_count(published(0), "__stat"), 1);
  assert_string_equal(property_of(published(0), "__stat"), "204");
  assert_string_equal(property_of(published(0), "AppErrCode"), "E1");
  assert_int_equal(stub_property_count(published(0), "x"), 2);
}

static void a_response_that_may_not_be_sent_leaves_the_request(void **state) {
  (void)state;
  make_default();
  ask(0);
  iotops_user_property bad = {iotops_text_of("k"), iotops_text_of("a\tb")};
  iotops_respond_options options = IOTOPS_RESPOND_OPTIONS_INIT;
  iotops_error err;
  options.user_data = &bad;
  options.user_data_count = 1;
  assert_int_equal(iotops_request_respond(the.requests[0], &options, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_string_equal(err.property_name, "metadata");
  assert_string_equal(err.command_name, "test");
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  options.user_data_count = 0;
  options.cloud_event = &event; /* has no source */
  assert_int_equal(iotops_request_respond(the.requests[0], &options, &err), -1);
  assert_string_equal(err.property_name, "cloud_event");
  settle_down();
  assert_int_equal(publish_count(), 0);
  iotops_request_fail(the.requests[0], &err);
  assert_answer(0, "500", "true", NULL, NULL);
}

static void a_cloud_event_of_a_response_takes_its_defaults(void **state) {
  (void)state;
  make_default();
  ask(0);
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  event.source = iotops_text_of("urn:fan");
  iotops_respond_options options = IOTOPS_RESPOND_OPTIONS_INIT;
  options.payload =
      iotops_format_payload(IOTOPS_FORMAT_JSON, iotops_text_of("1"));
  options.cloud_event = &event;
  assert_int_equal(iotops_request_respond(the.requests[0], &options, NULL), 0);
  assert_string_equal(property_of(published(0), "type"), "ms.aio.rpc.response");
  assert_string_equal(property_of(published(0), "subject"), "answers/here");
}

static void a_refused_response_still_acknowledges_the_request(void **state) {
  (void)state;
  make_default();
  the.answers = true;
  ask(0);
  answer_nth(STUB_PUBLISH, 0, 0x80);
  assert_string_equal(acks(), "1,");
  assert_int_equal(world.outcome_count, 1);
  assert_true(world.outcomes[0].failed);
  assert_int_equal(world.outcomes[0].err.kind, IOTOPS_MQTT_ERROR);
  assert_string_equal(world.outcomes[0].err.command_name, "test");
  assert_int_equal(the.executed, 1);
  assert_int_equal(publish_count(), 1);
}

static void acknowledging_follows_the_order_of_answers(void **state) {
  (void)state;
  make_default();
  ask(0);
  ask(1);
  respond(the.requests[1], "1");
  respond(the.requests[0], "0");
  answer_nth(STUB_PUBLISH, 0, 0);
  assert_string_equal(acks(), "2,");
  answer_nth(STUB_PUBLISH, 1, 0);
  assert_string_equal(acks(), "2,1,");
}

static void a_request_with_qos_0_is_answered(void **state) {
  (void)state;
  make_default();
  the.answers = true;
  world.stub->automatic = true;
  request_message request = request_of(0);
  request.message.qos = 0;
  request.message.packet_id = 0;
  deliver(&request);
  deliver(&request);
  assert_int_equal(the.executed, 1);
  assert_int_equal(publish_count(), 2);
  assert_string_equal(acks(), "");
}

/* ------------------------------------------------------------- refusals -- */

static void without_a_response_topic_nothing_is_published(void **state) {
  (void)state;
  static const char *const bad[] = {NULL, "",   "a b",  "a+b",  "#",
                                    "/a", "a/", "a//b", "a{b}", "a\tb"};
  make_default();
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    request_message request = request_of(i);
    request.message.response_topic = iotops_text_of(bad[i]);
    deliver(&request);
    assert_int_equal(world.stub->ack_count, i + 1);
  }
  assert_int_equal(publish_count(), 0);
  assert_int_equal(the.executed, 0);
}

static void a_topic_that_only_nearly_matches_is_let_go(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.request_topic_pattern = iotops_text_of("mock/{x}/test");
  make(&options);
  request_message request = request_of(0);
  request.message.topic = iotops_text_of("mock//test");
  deliver(&request);
  assert_int_equal(the.executed, 0);
  assert_int_equal(publish_count(), 0);
  assert_string_equal(acks(), "1,");
}

static void a_version_that_is_not_understood_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"", "2.0", "0.1", "1", "1.2.3", "x"};
  make_default();
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    request_message request = request_of(i);
    add(&request, "__protVer", bad[i]);
    /* Whatever else is wrong, the version comes first. */
    request.message.has_expiry = false;
    deliver(&request);
    assert_answer(i, "505", "false", NULL, NULL);
    assert_string_equal(property_of(published(i), "__requestProtVer"), bad[i]);
    assert_string_equal(property_of(published(i), "__supProtMajVer"), "1");
    assert_int_equal(published(i)->expiry_s, 10);
  }
  assert_string_equal(acks(), "");
  answer_nth(STUB_PUBLISH, 0, 0);
  assert_string_equal(acks(), "1,");
}

static void missing_correlation_data_is_refused_without_any(void **state) {
  (void)state;
  make_default();
  request_message request = request_of(0);
  request.message.user_properties = request.pairs;
  stub_deliver(world.stub, &request.message);
  settle_down();
  assert_answer(0, "400", "false", "Correlation Data", NULL);
  assert_null(published(0)->correlation_data.data);
}

static void correlation_data_of_another_length_is_echoed(void **state) {
  (void)state;
  make_default();
  request_message request = request_of(0);
  request.message.correlation_data = iotops_text_of("NotGuid");
  deliver(&request);
  assert_answer(0, "400", "false", "Correlation Data", "NotGuid");
  assert_true(iotops_text_equal(published(0)->correlation_data,
                                iotops_text_of("NotGuid")));
  request.message.correlation_data = iotops_text_of("\xff\xfe");
  deliver(&request);
  assert_answer(1, "400", "false", "Correlation Data", NULL);
  request.message.correlation_data = (iotops_text){"", 0};
  deliver(&request);
  assert_answer(2, "400", "false", "Correlation Data", "");
}

static void a_request_needs_an_expiry(void **state) {
  (void)state;
  make_default();
  request_message request = request_of(0);
  request.message.has_expiry = false;
  deliver(&request);
  assert_answer(0, "400", "false", "Message Expiry", NULL);
  request = request_of(1);
  request.message.expiry_s = 0;
  deliver(&request);
  assert_answer(1, "400", "false", "Message Expiry", NULL);
  assert_int_equal(published(1)->expiry_s, 10);
}

static void a_malformed_timestamp_is_refused(void **state) {
  (void)state;
  make_default();
  request_message request = request_of(0);
  add(&request, "__ts", "yesterday");
  deliver(&request);
  assert_answer(0, "400", "false", "__ts", "yesterday");
  assert_int_equal(the.executed, 0);
}

static void a_clock_that_runs_ahead_is_answered_503(void **state) {
  (void)state;
  make_default();
  char stamp[64];
  snprintf(stamp, sizeof stamp, "%015lld:00000:n",
           (long long)world.time->wall_ms + 120000);
  request_message request = request_of(0);
  add(&request, "__ts", stamp);
  deliver(&request);
  assert_answer(0, "503", "false", "MaxClockDrift", NULL);

  snprintf(stamp, sizeof stamp, "%015lld:18446744073709551615:n",
           (long long)world.time->wall_ms + 30000);
  request = request_of(1);
  add(&request, "__ts", stamp);
  deliver(&request);
  assert_answer(1, "503", "false", "Counter", NULL);
  assert_int_equal(the.executed, 0);
}

static void errors_at_the_door_are_not_cached(void **state) {
  (void)state;
  make_default();
  world.stub->automatic = true;
  request_message request = request_of(0);
  add(&request, "__ts", "bad");
  deliver(&request);
  ask(0);
  assert_int_equal(the.executed, 1);
  respond(the.requests[0], "1");
}

/* ------------------------------------------------------------- the life -- */

static void a_refused_start_may_be_tried_again(void **state) {
  (void)state;
  make_default();
  assert_int_equal(
      iotops_command_executor_start(the.executor, note_end, NULL, NULL), 0);
  assert_int_equal(world.outcome_count, 0);
  answer_nth(STUB_SUBSCRIBE, 0, 0x80);
  assert_int_equal(world.outcomes[0].err.kind, IOTOPS_MQTT_ERROR);
  assert_false(world.outcomes[0].err.is_shallow);
  assert_string_equal(world.outcomes[0].err.command_name, "test");
  iotops_command_executor_start(the.executor, note_end, NULL, NULL);
  answer_nth(STUB_SUBSCRIBE, 1, 0);
  assert_false(world.outcomes[1].failed);
  iotops_command_executor_start(the.executor, note_end, NULL, NULL);
  assert_int_equal(world.outcome_count, 2);
  settle_down();
  assert_int_equal(world.outcome_count, 3);
  assert_int_equal(stub_count(world.stub, STUB_SUBSCRIBE), 2);
}

static void a_stop_lets_requests_in_hand_finish(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.concurrency = 1;
  make(&options);
  iotops_command_executor_start(the.executor, note_end, NULL, NULL);
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  ask(0);
  ask(1);
  iotops_command_executor_stop(the.executor, note_end, NULL, NULL);
  ask(2); /* not claimed any more */
  respond(the.requests[0], "0");
  settle_down();
  respond(the.requests[1], "1");
  answer_nth(STUB_UNSUBSCRIBE, 0, 0);
  answer_nth(STUB_PUBLISH, 0, 0);
  answer_nth(STUB_PUBLISH, 1, 0);
  assert_int_equal(the.executed, 2);
  assert_string_equal(acks(), "1,2,");
  assert_int_equal(world.outcome_count, 4);
  iotops_error err;
  assert_int_equal(
      iotops_command_executor_start(the.executor, note_end, NULL, &err), -1);
  assert_int_equal(err.kind, IOTOPS_CANCELLATION);
}

static void a_refused_stop_may_be_tried_again(void **state) {
  (void)state;
  make_default();
  iotops_command_executor_start(the.executor, note_end, NULL, NULL);
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  iotops_command_executor_stop(the.executor, note_end, NULL, NULL);
  answer_nth(STUB_UNSUBSCRIBE, 0, 0x80);
  assert_int_equal(world.outcomes[1].err.kind, IOTOPS_MQTT_ERROR);
  assert_string_equal(world.outcomes[1].err.command_name, "test");
  iotops_command_executor_stop(the.executor, note_end, NULL, NULL);
  answer_nth(STUB_UNSUBSCRIBE, 1, 0);
  assert_false(world.outcomes[2].failed);
  iotops_command_executor_stop(the.executor, note_end, NULL, NULL);
  settle_down();
  assert_int_equal(world.outcome_count, 4);
  assert_int_equal(stub_count(world.stub, STUB_UNSUBSCRIBE), 2);
}

static void a_stop_during_the_start_waits_for_its_answer(void **state) {
  (void)state;
  make_default();
  iotops_command_executor_start(the.executor, note_end, NULL, NULL);
  iotops_command_executor_stop(the.executor, note_end, NULL, NULL);
  settle_down();
  assert_int_equal(stub_count(world.stub, STUB_UNSUBSCRIBE), 0);
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  assert_int_equal(stub_count(world.stub, STUB_UNSUBSCRIBE), 1);
  answer_nth(STUB_UNSUBSCRIBE, 0, 0);
  assert_int_equal(world.outcome_count, 2);
  assert_false(world.outcomes[0].failed);
  assert_false(world.outcomes[1].failed);
}

static void freeing_without_stop_unsubscribes_and_acknowledges(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.concurrency = 1;
  make(&options);
  iotops_command_executor_start(the.executor, NULL, NULL, NULL);
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  ask(0);
  ask(0);
  ask(1);
  iotops_command_executor_free(the.executor);
  the.executor = NULL;
  settle_down();
  assert_int_equal(stub_count(world.stub, STUB_UNSUBSCRIBE), 1);
  assert_int_equal(world.stub->ack_count, 3);
  assert_int_equal(the.executed, 1);
  assert_true(iotops_request_is_cancelled(the.requests[0]));
  respond(the.requests[0], "1"); /* still allowed, and discarded */
  settle_down();
  assert_int_equal(publish_count(), 0);
  assert_int_equal(world.outcome_count, 1);
  assert_true(world.outcomes[0].failed);
}

static void freeing_with_answers_on_their_way_lets_them_arrive(void **state) {
  (void)state;
  make_default();
  ask(0);
  ask(1);
  respond(the.requests[0], "1");
  refuse_next_as_full();
  respond(the.requests[1], "1");
  iotops_command_executor_free(the.executor);
  the.executor = NULL;
  settle_down();
  assert_int_equal(world.outcome_count, 1);
  assert_int_equal(world.outcomes[0].err.kind, IOTOPS_CANCELLATION);
  answer_nth(STUB_PUBLISH, 0, 0);
  assert_int_equal(world.outcome_count, 2);
  assert_false(world.outcomes[1].failed);
  assert_string_equal(acks(), "2,1,");
}

static void an_executor_that_is_gone_leaves_an_ending_client_be(void **state) {
  (void)state;
  make_default();
  ask(0);
  respond(the.requests[0], "1");
  iotops_command_executor_free(the.executor);
  the.executor = NULL;
  stub_fail(stub_nth(world.stub, STUB_PUBLISH, 0), IOTOPS_CANCELLATION, "end");
  settle_down();
  assert_int_equal(world.outcome_count, 1);
  assert_int_equal(world.outcomes[0].err.kind, IOTOPS_CANCELLATION);
  assert_string_equal(acks(), "");
}

static void a_handler_may_free_its_executor(void **state) {
  (void)state;
  make_default();
  the.frees = true;
  ask(0);
  assert_string_equal(acks(), "1,");
  iotops_request_fail(the.requests[0], NULL);
  assert_int_equal(publish_count(), 0);
}

static void freeing_during_the_start_unsubscribes_later(void **state) {
  (void)state;
  make_default();
  iotops_command_executor_start(the.executor, note_end, NULL, NULL);
  iotops_command_executor_free(the.executor);
  the.executor = NULL;
  assert_int_equal(world.outcome_count, 0);
  settle_down();
  assert_int_equal(world.outcomes[0].err.kind, IOTOPS_CANCELLATION);
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  assert_int_equal(stub_count(world.stub, STUB_UNSUBSCRIBE), 1);
  answer_nth(STUB_UNSUBSCRIBE, 0, 0);
  assert_int_equal(world.outcome_count, 1);
}

static void no_timer_is_left_when_all_is_done(void **state) {
  (void)state;
  make_default();
  the.answers = true;
  world.stub->automatic = true;
  for (unsigned i = 0; i < 60; i++)
    ask(i);
  iotops_command_executor_free(the.executor);
  the.executor = NULL;
  settle_down();
  assert_true(iotops_context_next_due(world.time->context) == UINT64_MAX);
  assert_int_equal(world.stub->ack_count, 60);
}

#define TEST(name)                                                             \
  cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(each_bad_option_is_named),
      TEST(a_shared_executor_subscribes_with_its_group),
      TEST(a_request_is_answered_and_only_then_acknowledged),
      TEST(an_empty_response_has_status_204),
      TEST(a_handler_cannot_fake_what_the_protocol_writes),
      TEST(a_response_that_may_not_be_sent_leaves_the_request),
      TEST(a_cloud_event_of_a_response_takes_its_defaults),
      TEST(a_refused_response_still_acknowledges_the_request),
      TEST(acknowledging_follows_the_order_of_answers),
      TEST(a_request_with_qos_0_is_answered),
      TEST(without_a_response_topic_nothing_is_published),
      TEST(a_topic_that_only_nearly_matches_is_let_go),
      TEST(a_version_that_is_not_understood_is_refused),
      TEST(missing_correlation_data_is_refused_without_any),
      TEST(correlation_data_of_another_length_is_echoed),
      TEST(a_request_needs_an_expiry),
      TEST(a_malformed_timestamp_is_refused),
      TEST(a_clock_that_runs_ahead_is_answered_503),
      TEST(errors_at_the_door_are_not_cached),
      TEST(a_refused_start_may_be_tried_again),
      TEST(a_stop_lets_requests_in_hand_finish),
      TEST(a_refused_stop_may_be_tried_again),
      TEST(a_stop_during_the_start_waits_for_its_answer),
      TEST(freeing_without_stop_unsubscribes_and_acknowledges),
      TEST(freeing_with_answers_on_their_way_lets_them_arrive),
      TEST(an_executor_that_is_gone_leaves_an_ending_client_be),
      TEST(a_handler_may_free_its_executor),
      TEST(freeing_during_the_start_unsubscribes_later),
      TEST(no_timer_is_left_when_all_is_done),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
