#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/telemetry.h"
#include "stub_client.h"

static iotops_text T(const char *string) {
  return iotops_text_of(string);
}

/* --------------------------------------------------------------- the scene */

enum { LOG_SIZE = 4096 };

typedef struct scene {
  int64_t now_ms;
  iotops_context *context;
  stub_client *stub;
  iotops_mqtt_client *client;
  size_t allocations; /* blocks made or grown */
  size_t fail_at;     /* the allocation that fails; 0: none */
  unsigned warnings;
  char last_warning[LOG_SIZE];
  iotops_error err;
} scene;

static scene s;

static int64_t wall_ms(void *user) {
  (void)user;
  return 1700000000000 + s.now_ms;
}

static uint64_t mono_ms(void *user) {
  (void)user;
  return (uint64_t)s.now_ms;
}

static void no_alarm(void *user, iotops_context *context, uint64_t due_ms) {
  (void)user;
  (void)context;
  (void)due_ms;
}

static void *resize(void *user, void *block, size_t size) {
  (void)user;
  if (size == 0) {
    free(block);
    return NULL;
  }
  s.allocations++;
  if (s.fail_at != 0 && s.allocations == s.fail_at)
    return NULL;
  return realloc(block, size);
}

static void on_log(void *user, const iotops_log_record *record) {
  (void)user;
  if (record->level != IOTOPS_LOG_WARN)
    return;
  s.warnings++;
  snprintf(s.last_warning, sizeof s.last_warning, "%.*s",
           (int)record->message.size, record->message.data);
}

static int set_up(void **state) {
  (void)state;
  static const iotops_clock clock = {wall_ms, mono_ms, no_alarm, NULL};
  static const iotops_allocator allocator = {resize, NULL};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  memset(&s, 0, sizeof s);
  options.clock = &clock;
  options.allocator = &allocator;
  options.log = on_log;
  if (iotops_context_new(&options, &s.context, NULL) != 0)
    return -1;
  s.stub = stub_client_new(s.context, "me");
  s.client = &s.stub->client;
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  stub_client_free(s.stub);
  iotops_context_free(s.context);
  return 0;
}

static void assert_text(iotops_text text, const char *expected) {
  if (text.data == NULL || text.size != strlen(expected) ||
      memcmp(text.data, expected, text.size) != 0)
    fail_msg("%.*s is not %s", (int)text.size,
             text.data == NULL ? "" : text.data, expected);
}

static void assert_configuration_error(const char *property) {
  assert_int_equal(s.err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_true(s.err.is_shallow);
  assert_false(s.err.is_remote);
  assert_string_equal(s.err.property_name, property);
}

/* ------------------------------------------------------------------ sending */

typedef struct outcome {
  unsigned calls;
  bool failed;
  iotops_error err;
} outcome;

static void on_done(void *user, const iotops_error *err) {
  outcome *outcome = user;
  outcome->calls++;
  outcome->failed = err != NULL;
  if (err != NULL)
    outcome->err = *err;
}

static iotops_telemetry_sender *make_sender(const char *pattern) {
  iotops_telemetry_sender_options options =
      IOTOPS_TELEMETRY_SENDER_OPTIONS_INIT;
  iotops_telemetry_sender *sender = NULL;
  options.topic_pattern = T(pattern);
  if (iotops_telemetry_sender_new(s.client, &options, &sender, &s.err) != 0)
    fail_msg("%s", s.err.message);
  return sender;
}

static iotops_telemetry_send_options reading(const char *json) {
  iotops_telemetry_send_options options = IOTOPS_TELEMETRY_SEND_OPTIONS_INIT;
  options.payload = iotops_format_payload(IOTOPS_FORMAT_JSON, T(json));
  return options;
}

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
      TEST(a_sender_survives_any_failed_allocation),
      TEST(a_receiver_survives_any_failed_allocation),
      TEST(a_message_without_memory_is_told_and_acked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
