/*
** Duplicates, deadlines, slots, a full client and want of memory.
*/
#include "executor_scene.h"

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

#define TEST(name)                                                             \
  cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
  const struct CMUnitTest tests[] = {
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
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
