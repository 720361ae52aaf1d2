/*
** Keeping a lease and giving it back; who holds it; want of memory.
*/
#include "lock_scene.h"

/* --------------------------------------------------------------- renewal -- */

static void
a_lease_is_renewed_each_period_and_up_to_a_tenth_earlier(void **state) {
  (void)state;
  hold(10000, 4000);
  pass(3599);
  assert_int_equal(publish_count(), 1);
  pass(401);
  assert_int_equal(publish_count(), 2);
  assert_asked(1, ACQUIRE_10S);
  answer(1, OK, T2);
  assert_token(T2);
  size_t answered = 2;
  for (int periods = 0; periods < 10; periods++) { /* beyond the lease */
    pass(4000);
    assert_true(publish_count() > answered);
    while (answered < publish_count())
      answer(answered++, OK, T3);
  }
  assert_true(answered <= 14);
  assert_int_equal(the.lost, 0);
  assert_token(T3);
}

static void the_old_token_stays_until_the_answer_of_the_renewal(void **state) {
  (void)state;
  hold(10000, 4000);
  pass(4000);
  assert_token(T1);
  answer(1, OK, T2);
  assert_token(T2);
}

static void without_renewal_nothing_is_sent(void **state) {
  (void)state;
  hold(10000, 0);
  pass(60000);
  assert_int_equal(publish_count(), 1);
  assert_int_equal(the.lost, 0);
}

static void nothing_is_renewed_after_a_failed_attempt(void **state) {
  (void)state;
  iotops_acquire_options options = options_of(10000, 4000);
  try(&options);
  answer(0, HELD, T1);
  pass(60000);
  assert_int_equal(publish_count(), 1);
  assert_int_equal(the.lost, 0);
}

static void a_refused_renewal_loses_the_lease_once(void **state) {
  (void)state;
  hold(10000, 4000);
  pass(4000);
  answer(1, HELD, T2);
  assert_int_equal(the.lost, 1);
  assert_string_equal(the.lost_err.service_error, "lease_already_held");
  assert_token(NULL);
  pass(60000);
  assert_int_equal(the.lost, 1);
  assert_int_equal(publish_count(), 2);
}

static void note_loss(void *user, const iotops_error *err) {
  assert_string_equal(err->service_error, "lease_already_held");
  ++*(unsigned *)user;
}

static void a_lease_that_renews_itself_may_change_hands(void **state) {
  (void)state;
  unsigned told = 0;
  hold(10000, 4000);
  assert_true(iotops_lock_is_renewing(the.lock));
  assert_true(iotops_text_equal(iotops_lock_name(the.lock), of("lock1")));
  iotops_lock_set_lost(the.lock, note_loss, &told);
  iotops_acquire_options options = options_of(10000, 4000);
  try(&options);
  assert_false(iotops_lock_is_renewing(the.lock)); /* an attempt is in hand */
  answer(1, OK, T2);
  assert_true(iotops_lock_is_renewing(the.lock));
  pass(4000);
  answer(2, HELD, T3);
  assert_int_equal(told, 1);
  assert_int_equal(the.lost, 0);
  assert_false(iotops_lock_is_renewing(the.lock));
}

static void nobody_may_be_told_of_a_loss(void **state) {
  (void)state;
  hold(10000, 4000);
  iotops_lock_set_lost(the.lock, NULL, NULL);
  pass(4000);
  answer(1, HELD, T2);
  assert_int_equal(the.lost, 0);
  assert_token(NULL);
}

static void a_renewal_without_a_version_loses_the_lease(void **state) {
  (void)state;
  hold(10000, 4000);
  pass(4000);
  answer(1, OK, NULL);
  assert_int_equal(the.lost, 1);
  assert_string_equal(the.lost_err.service_error, "missing_fencing_token");
}

static void a_failed_renewal_is_tried_again_each_period(void **state) {
  (void)state;
  hold(10000, 2000);
  pass(2000);
  answer(1, "-ERR the quota has been exceeded\r\n", T1);
  assert_int_equal(the.lost, 0);
  assert_token(T1);
  pass(2000);
  assert_int_equal(publish_count(), 3);
  answer(2, OK, T2);
  assert_token(T2);
}

static void renewal_goes_on_while_an_answer_is_missing(void **state) {
  (void)state;
  hold(10000, 3000);
  pass(3000);
  pass(3000);
  assert_int_equal(publish_count(), 3);
  assert_int_equal(published(1)->expiry_s, 3);
  answer(2, OK, T2);
  pass(4000); /* past the end of the first lease */
  assert_int_equal(the.lost, 0);
  assert_token(T2);
}

static void
a_server_that_never_answers_loses_the_lease_at_its_end(void **state) {
  (void)state;
  hold(10000, 3000);
  pass(9999);
  assert_int_equal(the.lost, 0);
  assert_true(publish_count() >= 4);
  pass(1);
  assert_int_equal(the.lost, 1);
  assert_int_equal(the.lost_err.kind, IOTOPS_TIMEOUT);
  assert_token(NULL);
  pass(60000);
  assert_int_equal(the.lost, 1);
}

static void
the_lease_ends_by_the_time_of_asking_not_of_the_answer(void **state) {
  (void)state;
  iotops_acquire_options options = options_of(10000, 9000);
  options.timeout_us = 60000000;
  try(&options);
  pass(5000);
  answer(0, OK, T1);
  pass(4000); /* renews nine seconds after asking */
  assert_int_equal(publish_count(), 2);
  pass(999);
  assert_int_equal(the.lost, 0);
  pass(1);
  assert_int_equal(the.lost, 1);
}

static void a_renewal_is_reckoned_from_when_it_was_asked_for(void **state) {
  (void)state;
  hold(10000, 4000);
  pass(4000);
  uint64_t left = (uint64_t)iotops_lock_lease_left_ms(the.lock);
  assert_int_equal(left, 6000);
  pass(1000);
  answer(1, OK, T2);
  int64_t now_left = iotops_lock_lease_left_ms(the.lock);
  assert_true(now_left <= 9000 && now_left >= 8600);
}

static void a_grant_later_than_its_lease_is_lost_at_once(void **state) {
  (void)state;
  iotops_acquire_options options = options_of(2000, 1000);
  try(&options);
  pass(5000);
  answer(0, OK, T1);
  assert_attempts(1, 0);
  pass(0);
  assert_int_equal(the.lost, 1);
}

static void a_renewal_granted_after_the_loss_is_given_back(void **state) {
  (void)state;
  hold(2000, 1900);
  pass(2000);
  assert_int_equal(the.lost, 1);
  assert_int_equal(publish_count(), 2);
  answer(1, OK, T2);
  assert_token(NULL);
  assert_asked(2, RELEASE);
}

static void a_process_that_slept_through_its_lease_has_lost_it(void **state) {
  (void)state;
  hold(10000, 4000);
  world.time->now_ms += 30000; /* no timer has fired meanwhile */
  pass(0);
  assert_int_equal(the.lost, 1);
  assert_int_equal(publish_count(), 1);
}

static void the_one_told_of_the_loss_may_free_the_lock(void **state) {
  (void)state;
  the.lost_frees = true;
  hold(10000, 4000);
  pass(4000);
  answer(1, HELD, T2);
  assert_int_equal(the.lost, 1);
  assert_null(the.lock);
}

static void a_new_acquire_replaces_the_renewal(void **state) {
  (void)state;
  hold(10000, 4000);
  iotops_acquire_options options = options_of(20000, 15000);
  try(&options);
  answer(1, OK, T2);
  assert_token(T2);
  pass(13000);
  assert_int_equal(publish_count(), 2);
  pass(2000);
  assert_int_equal(publish_count(), 3);
  answer(2, OK, T3);
  try(NULL); /* without renewal */
  answer(3, OK, T3);
  pass(60000);
  assert_int_equal(publish_count(), 4);
  assert_int_equal(the.lost, 0);
}

static void
an_attempt_that_is_refused_while_renewing_has_lost_the_lease(void **state) {
  (void)state;
  hold(10000, 4000);
  try(NULL);
  answer(1, HELD, T2);
  assert_attempts(1, 1);
  assert_int_equal(the.lost, 1);
  pass(60000);
  assert_int_equal(publish_count(), 2);
}

static void freeing_the_lock_leaves_the_lease_to_expire(void **state) {
  (void)state;
  hold(10000, 4000);
  pass(4000); /* a renewal is out */
  free_lock();
  answer(1, OK, T2);
  pass(60000);
  assert_int_equal(publish_count(), 2);
  assert_int_equal(the.lost, 0);
}

/* --------------------------------------------------- release and holders -- */

static void release(void) {
  assert_int_equal(
      iotops_lock_release(the.lock, 10000000, note_store_end, NULL, NULL), 0);
  settle_down();
}

static void a_release_stops_renewing_and_clears_the_token_first(void **state) {
  (void)state;
  hold(10000, 4000);
  release();
  assert_token(NULL);
  assert_asked(1, RELEASE);
  assert_null(property_of(published(1), "__ft"));
  pass(5000);
  assert_int_equal(publish_count(), 2);
  answer(1, ":1\r\n", T1);
  assert_ended(1, 1);
  assert_int_equal(the.lost, 0);
}

static void each_answer_to_a_release_is_a_success(void **state) {
  (void)state;
  static const int counts[] = {1, 0, -1};
  static const char *const answers[] = {":1\r\n", ":0\r\n", ":-1\r\n"};
  for (size_t i = 0; i < 3; i++) {
    release();
    answer(i, answers[i], T1);
    assert_ended(i + 1, counts[i]);
  }
}

static void
a_failed_release_is_an_error_and_the_token_stays_cleared(void **state) {
  (void)state;
  hold(10000, 0);
  release();
  answer(1, "-ERR not authorized\r\n", T1);
  assert_failed(1, IOTOPS_SERVICE_ERROR);
  assert_token(NULL);
  release();
  pass(10000);
  assert_failed(2, IOTOPS_TIMEOUT);
}

static void a_release_gives_the_attempt_in_hand_up(void **state) {
  (void)state;
  iotops_acquire_options options = options_of(10000, 4000);
  try(&options);
  release();
  assert_attempts(0, 1);
  assert_int_equal(the.err.kind, IOTOPS_CANCELLATION);
  answer(0, OK, T1);
  assert_token(NULL);
  answer(1, ":1\r\n", T1);
  pass(60000);
  assert_token(NULL);
}

static void a_renewal_answered_after_the_release_changes_nothing(void **state) {
  (void)state;
  hold(10000, 4000);
  pass(4000);
  release();
  answer(1, OK, T2);
  assert_token(NULL);
  answer(2, ":1\r\n", T2);
  pass(60000);
  assert_int_equal(the.lost, 0);
}

static void note_holder(void *user, iotops_text holder,
                        const iotops_error *err) {
  (void)user;
  the.holders++;
  if (err != NULL)
    snprintf(the.holder, sizeof the.holder, "error %d", (int)err->kind);
  else
    snprintf(the.holder, sizeof the.holder, "%.*s",
             holder.data == NULL ? 6 : (int)holder.size,
             holder.data == NULL ? "nobody" : holder.data);
}

static void the_holder_is_read_from_the_key(void **state) {
  (void)state;
  static const char *const answers[] = {"$3\r\nyou\r\n", "$-1\r\n", "+OK\r\n"};
  static const char *const holders[] = {"you", "nobody", NULL};
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(
        iotops_lock_get_holder(the.lock, 1000000, note_holder, NULL, NULL), 0);
    settle_down();
    assert_asked(i, "*2\r\n$3\r\nGET\r\n$5\r\nlock1\r\n");
    answer(i, answers[i], i == 0 ? T1 : NULL);
    if (holders[i] != NULL)
      assert_string_equal(the.holder, holders[i]);
  }
  assert_memory_equal(the.holder, "error", 5);
  iotops_lock_get_holder(the.lock, 1000000, note_holder, NULL, NULL);
  free_lock();
  settle_down();
  answer(3, "$-1\r\n", NULL);
  assert_int_equal(the.holders, 4);
}

static void heard(void *user, const iotops_lock_change *change) {
  assert_ptr_equal(user, &the);
  size_t size = strlen(the.heard);
  snprintf(the.heard + size, sizeof the.heard - size, "%.*s %d;",
           change->holder.data == NULL ? 1 : (int)change->holder.size,
           change->holder.data == NULL ? "-" : change->holder.data,
           change->version != NULL);
}

static void watch_ended(void *user) {
  assert_ptr_equal(user, &the);
  the.ends++;
}

static void an_observer_sees_held_and_not_held(void **state) {
  (void)state;
  iotops_lock_watch *watch;
  assert_int_equal(iotops_lock_observe(the.lock, 1000000, heard, watch_ended,
                                       note_store_end, &the, &watch, NULL),
                   0);
  settle_down();
  answer(0, OK, T1);
  assert_ended(1, 1);
  notify(LOCK1, NOTIFY_SET, T1, 1);
  notify(LOCK1, NOTIFY_SET, T2, 2);
  notify(LOCK1, NOTIFY_DELETE, T3, 3);
  assert_string_equal(the.heard, "you 1;you 1;- 1;");
  assert_string_equal(acks(), "60000,1,2,3,");
  free_lock(); /* the watch goes on */
  lose_connection();
  regain_connection();
  answer(1, OK, T1);
  answer(2, "$-1\r\n", NULL);
  assert_string_equal(the.heard, "you 1;you 1;- 1;- 0;");
  assert_int_equal(
      iotops_lock_unobserve(watch, 1000000, note_store_end, NULL, NULL), 0);
  settle_down();
  answer(3, OK, T1);
  assert_ended(2, 1);
  assert_int_equal(the.ends, 0);
}

static void a_watch_that_fails_is_told_and_ended(void **state) {
  (void)state;
  iotops_lock_watch *watch;
  iotops_error err;
  assert_int_equal(iotops_lock_observe(the.lock, 0, heard, NULL, note_store_end,
                                       &the, &watch, &err),
                   -1);
  assert_string_equal(err.property_name, "command_timeout");
  iotops_lock_observe(the.lock, 1000000, heard, NULL, note_store_end, &the,
                      &watch, NULL);
  settle_down();
  answer(0, "-ERR not authorized\r\n", T1);
  assert_failed(1, IOTOPS_SERVICE_ERROR);
  iotops_lock_unobserve(watch, 1000000, NULL, NULL, NULL);
}

/* ---------------------------------------------------------------- memory -- */

static void any_allocation_may_fail(void **state) {
  bool failed = true;
  unsigned grants = 0;
  for (long k = 0; failed && k < 400; k++) {
    close(state);
    memset(&the, 0, sizeof the);
    assert_int_equal(store_world_open(state), 0);
    world.time->fail_from = k;
    unsigned accepted = 0;
    size_t releases = 0;
    if (make() == 0) {
      iotops_acquire_options options = options_of(10000, 4000);
      accepted =
          iotops_lock_acquire(the.lock, &options, acquired, &the, NULL) == 0;
      settle_down();
      for (size_t n = 0; n < publish_count(); n++)
        answer(n, OK, T1);
      size_t before = publish_count();
      pass(4000);
      for (size_t n = before; n < publish_count(); n++)
        answer(n, OK, T2);
      releases = iotops_lock_release(the.lock, 1000000, note_store_end, NULL,
                                     NULL) == 0;
      settle_down();
      if (releases > 0 && publish_count() > before)
        answer(publish_count() - 1, ":1\r\n", T2);
    }
    failed = world.time->fail_from == 0;
    world.time->fail_from = -1;
    pass(60000);
    assert_int_equal(the.grants + the.failures, accepted);
    assert_int_equal(stores.end_count, releases);
    grants = the.grants;
  }
  assert_false(failed);
  assert_int_equal(grants, 1);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(a_lease_is_renewed_each_period_and_up_to_a_tenth_earlier),
      test(the_old_token_stays_until_the_answer_of_the_renewal),
      test(without_renewal_nothing_is_sent),
      test(nothing_is_renewed_after_a_failed_attempt),
      test(a_refused_renewal_loses_the_lease_once),
      test(a_lease_that_renews_itself_may_change_hands),
      test(nobody_may_be_told_of_a_loss),
      test(a_renewal_without_a_version_loses_the_lease),
      test(a_failed_renewal_is_tried_again_each_period),
      test(renewal_goes_on_while_an_answer_is_missing),
      test(a_server_that_never_answers_loses_the_lease_at_its_end),
      test(the_lease_ends_by_the_time_of_asking_not_of_the_answer),
      test(a_renewal_is_reckoned_from_when_it_was_asked_for),
      test(a_grant_later_than_its_lease_is_lost_at_once),
      test(a_renewal_granted_after_the_loss_is_given_back),
      test(a_process_that_slept_through_its_lease_has_lost_it),
      test(the_one_told_of_the_loss_may_free_the_lock),
      test(a_new_acquire_replaces_the_renewal),
      test(an_attempt_that_is_refused_while_renewing_has_lost_the_lease),
      test(freeing_the_lock_leaves_the_lease_to_expire),
      test(a_release_stops_renewing_and_clears_the_token_first),
      test(each_answer_to_a_release_is_a_success),
      test(a_failed_release_is_an_error_and_the_token_stays_cleared),
      test(a_release_gives_the_attempt_in_hand_up),
      test(a_renewal_answered_after_the_release_changes_nothing),
      test(the_holder_is_read_from_the_key),
      test(an_observer_sees_held_and_not_held),
      test(a_watch_that_fails_is_told_and_ended),
      test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests_name("lock renewal", tests, NULL, NULL);
}
