/*
** Requests that outlive what executes them: handed out once more, and passed
** on, with the answers that are remembered, from one executor to the next.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "command_world.h"

enum { REQUESTS_MAX = 16 };

/* An executor and what its handler was given. */
typedef struct side {
  iotops_command_executor *executor;
  iotops_request *requests[REQUESTS_MAX];
  size_t executed;
  char seen[64]; /* topic and payload of the last one */
  bool answers;  /* the handler responds at once */
} side;

static side old_side, new_side;

static void respond(iotops_request *request, const char *payload) {
  iotops_respond_options options = IOTOPS_RESPOND_OPTIONS_INIT;
  options.payload =
      iotops_format_payload(IOTOPS_FORMAT_JSON, iotops_text_of(payload));
  assert_int_equal(iotops_request_respond(request, &options, NULL), 0);
}

static void handle(void *user, iotops_request *request,
                   const iotops_request_view *view) {
  side *of = user;
  assert_true(of->executed < REQUESTS_MAX);
  of->requests[of->executed++] = request;
  snprintf(of->seen, sizeof of->seen, "%.*s|%.*s", (int)view->topic.size,
           view->topic.data, (int)view->payload.bytes.size,
           view->payload.bytes.data);
  if (of->answers)
    respond(request, "\"done\"");
}

static iotops_command_executor_options options_of(side *of) {
  iotops_command_executor_options options =
      IOTOPS_COMMAND_EXECUTOR_OPTIONS_INIT;
  options.command_name = iotops_text_of("test");
  options.request_topic_pattern = iotops_text_of("mock/{who}/test");
  options.is_idempotent = true;
  options.keeps_requests = true;
  options.handler = handle;
  options.user = of;
  return options;
}

static void make(side *of, const iotops_command_executor_options *options) {
  assert_int_equal(iotops_command_executor_new(&world.stub->client, options,
                                               &of->executor, NULL),
                   0);
}

static int open_world(void **state) {
  (void)state;
  memset(&old_side, 0, sizeof old_side);
  memset(&new_side, 0, sizeof new_side);
  return command_world_open();
}

static int close_world(void **state) {
  (void)state;
  iotops_command_executor_free(old_side.executor);
  iotops_command_executor_free(new_side.executor);
  return command_world_close();
}

/* Correlation data `number`, packet id 1 + number, expiry 10 s. */
static void ask(unsigned number) {
  iotops_message message = IOTOPS_MESSAGE_INIT;
  uint8_t correlation[16];
  memset(correlation, 7, sizeof correlation);
  memcpy(correlation, &number, sizeof number);
  char topic[] = "mock/me/test", payload[] = "\"ask\"";
  message.topic = iotops_text_of(topic);
  message.payload = iotops_text_of(payload);
  message.qos = 1;
  message.packet_id = (uint16_t)(number + 1);
  message.has_expiry = true;
  message.expiry_s = 10;
  message.response_topic = iotops_text_of("answers/here");
  message.correlation_data = (iotops_text){(const char *)correlation, 16};
  stub_deliver(world.stub, &message);
  /* What is looked at later must have been kept. */
  memset(topic, 'x', sizeof topic - 1);
  memset(payload, 'x', sizeof payload - 1);
  settle_down();
}

static void assert_status(size_t n, const char *status) {
  assert_string_equal(property_of(published(n), "__stat"), status);
}

/* ---------------------------------------------------------------- pause -- */

static void
a_paused_executor_begins_nothing_and_goes_on_in_order(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  make(&old_side, &options);
  old_side.answers = true;
  iotops_command_executor_pause(old_side.executor, true);
  ask(0);
  ask(1);
  assert_int_equal(old_side.executed, 0);
  iotops_command_executor_pause(old_side.executor, false);
  assert_int_equal(old_side.executed, 0); /* not within the call */
  settle_down();
  ask(2);
  assert_int_equal(old_side.executed, 3);
  assert_int_equal(publish_count(), 3);
  for (size_t n = 0; n < 3; n++)
    answer_nth(STUB_PUBLISH, n, 0);
  assert_string_equal(acks(), "1,2,3,");
}

/* ---------------------------------------------------------------- again -- */

static void a_request_that_is_given_back_is_executed_once_more(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  make(&old_side, &options);
  ask(0);
  assert_true(iotops_request_again(old_side.requests[0]));
  assert_int_equal(old_side.executed, 1); /* not within the call */
  old_side.seen[0] = '\0';
  settle_down();
  assert_int_equal(old_side.executed, 2);
  assert_string_equal(old_side.seen, "mock/me/test|\"ask\"");
  assert_true(iotops_request_again(old_side.requests[1]));
  settle_down();
  respond(old_side.requests[2], "1");
  settle_down();
  assert_int_equal(publish_count(), 1);
  answer_nth(STUB_PUBLISH, 0, 0);
  assert_string_equal(acks(), "1,");
}

static void one_that_came_first_is_executed_first_again(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  options.concurrency = 1;
  make(&old_side, &options);
  ask(0);
  ask(1);
  assert_int_equal(old_side.executed, 1);
  assert_true(iotops_request_again(old_side.requests[0]));
  settle_down();
  assert_int_equal(old_side.executed, 2);
  respond(old_side.requests[1], "1");
  settle_down();
  assert_int_equal(old_side.executed, 3);
  respond(old_side.requests[2], "2");
  settle_down();
  answer_nth(STUB_PUBLISH, 0, 0);
  answer_nth(STUB_PUBLISH, 1, 0);
  assert_string_equal(acks(), "1,2,");
}

static void a_request_is_executed_again_within_its_lifetime(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  options.execution_timeout_us = 8000000;
  make(&old_side, &options);
  ask(0);
  virtual_time_pass(world.time, 7000);
  assert_true(iotops_request_again(old_side.requests[0]));
  settle_down();
  virtual_time_pass(world.time, 2999);
  assert_false(iotops_request_is_cancelled(old_side.requests[1]));
  virtual_time_pass(world.time, 1);
  settle_down();
  assert_true(iotops_request_is_cancelled(old_side.requests[1]));
  assert_false(iotops_request_again(old_side.requests[1]));
  iotops_request_fail(old_side.requests[1], NULL);
  assert_int_equal(publish_count(), 0);
  assert_string_equal(acks(), "1,");
}

static void nothing_is_executed_again_that_was_not_kept(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  options.keeps_requests = false;
  make(&old_side, &options);
  ask(0);
  assert_false(iotops_request_again(old_side.requests[0]));
  iotops_request_fail(old_side.requests[0], NULL);
  settle_down();
  assert_status(0, "500");
  assert_int_equal(old_side.executed, 1);
}

static void nothing_is_executed_again_by_one_that_was_stopped(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  make(&old_side, &options);
  ask(0);
  ask(1);
  iotops_command_executor_stop(old_side.executor, NULL, NULL, NULL);
  assert_false(iotops_request_again(old_side.requests[0]));
  iotops_request_fail(old_side.requests[0], NULL);
  iotops_command_executor_free(old_side.executor);
  old_side.executor = NULL;
  assert_false(iotops_request_again(old_side.requests[1]));
  iotops_request_fail(old_side.requests[1], NULL);
  settle_down();
  assert_int_equal(old_side.executed, 2);
}

static void one_that_is_answered_at_once_keeps_nothing(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  make(&old_side, &options);
  old_side.answers = true;
  ask(0);
  ask(1);
  assert_int_equal(old_side.executed, 2);
  answer_nth(STUB_PUBLISH, 0, 0);
  answer_nth(STUB_PUBLISH, 1, 0);
  assert_string_equal(acks(), "1,2,");
}

static void a_duplicate_waits_for_one_that_is_executed_again(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  make(&old_side, &options);
  ask(0);
  ask(0);
  assert_true(iotops_request_again(old_side.requests[0]));
  settle_down();
  ask(0);
  assert_int_equal(old_side.executed, 2);
  respond(old_side.requests[1], "1");
  settle_down();
  assert_int_equal(publish_count(), 1);
  answer_nth(STUB_PUBLISH, 0, 0);
  assert_string_equal(acks(), "1,1,1,");
}

/* ----------------------------------------------------------- succession -- */

/* The new side takes the old one's place. */
static void succeed(const iotops_command_executor_options *options) {
  make(&new_side, options);
  assert_true(
      iotops_command_executor_succeed(new_side.executor, old_side.executor));
  iotops_command_executor_stop(old_side.executor, NULL, NULL, NULL);
  settle_down();
}

static void a_successor_answers_duplicates_of_what_was_answered(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  make(&old_side, &options);
  old_side.answers = true;
  ask(0);
  answer_nth(STUB_PUBLISH, 0, 0);
  options = options_of(&new_side);
  options.concurrency = 4;
  options.is_idempotent = options.keeps_requests = false;
  succeed(&options);
  ask(0);
  assert_int_equal(publish_count(), 2);
  assert_status(1, "200");
  assert_int_equal(new_side.executed, 0);
  iotops_command_executor_free(old_side.executor);
  old_side.executor = NULL;
  ask(0);
  assert_int_equal(publish_count(), 3);
  ask(1);
  assert_int_equal(new_side.executed, 1);
  respond(new_side.requests[0], "1");
  settle_down();
}

static void a_successor_does_not_execute_what_is_in_hand(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  make(&old_side, &options);
  ask(0);
  options = options_of(&new_side);
  succeed(&options);
  ask(0);
  assert_int_equal(new_side.executed, 0);
  respond(old_side.requests[0], "1");
  settle_down();
  assert_int_equal(publish_count(), 1);
  answer_nth(STUB_PUBLISH, 0, 0);
  assert_string_equal(acks(), "1,1,");
  ask(0);
  assert_int_equal(publish_count(), 2);
}

static void requests_that_wait_pass_to_the_successor(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  options.concurrency = 1;
  make(&old_side, &options);
  for (unsigned i = 0; i < 3; i++)
    ask(i);
  options = options_of(&new_side);
  options.request_topic_pattern = iotops_text_of("mock/{other}/test");
  succeed(&options);
  assert_int_equal(old_side.executed, 1);
  assert_int_equal(new_side.executed, 2);
  assert_string_equal(new_side.seen, "mock/me/test|\"ask\"");
  iotops_request_fail(old_side.requests[0], NULL);
  iotops_command_executor_free(old_side.executor);
  old_side.executor = NULL;
  respond(new_side.requests[1], "3");
  respond(new_side.requests[0], "2");
  settle_down();
  assert_int_equal(publish_count(), 3);
  assert_int_equal(old_side.executed, 1);
}

static void
a_request_that_is_given_back_goes_to_the_last_successor(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  make(&old_side, &options);
  ask(0);
  ask(1);
  options = options_of(&new_side);
  succeed(&options);
  iotops_command_executor *between = new_side.executor;
  make(&new_side, &options);
  assert_true(iotops_command_executor_succeed(new_side.executor, between));
  iotops_command_executor_free(between);
  assert_true(iotops_request_again(old_side.requests[0]));
  settle_down();
  assert_int_equal(new_side.executed, 1);
  respond(new_side.requests[0], "1");
  settle_down();
  assert_int_equal(publish_count(), 1);
  ask(0);
  assert_int_equal(publish_count(), 2);
  iotops_command_executor_free(new_side.executor);
  new_side.executor = NULL;
  assert_false(iotops_request_again(old_side.requests[1]));
  iotops_request_fail(old_side.requests[1], NULL);
  settle_down();
}

static void
a_successor_that_does_not_keep_requests_is_given_none(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  make(&old_side, &options);
  ask(0);
  options = options_of(&new_side);
  options.keeps_requests = false;
  succeed(&options);
  assert_false(iotops_request_again(old_side.requests[0]));
  iotops_request_fail(old_side.requests[0], NULL);
  settle_down();
  assert_status(0, "500");
  assert_int_equal(new_side.executed, 0);
}

static void requests_that_wait_can_be_failed(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  options.concurrency = 1;
  make(&old_side, &options);
  for (unsigned i = 0; i < 3; i++)
    ask(i);
  iotops_command_executor_fail_waiting(old_side.executor, "gone");
  iotops_command_executor_free(old_side.executor);
  old_side.executor = NULL;
  settle_down();
  assert_int_equal(publish_count(), 2);
  assert_status(0, "500");
  assert_string_equal(property_of(published(1), "__stMsg"), "gone");
  assert_string_equal(property_of(published(1), "__apErr"), "true");
  answer_nth(STUB_PUBLISH, 0, 0);
  answer_nth(STUB_PUBLISH, 1, 0);
  iotops_request_fail(old_side.requests[0], NULL);
  assert_string_equal(acks(), "1,2,3,"); /* the first: not answered */
}

static void another_command_does_not_succeed(void **state) {
  (void)state;
  iotops_command_executor_options options = options_of(&old_side);
  make(&old_side, &options);
  ask(0);
  options = options_of(&new_side);
  options.command_name = iotops_text_of("other");
  make(&new_side, &options);
  assert_false(
      iotops_command_executor_succeed(new_side.executor, old_side.executor));
  assert_false(
      iotops_command_executor_succeed(old_side.executor, old_side.executor));
  iotops_command_executor_free(new_side.executor);
  options = options_of(&new_side);
  make(&new_side, &options);
  /* One that has begun to remember keeps to its own. */
  assert_false(
      iotops_command_executor_succeed(old_side.executor, new_side.executor));
  iotops_request_fail(old_side.requests[0], NULL);
  settle_down();
}

static void no_allocation_that_fails_leaves_anything(void **state) {
  (void)state;
  for (long n = 0; n < 40; n++) {
    iotops_command_executor_options options = options_of(&old_side);
    old_side.executed = 0;
    world.time->fail_from = n;
    if (iotops_command_executor_new(&world.stub->client, &options,
                                    &old_side.executor, NULL) != 0)
      continue;
    ask((unsigned)n);
    if (old_side.executed > 0 && !iotops_request_again(old_side.requests[0]))
      iotops_request_fail(old_side.requests[0], NULL);
    settle_down();
    world.time->fail_from = -1;
    if (old_side.executed == 2)
      iotops_request_fail(old_side.requests[1], NULL);
    iotops_command_executor_free(old_side.executor);
    old_side.executor = NULL;
    settle_down();
  }
}

#define TEST(name)                                                             \
  cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_paused_executor_begins_nothing_and_goes_on_in_order),
      TEST(a_request_that_is_given_back_is_executed_once_more),
      TEST(one_that_came_first_is_executed_first_again),
      TEST(a_request_is_executed_again_within_its_lifetime),
      TEST(nothing_is_executed_again_that_was_not_kept),
      TEST(nothing_is_executed_again_by_one_that_was_stopped),
      TEST(one_that_is_answered_at_once_keeps_nothing),
      TEST(a_duplicate_waits_for_one_that_is_executed_again),
      TEST(a_successor_answers_duplicates_of_what_was_answered),
      TEST(a_successor_does_not_execute_what_is_in_hand),
      TEST(requests_that_wait_pass_to_the_successor),
      TEST(a_request_that_is_given_back_goes_to_the_last_successor),
      TEST(a_successor_that_does_not_keep_requests_is_given_none),
      TEST(requests_that_wait_can_be_failed),
      TEST(another_command_does_not_succeed),
      TEST(no_allocation_that_fails_leaves_anything),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
