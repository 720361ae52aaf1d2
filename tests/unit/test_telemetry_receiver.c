/*
** Telemetry that is received.
*/
#include "telemetry_scene.h"

/* ---------------------------------------------------------------- receiving */

enum { SEEN_MAX = 64 };

typedef struct seen {
  char payload[64];
  char topic[64];
  char sender[64];
  char tokens[128];
  size_t user_data;
  bool has_timestamp;
  int format_indicator;
  uint8_t qos;
  uint16_t packet_id;
} seen;

typedef struct listener {
  iotops_telemetry_receiver *receiver;
  bool at_once; /* ends within the callback */
  bool reject;
  bool free_inside;
  size_t count;
  seen seen[SEEN_MAX];
  iotops_telemetry_delivery *open[SEEN_MAX]; /* by order of arrival */
} listener;

static void copy(char *field, size_t size, iotops_text text) {
  snprintf(field, size, "%.*s", (int)text.size,
           text.data == NULL ? "" : text.data);
}

static void on_telemetry(void *user, iotops_telemetry_delivery *delivery,
                         const iotops_telemetry *telemetry) {
  listener *listener = user;
  seen *seen = &listener->seen[listener->count % SEEN_MAX];
  memset(seen, 0, sizeof *seen);
  /* Everything is looked at after the end: it lives as long as this call. */
  if (listener->reject) {
    iotops_error err;
    iotops_error_set(&err, IOTOPS_INVALID_PAYLOAD, "not for us");
    iotops_telemetry_delivery_reject(delivery, &err);
  } else if (listener->at_once) {
    iotops_telemetry_delivery_done(delivery);
  } else {
    listener->open[listener->count % SEEN_MAX] = delivery;
  }
  copy(seen->payload, sizeof seen->payload, telemetry->payload.bytes);
  copy(seen->topic, sizeof seen->topic, telemetry->topic);
  copy(seen->sender, sizeof seen->sender, telemetry->sender_id);
  for (size_t i = 0; i < telemetry->token_count; i++) {
    size_t length = strlen(seen->tokens);
    snprintf(
        seen->tokens + length, sizeof seen->tokens - length, "%.*s=%.*s;",
        (int)telemetry->tokens[i].name.size, telemetry->tokens[i].name.data,
        (int)telemetry->tokens[i].value.size, telemetry->tokens[i].value.data);
  }
  seen->user_data = telemetry->user_data_count;
  seen->has_timestamp = telemetry->timestamp != NULL;
  seen->format_indicator = telemetry->payload.format_indicator;
  seen->qos = telemetry->qos;
  seen->packet_id = telemetry->packet_id;
  listener->count++;
  if (listener->free_inside)
    iotops_telemetry_receiver_free(listener->receiver);
}

static void listen_with(listener *listener,
                        iotops_telemetry_receiver_options *options) {
  options->handler = on_telemetry;
  options->user = listener;
  if (options->topic_pattern.data == NULL)
    options->topic_pattern = T("mock/test");
  if (iotops_telemetry_receiver_new(s.client, options, &listener->receiver,
                                    &s.err) != 0)
    fail_msg("%s", s.err.message);
}

static void listen_simply(listener *listener) {
  iotops_telemetry_receiver_options options =
      IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
  listen_with(listener, &options);
}

static iotops_message incoming(uint16_t packet_id, const char *payload) {
  iotops_message message = IOTOPS_MESSAGE_INIT;
  message.topic = T("mock/test");
  message.payload = T(payload);
  message.qos = packet_id != 0;
  message.packet_id = packet_id;
  return message;
}

static void deliver(uint16_t packet_id, const char *payload) {
  iotops_message message = incoming(packet_id, payload);
  assert_int_equal(stub_deliver(s.stub, &message), 1);
}

static void deliver_with(uint16_t packet_id, const char *name,
                         const char *value) {
  iotops_message message = incoming(packet_id, "x");
  iotops_user_property pair = {T(name), T(value)};
  message.user_properties = &pair;
  message.user_property_count = 1;
  assert_int_equal(stub_deliver(s.stub, &message), 1);
}

static void a_handler_sees_the_message(void **state) {
  (void)state;
  listener listener = {.at_once = true};
  iotops_telemetry_receiver_options options =
      IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
  iotops_token token = {T("modelId"), T("dtmi:test:MyModel;1")};
  options.topic_namespace = T("this/is/a/namespace");
  options.topic_pattern = T("mock/{modelId}/test/{ex:foobar}");
  options.tokens = &token;
  options.token_count = 1;
  listen_with(&listener, &options);
  iotops_message message = incoming(7, "hello");
  iotops_user_property pairs[] = {{T("__protVer"), T("1.0")},
                                  {T("__srcId"), T("them")},
                                  {T("__ts"), T("001700000000000:00001:n")},
                                  {T("mine"), T("1")}};
  message.topic =
      T("this/is/a/namespace/mock/dtmi:test:MyModel;1/test/MyValue");
  message.user_properties = pairs;
  message.user_property_count = 4;
  assert_int_equal(stub_deliver(s.stub, &message), 1);
  assert_int_equal(listener.count, 1);
  assert_string_equal(listener.seen[0].payload, "hello");
  assert_string_equal(listener.seen[0].sender, "them");
  assert_string_equal(listener.seen[0].tokens,
                      "modelId=dtmi:test:MyModel;1;ex:foobar=MyValue;");
  assert_int_equal(listener.seen[0].user_data, 1);
  assert_true(listener.seen[0].has_timestamp);
  assert_int_equal(listener.seen[0].format_indicator, 0);
  assert_int_equal(listener.seen[0].qos, 1);
  assert_int_equal(listener.seen[0].packet_id, 7);
  assert_int_equal(s.stub->ack_count, 1);
  assert_int_equal(s.stub->acks[0], 7);
  assert_int_equal(iotops_context_hlc(s.context)->counter, 2); /* merged */
  iotops_telemetry_receiver_free(listener.receiver);
}

static void duplicates_are_delivered_twice(void **state) {
  (void)state;
  listener listener = {.at_once = true};
  listen_simply(&listener);
  deliver(3, "a");
  deliver(3, "a");
  assert_int_equal(listener.count, 2);
  assert_int_equal(s.stub->ack_count, 2);
  iotops_telemetry_receiver_free(listener.receiver);
}

static void bad_versions_and_timestamps_are_dropped_and_acked(void **state) {
  (void)state;
  for (int manual = 0; manual < 2; manual++) {
    listener listener = {.at_once = true};
    iotops_telemetry_receiver_options options =
        IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
    options.manual_ack = manual;
    listen_with(&listener, &options);
    size_t acks = s.stub->ack_count;
    s.warnings = 0;
    deliver_with(1, "__protVer", "123456.0");
    deliver_with(2, "__protVer", "");
    deliver_with(3, "__ts", "soon");
    assert_int_equal(listener.count, 0);
    assert_int_equal(s.stub->ack_count, acks + 3);
    assert_int_equal(s.warnings, 3);
    iotops_telemetry_receiver_free(listener.receiver);
  }
}

static void a_clock_that_drifts_loses_no_message(void **state) {
  (void)state;
  listener listener = {.at_once = true};
  listen_simply(&listener);
  deliver_with(1, "__ts", "001700000120000:00000:other");
  assert_int_equal(listener.count, 1);
  assert_true(listener.seen[0].has_timestamp);
  assert_int_equal(s.warnings, 1);
  assert_int_equal(s.stub->ack_count, 1);
  iotops_telemetry_receiver_free(listener.receiver);
}

static void a_topic_that_only_the_filter_matches_is_acked(void **state) {
  (void)state;
  listener listener = {.at_once = true};
  iotops_telemetry_receiver_options options =
      IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
  options.topic_pattern = T("mock/{t}");
  listen_with(&listener, &options);
  iotops_message message = incoming(1, "x");
  message.topic = T("mock/");
  assert_int_equal(stub_deliver(s.stub, &message), 1);
  assert_int_equal(listener.count, 0);
  assert_int_equal(s.stub->ack_count, 1);
  iotops_telemetry_receiver_free(listener.receiver);
}

static void handlers_take_turns_in_order_of_arrival(void **state) {
  (void)state;
  listener listener = {0};
  listen_simply(&listener);
  deliver(1, "a");
  deliver(2, "b");
  deliver(3, "c");
  assert_int_equal(listener.count, 1);
  assert_int_equal(iotops_telemetry_receiver_waiting(listener.receiver), 2);
  assert_int_equal(s.stub->ack_count, 0);
  iotops_telemetry_delivery_done(listener.open[0]);
  assert_int_equal(s.stub->ack_count, 1);
  assert_int_equal(listener.count, 1); /* not inside the call */
  deliver(4, "d");                     /* must not overtake */
  assert_int_equal(listener.count, 1);
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 2);
  listener.at_once = true;
  iotops_telemetry_delivery_done(listener.open[1]);
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 4);
  assert_int_equal(iotops_telemetry_receiver_waiting(listener.receiver), 0);
  for (uint16_t i = 0; i < 4; i++) {
    const char expected[] = {(char)('a' + i), '\0'};
    assert_string_equal(listener.seen[i].payload, expected);
    assert_int_equal(s.stub->acks[i], i + 1);
  }
  iotops_telemetry_receiver_free(listener.receiver);
}

static void concurrency_opens_that_many_slots(void **state) {
  (void)state;
  listener listener = {0};
  iotops_telemetry_receiver_options options =
      IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
  options.concurrency = 2;
  listen_with(&listener, &options);
  for (uint16_t i = 1; i <= 4; i++)
    deliver(i, "x");
  assert_int_equal(listener.count, 2);
  iotops_telemetry_delivery_done(listener.open[1]);
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 3);
  iotops_telemetry_delivery_done(listener.open[0]);
  iotops_telemetry_delivery_done(listener.open[2]);
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 4);
  iotops_telemetry_delivery_done(listener.open[3]);
  const uint16_t order[] = {2, 1, 3, 4};
  assert_int_equal(s.stub->ack_count, 4);
  assert_memory_equal(s.stub->acks, order, sizeof order);
  iotops_telemetry_receiver_free(listener.receiver);
}

static void a_long_queue_is_handled_to_its_end(void **state) {
  (void)state;
  listener listener = {0};
  listen_simply(&listener);
  for (uint16_t i = 1; i <= 1000; i++)
    deliver(i, "x");
  listener.at_once = true;
  iotops_telemetry_delivery_done(listener.open[0]);
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 1000);
  assert_int_equal(s.stub->ack_count, 1000);
  for (uint16_t i = 0; i < 1000; i++)
    assert_int_equal(s.stub->acks[i], i + 1);
  iotops_telemetry_receiver_free(listener.receiver);
}

static void manual_acks_come_before_or_after_the_end(void **state) {
  (void)state;
  listener listener = {0};
  iotops_telemetry_receiver_options options =
      IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
  options.manual_ack = true;
  listen_with(&listener, &options);
  deliver(1, "a");
  iotops_telemetry_delivery_done(listener.open[0]);
  assert_int_equal(s.stub->ack_count, 0);
  deliver(2, "b"); /* the slot is free though nothing is acked */
  assert_int_equal(listener.count, 2);
  iotops_telemetry_delivery_ack(listener.open[1]);
  assert_int_equal(s.stub->ack_count, 1);
  deliver(3, "c"); /* the slot is not free though it is acked */
  assert_int_equal(listener.count, 2);
  iotops_telemetry_delivery_done(listener.open[1]);
  iotops_telemetry_delivery_ack(listener.open[0]);
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 3);
  iotops_telemetry_delivery_done(listener.open[2]);
  iotops_telemetry_delivery_ack(listener.open[2]);
  const uint16_t order[] = {2, 1, 3};
  assert_int_equal(s.stub->ack_count, 3);
  assert_memory_equal(s.stub->acks, order, sizeof order);
  deliver(0, "d"); /* with QoS 0 there is nothing to send */
  iotops_telemetry_delivery_done(listener.open[3]);
  iotops_telemetry_delivery_ack(listener.open[3]);
  assert_int_equal(s.stub->ack_count, 3);
  iotops_telemetry_receiver_free(listener.receiver);
}

static void a_rejected_payload_is_acked_in_both_modes(void **state) {
  (void)state;
  for (int manual = 0; manual < 2; manual++) {
    listener listener = {.reject = true};
    iotops_telemetry_receiver_options options =
        IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
    options.manual_ack = manual;
    listen_with(&listener, &options);
    size_t acks = s.stub->ack_count;
    s.warnings = 0;
    deliver(1, "a");
    deliver(2, "b");
    assert_int_equal(listener.count, 2);
    assert_int_equal(s.stub->ack_count, acks + 2);
    assert_int_equal(s.warnings, 2);
    assert_non_null(strstr(s.last_warning, "not for us"));
    iotops_telemetry_receiver_free(listener.receiver);
  }
}

static void qos_0_that_waits_is_bounded(void **state) {
  (void)state;
  listener listener = {0};
  listen_simply(&listener);
  for (int i = 0; i < 10001; i++)
    deliver(0, "x"); /* one is handled, 10000 wait */
  assert_int_equal(iotops_telemetry_receiver_dropped(listener.receiver), 0);
  deliver(0, "too many");
  deliver(0, "too many");
  deliver(0, "too many");
  assert_int_equal(iotops_telemetry_receiver_dropped(listener.receiver), 3);
  assert_int_equal(s.warnings, 1);
  deliver(1, "QoS 1 is not"); /* the session bounds those */
  assert_int_equal(iotops_telemetry_receiver_waiting(listener.receiver), 10001);
  listener.at_once = true;
  iotops_telemetry_delivery_done(listener.open[0]);
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 10002);
  assert_string_equal(listener.seen[10001 % SEEN_MAX].payload, "QoS 1 is not");
  assert_int_equal(s.warnings, 2); /* and two more */
  assert_non_null(strstr(s.last_warning, "2 more"));
  iotops_telemetry_receiver_free(listener.receiver);
}

static void the_steady_state_allocates_nothing(void **state) {
  (void)state;
  listener listener = {.at_once = true};
  listen_simply(&listener);
  iotops_message message = incoming(1, "x");
  iotops_user_property pairs[] = {{T("__protVer"), T("1.0")},
                                  {T("__ts"), T("001700000000000:00001:n")},
                                  {T("mine"), T("1")}};
  message.user_properties = pairs;
  message.user_property_count = 3;
  size_t one = 0;
  for (int i = 0; i < 10; i++) {
    size_t before = s.allocations;
    stub_deliver(s.stub, &message); /* its copy is one allocation */
    one = s.allocations - before;
  }
  assert_int_equal(one, 1);
  assert_int_equal(listener.count, 10);
  iotops_telemetry_receiver_free(listener.receiver);

  iotops_telemetry_sender *sender = make_sender("mock/{t}");
  iotops_token token = {T("t"), T("x")};
  iotops_telemetry_send_options options = reading("1");
  options.tokens = &token;
  options.token_count = 1;
  s.stub->automatic = true;
  for (int i = 0; i < 10; i++) {
    size_t before = s.allocations;
    assert_int_equal(iotops_telemetry_send(sender, &options, NULL, NULL, NULL),
                     0);
    one = s.allocations - before; /* the stub's copy again */
    iotops_context_drain(s.context);
  }
  assert_int_equal(one, 1);
  iotops_telemetry_sender_free(sender);
}

static void starting_subscribes_once(void **state) {
  (void)state;
  listener listener = {.at_once = true};
  iotops_telemetry_receiver_options options =
      IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
  options.topic_pattern = T("mock/{t}");
  options.service_group_id = T("group");
  listen_with(&listener, &options);
  outcome outcomes[3] = {{0}};
  iotops_telemetry_receiver *receiver = listener.receiver;
  for (size_t i = 0; i < 2; i++)
    assert_int_equal(iotops_telemetry_receiver_start(receiver, on_done,
                                                     &outcomes[i], &s.err),
                     0);
  assert_int_equal(stub_count(s.stub, STUB_SUBSCRIBE), 1);
  stub_operation *subscribe = stub_nth(s.stub, STUB_SUBSCRIBE, 0);
  assert_string_equal(subscribe->filter, "$share/group/mock/+");
  assert_int_equal(subscribe->options.qos, 1);
  assert_false(subscribe->options.no_local);
  assert_int_equal(subscribe->options.retain_handling, 0);
  stub_answer(subscribe, 0x80);
  iotops_context_drain(s.context);
  assert_int_equal(outcomes[0].calls, 1);
  assert_int_equal(outcomes[0].err.kind, IOTOPS_MQTT_ERROR);
  assert_false(outcomes[0].err.is_shallow);
  assert_int_equal(outcomes[1].calls, 1);
  assert_int_equal(
      iotops_telemetry_receiver_start(receiver, on_done, &outcomes[0], &s.err),
      0);
  stub_answer(stub_nth(s.stub, STUB_SUBSCRIBE, 1), 0);
  iotops_context_drain(s.context);
  assert_int_equal(outcomes[0].calls, 2);
  assert_false(outcomes[0].failed);
  assert_int_equal(
      iotops_telemetry_receiver_start(receiver, on_done, &outcomes[2], &s.err),
      0);
  assert_int_equal(outcomes[2].calls, 0);
  iotops_context_drain(s.context);
  assert_int_equal(outcomes[2].calls, 1);
  assert_false(outcomes[2].failed);
  assert_int_equal(stub_count(s.stub, STUB_SUBSCRIBE), 2);
  s.stub->automatic = true; /* answers what freeing asks for */
  iotops_telemetry_receiver_free(receiver);
}

static void start(listener *listener) {
  outcome outcome = {0};
  assert_int_equal(iotops_telemetry_receiver_start(listener->receiver, on_done,
                                                   &outcome, &s.err),
                   0);
  size_t last = stub_count(s.stub, STUB_SUBSCRIBE) - 1;
  stub_answer(stub_nth(s.stub, STUB_SUBSCRIBE, last), 1);
  iotops_context_drain(s.context);
  assert_int_equal(outcome.calls, 1);
  assert_false(outcome.failed);
}

static void stopping_finishes_what_is_in_hand(void **state) {
  (void)state;
  listener listener = {0};
  outcome outcomes[2] = {{0}};
  iotops_telemetry_receiver *receiver;
  listen_simply(&listener);
  receiver = listener.receiver;
  start(&listener);
  deliver(1, "a");
  deliver(2, "b");
  assert_int_equal(
      iotops_telemetry_receiver_stop(receiver, on_done, &outcomes[0], &s.err),
      0);
  iotops_message message = incoming(3, "c");
  assert_int_equal(stub_deliver(s.stub, &message), 0); /* not claimed */
  stub_operation *unsubscribe = stub_nth(s.stub, STUB_UNSUBSCRIBE, 0);
  assert_string_equal(unsubscribe->filter, "mock/test");
  stub_answer(unsubscribe, 0x80);
  iotops_context_drain(s.context);
  assert_int_equal(outcomes[0].calls, 1);
  assert_int_equal(outcomes[0].err.kind, IOTOPS_MQTT_ERROR);
  assert_false(outcomes[0].err.is_shallow);
  assert_false(outcomes[0].err.is_remote);
  assert_int_equal(
      iotops_telemetry_receiver_stop(receiver, on_done, &outcomes[1], &s.err),
      0);
  stub_answer(stub_nth(s.stub, STUB_UNSUBSCRIBE, 1), 0);
  iotops_context_drain(s.context);
  assert_int_equal(outcomes[1].calls, 1);
  assert_false(outcomes[1].failed);
  assert_int_equal(
      iotops_telemetry_receiver_start(receiver, on_done, NULL, &s.err), -1);
  assert_int_equal(s.err.kind, IOTOPS_CANCELLATION);
  iotops_telemetry_delivery_done(listener.open[0]);
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 2);
  iotops_telemetry_delivery_done(listener.open[1]);
  assert_int_equal(s.stub->ack_count, 2);
  iotops_telemetry_receiver_free(receiver);
}

static void stopping_what_never_started_succeeds(void **state) {
  (void)state;
  listener listener = {0};
  outcome outcome = {0};
  listen_simply(&listener);
  assert_int_equal(iotops_telemetry_receiver_stop(listener.receiver, on_done,
                                                  &outcome, &s.err),
                   0);
  assert_int_equal(outcome.calls, 0);
  iotops_context_drain(s.context);
  assert_int_equal(outcome.calls, 1);
  assert_false(outcome.failed);
  assert_int_equal(s.stub->operation_count, 0);
  iotops_telemetry_receiver_free(listener.receiver);
}

static void freeing_acks_what_waits_and_keeps_what_is_in_hand(void **state) {
  (void)state;
  listener listener = {0};
  listen_simply(&listener);
  start(&listener);
  deliver(1, "a");
  deliver(2, "b");
  deliver(3, "c");
  s.warnings = 0;
  iotops_telemetry_receiver_free(listener.receiver);
  const uint16_t waited[] = {2, 3};
  assert_int_equal(s.stub->ack_count, 2);
  assert_memory_equal(s.stub->acks, waited, sizeof waited);
  assert_int_equal(s.warnings, 1);
  assert_int_equal(stub_count(s.stub, STUB_UNSUBSCRIBE), 1);
  iotops_message message = incoming(4, "d");
  assert_int_equal(stub_deliver(s.stub, &message), 0);
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 1);
  iotops_telemetry_delivery_done(listener.open[0]);
  assert_int_equal(s.stub->ack_count, 3);
  stub_answer(stub_nth(s.stub, STUB_UNSUBSCRIBE, 0), 0);
  iotops_context_drain(s.context);
  iotops_telemetry_receiver_free(NULL);
}

static void a_receiver_may_be_freed_by_its_handler(void **state) {
  (void)state;
  for (int at_once = 0; at_once < 2; at_once++)
    for (int queued = 0; queued < 2; queued++) {
      listener listener = {.free_inside = !queued, .at_once = at_once};
      if (queued)
        listener.at_once = false;
      listen_simply(&listener);
      size_t acks = s.stub->ack_count;
      deliver(1, "a");
      if (queued) {
        deliver(2, "b");
        deliver(3, "c");
        listener.at_once = at_once;
        listener.free_inside = true;
        iotops_telemetry_delivery_done(listener.open[0]);
        iotops_context_drain(s.context);
      }
      assert_int_equal(listener.count, queued ? 2 : 1);
      if (!at_once)
        iotops_telemetry_delivery_done(listener.open[queued]);
      iotops_context_drain(s.context);
      assert_int_equal(s.stub->ack_count, acks + (queued ? 3 : 1));
    }
}

static void an_ack_of_an_earlier_connection_does_nothing(void **state) {
  (void)state;
  listener listener = {0};
  listen_simply(&listener);
  deliver(1, "a");
  stub_disconnect(s.stub);
  deliver(1, "a");
  iotops_telemetry_delivery_done(listener.open[0]);
  assert_int_equal(s.stub->ack_count, 0);
  iotops_context_drain(s.context);
  iotops_telemetry_delivery_done(listener.open[1]);
  assert_int_equal(s.stub->ack_count, 1);
  iotops_telemetry_receiver_free(listener.receiver);
}

static void two_receivers_of_one_topic_both_ack(void **state) {
  (void)state;
  listener one = {.at_once = true}, two = {0};
  listen_simply(&one);
  listen_simply(&two);
  iotops_message message = incoming(1, "a");
  assert_int_equal(stub_deliver(s.stub, &message), 2);
  assert_int_equal(s.stub->deliveries[0].settled, 1);
  assert_int_equal(s.stub->deliveries[1].settled, 0);
  iotops_telemetry_delivery_done(two.open[0]);
  assert_int_equal(s.stub->deliveries[1].settled, 1);
  iotops_telemetry_receiver_free(one.receiver);
  iotops_telemetry_receiver_free(two.receiver);
}

static void a_receiver_names_what_is_wrong_with_its_options(void **state) {
  (void)state;
  iotops_telemetry_receiver_options options =
      IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
  iotops_telemetry_receiver *receiver;
  iotops_token token = {T("t"), T("a b")};
  options.topic_namespace = T("invalid/{modelId}");
  options.service_group_id = T("a/b");
  options.topic_pattern = T("/{t}");
  options.tokens = &token;
  options.token_count = 1;
  options.concurrency = 0;
  static const char *const properties[] = {
      "topic_namespace", "service_group_id", "topic_pattern", "t",
      "concurrency",     "handler"};
  for (size_t i = 0; i < 6; i++) {
    assert_int_equal(
        iotops_telemetry_receiver_new(s.client, &options, &receiver, &s.err),
        -1);
    assert_configuration_error(properties[i]);
    assert_null(receiver);
    if (i == 0)
      options.topic_namespace = T("n");
    else if (i == 1)
      options.service_group_id = T("g");
    else if (i == 2)
      options.topic_pattern = T("{t}");
    else if (i == 3)
      token.value = T("x");
    else if (i == 4)
      options.concurrency = 1;
  }
}

static void a_receiver_survives_any_failed_allocation(void **state) {
  (void)state;
  size_t steps = 0;
  for (bool fine = false; !fine; steps++) {
    iotops_telemetry_receiver_options options =
        IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
    listener listener = {0};
    options.topic_pattern = T("mock/{t}");
    options.handler = on_telemetry;
    options.user = &listener;
    s.allocations = 0;
    s.fail_at = steps + 1;
    fine = iotops_telemetry_receiver_new(s.client, &options, &listener.receiver,
                                         &s.err) == 0;
    s.fail_at = 0;
    if (!fine)
      assert_string_equal(s.err.message, "out of memory");
    iotops_telemetry_receiver_free(listener.receiver);
    assert_true(steps < 100);
  }
  assert_true(steps > 3);
}

static void a_message_without_memory_is_told_and_acked(void **state) {
  (void)state;
  for (size_t at = 2; at <= 4; at++) { /* the first is the stub's own copy */
    listener listener = {0};
    listen_simply(&listener);
    size_t acks = s.stub->ack_count;
    if (at == 4)
      deliver(1, "takes the slot");
    iotops_message message = incoming(2, "x");
    iotops_user_property pair = {T("a"), T("b")};
    message.user_properties = &pair;
    message.user_property_count = 1;
    s.warnings = 0;
    s.allocations = 0;
    s.fail_at = at;
    assert_int_equal(stub_deliver(s.stub, &message), 1);
    s.fail_at = 0;
    assert_int_equal(s.warnings, 1);
    assert_int_equal(s.stub->ack_count, acks + 1);
    if (at == 4)
      iotops_telemetry_delivery_done(listener.open[0]);
    iotops_telemetry_receiver_free(listener.receiver);
  }
}

static void
the_rest_of_a_row_without_memory_is_told_with_the_next_one(void **state) {
  (void)state;
  listener listener = {0};
  listen_simply(&listener);
  deliver(1, "takes the slot");
  for (uint16_t i = 2; i <= 4; i++) {
    iotops_message message = incoming(i, "x");
    s.allocations = 0;
    s.fail_at = i == 2 ? 3 : 2; /* the stub's copy, its own once, this one */
    assert_int_equal(stub_deliver(s.stub, &message), 1);
    s.fail_at = 0;
  }
  assert_int_equal(s.warnings, 1);
  iotops_telemetry_delivery_done(listener.open[0]);
  deliver(5, "is handled");
  assert_int_equal(s.warnings, 2);
  assert_non_null(strstr(s.last_warning, "dropped 2 more messages"));
  iotops_telemetry_delivery_done(listener.open[1]);
  iotops_telemetry_receiver_free(listener.receiver);
}

static void
a_paused_receiver_begins_nothing_and_goes_on_in_order(void **state) {
  (void)state;
  listener listener = {.at_once = true};
  listen_simply(&listener);
  iotops_telemetry_receiver_pause(listener.receiver, true);
  deliver(1, "a");
  deliver(2, "b");
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 0);
  assert_int_equal(s.stub->ack_count, 0);
  iotops_telemetry_receiver_pause(listener.receiver, false);
  assert_int_equal(listener.count, 0); /* not inside the call */
  deliver(3, "c");
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 3);
  for (uint16_t i = 0; i < 3; i++)
    assert_int_equal(s.stub->acks[i], i + 1);
  iotops_telemetry_receiver_free(listener.receiver);
}

static void what_waits_can_be_taken_out_unacknowledged(void **state) {
  (void)state;
  listener listener = {.at_once = true};
  iotops_ack ack = {0};
  listen_simply(&listener);
  assert_null(iotops_telemetry_receiver_take(listener.receiver, &ack));
  iotops_telemetry_receiver_pause(listener.receiver, true);
  deliver(1, "a");
  deliver(2, "b");
  iotops_message *message =
      iotops_telemetry_receiver_take(listener.receiver, &ack);
  assert_non_null(message);
  assert_memory_equal(message->payload.data, "a", 1);
  assert_true(ack.epoch != 0);
  iotops_free(s.context, message);
  iotops_telemetry_receiver_pause(listener.receiver, false);
  iotops_context_drain(s.context);
  assert_int_equal(listener.count, 1);
  assert_string_equal(listener.seen[0].payload, "b");
  assert_int_equal(s.stub->ack_count, 1);
  iotops_mqtt_settle(s.client, ack);
  assert_int_equal(s.stub->ack_count, 2);
  iotops_telemetry_receiver_free(listener.receiver);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_handler_sees_the_message),
      TEST(duplicates_are_delivered_twice),
      TEST(bad_versions_and_timestamps_are_dropped_and_acked),
      TEST(a_clock_that_drifts_loses_no_message),
      TEST(a_topic_that_only_the_filter_matches_is_acked),
      TEST(handlers_take_turns_in_order_of_arrival),
      TEST(concurrency_opens_that_many_slots),
      TEST(a_long_queue_is_handled_to_its_end),
      TEST(manual_acks_come_before_or_after_the_end),
      TEST(a_rejected_payload_is_acked_in_both_modes),
      TEST(qos_0_that_waits_is_bounded),
      TEST(the_steady_state_allocates_nothing),
      TEST(starting_subscribes_once),
      TEST(stopping_finishes_what_is_in_hand),
      TEST(stopping_what_never_started_succeeds),
      TEST(freeing_acks_what_waits_and_keeps_what_is_in_hand),
      TEST(a_receiver_may_be_freed_by_its_handler),
      TEST(an_ack_of_an_earlier_connection_does_nothing),
      TEST(two_receivers_of_one_topic_both_ack),
      TEST(a_receiver_names_what_is_wrong_with_its_options),
      TEST(a_receiver_survives_any_failed_allocation),
      TEST(a_message_without_memory_is_told_and_acked),
      TEST(the_rest_of_a_row_without_memory_is_told_with_the_next_one),
      TEST(a_paused_receiver_begins_nothing_and_goes_on_in_order),
      TEST(what_waits_can_be_taken_out_unacknowledged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
