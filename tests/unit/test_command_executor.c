#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "command_world.h"

enum { REQUESTS_MAX = 64 };

/* What the handler was given. */
static struct {
  iotops_command_executor *executor;
  iotops_request *requests[REQUESTS_MAX];
  size_t executed;
  size_t cancelled;
  iotops_request *last_cancelled;
  bool answers;        /* the handler responds at once */
  bool ends_cancelled; /* the cancelled callback fails the request */
  bool frees;          /* the handler frees the executor */
  char seen[512];      /* of the last one: what is worth comparing */
} the;

static void respond(iotops_request *request, const char *payload) {
  iotops_respond_options options = IOTOPS_RESPOND_OPTIONS_INIT;
  options.payload =
      iotops_format_payload(IOTOPS_FORMAT_JSON, iotops_text_of(payload));
  options.done = note_end;
  assert_int_equal(iotops_request_respond(request, &options, NULL), 0);
}

static void handle(void *user, iotops_request *request,
                   const iotops_request_view *view) {
  assert_ptr_equal(user, &the);
  assert_true(the.executed < REQUESTS_MAX);
  the.requests[the.executed++] = request;
  int size = snprintf(the.seen, sizeof the.seen, "%.*s|%.*s|%.*s|",
                      (int)view->topic.size, view->topic.data,
                      (int)view->payload.bytes.size, view->payload.bytes.data,
                      (int)view->invoker_id.size, view->invoker_id.data);
  for (size_t i = 0; i < view->token_count; i++)
    size +=
        snprintf(the.seen + size, sizeof the.seen - (size_t)size, "%.*s=%.*s;",
                 (int)view->tokens[i].name.size, view->tokens[i].name.data,
                 (int)view->tokens[i].value.size, view->tokens[i].value.data);
  size += snprintf(the.seen + size, sizeof the.seen - (size_t)size, "|");
  for (size_t i = 0; i < view->user_data_count; i++)
    size += snprintf(
        the.seen + size, sizeof the.seen - (size_t)size, "%.*s=%.*s;",
        (int)view->user_data[i].name.size, view->user_data[i].name.data,
        (int)view->user_data[i].value.size, view->user_data[i].value.data);
  if (the.answers)
    respond(request, "\"done\"");
  if (the.frees) {
    iotops_command_executor_free(the.executor);
    the.executor = NULL;
  }
}

static void on_cancelled(void *user, iotops_request *request) {
  (void)user;
  the.cancelled++;
  the.last_cancelled = request;
  assert_true(iotops_request_is_cancelled(request));
  if (the.ends_cancelled)
    iotops_request_fail(request, NULL);
}

static iotops_command_executor_options options_of(void) {
  iotops_command_executor_options options =
      IOTOPS_COMMAND_EXECUTOR_OPTIONS_INIT;
  options.command_name = iotops_text_of("test");
  options.request_topic_pattern = iotops_text_of("mock/test");
  options.handler = handle;
  options.cancelled = on_cancelled;
  options.user = &the;
  return options;
}

static void make(const iotops_command_executor_options *options) {
  assert_int_equal(iotops_command_executor_new(&world.stub->client, options,
                                               &the.executor, NULL),
                   0);
}

static void make_default(void) {
  iotops_command_executor_options options = options_of();
  make(&options);
}

static int open_world(void **state) {
  (void)state;
  memset(&the, 0, sizeof the);
  return command_world_open();
}

static int close_world(void **state) {
  (void)state;
  iotops_command_executor_free(the.executor);
  return command_world_close();
}

/* ------------------------------------------------------------- requests -- */

typedef struct request_message {
  iotops_message message;
  iotops_user_property pairs[16];
  uint8_t correlation[16];
} request_message;

/* Correlation data `number`, packet id 1 + number, expiry 10 s. */
static request_message request_of(unsigned number) {
  request_message made = {.message = IOTOPS_MESSAGE_INIT};
  memset(made.correlation, 7, sizeof made.correlation);
  memcpy(made.correlation, &number, sizeof number);
  made.message.topic = iotops_text_of("mock/test");
  made.message.payload = iotops_text_of("\"ask\"");
  made.message.content_type = iotops_text_of("application/json");
  made.message.format_indicator = 1;
  made.message.qos = 1;
  made.message.packet_id = (uint16_t)(number + 1);
  made.message.has_expiry = true;
  made.message.expiry_s = 10;
  made.message.response_topic = iotops_text_of("answers/here");
  return made;
}

static void add(request_message *request, const char *name, const char *value) {
  iotops_user_property *pair =
      &request->pairs[request->message.user_property_count++];
  pair->name = iotops_text_of(name);
  pair->value = iotops_text_of(value);
}

static void deliver(request_message *request) {
  if (!request->message.correlation_data.data)
    request->message.correlation_data =
        (iotops_text){(const char *)request->correlation, 16};
  request->message.user_properties = request->pairs;
  stub_deliver(world.stub, &request->message);
  settle_down();
}

static void ask(unsigned number) {
  request_message request = request_of(number);
  deliver(&request);
}

/* The n-th publish is an error response with these properties. */
static void assert_answer(size_t n, const char *status, const char *app_error,
                          const char *name, const char *value) {
  const iotops_message *answer = published(n);
  assert_string_equal(property_of(answer, "__stat"), status);
  assert_true(stub_property(answer, "__stMsg", 0).size > 0);
  assert_string_equal(property_of(answer, "__apErr"), app_error);
  if (name)
    assert_string_equal(property_of(answer, "__propName"), name);
  else
    assert_null(property_of(answer, "__propName"));
  if (value)
    assert_string_equal(property_of(answer, "__propVal"), value);
  else
    assert_null(property_of(answer, "__propVal"));
  assert_int_equal(answer->payload.size, 0);
  assert_null(answer->content_type.data);
  assert_true(iotops_text_equal(answer->topic, iotops_text_of("answers/here")));
  assert_int_equal(answer->qos, 1);
  assert_true(answer->has_expiry);
  assert_true(answer->expiry_s > 0);
}

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

/* ------------------------------------------------------------ duplicates -- */

static void a_duplicate_in_progress_waits_for_the_original(void **state) {
  (void)state;
  make_default();
  ask(0);
  request_message again = request_of(0);
  again.message.packet_id = 50;
  deliver(&again);
  assert_int_equal(the.executed, 1);
  respond(the.requests[0], "1");
  assert_int_equal(publish_count(), 1);
  assert_string_equal(acks(), "");
  answer_nth(STUB_PUBLISH, 0, 0);
  assert_string_equal(acks(), "1,50,");
  assert_int_equal(publish_count(), 1);
}

static void a_duplicate_of_an_answered_request_gets_the_same(void **state) {
  (void)state;
  make_default();
  ask(0);
  respond(the.requests[0], "1");
  virtual_time_pass(world.time, 3200);
  /* Not even the first answer has been acknowledged. */
  request_message again = request_of(0);
  again.message.packet_id = 50;
  deliver(&again);
  assert_int_equal(the.executed, 1);
  assert_int_equal(publish_count(), 2);
  assert_int_equal(published(0)->expiry_s, 10);
  assert_int_equal(published(1)->expiry_s, 7);
  assert_string_equal(property_of(published(1), "__ts"),
                      property_of(published(0), "__ts"));
  assert_true(iotops_text_equal(published(1)->payload, published(0)->payload));
  answer_nth(STUB_PUBLISH, 1, 0);
  assert_string_equal(acks(), "50,");
}

static void the_same_correlation_for_another_topic_is_executed(void **state) {
  (void)state;
  make_default();
  the.answers = true;
  ask(0);
  request_message other = request_of(0);
  other.message.response_topic = iotops_text_of("answers/there");
  deliver(&other);
  assert_int_equal(the.executed, 2);
  assert_int_equal(publish_count(), 2);
}

static void a_duplicate_after_the_deadline_is_only_acknowledged(void **state) {
  (void)state;
  make_default();
  the.answers = true;
  world.stub->automatic = true;
  ask(0);
  virtual_time_pass(world.time, 10000);
  ask(0);
  assert_int_equal(the.executed, 1);
  assert_int_equal(publish_count(), 1);
  assert_string_equal(acks(), "1,1,");
  virtual_time_pass(world.time, 60010);
  ask(0); /* forgotten by now */
  assert_int_equal(the.executed, 2);
}

static void the_deadline_counts_even_before_its_timer(void **state) {
  (void)state;
  make_default();
  the.answers = true;
  world.stub->automatic = true;
  ask(0);
  world.time->now_ms += 10000; /* no timer has fired yet */
  ask(0);
  assert_int_equal(publish_count(), 1);
  assert_string_equal(acks(), "1,1,");
}

static void an_error_is_answered_again_from_the_cache(void **state) {
  (void)state;
  make_default();
  world.stub->automatic = true;
  iotops_error err;
  iotops_error_set(&err, IOTOPS_INVALID_PAYLOAD, "not JSON");
  ask(0);
  iotops_request_reject(the.requests[0], &err);
  ask(0);
  ask(1);
  iotops_request_fail(the.requests[1], NULL);
  ask(1);
  assert_int_equal(the.executed, 2);
  assert_int_equal(publish_count(), 4);
  assert_answer(1, "400", "false", NULL, NULL);
  assert_answer(3, "500", "true", NULL, NULL);
  assert_string_equal(property_of(published(0), "__stMsg"), "not JSON");
}

static void content_that_cannot_be_read_is_answered_415(void **state) {
  (void)state;
  make_default();
  iotops_error err;
  iotops_payload payload = {.content_type = iotops_text_of("text/plain"),
                            .bytes = iotops_text_of("x")};
  assert_int_equal(iotops_format_accepts(IOTOPS_FORMAT_JSON, &payload, &err),
                   -1);
  ask(0);
  iotops_request_reject(the.requests[0], &err);
  assert_answer(0, "415", "false", "Content Type", "text/plain");
  ask(1);
  iotops_request_reject(the.requests[1], NULL);
  assert_answer(1, "400", "false", NULL, NULL);
}

static void a_redelivery_after_a_reconnect_is_answered_once_more(void **state) {
  (void)state;
  make_default();
  ask(0);
  stub_disconnect(world.stub);
  request_message again = request_of(0);
  again.message.packet_id = 9;
  deliver(&again);
  respond(the.requests[0], "1");
  answer_nth(STUB_PUBLISH, 0, 0);
  assert_string_equal(acks(), "9,");
  assert_int_equal(publish_count(), 1);
}

/* --------------------------------------------------------- time and slots --
 */

static void a_stalled_execution_is_answered_408(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.execution_timeout_us = 1000000;
  make(&options);
  ask(0);
  virtual_time_pass(world.time, 999);
  assert_int_equal(publish_count(), 0);
  virtual_time_pass(world.time, 1);
  assert_answer(0, "408", "false", "ExecutionTimeout", "PT1S");
  assert_int_equal(published(0)->expiry_s, 9);
  assert_int_equal(the.cancelled, 1);
  assert_ptr_equal(the.last_cancelled, the.requests[0]);
  answer_nth(STUB_PUBLISH, 0, 0);
  assert_string_equal(acks(), "1,");

  respond(the.requests[0], "late"); /* discarded, and told so */
  assert_int_equal(world.outcome_count, 0);
  settle_down();
  assert_int_equal(publish_count(), 1);
  assert_int_equal(world.outcome_count, 1);
  assert_int_equal(world.outcomes[0].err.kind, IOTOPS_TIMEOUT);
}

static void a_request_may_be_ended_while_it_is_cancelled(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.execution_timeout_us = 1000000;
  make(&options);
  the.ends_cancelled = true;
  ask(0);
  virtual_time_pass(world.time, 1000);
  assert_int_equal(publish_count(), 1);
  answer_nth(STUB_PUBLISH, 0, 0);
  assert_string_equal(acks(), "1,");
}

static void a_request_that_expires_gets_no_answer(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.execution_timeout_us = 20000000;
  make(&options);
  ask(0);
  virtual_time_pass(world.time, 10000);
  assert_int_equal(publish_count(), 0);
  assert_string_equal(acks(), "1,");
  assert_int_equal(the.cancelled, 1);
  iotops_request_fail(the.requests[0], NULL);
  assert_int_equal(publish_count(), 0);
}

static void a_tie_of_both_limits_gets_no_answer(void **state) {
  (void)state;
  make_default(); /* both 10 s */
  ask(0);
  virtual_time_pass(world.time, 10000);
  assert_int_equal(publish_count(), 0);
  assert_string_equal(acks(), "1,");
  iotops_request_fail(the.requests[0], NULL);
}

static void a_duplicate_of_an_expired_one_is_not_executed(void **state) {
  (void)state;
  make_default();
  ask(0);
  ask(0);
  virtual_time_pass(world.time, 10000);
  assert_string_equal(acks(), "1,1,");
  ask(0);
  assert_int_equal(the.executed, 1);
  assert_string_equal(acks(), "1,1,1,");
  iotops_request_fail(the.requests[0], NULL);
}

static void a_response_at_the_deadline_is_too_late(void **state) {
  (void)state;
  make_default();
  ask(0);
  world.time->now_ms += 10000; /* no timer has fired yet */
  respond(the.requests[0], "1");
  settle_down();
  assert_int_equal(publish_count(), 0);
  assert_string_equal(acks(), "1,");
  assert_int_equal(world.outcomes[0].err.kind, IOTOPS_TIMEOUT);
}

static void the_longest_expiry_is_64_bits_of_milliseconds(void **state) {
  (void)state;
  make_default();
  request_message request = request_of(0);
  request.message.expiry_s = UINT32_MAX;
  deliver(&request);
  respond(the.requests[0], "1");
  assert_true(published(0)->expiry_s == UINT32_MAX);
}

static void requests_beyond_the_slots_wait_in_order(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.concurrency = 2;
  options.execution_timeout_us = 5000000;
  make(&options);
  for (unsigned i = 0; i < 4; i++) {
    request_message request = request_of(i);
    char text[2] = {(char)('0' + i), '\0'};
    request.message.payload = iotops_text_of(text);
    deliver(&request);
  }
  assert_int_equal(the.executed, 2);
  respond(the.requests[1], "1");
  assert_int_equal(the.executed, 2); /* not from inside respond */
  settle_down();
  assert_int_equal(the.executed, 3);
  assert_string_equal(the.seen, "mock/test|2|||");
  virtual_time_pass(world.time, 5000);
  /* Two 408 free two slots; the execution time of the fourth starts now. */
  assert_int_equal(the.cancelled, 2);
  assert_int_equal(the.executed, 4);
  assert_string_equal(the.seen, "mock/test|3|||");
  virtual_time_pass(world.time, 4999);
  assert_false(iotops_request_is_cancelled(the.requests[3]));
  respond(the.requests[3], "1");
  assert_string_equal(property_of(published(3), "__stat"), "200");
  iotops_request_fail(the.requests[0], NULL);
  iotops_request_fail(the.requests[2], NULL);
}

static void a_request_may_expire_while_it_waits(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.concurrency = 1;
  options.execution_timeout_us = 60000000;
  make(&options);
  request_message first = request_of(0);
  first.message.expiry_s = 60;
  deliver(&first);
  ask(1);
  virtual_time_pass(world.time, 10000);
  assert_string_equal(acks(), "2,");
  respond(the.requests[0], "1");
  settle_down();
  assert_int_equal(the.executed, 1);
}

static void qos_0_requests_do_not_pile_up_without_end(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.concurrency = 1;
  make(&options);
  for (unsigned i = 0; i < 10002; i++) {
    request_message request = request_of(i);
    request.message.qos = 0;
    request.message.correlation_data =
        (iotops_text){(const char *)request.correlation, 16};
    stub_deliver(world.stub, &request.message);
  }
  assert_int_equal(publish_count(), 1);
  assert_answer(0, "503", "false", NULL, NULL);
  iotops_request_fail(the.requests[0], NULL);
}

/* --------------------------------------------------------- a full client -- */

static void refuse_next_as_full(void) {
  iotops_error_set(&world.stub->refuse, IOTOPS_INVALID_STATE, "queue is full");
  iotops_error_name(world.stub->refuse.property_name,
                    iotops_text_of("publish_queue"));
}

static void tell_writable(void) {
  iotops_mqtt_observer *observer = world.stub->observers;
  observer->writable(observer);
  settle_down();
}

static void a_response_waits_for_room_and_keeps_its_place(void **state) {
  (void)state;
  make_default();
  for (unsigned i = 0; i < 3; i++)
    ask(i);
  refuse_next_as_full();
  respond(the.requests[0], "0");
  respond(the.requests[1], "1"); /* goes behind the first */
  settle_down();
  assert_int_equal(publish_count(), 0);
  assert_string_equal(acks(), "");
  ask(1); /* a duplicate too */
  virtual_time_pass(world.time, 4000);
  refuse_next_as_full();
  tell_writable();
  assert_int_equal(publish_count(), 0);
  tell_writable();
  assert_int_equal(publish_count(), 3);
  assert_memory_equal(published(0)->payload.data, "0", 1);
  assert_memory_equal(published(1)->payload.data, "1", 1);
  assert_int_equal(published(0)->expiry_s, 6);
  answer_nth(STUB_PUBLISH, 0, 0);
  answer_nth(STUB_PUBLISH, 1, 0);
  answer_nth(STUB_PUBLISH, 2, 0);
  assert_string_equal(acks(), "1,2,2,");
  assert_int_equal(world.outcome_count, 2);
  respond(the.requests[2], "2");
}

static void a_refusal_at_the_door_waits_for_room_too(void **state) {
  (void)state;
  make_default();
  refuse_next_as_full();
  request_message request = request_of(0);
  request.message.has_expiry = false;
  deliver(&request);
  assert_int_equal(publish_count(), 0);
  tell_writable();
  assert_answer(0, "400", "false", "Message Expiry", NULL);
  answer_nth(STUB_PUBLISH, 0, 0);
  assert_string_equal(acks(), "1,");
}

static void a_response_that_waits_too_long_is_given_up(void **state) {
  (void)state;
  make_default();
  ask(0);
  refuse_next_as_full();
  respond(the.requests[0], "0");
  virtual_time_pass(world.time, 10000);
  assert_int_equal(publish_count(), 0);
  assert_string_equal(acks(), "1,");
  assert_int_equal(world.outcomes[0].err.kind, IOTOPS_TIMEOUT);
  tell_writable();
  assert_int_equal(publish_count(), 0);
}

static void a_client_that_has_ended_ends_the_request(void **state) {
  (void)state;
  make_default();
  ask(0);
  iotops_error_set(&world.stub->refuse, IOTOPS_INVALID_STATE, "has ended");
  respond(the.requests[0], "0");
  assert_int_equal(world.outcome_count, 0); /* not from inside respond */
  settle_down();
  assert_int_equal(world.outcome_count, 1);
  assert_true(world.outcomes[0].failed);
  assert_string_equal(acks(), "1,");
}

static void the_end_of_the_client_ends_what_waits_for_room(void **state) {
  (void)state;
  make_default();
  ask(0);
  refuse_next_as_full();
  respond(the.requests[0], "0");
  iotops_error_set(&world.stub->refuse, IOTOPS_INVALID_STATE, "has ended");
  world.stub->observers->ended(world.stub->observers, NULL);
  settle_down();
  assert_int_equal(world.outcome_count, 1);
  assert_true(world.outcomes[0].failed);
  assert_int_equal(publish_count(), 0);
}

static void a_dropped_request_is_acknowledged_and_not_run_again(void **state) {
  (void)state;
  make_default();
  ask(0);
  iotops_request_drop(the.requests[0]);
  ask(0);
  assert_string_equal(acks(), "1,1,");
  assert_int_equal(publish_count(), 0);
  assert_int_equal(the.executed, 1);
}

/* --------------------------------------------------------------- memory -- */

static void a_request_costs_two_allocations(void **state) {
  (void)state;
  make_default();
  the.answers = true;
  world.stub->automatic = true;
  for (unsigned i = 0; i < 40; i++)
    ask(i);
  unsigned before = world.time->made;
  for (unsigned i = 40; i < 60; i++)
    ask(i);
  /* The entry and its message; the client copies what goes either way. */
  assert_int_equal(world.time->made - before, 20 * (2 + 2));
}

/* One request on its way, `way`, with memory short after `fail_from`. */
static void run_short(unsigned number, unsigned way, long fail_from) {
  iotops_user_property pair = {iotops_text_of("k"), iotops_text_of("v")};
  iotops_respond_options response = IOTOPS_RESPOND_OPTIONS_INIT;
  request_message request = request_of(number);
  size_t ended = 0;
  response.done = note_end;
  response.user_data = &pair;
  response.user_data_count = 1;
  add(&request, "a", "b");
  if (way == 1)
    request.message.has_expiry = false; /* refused at the door */
  if (way == 2)
    ask(number + 1); /* the next one waits for a slot */
  iotops_error_set(&world.stub->refuse, IOTOPS_INVALID_STATE, "no");
  if (way == 3) /* the answer waits for room */
    iotops_error_name(world.stub->refuse.property_name, iotops_text_of("full"));
  world.time->fail_from = fail_from;
  deliver(&request);
  for (; ended < the.executed; ended++)
    if (iotops_request_respond(the.requests[ended], &response, NULL))
      iotops_request_fail(the.requests[ended], NULL);
  world.time->fail_from = -1;
  world.stub->refuse.kind = IOTOPS_NO_ERROR;
  settle_down();
  for (; ended < the.executed; ended++)
    iotops_request_fail(the.requests[ended], NULL);
}

static void no_failed_allocation_does_harm(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of();
  options.concurrency = 1;
  for (unsigned number = 0; number < 240; number += 2) {
    the.executed = world.outcome_count = 0;
    make(&options);
    run_short(number, number / 2 % 4, 1 + number / 8);
    iotops_command_executor_free(the.executor);
    the.executor = NULL;
    settle_down();
    for (size_t i = 0; i < world.stub->operation_count; i++)
      if (!world.stub->operations[i]->ended)
        answer_nth(STUB_PUBLISH, i, 0);
  }
  for (size_t i = 0; i < world.stub->delivery_count; i++)
    assert_int_equal(world.stub->deliveries[i].settled, 1);
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

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(name)                                                             \
  cmocka_unit_test_setup_teardown(name, open_world, close_world)
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
      TEST(a_duplicate_in_progress_waits_for_the_original),
      TEST(a_duplicate_of_an_answered_request_gets_the_same),
      TEST(the_same_correlation_for_another_topic_is_executed),
      TEST(a_duplicate_after_the_deadline_is_only_acknowledged),
      TEST(the_deadline_counts_even_before_its_timer),
      TEST(an_error_is_answered_again_from_the_cache),
      TEST(content_that_cannot_be_read_is_answered_415),
      TEST(a_redelivery_after_a_reconnect_is_answered_once_more),
      TEST(a_stalled_execution_is_answered_408),
      TEST(a_request_may_be_ended_while_it_is_cancelled),
      TEST(a_request_that_expires_gets_no_answer),
      TEST(a_tie_of_both_limits_gets_no_answer),
      TEST(a_duplicate_of_an_expired_one_is_not_executed),
      TEST(a_response_at_the_deadline_is_too_late),
      TEST(the_longest_expiry_is_64_bits_of_milliseconds),
      TEST(requests_beyond_the_slots_wait_in_order),
      TEST(a_request_may_expire_while_it_waits),
      TEST(qos_0_requests_do_not_pile_up_without_end),
      TEST(a_response_waits_for_room_and_keeps_its_place),
      TEST(a_refusal_at_the_door_waits_for_room_too),
      TEST(a_response_that_waits_too_long_is_given_up),
      TEST(a_client_that_has_ended_ends_the_request),
      TEST(the_end_of_the_client_ends_what_waits_for_room),
      TEST(a_dropped_request_is_acknowledged_and_not_run_again),
      TEST(a_request_costs_two_allocations),
      TEST(no_failed_allocation_does_harm),
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
