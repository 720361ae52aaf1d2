/*
** Observations (services.md section 3.9) against the stub.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store_world.h"

#define REGISTER "*2\r\n$9\r\nKEYNOTIFY\r\n$1\r\nk\r\n"
#define STOP     "*3\r\n$9\r\nKEYNOTIFY\r\n$1\r\nk\r\n$4\r\nSTOP\r\n"
#define READ     "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
#define NOTIFY_SET                                                             \
  "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n$3\r\nabc\r\n"
#define NOTIFY_DELETE "*2\r\n$6\r\nNOTIFY\r\n$6\r\nDELETE\r\n"
#define K             "6B"

typedef struct watcher {
  iotops_store_observation *observation;
  char heard[256]; /* "set abc 1;delete 2;" by the versions' counters */
  unsigned ends;
  bool keeps; /* the changes; `kept` is the last */
  iotops_store_change *kept;
  struct watcher *unobserves; /* another, when it hears something */
  bool frees;                 /* the store, when it hears something */
  bool again;                 /* observes again when it ends */
} watcher;

static watcher a, b, c;

static iotops_text of(const char *text) {
  return iotops_text_of(text);
}

static void unobserve(watcher *one);

static void changed(void *user, iotops_store_change *change,
                    const iotops_store_notification *what) {
  watcher *one = user;
  size_t size = strlen(one->heard);
  assert_non_null(one->observation);
  assert_true(iotops_text_equal(what->key, of("k")));
  snprintf(one->heard + size, sizeof one->heard - size, "%s %.*s %lld;",
           what->deleted ? "delete" : "set", (int)what->value.size,
           what->value.size > 0 ? what->value.data : "",
           what->version == NULL ? -1LL : (long long)what->version->counter);
  if (one->unobserves != NULL)
    unobserve(one->unobserves);
  if (one->frees) {
    iotops_state_store_free(stores.store);
    stores.store = NULL;
  }
  if (one->keeps)
    one->kept = change;
  else
    iotops_store_change_done(change);
}

static void observe(watcher *one);

static void ended(void *user) {
  watcher *one = user;
  one->ends++;
  if (one->again) {
    unobserve(one);
    observe(one);
  }
}

static int try_observe(watcher *one, const iotops_store_options *options,
                       iotops_error *err) {
  return iotops_store_observe(stores.store, of("k"), options, changed, ended,
                              note_store_end, one, &one->observation, err);
}

static void observe(watcher *one) {
  assert_int_equal(try_observe(one, NULL, NULL), 0);
}

static void unobserve(watcher *one) {
  iotops_store_observation *observation = one->observation;
  one->observation = NULL;
  if (observation != NULL)
    assert_int_equal(
        iotops_store_unobserve(observation, NULL, note_store_end, NULL, NULL),
        0);
}

/* Observed, with `n` as the number of the request. */
static void observe_well(watcher *one, size_t n) {
  observe(one);
  settle_down();
  assert_asked(n, REGISTER);
  answer(n, "+OK\r\n", T1);
  assert_false(last_end()->failed);
}

static int open(void **state) {
  memset(&a, 0, sizeof a);
  memset(&b, 0, sizeof b);
  memset(&c, 0, sizeof c);
  return store_world_open(state);
}

static int close(void **state) {
  watcher *all[] = {&a, &b, &c};
  for (size_t i = 0; i < 3; i++) {
    unobserve(all[i]);
    if (all[i]->kept != NULL)
      iotops_store_change_done(all[i]->kept);
  }
  return store_world_close(state);
}

/* ---------------------------------------------------------- registration -- */

static void the_suback_is_awaited_before_the_first_keynotify(void **state) {
  (void)state;
  world.stub->automatic = false;
  observe(&a);
  settle_down();
  assert_int_equal(stub_count(world.stub, STUB_SUBSCRIBE), 1);
  assert_string_equal(stub_nth(world.stub, STUB_SUBSCRIBE, 0)->filter,
                      NOTIFY_TOPIC "+");
  assert_int_equal(publish_count(), 0);
  world.stub->automatic = true;
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  assert_asked(0, REGISTER);
  assert_int_equal(stores.end_count, 0);
  answer(0, "+OK\r\n", T1);
  assert_ended(1, 1);
}

static void
an_answer_that_it_was_registered_already_is_a_success(void **state) {
  (void)state;
  observe(&a);
  settle_down();
  answer(0, ":0\r\n", T1);
  assert_ended(1, 1);
}

static void
a_refused_subscription_fails_the_observe_and_may_be_repeated(void **state) {
  (void)state;
  world.stub->automatic = false;
  observe(&a);
  answer_nth(STUB_SUBSCRIBE, 0, 0x87);
  assert_failed(1, IOTOPS_MQTT_ERROR);
  assert_int_equal(a.ends, 0);
  unobserve(&a);
  settle_down();
  assert_ended(2, 0);
  world.stub->automatic = true;
  observe_well(&a, 0);
}

static void other_answers_fail_the_observe(void **state) {
  (void)state;
  static const struct {
    const char *payload;
    iotops_error_kind kind;
  } rows[] = {{"-ERR not authorized\r\n", IOTOPS_SERVICE_ERROR},
              {"$2\r\nOK\r\n", IOTOPS_UNEXPECTED_PAYLOAD},
              {"+ok\r\n", IOTOPS_UNEXPECTED_PAYLOAD},
              {":1\r\n", IOTOPS_UNEXPECTED_PAYLOAD},
              {"junk", IOTOPS_UNEXPECTED_PAYLOAD}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    observe(&a);
    settle_down();
    answer(i, rows[i].payload, T1);
    assert_failed(2 * i + 1, rows[i].kind);
    unobserve(&a);
    settle_down();
    assert_ended(2 * i + 2, 0);
  }
  assert_int_equal(publish_count(), 5);
  assert_int_equal(a.ends, 0);
}

static void a_registration_that_times_out_is_taken_back(void **state) {
  (void)state;
  observe(&a);
  virtual_time_pass(world.time, 10000);
  assert_failed(1, IOTOPS_TIMEOUT);
  assert_int_equal(publish_count(), 2); /* the store may have it */
  assert_asked(1, STOP);
}

static void bad_keys_and_timeouts_are_refused_at_once(void **state) {
  (void)state;
  static char key[32001];
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  iotops_store_observation *none = NULL;
  iotops_error err;
  memset(key, 'k', sizeof key);
  assert_int_equal(
      iotops_store_observe(stores.store, (iotops_text){key, sizeof key}, NULL,
                           changed, ended, note_store_end, NULL, &none, &err),
      -1);
  assert_string_equal(err.property_name, "key");
  assert_int_equal(iotops_store_observe(stores.store, of(""), NULL, changed,
                                        ended, note_store_end, NULL, &none,
                                        &err),
                   -1);
  assert_string_equal(err.property_name, "key");
  options.timeout_us = -1;
  assert_int_equal(try_observe(&a, &options, &err), -1);
  assert_string_equal(err.property_name, "command_timeout");
  observe(&a);
  assert_int_equal(
      iotops_store_unobserve(a.observation, &options, NULL, NULL, &err), -1);
  assert_string_equal(err.property_name, "command_timeout");
}

static void hear_long(void *user, iotops_store_change *change,
                      const iotops_store_notification *what) {
  *(size_t *)user = what->key.size;
  iotops_store_change_done(change);
}

static void the_longest_observable_key_is_heard(void **state) {
  (void)state;
  static char topic[65536];
  static char key[32000];
  iotops_store_observation *observation;
  size_t heard = 0;
  memset(key, 'k', sizeof key);
  assert_int_equal(iotops_store_observe(stores.store,
                                        (iotops_text){key, sizeof key}, NULL,
                                        hear_long, ended, note_store_end,
                                        &heard, &observation, NULL),
                   0);
  settle_down();
  answer(0, "+OK\r\n", T1);
  size_t size = strlen(NOTIFY_TOPIC);
  memcpy(topic, NOTIFY_TOPIC, size);
  for (size_t i = 0; i < sizeof key; i++, size += 2)
    memcpy(topic + size, K, 2);
  notify_topic(topic, of(NOTIFY_SET), T1, 1);
  assert_int_equal(heard, sizeof key);
  iotops_store_unobserve(observation, NULL, NULL, NULL, NULL);
}

/* ---------------------------------------------------------- notifications --
 */

static void changes_are_told_in_order_and_acknowledged(void **state) {
  (void)state;
  observe_well(&a, 0);
  notify(K, NOTIFY_SET, T1, 1);
  notify("6b", NOTIFY_SET, T2, 2); /* lower-case digits are read too */
  notify(K, NOTIFY_DELETE, T3, 3);
  assert_string_equal(a.heard, "set abc 1;set abc 2;delete  0;");
  assert_string_equal(acks(), "60000,1,2,3,");
}

static void
a_change_is_acknowledged_when_the_last_observer_is_done(void **state) {
  (void)state;
  observe_well(&a, 0);
  observe(&b);
  settle_down();
  a.keeps = b.keeps = true;
  notify(K, NOTIFY_SET, T1, 1);
  iotops_store_change_done(a.kept);
  a.kept = NULL;
  assert_string_equal(acks(), "60000,");
  iotops_store_change_done(b.kept);
  b.kept = NULL;
  assert_string_equal(acks(), "60000,1,");
}

static void malformed_notifications_are_dropped_and_acknowledged(void **state) {
  (void)state;
  static const char *const payloads[] = {
      "",
      "*0\r\n",
      "*3\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n",
      "*2\r\n$6\r\nNOTIFY\r\n$3\r\nDEL\r\n",
      "*2\r\n$6\r\nnotify\r\n$6\r\nDELETE\r\n",
      "*2\r\n$6\r\nNOTIFY\r\n$6\r\nDELETE\r\n ",
      "*2\r\n$6\r\nNOTIFY\r\n+DELETE\r\n",
      "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n$-1\r\n",
      "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$3\r\nVAL\r\n$3\r\nabc\r\n",
      "*4\r\n$6\r\nNOTIFY\r\n$3\r\nPUT\r\n$5\r\nVALUE\r\n$3\r\nabc\r\n",
      "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n$4\r\nabc\r\n",
      "*5\r\n$6\r\nNOTIFY\r\n+\r\n+\r\n+\r\n+\r\n",
      "$6\r\nNOTIFY\r\n",
  };
  enum { PAYLOADS = sizeof payloads / sizeof *payloads };
  observe_well(&a, 0);
  for (size_t i = 0; i < PAYLOADS; i++)
    notify(K, payloads[i], T1, (uint16_t)(i + 1));
  notify("6B6", NOTIFY_SET, T1, 100); /* odd */
  notify("6G", NOTIFY_SET, T1, 101);
  notify(K, NOTIFY_SET, NULL, 102); /* without a version */
  notify(K, NOTIFY_SET, "nonsense", 103);
  assert_string_equal(a.heard, "");
  assert_int_equal(world.stub->ack_count, 1 + PAYLOADS + 4);
}

static void a_change_of_a_key_nobody_observes_is_acknowledged(void **state) {
  (void)state;
  observe_well(&a, 0);
  notify("6C", NOTIFY_SET, T1, 1);
  assert_string_equal(acks(), "60000,1,");
  assert_string_equal(a.heard, "");
}

static void an_observer_may_end_another_while_it_is_told(void **state) {
  (void)state;
  observe_well(&a, 0);
  observe(&b);
  observe(&c);
  settle_down();
  a.unobserves = &b;
  notify(K, NOTIFY_SET, T1, 1);
  assert_string_equal(a.heard, "set abc 1;");
  assert_string_equal(b.heard, "");
  assert_string_equal(c.heard, "set abc 1;");
}

static void an_observer_may_end_itself_while_it_is_told(void **state) {
  (void)state;
  observe_well(&a, 0);
  observe(&b);
  settle_down();
  a.unobserves = &a;
  b.unobserves = &b;
  notify(K, NOTIFY_SET, T1, 1);
  notify(K, NOTIFY_SET, T2, 2);
  assert_string_equal(a.heard, "set abc 1;");
  assert_string_equal(b.heard, "set abc 1;");
  assert_string_equal(acks(), "60000,1,2,");
}

static void an_observer_may_free_the_store_while_it_is_told(void **state) {
  (void)state;
  observe_well(&a, 0);
  observe(&b);
  settle_down();
  a.frees = true;
  notify(K, NOTIFY_SET, T1, 1);
  assert_string_equal(a.heard, "set abc 1;");
  assert_string_equal(b.heard, "");
  assert_string_equal(acks(), "60000,1,");
}

/* -------------------------------------------------------------- counting -- */

static void observers_share_one_registration(void **state) {
  (void)state;
  observe_well(&a, 0);
  observe(&b);
  settle_down();
  assert_ended(2, 1);
  assert_int_equal(publish_count(), 1);
  unobserve(&a);
  assert_int_equal(stores.end_count, 2); /* never inside the call */
  settle_down();
  assert_ended(3, 1);
  assert_int_equal(publish_count(), 1);
  notify(K, NOTIFY_SET, T1, 1);
  assert_string_equal(b.heard, "set abc 1;");
  unobserve(&b);
  settle_down();
  assert_asked(1, STOP);
  assert_int_equal(stores.end_count, 3);
  answer(1, "+OK\r\n", T1);
  assert_ended(4, 1);
}

static void stopping_what_the_store_did_not_have_says_so(void **state) {
  (void)state;
  observe_well(&a, 0);
  unobserve(&a);
  settle_down();
  answer(1, ":0\r\n", T1);
  assert_ended(2, 0);
}

static void
a_failed_stop_is_reported_and_the_key_can_be_observed_again(void **state) {
  (void)state;
  static const char *const answers[] = {"-ERR syntax error\r\n", ":1\r\n"};
  for (size_t i = 0; i < 2; i++) {
    observe_well(&a, 2 * i);
    unobserve(&a);
    settle_down();
    answer(2 * i + 1, answers[i], T1);
    assert_failed(2 * i + 2,
                  i == 0 ? IOTOPS_SERVICE_ERROR : IOTOPS_UNEXPECTED_PAYLOAD);
  }
  observe_well(&a, 4);
  unobserve(&a);
  virtual_time_pass(world.time, 10000);
  assert_failed(6, IOTOPS_TIMEOUT);
}

static void no_change_follows_an_unobserve(void **state) {
  (void)state;
  observe_well(&a, 0);
  unobserve(&a);
  notify(K, NOTIFY_SET, T1, 1);
  settle_down();
  assert_string_equal(a.heard, "");
  assert_string_equal(acks(), "60000,1,");
}

static void
ending_an_observe_that_is_out_cancels_it_and_stops_it(void **state) {
  (void)state;
  observe(&a);
  settle_down();
  unobserve(&a);
  assert_int_equal(stores.end_count, 0);
  settle_down();
  assert_failed(1, IOTOPS_CANCELLATION);
  answer(0, "+OK\r\n", T1);
  assert_asked(1, STOP);
  answer(1, "+OK\r\n", T1);
  assert_ended(2, 1);
}

static void ending_an_observe_before_it_was_asked_asks_nothing(void **state) {
  (void)state;
  world.stub->automatic = false;
  observe(&a);
  unobserve(&a);
  settle_down();
  assert_int_equal(stores.end_count, 2);
  assert_true(stores.ends[0].failed);
  assert_int_equal(stores.ends[0].err.kind, IOTOPS_CANCELLATION);
  assert_false(stores.ends[1].failed);
  answer_nth(STUB_SUBSCRIBE, 0, 1);
  assert_int_equal(publish_count(), 0);
}

static void
an_observer_that_comes_while_the_stop_is_out_registers_again(void **state) {
  (void)state;
  observe_well(&a, 0);
  unobserve(&a);
  settle_down();
  assert_asked(1, STOP);
  observe(&b);
  settle_down();
  assert_int_equal(publish_count(), 2);
  answer(1, "+OK\r\n", T1);
  assert_ended(2, 1);
  assert_asked(2, REGISTER);
  answer(2, "+OK\r\n", T1);
  assert_ended(3, 1);
  notify(K, NOTIFY_SET, T1, 1);
  assert_string_equal(b.heard, "set abc 1;");
}

static void ending_and_observing_in_one_turn_asks_nothing(void **state) {
  (void)state;
  observe_well(&a, 0);
  unobserve(&a);
  observe(&b);
  settle_down();
  assert_int_equal(stores.end_count, 3);
  assert_int_equal(publish_count(), 1);
}

/* ------------------------------------------------------------ connections --
 */

static void
after_a_reconnect_the_key_is_registered_again_and_read(void **state) {
  (void)state;
  observe_well(&a, 0);
  lose_connection();
  assert_int_equal(publish_count(), 1); /* nothing is queued meanwhile */
  regain_connection();
  assert_int_equal(publish_count(), 2);
  assert_asked(1, REGISTER);
  answer(1, "+OK\r\n", T1);
  assert_asked(2, READ);
  answer(2, "$1\r\nx\r\n", T2);
  assert_string_equal(a.heard, "set x 2;");
  lose_connection();
  regain_connection();
  answer(3, "+OK\r\n", T1);
  answer(4, "$-1\r\n", NULL);
  assert_string_equal(a.heard, "set x 2;delete  -1;");
  assert_int_equal(stores.end_count, 1);
  assert_int_equal(a.ends, 0);
}

static void
a_change_heard_while_the_key_is_read_makes_the_reading_stale(void **state) {
  (void)state;
  observe_well(&a, 0);
  lose_connection();
  regain_connection();
  answer(1, "+OK\r\n", T1);
  notify(K, NOTIFY_SET, T3, 1);
  answer(2, "$1\r\nx\r\n", T2);
  assert_string_equal(a.heard, "set abc 0;");
}

static void a_registration_of_the_lost_connection_does_not_count(void **state) {
  (void)state;
  observe(&a);
  settle_down();
  lose_connection();
  regain_connection();
  answer(0, "+OK\r\n", T1); /* queued by the broker */
  assert_int_equal(stores.end_count, 0);
  assert_asked(1, REGISTER);
  answer(1, "+OK\r\n", T1);
  assert_ended(1, 1);
  assert_int_equal(publish_count(), 2); /* a new observer reads nothing */
}

static void a_second_loss_while_the_key_is_read_reads_it_again(void **state) {
  (void)state;
  observe_well(&a, 0);
  lose_connection();
  regain_connection();
  answer(1, "+OK\r\n", T1);
  assert_asked(2, READ);
  lose_connection();
  regain_connection();
  answer(2, "$1\r\nx\r\n", T1);
  assert_asked(3, REGISTER);
  answer(3, "+OK\r\n", T1);
  assert_asked(4, READ);
  answer(4, "$1\r\ny\r\n", T2);
  assert_string_equal(a.heard, "set x 1;set y 2;");
}

static void registering_again_is_tried_until_the_store_answers(void **state) {
  (void)state;
  observe_well(&a, 0);
  lose_connection();
  regain_connection();
  for (size_t i = 1; i <= 3; i++) {
    assert_asked(i, REGISTER);
    virtual_time_pass(world.time, 11000); /* the timeout and a pause */
  }
  assert_int_equal(a.ends, 0);
  answer(4, "+OK\r\n", T1);
  assert_asked(5, READ);
  virtual_time_pass(world.time, 11000);
  assert_asked(6, READ);
  answer(6, "$1\r\nx\r\n", T2);
  assert_string_equal(a.heard, "set x 2;");
  virtual_time_pass(world.time, 60000);
  assert_int_equal(publish_count(), 7);
}

static void
an_observer_that_the_store_refuses_to_register_again_ends(void **state) {
  (void)state;
  observe_well(&a, 0);
  lose_connection();
  regain_connection();
  answer(1, "-ERR not authorized\r\n", T1);
  assert_int_equal(a.ends, 1);
  unobserve(&a);
  settle_down();
  assert_ended(2, 0);
  assert_int_equal(publish_count(), 2);
}

static void a_refused_reading_is_logged_and_not_repeated(void **state) {
  (void)state;
  observe_well(&a, 0);
  lose_connection();
  regain_connection();
  answer(1, "+OK\r\n", T1);
  answer(2, "-ERR not authorized\r\n", T1);
  assert_non_null(strstr(world.time->log, "not authorized"));
  lose_connection();
  regain_connection();
  answer(3, "+OK\r\n", T1);
  answer(4, ":1\r\n", T1);
  virtual_time_pass(world.time, 60000);
  assert_int_equal(publish_count(), 5);
  assert_string_equal(a.heard, "");
}

static void
one_that_ends_while_disconnected_is_told_without_a_request(void **state) {
  (void)state;
  observe_well(&a, 0);
  lose_connection();
  unobserve(&a);
  settle_down();
  assert_ended(2, 0);
  regain_connection();
  assert_int_equal(publish_count(), 1);
}

static void remake(bool close_on_disconnect) {
  iotops_state_store_free(stores.store);
  settle_down();
  assert_int_equal(store_world_make(close_on_disconnect), 0);
}

static void
with_close_on_disconnect_observers_end_and_may_observe_again(void **state) {
  (void)state;
  remake(true);
  observe_well(&a, 0);
  observe(&b);
  settle_down();
  a.again = true;
  lose_connection();
  assert_int_equal(a.ends, 1);
  assert_int_equal(b.ends, 1);
  assert_asked(1, REGISTER); /* a's, waits in the session */
  regain_connection();
  answer(1, "+OK\r\n", T1);
  assert_int_equal(publish_count(), 2);
  notify(K, NOTIFY_SET, T1, 1);
  assert_string_equal(a.heard, "set abc 1;");
  assert_string_equal(b.heard, "");
}

static void
with_close_on_disconnect_an_observe_that_is_out_fails(void **state) {
  (void)state;
  remake(true);
  observe(&a);
  settle_down();
  lose_connection();
  assert_failed(1, IOTOPS_MQTT_ERROR);
  assert_int_equal(a.ends, 0);
  answer(0, "+OK\r\n", T1);
}

static void the_end_of_the_session_ends_observers(void **state) {
  (void)state;
  iotops_error err;
  observe_well(&a, 0);
  iotops_error_set(&err, IOTOPS_MQTT_ERROR, "session lost");
  for (iotops_mqtt_observer *o = world.stub->observers; o != NULL; o = o->next)
    if (o->ended != NULL)
      o->ended(o, &err);
  settle_down();
  assert_int_equal(a.ends, 1);
}

/* ----------------------------------------------------------------- freeing --
 */

static void freeing_the_store_cancels_observes_and_unobserves(void **state) {
  (void)state;
  observe_well(&a, 0);
  unobserve(&a);
  settle_down();
  observe(&b);
  iotops_state_store_free(stores.store);
  stores.store = NULL;
  assert_int_equal(stores.end_count, 1);
  settle_down();
  assert_int_equal(stores.end_count, 3);
  for (size_t i = 1; i < 3; i++)
    assert_int_equal(stores.ends[i].err.kind, IOTOPS_CANCELLATION);
  assert_int_equal(b.ends, 0);
  unobserve(&b);
  settle_down();
  assert_ended(4, 0);
}

static void freeing_the_store_before_the_suback_is_safe(void **state) {
  (void)state;
  world.stub->automatic = false;
  observe(&a);
  settle_down();
  iotops_state_store_free(stores.store);
  stores.store = NULL;
  unobserve(&a);
  settle_down();
  assert_int_equal(stores.end_count, 2);
}

static void any_allocation_may_fail(void **state) {
  bool failed = true;
  size_t heard = 0;
  for (long k = 0; failed && k < 300; k++) {
    close(state);
    assert_int_equal(open(state), 0);
    a.keeps = false;
    world.time->fail_from = k;
    size_t accepted = try_observe(&a, NULL, NULL) == 0;
    settle_down();
    for (size_t n = 0; n < publish_count(); n++)
      answer(n, "+OK\r\n", T1);
    notify(K, NOTIFY_SET, T1, 1);
    heard = strlen(a.heard);
    if (a.observation != NULL) {
      unobserve(&a);
      accepted++;
    }
    settle_down();
    for (size_t n = 0; n < publish_count(); n++)
      answer(n, "+OK\r\n", T1);
    failed = world.time->fail_from == 0;
    world.time->fail_from = -1;
    virtual_time_pass(world.time, 60000);
    assert_int_equal(stores.end_count, accepted);
  }
  assert_false(failed);
  assert_true(heard > 0);
}

static void a_change_lost_for_want_of_memory_is_read_later(void **state) {
  (void)state;
  observe_well(&a, 0);
  notify(K, NOTIFY_SET, T1, 1);
  for (long k = 0; publish_count() == 1 && k < 20; k++) {
    world.time->fail_from = k;
    notify(K, NOTIFY_SET, T2, 2);
    world.time->fail_from = -1;
    virtual_time_pass(world.time, 1000);
  }
  assert_int_equal(publish_count(), 2);
  assert_asked(1, READ);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(the_suback_is_awaited_before_the_first_keynotify),
      test(an_answer_that_it_was_registered_already_is_a_success),
      test(a_refused_subscription_fails_the_observe_and_may_be_repeated),
      test(other_answers_fail_the_observe),
      test(a_registration_that_times_out_is_taken_back),
      test(bad_keys_and_timeouts_are_refused_at_once),
      test(the_longest_observable_key_is_heard),
      test(changes_are_told_in_order_and_acknowledged),
      test(a_change_is_acknowledged_when_the_last_observer_is_done),
      test(malformed_notifications_are_dropped_and_acknowledged),
      test(a_change_of_a_key_nobody_observes_is_acknowledged),
      test(an_observer_may_end_another_while_it_is_told),
      test(an_observer_may_end_itself_while_it_is_told),
      test(an_observer_may_free_the_store_while_it_is_told),
      test(observers_share_one_registration),
      test(stopping_what_the_store_did_not_have_says_so),
      test(a_failed_stop_is_reported_and_the_key_can_be_observed_again),
      test(no_change_follows_an_unobserve),
      test(ending_an_observe_that_is_out_cancels_it_and_stops_it),
      test(ending_an_observe_before_it_was_asked_asks_nothing),
      test(an_observer_that_comes_while_the_stop_is_out_registers_again),
      test(ending_and_observing_in_one_turn_asks_nothing),
      test(after_a_reconnect_the_key_is_registered_again_and_read),
      test(a_change_heard_while_the_key_is_read_makes_the_reading_stale),
      test(a_registration_of_the_lost_connection_does_not_count),
      test(a_second_loss_while_the_key_is_read_reads_it_again),
      test(registering_again_is_tried_until_the_store_answers),
      test(an_observer_that_the_store_refuses_to_register_again_ends),
      test(a_refused_reading_is_logged_and_not_repeated),
      test(one_that_ends_while_disconnected_is_told_without_a_request),
      test(with_close_on_disconnect_observers_end_and_may_observe_again),
      test(with_close_on_disconnect_an_observe_that_is_out_fails),
      test(the_end_of_the_session_ends_observers),
      test(freeing_the_store_cancels_observes_and_unobserves),
      test(freeing_the_store_before_the_suback_is_safe),
      test(any_allocation_may_fail),
      test(a_change_lost_for_want_of_memory_is_read_later),
  };
  return cmocka_run_group_tests_name("store_observe", tests, NULL, NULL);
}
