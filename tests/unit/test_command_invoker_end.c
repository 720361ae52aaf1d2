/*
** How calls end without their response: cancelled, stopped, freed, short of
** memory.
*/
#include "invoker_scene.h"

/* ------------------------------------------------------------- the ends -- */

static void a_cancelled_call_ends_once_and_later(void **state) {
  (void)state;
  make_ready();
  iotops_invocation one = invoke(), two = invoke();
  iotops_invoke_cancel(the.invoker, one);
  iotops_invoke_cancel(the.invoker, one);
  iotops_invoke_cancel(the.invoker, 0);
  iotops_invoke_cancel(the.invoker, UINT64_MAX);
  assert_int_equal(world.outcome_count, 0);
  settle_down();
  assert_int_equal(world.outcome_count, 1);
  assert_local(IOTOPS_CANCELLATION);
  assert_true(stub_nth(world.stub, STUB_PUBLISH, 0)->cancelled);
  succeed(0);
  assert_int_equal(world.outcome_count, 1);
  succeed(1);
  assert_int_equal(world.outcome_count, 2);
  iotops_invoke_cancel(the.invoker, two);
  invoke(); /* has the memory of one of those before, and another number */
  iotops_invoke_cancel(the.invoker, one);
  iotops_invoke_cancel(the.invoker, two);
  settle_down();
  assert_int_equal(world.outcome_count, 2);
}

static void a_call_that_waits_to_be_sent_can_be_cancelled(void **state) {
  (void)state;
  make_default();
  iotops_invocation one = invoke();
  invoke();
  iotops_invoke_cancel(the.invoker, one);
  settle_down();
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  assert_int_equal(publish_count(), 1);
  succeed(0);
  assert_int_equal(world.outcome_count, 2);
}

static void stopping_cancels_what_is_pending(void **state) {
  (void)state;
  make_ready();
  invoke();
  invoke();
  iotops_command_invoker_stop(the.invoker, note_end, NULL, NULL);
  assert_int_equal(world.outcome_count, 0);
  settle_down();
  assert_int_equal(world.outcome_count, 2);
  assert_local(IOTOPS_CANCELLATION);
  response_message response = response_to(0);
  assert_int_equal(deliver(&response), 0); /* not ours any more */
  answer_nth(STUB_UNSUBSCRIBE, 0, 0x80);
  assert_int_equal(world.outcome_count, 3);
  assert_local(IOTOPS_MQTT_ERROR);
  iotops_invoke_options options = IOTOPS_INVOKE_OPTIONS_INIT;
  iotops_error err;
  assert_int_equal(invoke_with(&options, NULL, &err), -1);
  assert_int_equal(err.kind, IOTOPS_CANCELLATION);
  assert_string_equal(err.command_name, "test");
  iotops_command_invoker_stop(the.invoker, note_end, NULL, NULL);
  answer_nth(STUB_UNSUBSCRIBE, 1, 0);
  assert_int_equal(world.outcome_count, 4);
  assert_false(last()->failed);
}

static void stopping_before_the_first_call_sends_nothing(void **state) {
  (void)state;
  make_default();
  iotops_command_invoker_stop(the.invoker, note_end, NULL, NULL);
  assert_int_equal(world.outcome_count, 0);
  settle_down();
  assert_int_equal(world.outcome_count, 1);
  assert_false(last()->failed);
  assert_int_equal(world.stub->operation_count, 0);
}

static void freeing_ends_pending_calls_and_unsubscribes(void **state) {
  (void)state;
  make_ready();
  invoke();
  invoke();
  iotops_command_invoker_free(the.invoker);
  the.invoker = NULL;
  assert_int_equal(world.outcome_count, 0);
  settle_down();
  assert_int_equal(world.outcome_count, 2);
  assert_int_equal(last()->err.kind, IOTOPS_CANCELLATION);
  assert_int_equal(stub_count(world.stub, STUB_UNSUBSCRIBE), 1);
  assert_true(iotops_context_next_due(world.time->context) == UINT64_MAX);
}

static void freeing_while_calls_wait_ends_them(void **state) {
  (void)state;
  make_default();
  invoke();
  invoke();
  iotops_command_invoker_free(the.invoker);
  the.invoker = NULL;
  settle_down();
  assert_int_equal(world.outcome_count, 2);
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  assert_int_equal(stub_count(world.stub, STUB_UNSUBSCRIBE), 1);
  assert_int_equal(publish_count(), 0);
}

static void a_completion_may_free_the_invoker(void **state) {
  (void)state;
  make_ready();
  invoke();
  invoke();
  the.frees = true;
  succeed(0);
  assert_int_equal(world.outcome_count, 2);
  assert_int_equal(last()->err.kind, IOTOPS_CANCELLATION);
}

static void a_failed_first_call_may_free_the_invoker(void **state) {
  (void)state;
  make_default();
  invoke();
  invoke();
  the.frees = true;
  answer_nth(STUB_SUBSCRIBE, 0, 0x80);
  assert_int_equal(world.outcome_count, 2);
  assert_int_equal(world.outcomes[0].err.kind, IOTOPS_MQTT_ERROR);
  assert_int_equal(world.outcomes[1].err.kind, IOTOPS_CANCELLATION);
}

static void calls_cost_no_memory_the_second_time(void **state) {
  (void)state;
  make_ready();
  for (unsigned round = 0; round < 2; round++) {
    size_t from = publish_count();
    unsigned made = 0;
    world.outcome_count = 0;
    for (unsigned i = 0; i < 60; i++) {
      unsigned before = world.time->made;
      invoke();
      made += world.time->made - before - 1; /* the client's copy */
    }
    if (round == 1)
      assert_int_equal(made, 0);
    for (size_t i = 0; i < 60; i++)
      succeed(from + i);
    for (size_t i = 0; i < 60; i++)
      answer_nth(STUB_PUBLISH, from + i, 0);
    assert_int_equal(world.outcome_count, 60);
  }
}

static void the_memory_of_a_burst_is_given_back(void **state) {
  (void)state;
  make_ready();
  invoke();
  succeed(0);
  answer_nth(STUB_PUBLISH, 0, 0);
  long before = world.time->blocks;
  iotops_invoke_options options = IOTOPS_INVOKE_OPTIONS_INIT;
  iotops_invocation first = 0;
  world.stub->automatic = true;
  for (unsigned i = 0; i < 3000; i++)
    assert_int_equal(iotops_command_invoke(the.invoker, &options, NULL, NULL,
                                           i == 0 ? &first : NULL, NULL),
                     0);
  settle_down();
  virtual_time_pass(world.time, 10000);
  assert_true(world.time->blocks - before <= 3000); /* the client's */
  iotops_invocation next = invoke();
  assert_true(next != first);
  iotops_invoke_cancel(the.invoker, first);
  succeed(3001);
  assert_int_equal(last()->status, 200);
}

static void no_failed_allocation_does_harm(void **state) {
  (void)state;
  iotops_command_invoker_options options = options_of();
  iotops_invoke_options call = IOTOPS_INVOKE_OPTIONS_INIT;
  for (long fail_from = 0; fail_from < 40; fail_from++) {
    iotops_error err;
    world.time->fail_from = fail_from;
    if (iotops_command_invoker_new(&world.stub->client, &options, &the.invoker,
                                   &err)) {
      assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
      assert_string_equal(err.command_name, "test");
    } else if (invoke_with(&call, NULL, &err)) {
      assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
    }
    world.time->fail_from = -1;
    iotops_command_invoker_free(the.invoker);
    the.invoker = NULL;
    settle_down();
    world.outcome_count = 0;
  }
}

#define TEST(name)                                                             \
  cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_cancelled_call_ends_once_and_later),
      TEST(a_call_that_waits_to_be_sent_can_be_cancelled),
      TEST(stopping_cancels_what_is_pending),
      TEST(stopping_before_the_first_call_sends_nothing),
      TEST(freeing_ends_pending_calls_and_unsubscribes),
      TEST(freeing_while_calls_wait_ends_them),
      TEST(a_completion_may_free_the_invoker),
      TEST(a_failed_first_call_may_free_the_invoker),
      TEST(calls_cost_no_memory_the_second_time),
      TEST(the_memory_of_a_burst_is_given_back),
      TEST(no_failed_allocation_does_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
