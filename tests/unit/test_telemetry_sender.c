/*
** Telemetry that is sent.
*/
#include "telemetry_scene.h"

static void a_send_carries_what_the_protocol_asks_for(void **state) {
  (void)state;
  iotops_telemetry_sender *sender = make_sender("mock/test");
  iotops_telemetry_send_options options = reading("1");
  iotops_user_property user[] = {{T("telemHeader"), T("telemValue")},
                                 {T("__srcId"), T("forged")}};
  outcome outcome = {0};
  options.user_data = user;
  options.user_data_count = 2;
  assert_int_equal(
      iotops_telemetry_send(sender, &options, on_done, &outcome, &s.err), 0);
  stub_operation *sent = stub_nth(s.stub, STUB_PUBLISH, 0);
  const iotops_message *message = sent->message;
  assert_text(message->topic, "mock/test");
  assert_text(message->payload, "1");
  assert_text(message->content_type, "application/json");
  assert_int_equal(message->format_indicator, 1);
  assert_int_equal(message->qos, 1);
  assert_false(message->retain);
  assert_true(message->has_expiry);
  assert_int_equal(message->expiry_s, 10);
  assert_null(message->response_topic.data);
  assert_int_equal(stub_property_count(message, "__protVer"), 1);
  assert_text(stub_property(message, "__protVer", 0), "1.0");
  assert_int_equal(stub_property_count(message, "__srcId"), 1);
  assert_text(stub_property(message, "__srcId", 0), "me");
  assert_int_equal(stub_property_count(message, "__ts"), 1);
  assert_text(stub_property(message, "telemHeader", 0), "telemValue");
  assert_int_equal(stub_property_count(message, "aio-persistence"), 0);
  assert_int_equal(stub_property_count(message, "$partition"), 0);
  assert_int_equal(s.warnings, 1);
  iotops_hlc stamp;
  assert_int_equal(
      iotops_hlc_parse(stub_property(message, "__ts", 0), &stamp, NULL), 0);
  assert_int_equal(iotops_hlc_compare(&stamp, iotops_context_hlc(s.context)),
                   0);
  assert_int_equal(outcome.calls, 0);
  stub_answer(sent, 0);
  iotops_context_drain(s.context);
  assert_int_equal(outcome.calls, 1);
  assert_false(outcome.failed);
  iotops_telemetry_sender_free(sender);
}

static void a_refused_publish_is_an_mqtt_error(void **state) {
  (void)state;
  iotops_telemetry_sender *sender = make_sender("mock/test");
  iotops_telemetry_send_options options = reading("1");
  outcome outcomes[3] = {{0}};
  for (size_t i = 0; i < 3; i++)
    assert_int_equal(
        iotops_telemetry_send(sender, &options, on_done, &outcomes[i], &s.err),
        0);
  stub_answer(stub_nth(s.stub, STUB_PUBLISH, 0), 0x80);
  stub_answer(stub_nth(s.stub, STUB_PUBLISH, 1), 0x10); /* no receivers */
  stub_fail(stub_nth(s.stub, STUB_PUBLISH, 2), IOTOPS_INVALID_STATE, "ended");
  iotops_context_drain(s.context);
  assert_int_equal(outcomes[0].calls, 1);
  assert_int_equal(outcomes[0].err.kind, IOTOPS_MQTT_ERROR);
  assert_int_equal(outcomes[0].err.reason_code, 0x80);
  assert_false(outcomes[0].err.is_shallow);
  assert_false(outcomes[0].err.is_remote);
  assert_int_equal(outcomes[1].calls, 1);
  assert_false(outcomes[1].failed);
  assert_int_equal(outcomes[2].err.kind, IOTOPS_MQTT_ERROR);
  assert_false(outcomes[2].err.is_shallow);
  assert_string_equal(outcomes[2].err.message, "ended");
  iotops_telemetry_sender_free(sender);
}

static void sends_leave_in_the_order_of_the_calls(void **state) {
  (void)state;
  iotops_telemetry_sender *sender = make_sender("mock/test");
  char payloads[50][16];
  outcome outcome = {0};
  s.stub->automatic = true;
  for (int i = 0; i < 50; i++) {
    snprintf(payloads[i], sizeof payloads[i], "%d", i);
    iotops_telemetry_send_options options = reading(payloads[i]);
    assert_int_equal(
        iotops_telemetry_send(sender, &options, on_done, &outcome, &s.err), 0);
  }
  iotops_hlc before = {0}, stamp;
  for (int i = 0; i < 50; i++) {
    iotops_message *message =
        stub_nth(s.stub, STUB_PUBLISH, (size_t)i)->message;
    assert_text(message->payload, payloads[i]);
    assert_int_equal(
        iotops_hlc_parse(stub_property(message, "__ts", 0), &stamp, NULL), 0);
    assert_true(iotops_hlc_compare(&before, &stamp) < 0);
    before = stamp;
  }
  iotops_context_drain(s.context);
  assert_int_equal(outcome.calls, 50);
  iotops_telemetry_sender_free(sender);
}

static void assert_send_fails(iotops_telemetry_sender *sender,
                              const iotops_telemetry_send_options *options,
                              const char *property) {
  size_t before = stub_count(s.stub, STUB_PUBLISH);
  assert_int_equal(
      iotops_telemetry_send(sender, options, on_done, NULL, &s.err), -1);
  assert_configuration_error(property);
  assert_int_equal(stub_count(s.stub, STUB_PUBLISH), before);
}

static void checks_of_a_send_come_in_their_order(void **state) {
  (void)state;
  iotops_telemetry_sender *sender = make_sender("mock/{t}");
  iotops_telemetry_send_options options = reading("1");
  iotops_user_property bad[] = {{T("a\n"), T("")}, {T("source"), T("x")}};
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  iotops_token token = {T("t"), T("a b")};
  options.message_expiry_us = 0;
  options.qos = 2;
  options.user_data = bad;
  options.user_data_count = 2;
  options.persist = true;
  options.retain = 0;
  options.payload.content_type = T("a\n");
  options.tokens = &token;
  options.token_count = 1;
  options.cloud_event = &event;
  assert_send_fails(sender, &options, "message_expiry");
  options.message_expiry_us = 1;
  assert_send_fails(sender, &options, "qos");
  options.qos = 1;
  assert_send_fails(sender, &options, "metadata");
  bad[0].name = T("a");
  assert_send_fails(sender, &options, "metadata"); /* a CloudEvents name */
  options.user_data_count = 1;
  assert_send_fails(sender, &options, "persist");
  options.retain = -1;
  assert_send_fails(sender, &options, "content_type");
  options.payload.content_type = T("non.conforming");
  assert_send_fails(sender, &options, "t");
  assert_string_equal(s.err.property_value, "a b");
  token.name = T("other");
  assert_send_fails(sender, &options, "t");
  assert_false(s.err.has_property_value);
  token = (iotops_token){T("t"), T("x")};
  assert_send_fails(sender, &options, "cloud_event"); /* no source */
  event.source = T("s");
  assert_send_fails(sender, &options, "cloud_event"); /* the content type */
  options.payload.content_type = T("application/json");
  outcome outcome = {0};
  s.stub->automatic = true;
  assert_int_equal(
      iotops_telemetry_send(sender, &options, on_done, &outcome, &s.err), 0);
  iotops_context_drain(s.context);
  assert_int_equal(outcome.calls, 1);
  iotops_telemetry_sender_free(sender);
}

static void an_expiry_reaches_the_message_in_whole_seconds(void **state) {
  (void)state;
  iotops_telemetry_sender *sender = make_sender("mock/test");
  iotops_telemetry_send_options options = reading("1");
  s.stub->automatic = true;
  options.message_expiry_us = 3000000;
  assert_int_equal(iotops_telemetry_send(sender, &options, NULL, NULL, NULL),
                   0);
  options.message_expiry_us = 500;
  assert_int_equal(iotops_telemetry_send(sender, &options, NULL, NULL, NULL),
                   0);
  assert_int_equal(stub_nth(s.stub, STUB_PUBLISH, 0)->message->expiry_s, 3);
  assert_int_equal(stub_nth(s.stub, STUB_PUBLISH, 1)->message->expiry_s, 1);
  options.message_expiry_us = INT64_C(4294967295000001);
  assert_send_fails(sender, &options, "message_expiry");
  iotops_telemetry_sender_free(sender);
}

static void persisting_retains_and_says_so(void **state) {
  (void)state;
  iotops_telemetry_sender *sender = make_sender("mock/test");
  iotops_telemetry_send_options options = reading("1");
  s.stub->automatic = true;
  options.persist = true;
  options.qos = 0;
  assert_int_equal(iotops_telemetry_send(sender, &options, NULL, NULL, NULL),
                   0);
  iotops_message *message = stub_nth(s.stub, STUB_PUBLISH, 0)->message;
  assert_true(message->retain);
  assert_int_equal(message->qos, 0);
  assert_text(stub_property(message, "aio-persistence", 0), "true");
  options.persist = false;
  options.retain = 1;
  assert_int_equal(iotops_telemetry_send(sender, &options, NULL, NULL, NULL),
                   0);
  message = stub_nth(s.stub, STUB_PUBLISH, 1)->message;
  assert_true(message->retain);
  assert_int_equal(stub_property_count(message, "aio-persistence"), 0);
  iotops_telemetry_sender_free(sender);
}

static void a_cloud_event_is_sent_once_and_complete(void **state) {
  (void)state;
  iotops_telemetry_sender *sender = make_sender("mock/test");
  iotops_telemetry_send_options options = reading("1");
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  s.stub->automatic = true;
  event.source = T("dtmi:test:myEventSource;1");
  options.cloud_event = &event;
  assert_int_equal(iotops_telemetry_send(sender, &options, NULL, NULL, NULL),
                   0);
  iotops_message *message = stub_nth(s.stub, STUB_PUBLISH, 0)->message;
  assert_text(stub_property(message, "type", 0), "ms.aio.telemetry");
  assert_text(stub_property(message, "subject", 0), "mock/test");
  assert_text(stub_property(message, "specversion", 0), "1.0");
  assert_text(stub_property(message, "time", 0), "2023-11-14T22:13:20Z");
  assert_int_equal(stub_property(message, "id", 0).size, 36);
  assert_int_equal(stub_property_count(message, "datacontenttype"), 0);
  assert_text(message->content_type, "application/json");
  iotops_telemetry_sender_free(sender);
}

static void a_full_queue_is_told_at_once(void **state) {
  (void)state;
  iotops_telemetry_sender *sender = make_sender("mock/test");
  iotops_telemetry_send_options options = reading("1");
  outcome outcome = {0};
  iotops_error_set(&s.stub->refuse, IOTOPS_INVALID_STATE, "full");
  iotops_error_name(s.stub->refuse.property_name, T("publish_queue"));
  assert_int_equal(
      iotops_telemetry_send(sender, &options, on_done, &outcome, &s.err), -1);
  assert_int_equal(s.err.kind, IOTOPS_INVALID_STATE);
  assert_string_equal(s.err.property_name, "publish_queue");
  iotops_context_drain(s.context);
  assert_int_equal(outcome.calls, 0);
  s.stub->automatic = true;
  assert_int_equal(
      iotops_telemetry_send(sender, &options, on_done, &outcome, &s.err), 0);
  iotops_context_drain(s.context);
  assert_int_equal(outcome.calls, 1);
  iotops_telemetry_sender_free(sender);
}

static void a_clock_far_ahead_stops_a_send(void **state) {
  (void)state;
  iotops_telemetry_sender *sender = make_sender("mock/test");
  iotops_telemetry_send_options options = reading("1");
  s.now_ms = 120000;
  assert_int_equal(iotops_context_hlc(s.context)->ms, 1700000120000);
  s.now_ms = 0; /* the wall clock was set back */
  assert_int_equal(iotops_telemetry_send(sender, &options, NULL, NULL, &s.err),
                   -1);
  assert_int_equal(s.err.kind, IOTOPS_INVALID_STATE);
  assert_true(s.err.is_shallow);
  assert_string_equal(s.err.property_name, "MaxClockDrift");
  assert_int_equal(stub_count(s.stub, STUB_PUBLISH), 0);
  iotops_telemetry_sender_free(sender);
}

static void freeing_a_sender_cancels_what_is_in_hand(void **state) {
  (void)state;
  iotops_telemetry_sender *sender = make_sender("mock/test");
  iotops_telemetry_send_options options = reading("1");
  outcome outcomes[3] = {{0}};
  for (size_t i = 0; i < 3; i++)
    assert_int_equal(
        iotops_telemetry_send(sender, &options, on_done, &outcomes[i], &s.err),
        0);
  stub_answer(stub_nth(s.stub, STUB_PUBLISH, 1), 0);
  iotops_telemetry_sender_free(sender);
  assert_int_equal(outcomes[0].calls, 0); /* later, not inside the call */
  iotops_context_drain(s.context);
  for (size_t i = 0; i < 3; i++)
    assert_int_equal(outcomes[i].calls, 1);
  assert_int_equal(outcomes[0].err.kind, IOTOPS_CANCELLATION);
  assert_false(outcomes[1].failed);
  assert_int_equal(outcomes[2].err.kind, IOTOPS_CANCELLATION);
  iotops_telemetry_sender_free(NULL);
}

static void free_in_done(void *user, const iotops_error *err) {
  (void)err;
  iotops_telemetry_sender_free(user);
}

static void a_sender_may_be_freed_by_a_completion(void **state) {
  (void)state;
  iotops_telemetry_sender *sender = make_sender("mock/test");
  iotops_telemetry_send_options options = reading("1");
  outcome outcome = {0};
  assert_int_equal(
      iotops_telemetry_send(sender, &options, free_in_done, sender, NULL), 0);
  assert_int_equal(
      iotops_telemetry_send(sender, &options, on_done, &outcome, NULL), 0);
  stub_answer(stub_nth(s.stub, STUB_PUBLISH, 0), 0);
  iotops_context_drain(s.context);
  assert_int_equal(outcome.calls, 1);
  assert_int_equal(outcome.err.kind, IOTOPS_CANCELLATION);
}

static void a_sender_names_what_is_wrong_with_its_topic(void **state) {
  (void)state;
  iotops_telemetry_sender_options options =
      IOTOPS_TELEMETRY_SENDER_OPTIONS_INIT;
  iotops_telemetry_sender *sender;
  options.topic_pattern = T("");
  assert_int_equal(
      iotops_telemetry_sender_new(s.client, &options, &sender, &s.err), -1);
  assert_configuration_error("topic_pattern");
  assert_true(s.err.has_property_value);
  assert_string_equal(s.err.property_value, "");
  assert_null(sender);
  options.topic_namespace = T("invalid/{modelId}");
  assert_int_equal(
      iotops_telemetry_sender_new(s.client, &options, &sender, &s.err), -1);
  assert_configuration_error("topic_namespace");
  assert_string_equal(s.err.property_value, "invalid/{modelId}");
}

/* -------------------------------------------------------- want of memory -- */

static bool send_once(void) {
  iotops_telemetry_sender_options options =
      IOTOPS_TELEMETRY_SENDER_OPTIONS_INIT;
  iotops_telemetry_sender *sender = NULL;
  iotops_telemetry_send_options send = reading("1");
  iotops_token token = {T("t"), T("x")};
  bool fine = false;
  options.topic_pattern = T("a/{t}");
  send.tokens = &token;
  send.token_count = 1;
  if (iotops_telemetry_sender_new(s.client, &options, &sender, &s.err) != 0)
    return false;
  iotops_error_set(&s.stub->refuse, IOTOPS_INVALID_STATE, "the stub refuses");
  /* The stub cannot lose memory: it says no before it copies. */
  if (iotops_telemetry_send(sender, &send, NULL, NULL, &s.err) != 0)
    fine = strcmp(s.err.message, "the stub refuses") == 0;
  s.stub->refuse.kind = IOTOPS_NO_ERROR;
  iotops_telemetry_sender_free(sender);
  return fine;
}

static void a_sender_survives_any_failed_allocation(void **state) {
  (void)state;
  size_t steps = 0;
  for (bool fine = false; !fine; steps++) {
    s.allocations = 0;
    s.fail_at = steps + 1;
    fine = send_once();
    if (!fine)
      assert_string_equal(s.err.message, "out of memory");
    assert_true(steps < 100);
  }
  s.fail_at = 0;
  assert_true(steps > 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_send_carries_what_the_protocol_asks_for),
      TEST(a_refused_publish_is_an_mqtt_error),
      TEST(sends_leave_in_the_order_of_the_calls),
      TEST(checks_of_a_send_come_in_their_order),
      TEST(an_expiry_reaches_the_message_in_whole_seconds),
      TEST(persisting_retains_and_says_so),
      TEST(a_cloud_event_is_sent_once_and_complete),
      TEST(a_full_queue_is_told_at_once),
      TEST(a_clock_far_ahead_stops_a_send),
      TEST(freeing_a_sender_cancels_what_is_in_hand),
      TEST(a_sender_may_be_freed_by_a_completion),
      TEST(a_sender_names_what_is_wrong_with_its_topic),
      TEST(a_sender_survives_any_failed_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
