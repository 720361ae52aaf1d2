/*
** The leased lock (services.md section 4) against the stub.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/lock.h"
#include "store_world.h"

#define ACQUIRE(lease)                                                         \
  "*6\r\n$3\r\nSET\r\n$5\r\nlock1\r\n$2\r\nme\r\n$3\r\nNEX\r\n$"               \
  "2\r\nPX\r\n" lease "\r\n"
#define ACQUIRE_10S   ACQUIRE("$5\r\n10000")
#define RELEASE       "*3\r\n$4\r\nVDEL\r\n$5\r\nlock1\r\n$2\r\nme\r\n"
#define REGISTER      "*2\r\n$9\r\nKEYNOTIFY\r\n$5\r\nlock1\r\n"
#define STOP          "*3\r\n$9\r\nKEYNOTIFY\r\n$5\r\nlock1\r\n$4\r\nSTOP\r\n"
#define NOTIFY_DELETE "*2\r\n$6\r\nNOTIFY\r\n$6\r\nDELETE\r\n"
#define NOTIFY_SET                                                             \
  "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n$3\r\nyou\r\n"
#define LOCK1 "6C6F636B31"
#define HELD  ":-1\r\n"
#define OK    "+OK\r\n"

static struct {
  iotops_lock *lock;
  unsigned grants, failures; /* of attempts */
  iotops_error err;          /* of the last failure */
  char token[IOTOPS_HLC_TEXT_SIZE];
  unsigned lost;
  iotops_error lost_err;
  bool done_frees, lost_frees; /* the lock */
  char holder[64];
  unsigned holders;
  char heard[128];
  unsigned ends;
} the;

static iotops_text of(const char *text) {
  return iotops_text_of(text);
}

static void free_lock(void) {
  iotops_lock_free(the.lock);
  the.lock = NULL;
}

static void lost(void *user, const iotops_error *err) {
  assert_ptr_equal(user, &the);
  assert_null(iotops_lock_token(the.lock));
  the.lost++;
  the.lost_err = *err;
  if (the.lost_frees)
    free_lock();
}

static void acquired(void *user, const iotops_hlc *token,
                     const iotops_error *err) {
  assert_ptr_equal(user, &the);
  assert_true((token != NULL) != (err != NULL));
  if (token != NULL) {
    the.grants++;
    iotops_hlc_format(token, the.token);
  } else {
    the.failures++;
    the.err = *err;
  }
  if (the.done_frees)
    free_lock();
}

static int make(void) {
  iotops_lock_options options = IOTOPS_LOCK_OPTIONS_INIT;
  options.name = of("lock1");
  options.lost = lost;
  options.user = &the;
  return iotops_lock_new(stores.store, &options, &the.lock, NULL);
}

static int open(void **state) {
  memset(&the, 0, sizeof the);
  return store_world_open(state) == 0 ? make() : -1;
}

static int close(void **state) {
  free_lock();
  return store_world_close(state);
}

static iotops_acquire_options options_of(int64_t lease_ms, int64_t renew_ms) {
  iotops_acquire_options options = IOTOPS_ACQUIRE_OPTIONS_INIT;
  options.lease_ms = lease_ms;
  options.renew_ms = renew_ms;
  return options;
}

static void try(const iotops_acquire_options *options) {
  assert_int_equal(iotops_lock_try(the.lock, options, acquired, &the, NULL), 0);
  settle_down();
}

static void acquire(const iotops_acquire_options *options) {
  assert_int_equal(iotops_lock_acquire(the.lock, options, acquired, &the, NULL),
                   0);
  settle_down();
}

static void pass(uint64_t ms) {
  virtual_time_pass(world.time, ms);
}

static void assert_attempts(unsigned grants, unsigned failures) {
  assert_int_equal(the.grants, grants);
  assert_int_equal(the.failures, failures);
}

static void assert_token(const char *expected) {
  const iotops_hlc *token = iotops_lock_token(the.lock);
  if (expected == NULL) {
    assert_null(token);
    return;
  }
  char text[IOTOPS_HLC_TEXT_SIZE];
  assert_non_null(token);
  iotops_hlc_format(token, text);
  assert_string_equal(text, expected);
}

/* Leaves the lock held and renewed, with one request sent. */
static void hold(int64_t lease_ms, int64_t renew_ms) {
  iotops_acquire_options options = options_of(lease_ms, renew_ms);
  try(&options);
  answer(0, OK, T1);
  assert_attempts(1, 0);
}

/* Leaves an attempt waiting for the lock, with two requests sent. */
static void wait_for(const iotops_acquire_options *options) {
  acquire(options);
  assert_asked(0, REGISTER);
  answer(0, OK, T1);
  answer(1, HELD, T1);
  assert_attempts(0, 0);
  assert_int_equal(publish_count(), 2);
}

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
      test(a_lease_is_renewed_each_period_and_up_to_a_tenth_earlier),
      test(the_old_token_stays_until_the_answer_of_the_renewal),
      test(without_renewal_nothing_is_sent),
      test(nothing_is_renewed_after_a_failed_attempt),
      test(a_refused_renewal_loses_the_lease_once),
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
  return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
