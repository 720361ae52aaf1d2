/*
** Leader election (services.md section 5) against the stub.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/leader_election.h"
#include "store_world.h"

#define CAMPAIGN                                                               \
  "*6\r\n$3\r\nSET\r\n$4\r\nhead\r\n$2\r\nme\r\n$3\r\nNEX\r\n$2\r\nPX\r\n"     \
  "$5\r\n10000\r\n"
#define RESIGN        "*3\r\n$4\r\nVDEL\r\n$4\r\nhead\r\n$2\r\nme\r\n"
#define NOTIFY_DELETE "*2\r\n$6\r\nNOTIFY\r\n$6\r\nDELETE\r\n"
#define ELECTED(name)                                                          \
  "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n" name "\r\n"
#define HEAD "68656164"
#define HELD ":-1\r\n"
#define OK   "+OK\r\n"

static struct {
  iotops_leader_election *election;
  unsigned elected, failures, lost;
  iotops_error err, lost_err;
  bool done_frees, lost_frees;
  char leader[64];
  char heard[256];
  unsigned ends;
} the;

static iotops_text of(const char *text) {
  return iotops_text_of(text);
}

static void free_election(void) {
  iotops_leader_election_free(the.election);
  the.election = NULL;
}

static void lost(void *user, const iotops_error *err) {
  assert_ptr_equal(user, &the);
  iotops_campaign_result result = iotops_leader_last_result(the.election);
  assert_false(result.is_leader);
  assert_null(result.fencing_token);
  the.lost++;
  the.lost_err = *err;
  if (the.lost_frees)
    free_election();
}

static void campaigned(void *user, const iotops_hlc *token,
                       const iotops_error *err) {
  assert_ptr_equal(user, &the);
  if (err == NULL) {
    assert_non_null(token);
    the.elected++;
  } else {
    the.failures++;
    the.err = *err;
  }
  if (the.done_frees)
    free_election();
}

static int make(void) {
  iotops_leader_election_options options = IOTOPS_LEADER_ELECTION_OPTIONS_INIT;
  options.position = of("head");
  options.lost = lost;
  options.user = &the;
  return iotops_leader_election_new(stores.store, &options, &the.election,
                                    NULL);
}

static int open(void **state) {
  memset(&the, 0, sizeof the);
  return store_world_open(state) == 0 ? make() : -1;
}

static int close(void **state) {
  free_election();
  return store_world_close(state);
}

static void pass(uint64_t ms) {
  virtual_time_pass(world.time, ms);
}

static void try_campaign(int64_t renew_ms) {
  iotops_campaign_options options = IOTOPS_CAMPAIGN_OPTIONS_INIT;
  options.renew_ms = renew_ms;
  assert_int_equal(iotops_leader_try_campaign(the.election, &options,
                                              campaigned, &the, NULL),
                   0);
  settle_down();
}

/* Leads, with one request sent. */
static void lead(int64_t renew_ms) {
  try_campaign(renew_ms);
  answer(0, OK, T1);
  assert_int_equal(the.elected, 1);
}

static void assert_leads(const char *token) {
  iotops_campaign_result result = iotops_leader_last_result(the.election);
  char text[IOTOPS_HLC_TEXT_SIZE];
  assert_int_equal(result.is_leader, token != NULL);
  assert_int_equal(result.fencing_token != NULL, token != NULL);
  if (token == NULL) {
    assert_int_equal(iotops_leader_term_left_ms(the.election), 0);
    return;
  }
  iotops_hlc_format(result.fencing_token, text);
  assert_string_equal(text, token);
}

static void an_election_needs_a_position_and_a_candidate(void **state) {
  (void)state;
  iotops_leader_election_options options = IOTOPS_LEADER_ELECTION_OPTIONS_INIT;
  iotops_leader_election *none = NULL;
  iotops_error err;
  assert_int_equal(
      iotops_leader_election_new(stores.store, &options, &none, &err), -1);
  assert_string_equal(err.property_name, "position");
  options.position = of("head");
  options.candidate = of("");
  assert_int_equal(
      iotops_leader_election_new(stores.store, &options, &none, &err), -1);
  assert_string_equal(err.property_name, "candidate");
  assert_null(none);
}

static void the_candidate_carries_the_session_id(void **state) {
  (void)state;
  iotops_leader_election_options options = IOTOPS_LEADER_ELECTION_OPTIONS_INIT;
  assert_true(
      iotops_text_equal(iotops_leader_candidate_name(the.election), of("me")));
  free_election();
  options.position = of("head");
  options.candidate = of("you");
  options.session_id = of("7");
  assert_int_equal(
      iotops_leader_election_new(stores.store, &options, &the.election, NULL),
      0);
  assert_true(iotops_text_equal(iotops_leader_candidate_name(the.election),
                                of("you:7")));
}

static void bad_campaigns_are_refused_at_once(void **state) {
  (void)state;
  iotops_campaign_options options = IOTOPS_CAMPAIGN_OPTIONS_INIT;
  iotops_error err;
  options.term_ms = 0;
  assert_int_equal(
      iotops_leader_campaign(the.election, &options, campaigned, &the, &err),
      -1);
  assert_string_equal(err.property_name, "term");
  options.term_ms = 1000;
  options.renew_ms = 1000;
  assert_int_equal(iotops_leader_try_campaign(the.election, &options,
                                              campaigned, &the, &err),
                   -1);
  assert_string_equal(err.property_name, "renewal_period");
  settle_down();
  assert_int_equal(publish_count(), 0);
  try_campaign(0);
  assert_int_equal(
      iotops_leader_campaign(the.election, NULL, campaigned, &the, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
}

static void who_is_elected_leads_with_a_token(void **state) {
  (void)state;
  assert_leads(NULL);
  try_campaign(0);
  assert_asked(0, CAMPAIGN);
  pass(1000);
  answer(0, OK, T1);
  assert_leads(T1);
  assert_int_equal(iotops_leader_term_left_ms(the.election), 9000);
}

static void who_is_refused_does_not_lead(void **state) {
  (void)state;
  try_campaign(0);
  answer(0, HELD, T1);
  assert_int_equal(the.failures, 1);
  assert_string_equal(the.err.service_error, "lease_already_held");
  assert_leads(NULL);
  assert_int_equal(the.lost, 0);
}

static void a_campaign_waits_until_the_leader_is_gone(void **state) {
  (void)state;
  assert_int_equal(
      iotops_leader_campaign(the.election, NULL, campaigned, &the, NULL), 0);
  settle_down();
  answer(0, OK, T1);
  answer(1, HELD, T1);
  assert_leads(NULL);
  notify(HEAD, NOTIFY_DELETE, T2, 1);
  pass(200);
  answer(2, OK, T3);
  assert_int_equal(the.elected, 1);
  assert_leads(T3);
}

static void a_campaign_can_be_given_up(void **state) {
  (void)state;
  iotops_leader_campaign(the.election, NULL, campaigned, &the, NULL);
  iotops_leader_cancel(the.election);
  assert_int_equal(the.failures, 0);
  settle_down();
  assert_int_equal(the.failures, 1);
  assert_int_equal(the.err.kind, IOTOPS_CANCELLATION);
}

static void a_term_that_is_not_renewed_ends_and_says_so_once(void **state) {
  (void)state;
  lead(0);
  pass(9999);
  assert_leads(T1);
  assert_int_equal(the.lost, 0);
  pass(1);
  assert_int_equal(the.lost, 1);
  assert_int_equal(the.lost_err.kind, IOTOPS_TIMEOUT);
  assert_leads(NULL);
  pass(60000);
  assert_int_equal(the.lost, 1);
}

static void a_term_renewed_by_hand_goes_on(void **state) {
  (void)state;
  lead(0);
  pass(6000);
  try_campaign(0);
  answer(1, OK, T2);
  assert_leads(T2);
  pass(9999);
  assert_int_equal(the.lost, 0);
  pass(1);
  assert_int_equal(the.lost, 1);
}

static void a_failed_renewal_by_hand_leaves_the_term_as_it_was(void **state) {
  (void)state;
  lead(0);
  pass(6000);
  try_campaign(0);
  answer(1, "-ERR the quota has been exceeded\r\n", T1);
  assert_leads(T1);
  pass(4000);
  assert_int_equal(the.lost, 1);
}

static void a_refused_renewal_by_hand_ends_the_leadership(void **state) {
  (void)state;
  for (int64_t renew_ms = 0; renew_ms < 9001; renew_ms += 9000) {
    size_t n = publish_count();
    unsigned told = the.lost;
    try_campaign(renew_ms);
    answer(n, OK, T1);
    try_campaign(renew_ms);
    answer(n + 1, HELD, T1);
    assert_int_equal(the.lost, told + 1);
    assert_string_equal(the.lost_err.service_error, "lease_already_held");
    assert_leads(NULL);
  }
}

static void automatic_renewal_keeps_the_leadership(void **state) {
  (void)state;
  lead(9000);
  size_t answered = 1;
  for (int seconds = 0; seconds < 60; seconds++) {
    pass(1000);
    while (answered < publish_count())
      answer(answered++, OK, T2);
  }
  assert_leads(T2);
  assert_int_equal(the.lost, 0);
}

static void a_leader_whose_renewal_is_refused_is_told_once(void **state) {
  (void)state;
  lead(9000);
  pass(9000);
  answer(1, HELD, T2);
  assert_int_equal(the.lost, 1);
  assert_string_equal(the.lost_err.service_error, "lease_already_held");
  assert_leads(NULL);
  pass(60000);
  assert_int_equal(the.lost, 1);
}

static void a_leader_cut_off_is_told_at_the_end_of_its_term(void **state) {
  (void)state;
  lead(3000);
  lose_connection();
  pass(9999);
  assert_int_equal(the.lost, 0);
  pass(1);
  assert_int_equal(the.lost, 1);
  assert_int_equal(the.lost_err.kind, IOTOPS_TIMEOUT);
}

static void the_one_told_of_the_loss_may_free_the_election(void **state) {
  (void)state;
  the.lost_frees = true;
  lead(0);
  pass(10000);
  assert_null(the.election);
  assert_int_equal(make(), 0);
  try_campaign(9000);
  answer(1, OK, T1);
  try_campaign(9000);
  answer(2, HELD, T1);
  assert_null(the.election);
  assert_int_equal(the.lost, 2);
  assert_int_equal(the.elected + the.failures, 3);
}

static void a_completion_may_free_the_election(void **state) {
  (void)state;
  the.done_frees = true;
  lead(9000);
  pass(60000);
  assert_int_equal(publish_count(), 1);
}

static void freeing_while_campaigning_cancels(void **state) {
  (void)state;
  try_campaign(9000);
  free_election();
  assert_int_equal(the.failures, 0);
  settle_down();
  assert_int_equal(the.failures, 1);
  assert_int_equal(the.err.kind, IOTOPS_CANCELLATION);
  answer(0, OK, T1); /* and what was granted meanwhile is given back */
  assert_asked(1, RESIGN);
}

static void a_campaign_after_one_that_was_given_up_is_told_apart(void **state) {
  (void)state;
  try_campaign(9000);
  iotops_leader_cancel(the.election);
  try_campaign(9000); /* in the same turn */
  assert_int_equal(the.failures, 1);
  free_election();
  settle_down();
  assert_int_equal(the.failures, 2);
  answer(0, OK, T1);
  answer(1, OK, T2);
  assert_int_equal(the.elected, 0);
}

static void resigning_ends_the_leadership_without_a_loss(void **state) {
  (void)state;
  lead(9000);
  assert_int_equal(
      iotops_leader_resign(the.election, 1000000, note_store_end, NULL, NULL),
      0);
  assert_leads(NULL);
  settle_down();
  assert_asked(1, RESIGN);
  answer(1, ":1\r\n", T1);
  assert_ended(1, 1);
  pass(60000);
  assert_int_equal(the.lost, 0);
  assert_int_equal(publish_count(), 2);
  iotops_leader_resign(the.election, 1000000, note_store_end, NULL, NULL);
  settle_down();
  answer(2, ":-1\r\n", T1); /* who does not lead */
  assert_ended(2, -1);
}

static void note_leader(void *user, iotops_text leader,
                        const iotops_error *err) {
  (void)user;
  assert_null(err);
  snprintf(the.leader, sizeof the.leader, "%.*s",
           leader.data == NULL ? 6 : (int)leader.size,
           leader.data == NULL ? "nobody" : leader.data);
}

static void the_current_leader_is_who_holds_the_position(void **state) {
  (void)state;
  iotops_leader_get_current(the.election, 1000000, note_leader, NULL, NULL);
  settle_down();
  assert_asked(0, "*2\r\n$3\r\nGET\r\n$4\r\nhead\r\n");
  answer(0, "$3\r\nyou\r\n", T1);
  assert_string_equal(the.leader, "you");
  iotops_leader_get_current(the.election, 1000000, note_leader, NULL, NULL);
  settle_down();
  answer(1, "$-1\r\n", NULL);
  assert_string_equal(the.leader, "nobody");
}

static void heard(void *user, const iotops_leadership_change *change) {
  assert_ptr_equal(user, &the);
  size_t size = strlen(the.heard);
  assert_int_equal(change->state == IOTOPS_LEADER_ELECTED,
                   change->leader.data != NULL);
  snprintf(the.heard + size, sizeof the.heard - size, "%.*s;",
           change->leader.data == NULL ? 1 : (int)change->leader.size,
           change->leader.data == NULL ? "-" : change->leader.data);
}

static void watch_ended(void *user) {
  assert_ptr_equal(user, &the);
  the.ends++;
}

static void a_watch_tells_changes_of_leadership_and_no_repeats(void **state) {
  (void)state;
  iotops_leadership_watch *watch;
  assert_int_equal(iotops_leader_observe(the.election, 1000000, heard,
                                         watch_ended, note_store_end, &the,
                                         &watch, NULL),
                   0);
  settle_down();
  answer(0, OK, T1);
  assert_ended(1, 1);
  notify(HEAD, ELECTED("$3\r\nyou"), T1, 1);
  notify(HEAD, ELECTED("$3\r\nyou"), T2, 2); /* a renewal */
  notify(HEAD, ELECTED("$2\r\nme"), T3, 3);
  notify(HEAD, NOTIFY_DELETE, T3, 4);
  notify(HEAD, NOTIFY_DELETE, T3, 5);
  notify(HEAD, ELECTED("$2\r\nme"), T3, 6);
  assert_string_equal(the.heard, "you;me;-;me;");
  assert_string_equal(acks(), "60000,1,2,3,4,5,6,");
  lose_connection();
  regain_connection();
  answer(1, OK, T1);
  answer(2, "$2\r\nme\r\n", T3); /* still */
  assert_string_equal(the.heard, "you;me;-;me;");
  assert_int_equal(
      iotops_leader_unobserve(watch, 1000000, note_store_end, NULL, NULL), 0);
  settle_down();
  answer(3, OK, T1);
  assert_ended(2, 1);
  assert_int_equal(the.ends, 0);
}

static void any_allocation_may_fail(void **state) {
  bool failed = true;
  for (long k = 0; failed && k < 400; k++) {
    close(state);
    memset(&the, 0, sizeof the);
    assert_int_equal(store_world_open(state), 0);
    world.time->fail_from = k;
    iotops_leadership_watch *watch = NULL;
    unsigned accepted = 0;
    size_t calls = 0;
    if (make() == 0) {
      calls += iotops_leader_observe(the.election, 1000000, heard, watch_ended,
                                     note_store_end, &the, &watch, NULL) == 0;
      accepted = iotops_leader_campaign(the.election, NULL, campaigned, &the,
                                        NULL) == 0;
      settle_down();
      for (size_t n = 0; n < publish_count(); n++)
        answer(n, OK, T1);
      notify(HEAD, ELECTED("$2\r\nme"), T3, 1);
      if (watch != NULL)
        calls += iotops_leader_unobserve(watch, 1000000, note_store_end, NULL,
                                         NULL) == 0;
      settle_down();
      if (publish_count() > 0)
        answer(publish_count() - 1, OK, T1);
    }
    failed = world.time->fail_from == 0;
    world.time->fail_from = -1;
    pass(60000);
    assert_int_equal(the.elected + the.failures, accepted);
    assert_int_equal(stores.end_count, calls);
  }
  assert_false(failed);
  assert_int_equal(the.elected, 1);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(an_election_needs_a_position_and_a_candidate),
      test(the_candidate_carries_the_session_id),
      test(bad_campaigns_are_refused_at_once),
      test(who_is_elected_leads_with_a_token),
      test(who_is_refused_does_not_lead),
      test(a_campaign_waits_until_the_leader_is_gone),
      test(a_campaign_can_be_given_up),
      test(a_term_that_is_not_renewed_ends_and_says_so_once),
      test(a_term_renewed_by_hand_goes_on),
      test(a_failed_renewal_by_hand_leaves_the_term_as_it_was),
      test(a_refused_renewal_by_hand_ends_the_leadership),
      test(automatic_renewal_keeps_the_leadership),
      test(a_leader_whose_renewal_is_refused_is_told_once),
      test(a_leader_cut_off_is_told_at_the_end_of_its_term),
      test(the_one_told_of_the_loss_may_free_the_election),
      test(a_completion_may_free_the_election),
      test(freeing_while_campaigning_cancels),
      test(a_campaign_after_one_that_was_given_up_is_told_apart),
      test(resigning_ends_the_leadership_without_a_loss),
      test(the_current_leader_is_who_holds_the_position),
      test(a_watch_tells_changes_of_leadership_and_no_repeats),
      test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests_name("leader_election", tests, NULL, NULL);
}
