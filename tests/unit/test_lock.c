/*
** Taking a lease (services.md section 4): making, trying, waiting, giving up.
*/
#include "lock_scene.h"

/* ---------------------------------------------------------------- making -- */

static void a_lock_needs_a_name_and_a_holder(void **state) {
  (void)state;
  iotops_lock_options options = IOTOPS_LOCK_OPTIONS_INIT;
  iotops_lock *none = NULL;
  iotops_error err;
  assert_int_equal(iotops_lock_new(stores.store, &options, &none, &err), -1);
  assert_string_equal(err.property_name, "name");
  options.name = of("");
  assert_int_equal(iotops_lock_new(stores.store, &options, &none, &err), -1);
  assert_string_equal(err.property_name, "name");
  options.name = of("lock1");
  options.holder = of("");
  assert_int_equal(iotops_lock_new(stores.store, &options, &none, &err), -1);
  assert_string_equal(err.property_name, "holder");
  assert_null(none);
}

static void the_holder_is_the_client_id_with_the_session_id(void **state) {
  (void)state;
  iotops_lock_options options = IOTOPS_LOCK_OPTIONS_INIT;
  assert_true(iotops_text_equal(iotops_lock_holder_name(the.lock), of("me")));
  free_lock();
  options.name = of("lock1");
  options.session_id = of("s1");
  assert_int_equal(iotops_lock_new(stores.store, &options, &the.lock, NULL), 0);
  assert_true(
      iotops_text_equal(iotops_lock_holder_name(the.lock), of("me:s1")));
  /* Renewal and release carry it too. */
  iotops_acquire_options renewed = options_of(10000, 5000);
  try(&renewed);
  answer(0, OK, T1);
  pass(5000);
  iotops_lock_release(the.lock, 1000000, NULL, NULL, NULL);
  settle_down();
  assert_int_equal(publish_count(), 3);
  for (size_t i = 0; i < 3; i++)
    assert_non_null(
        memmem(asked(i).data, asked(i).size, "$5\r\nme:s1\r\n", 11));
}

static void bad_options_are_refused_at_once(void **state) {
  (void)state;
  static const struct {
    int64_t lease, renew, wait, timeout;
    const char *property;
  } rows[] = {{0, 0, -1, 1000000, "lease"},
              {-1, 0, -1, 1000000, "lease"},
              {(int64_t)INT32_MAX + 1, 0, -1, 1000000, "lease"},
              {1000, 1000, -1, 1000000, "renewal_period"},
              {1000, -1, -1, 1000000, "renewal_period"},
              {1000, 0, -2, 1000000, "wait"},
              {1000, 0, -1, 0, "command_timeout"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    iotops_acquire_options options = options_of(rows[i].lease, rows[i].renew);
    iotops_error err;
    options.wait_ms = rows[i].wait;
    options.timeout_us = rows[i].timeout;
    assert_int_equal(iotops_lock_try(the.lock, &options, acquired, &the, &err),
                     -1);
    assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
    assert_string_equal(err.property_name, rows[i].property);
    assert_int_equal(
        iotops_lock_acquire(the.lock, &options, acquired, &the, &err), -1);
    assert_string_equal(err.property_name, rows[i].property);
  }
  settle_down();
  assert_attempts(0, 0);
  assert_int_equal(publish_count(), 0);
}

/* ---------------------------------------------------------------- trying -- */

static void a_grant_gives_the_version_as_token(void **state) {
  (void)state;
  try(NULL);
  assert_asked(0, ACQUIRE_10S);
  assert_null(property_of(published(0), "__ft"));
  assert_token(NULL);
  answer(0, OK, T1);
  assert_attempts(1, 0);
  assert_string_equal(the.token, T1);
  assert_token(T1);
  try(NULL); /* renews by hand */
  answer(1, OK, T2);
  assert_token(T2);
}

static void a_lease_that_is_held_is_refused_and_clears_the_token(void **state) {
  (void)state;
  hold(10000, 0);
  try(NULL);
  answer(1, HELD, T2);
  assert_attempts(1, 1);
  assert_int_equal(the.err.kind, IOTOPS_SERVICE_ERROR);
  assert_string_equal(the.err.service_error, "lease_already_held");
  assert_token(NULL);
  assert_int_equal(the.lost, 0); /* it was not renewed by itself */
}

static void a_grant_without_a_version_is_an_error_and_given_back(void **state) {
  (void)state;
  try(NULL);
  answer(0, OK, NULL);
  assert_attempts(0, 1);
  assert_string_equal(the.err.service_error, "missing_fencing_token");
  assert_token(NULL);
  assert_asked(1, RELEASE);
}

static void other_errors_end_the_attempt_as_they_are(void **state) {
  (void)state;
  try(NULL);
  answer(0, "-ERR not authorized\r\n", T1);
  assert_string_equal(the.err.service_error, "not_authorized");
  try(NULL);
  answer(1, ":7\r\n", T1);
  assert_int_equal(the.err.kind, IOTOPS_UNEXPECTED_PAYLOAD);
  assert_attempts(0, 2);
  assert_int_equal(publish_count(), 2);
}

static void after_a_timeout_a_grant_on_its_way_is_given_back(void **state) {
  (void)state;
  try(NULL);
  pass(10000);
  assert_attempts(0, 1);
  assert_int_equal(the.err.kind, IOTOPS_TIMEOUT);
  assert_asked(1, RELEASE);
  answer(0, OK, T1); /* late */
  assert_token(NULL);
}

static void
a_timeout_of_a_renewal_by_hand_does_not_give_the_lease_back(void **state) {
  (void)state;
  hold(60000, 0);
  try(NULL);
  pass(10000);
  assert_attempts(1, 1);
  assert_token(T1);
  assert_int_equal(publish_count(), 2);
}

static void one_attempt_is_in_hand_at_a_time(void **state) {
  (void)state;
  iotops_error err;
  try(NULL);
  assert_int_equal(iotops_lock_try(the.lock, NULL, acquired, &the, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
  assert_int_equal(iotops_lock_acquire(the.lock, NULL, acquired, &the, &err),
                   -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
}

static void the_lease_is_reckoned_from_when_it_was_asked_for(void **state) {
  (void)state;
  assert_int_equal(iotops_lock_lease_left_ms(the.lock), 0);
  iotops_acquire_options options = options_of(10000, 0);
  try(&options);
  pass(3000);
  answer(0, OK, T1);
  assert_int_equal(iotops_lock_lease_left_ms(the.lock), 7000);
  pass(7000);
  assert_int_equal(iotops_lock_lease_left_ms(the.lock), 0);
  assert_token(T1); /* not cleared when it merely runs out */
}

/* --------------------------------------------------------------- waiting -- */

static void waiting_observes_first_and_asks_then(void **state) {
  (void)state;
  acquire(NULL);
  assert_int_equal(publish_count(), 1);
  assert_asked(0, REGISTER);
  answer(0, OK, T1);
  assert_asked(1, ACQUIRE_10S);
  answer(1, OK, T2);
  assert_attempts(1, 0);
  assert_string_equal(the.token, T2);
  assert_asked(2, STOP);
}

static void a_failing_stop_does_not_lose_the_token(void **state) {
  (void)state;
  acquire(NULL);
  answer(0, OK, T1);
  answer(1, OK, T2);
  answer(2, "-ERR whatever\r\n", T1);
  assert_token(T2);
  assert_non_null(strstr(world.time->log, "whatever"));
}

static void
a_release_by_another_is_followed_by_a_jittered_attempt(void **state) {
  (void)state;
  wait_for(NULL);
  notify(LOCK1, NOTIFY_SET, T1, 1); /* a renewal is no release */
  pass(250);
  assert_int_equal(publish_count(), 2);
  notify(LOCK1, NOTIFY_DELETE, T2, 2);
  assert_int_equal(stores.end_count, 0);
  pass(200);
  assert_int_equal(publish_count(), 3);
  assert_asked(2, ACQUIRE_10S);
  answer(2, HELD, T1); /* another was quicker */
  notify(LOCK1, NOTIFY_DELETE, T3, 3);
  pass(200);
  answer(3, OK, T3);
  assert_attempts(1, 0);
}

static void further_releases_do_not_put_the_attempt_off(void **state) {
  (void)state;
  wait_for(NULL);
  for (uint16_t i = 0; i < 20; i++) {
    notify(LOCK1, NOTIFY_DELETE, T2, i);
    pass(10);
  }
  assert_int_equal(publish_count(), 3);
}

static void a_release_while_the_question_is_out_is_not_missed(void **state) {
  (void)state;
  acquire(NULL);
  answer(0, OK, T1);
  notify(LOCK1, NOTIFY_DELETE, T2, 1);
  answer(1, HELD, T1);
  assert_int_equal(publish_count(), 2);
  pass(200);
  assert_int_equal(publish_count(), 3);
}

static void a_lost_notification_costs_one_lease_at_most(void **state) {
  (void)state;
  wait_for(NULL);
  pass(9999);
  assert_int_equal(publish_count(), 2);
  pass(1);
  assert_int_equal(publish_count(), 3);
  answer(2, OK, T2);
  assert_attempts(1, 0);
}

static void the_whole_wait_is_bounded(void **state) {
  (void)state;
  iotops_acquire_options options = options_of(10000, 0);
  options.wait_ms = 3000;
  wait_for(&options);
  pass(2999);
  assert_attempts(0, 0);
  pass(1);
  assert_attempts(0, 1);
  assert_int_equal(the.err.kind, IOTOPS_TIMEOUT);
  assert_string_equal(the.err.timeout_name, "wait");
  assert_int_equal(the.err.timeout_ms, 3000);
  assert_asked(2, STOP);
  pass(60000);
  assert_int_equal(publish_count(), 3);
}

static void a_grant_after_the_wait_is_given_back(void **state) {
  (void)state;
  iotops_acquire_options options = options_of(10000, 5000);
  options.wait_ms = 3000;
  acquire(&options);
  answer(0, OK, T1);
  pass(3000);
  assert_attempts(0, 1);
  assert_asked(2, STOP);
  answer(1, OK, T2);
  assert_asked(3, RELEASE);
  assert_token(NULL);
  pass(20000);
  assert_int_equal(publish_count(), 4); /* and nothing is renewed */
}

static void a_grant_after_a_new_attempt_began_is_not_given_back(void **state) {
  (void)state;
  acquire(NULL);
  answer(0, OK, T1);
  iotops_lock_cancel(the.lock);
  try(NULL);
  assert_asked(2, ACQUIRE_10S);
  assert_asked(3, STOP);
  answer(1, OK, T1);
  answer(2, OK, T2);
  assert_attempts(1, 1);
  assert_token(T2);
  assert_int_equal(publish_count(), 4);
}

static void
a_stray_grant_is_given_back_when_the_new_attempt_fails(void **state) {
  (void)state;
  try(NULL);
  iotops_lock_cancel(the.lock);
  acquire(NULL);
  answer(0, OK, T1);
  assert_int_equal(publish_count(), 2); /* SET, KEYNOTIFY */
  iotops_lock_cancel(the.lock);
  settle_down();
  assert_attempts(0, 2);
  assert_asked(2, RELEASE);
}

static void a_failed_observation_ends_the_wait(void **state) {
  (void)state;
  acquire(NULL);
  answer(0, "-ERR not authorized\r\n", T1);
  assert_attempts(0, 1);
  assert_string_equal(the.err.service_error, "not_authorized");
  assert_int_equal(publish_count(), 1);
}

static void
after_a_reconnect_the_reading_of_the_key_wakes_the_wait(void **state) {
  (void)state;
  wait_for(NULL);
  lose_connection();
  regain_connection();
  answer(2, OK, T1); /* registered again */
  answer(3, "$-1\r\n", NULL);
  pass(200);
  assert_asked(4, ACQUIRE_10S);
}

static void with_close_on_disconnect_the_wait_observes_again(void **state) {
  (void)state;
  free_lock();
  iotops_state_store_free(stores.store);
  settle_down();
  assert_int_equal(store_world_make(true), 0);
  assert_int_equal(make(), 0);
  wait_for(NULL);
  lose_connection();
  regain_connection();
  assert_asked(2, REGISTER);
  answer(2, OK, T1);
  assert_asked(3, ACQUIRE_10S);
  lose_connection(); /* with the question out */
  regain_connection();
  assert_asked(4, REGISTER);
  answer(3, HELD, T1); /* from before: asked again anyway */
  assert_attempts(0, 0);
  answer(4, OK, T1);
  assert_asked(5, ACQUIRE_10S);
  answer(5, OK, T2);
  assert_attempts(1, 0);
}

static void another_observer_of_the_key_is_left_alone(void **state) {
  (void)state;
  iotops_lock_watch *watch;
  assert_int_equal(iotops_lock_observe(the.lock, 1000000, NULL, NULL,
                                       note_store_end, NULL, &watch, NULL),
                   0);
  settle_down();
  answer(0, OK, T1);
  acquire(NULL);
  answer(1, OK, T2);
  assert_attempts(1, 0);
  assert_int_equal(publish_count(), 2); /* no KEYNOTIFY, no STOP */
  iotops_lock_unobserve(watch, 1000000, NULL, NULL, NULL);
}

/* ------------------------------------------------------ cancel and free -- */

static void an_attempt_can_be_given_up_in_every_state(void **state) {
  (void)state;
  for (int at = 0; at < 4; at++) {
    for (int frees = 0; frees < 2; frees++) {
      size_t first = publish_count();
      unsigned failures = the.failures;
      acquire(NULL);
      if (at >= 1)
        answer(first, OK, T1); /* asking */
      if (at >= 2)
        answer(first + 1, HELD, T1); /* waiting */
      if (at >= 3)
        notify(LOCK1, NOTIFY_DELETE, T2, 1); /* in the jitter */
      if (frees)
        free_lock();
      else
        iotops_lock_cancel(the.lock);
      assert_int_equal(the.failures, failures); /* never inside the call */
      settle_down();
      assert_int_equal(the.failures, failures + 1);
      assert_int_equal(the.err.kind, IOTOPS_CANCELLATION);
      if (frees)
        assert_int_equal(make(), 0);
      /* Answer whatever is out: the registration, the question, the STOP. */
      for (size_t n = first; n < publish_count(); n++)
        answer(n, n == first + 1 && at > 0 ? HELD : OK, T1);
      pass(60000);
      assert_int_equal(the.failures, failures + 1);
    }
  }
  assert_int_equal(the.grants, 0);
}

static void cancelling_nothing_does_nothing(void **state) {
  (void)state;
  iotops_lock_cancel(the.lock);
  hold(10000, 0);
  iotops_lock_cancel(the.lock);
  settle_down();
  assert_attempts(1, 0);
}

static void a_grant_after_the_lock_was_freed_is_given_back(void **state) {
  (void)state;
  try(NULL);
  free_lock();
  settle_down();
  assert_attempts(0, 1);
  answer(0, OK, T1);
  assert_asked(1, RELEASE);
}

static void a_completion_may_free_the_lock(void **state) {
  (void)state;
  the.done_frees = true;
  iotops_acquire_options options = options_of(10000, 5000);
  acquire(&options);
  answer(0, OK, T1);
  answer(1, OK, T2);
  assert_attempts(1, 0);
  pass(60000);
  assert_int_equal(publish_count(), 3);
}

static void freeing_lock_and_store_in_one_turn_is_safe(void **state) {
  (void)state;
  wait_for(NULL);
  iotops_lock_release(the.lock, 1000000, note_store_end, NULL, NULL);
  acquire(NULL);
  free_lock();
  iotops_state_store_free(stores.store);
  stores.store = NULL;
  settle_down();
  assert_attempts(0, 2);
  assert_failed(1, IOTOPS_CANCELLATION);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(a_lock_needs_a_name_and_a_holder),
      test(the_holder_is_the_client_id_with_the_session_id),
      test(bad_options_are_refused_at_once),
      test(a_grant_gives_the_version_as_token),
      test(a_lease_that_is_held_is_refused_and_clears_the_token),
      test(a_grant_without_a_version_is_an_error_and_given_back),
      test(other_errors_end_the_attempt_as_they_are),
      test(after_a_timeout_a_grant_on_its_way_is_given_back),
      test(a_timeout_of_a_renewal_by_hand_does_not_give_the_lease_back),
      test(one_attempt_is_in_hand_at_a_time),
      test(the_lease_is_reckoned_from_when_it_was_asked_for),
      test(waiting_observes_first_and_asks_then),
      test(a_failing_stop_does_not_lose_the_token),
      test(a_release_by_another_is_followed_by_a_jittered_attempt),
      test(further_releases_do_not_put_the_attempt_off),
      test(a_release_while_the_question_is_out_is_not_missed),
      test(a_lost_notification_costs_one_lease_at_most),
      test(the_whole_wait_is_bounded),
      test(a_grant_after_the_wait_is_given_back),
      test(a_grant_after_a_new_attempt_began_is_not_given_back),
      test(a_stray_grant_is_given_back_when_the_new_attempt_fails),
      test(a_failed_observation_ends_the_wait),
      test(after_a_reconnect_the_reading_of_the_key_wakes_the_wait),
      test(with_close_on_disconnect_the_wait_observes_again),
      test(another_observer_of_the_key_is_left_alone),
      test(an_attempt_can_be_given_up_in_every_state),
      test(cancelling_nothing_does_nothing),
      test(a_grant_after_the_lock_was_freed_is_given_back),
      test(a_completion_may_free_the_lock),
      test(freeing_lock_and_store_in_one_turn_is_safe),
  };
  return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
