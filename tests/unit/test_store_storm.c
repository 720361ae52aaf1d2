/*
** The state store client, locks and elections in random orders of calls,
** answers, losses, time and frees, with callbacks that call back: whatever
** was accepted completes exactly once, and no memory is left.
**
** A failure names its seed; STORM_SEED=n runs that one, STORM_EPISODES=n
** others.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/leader_election.h"
#include "store_world.h"

enum { WATCHERS = 4, LOCKS = 2, STEPS = 120 };

static struct {
  uint64_t random;
  unsigned accepted, completed;
  unsigned depth; /* of callbacks that act */
  iotops_store_observation *observations[WATCHERS];
  iotops_lock *locks[LOCKS];
  iotops_lock_watch *watch;
  iotops_leader_election *election;
  iotops_leadership_watch *leadership;
  iotops_store_scan *scan;
  iotops_store_change *change; /* kept */
  size_t closed;               /* publishes of earlier stores */
} the;

static unsigned below(unsigned limit) {
  the.random ^= the.random << 13;
  the.random ^= the.random >> 7;
  the.random ^= the.random << 17;
  return (unsigned)((the.random >> 33) % limit);
}

static bool one_in(unsigned n) {
  return below(n) == 0;
}

static iotops_text of(const char *text) {
  return iotops_text_of(text);
}

static void call_something(void);

/* What a callback does besides: sometimes the next call. */
static void maybe_act(void) {
  if (the.depth > 2 || !one_in(4))
    return;
  the.depth++;
  call_something();
  the.depth--;
}

static void complete(void) {
  the.completed++;
  maybe_act();
}

static void store_done(void *user, const iotops_store_result *result,
                       const iotops_error *err) {
  (void)user;
  assert_true((result != NULL) != (err != NULL));
  complete();
}

static void acquired(void *user, const iotops_hlc *token,
                     const iotops_error *err) {
  (void)user;
  assert_true((token != NULL) != (err != NULL));
  complete();
}

static void holder_read(void *user, iotops_text holder,
                        const iotops_error *err) {
  (void)user;
  assert_true(err == NULL || holder.data == NULL);
  complete();
}

static void paged(void *user, const iotops_text *keys, size_t count,
                  bool finished, const iotops_error *err) {
  (void)user;
  assert_true(count == 0 || (!finished && err == NULL));
  for (size_t i = 0; i < count; i++)
    assert_true(keys[i].size > 0);
  complete();
}

static void lost(void *user, const iotops_error *err) {
  (void)user;
  assert_non_null(err);
  maybe_act();
}

static void ended(void *user) {
  (void)user;
  maybe_act();
}

static void drop_change(void) {
  iotops_store_change *change = the.change;
  the.change = NULL;
  if (change != NULL)
    iotops_store_change_done(change);
}

static void changed(void *user, iotops_store_change *change,
                    const iotops_store_notification *what) {
  iotops_store_observation **slot = user;
  assert_non_null(*slot); /* none follows an unobserve */
  assert_true(what->deleted == (what->value.data == NULL));
  drop_change();
  if (one_in(3))
    the.change = change;
  else
    iotops_store_change_done(change);
  maybe_act();
}

static void holder_changed(void *user, const iotops_lock_change *change) {
  (void)user;
  (void)change;
  maybe_act();
}

static void leader_changed(void *user, const iotops_leadership_change *change) {
  (void)user;
  (void)change;
  maybe_act();
}

static void count(int failed) {
  the.accepted += failed == 0;
}

/* ----------------------------------------------------------------- calls -- */

static void toggle_observation(void) {
  iotops_store_observation **slot = &the.observations[below(WATCHERS)];
  iotops_store_observation *observation = *slot;
  *slot = NULL;
  if (observation != NULL)
    count(iotops_store_unobserve(observation, NULL, store_done, NULL, NULL));
  else
    count(iotops_store_observe(stores.store, of(one_in(2) ? "k" : "j"), NULL,
                               changed, ended, store_done, slot, slot, NULL));
}

static void toggle_watch(void) {
  if (the.watch != NULL) {
    iotops_lock_watch *watch = the.watch;
    the.watch = NULL;
    count(iotops_lock_unobserve(watch, 1000000, store_done, NULL, NULL));
  } else if (the.locks[0] != NULL) {
    count(iotops_lock_observe(the.locks[0], 1000000, holder_changed, ended,
                              store_done, NULL, &the.watch, NULL));
  }
}

static void use_lock(void) {
  iotops_lock **lock = &the.locks[below(LOCKS)];
  iotops_lock_options options = IOTOPS_LOCK_OPTIONS_INIT;
  iotops_acquire_options acquire = IOTOPS_ACQUIRE_OPTIONS_INIT;
  options.name = of("k");
  options.lost = lost;
  options.session_id = of(lock == the.locks ? "a" : "b");
  if (*lock == NULL) {
    assert_int_equal(iotops_lock_new(stores.store, &options, lock, NULL), 0);
    return;
  }
  acquire.lease_ms = 1 + below(5000);
  acquire.renew_ms = one_in(2) ? 0 : acquire.lease_ms / 2;
  acquire.wait_ms = one_in(2) ? -1 : (int64_t)below(5000);
  switch (below(7)) {
  case 0:
    count(iotops_lock_try(*lock, &acquire, acquired, NULL, NULL));
    break;
  case 1:
  case 2:
    count(iotops_lock_acquire(*lock, &acquire, acquired, NULL, NULL));
    break;
  case 3:
    iotops_lock_cancel(*lock);
    break;
  case 4:
    count(iotops_lock_release(*lock, 2000000, store_done, NULL, NULL));
    break;
  case 5:
    count(iotops_lock_get_holder(*lock, 2000000, holder_read, NULL, NULL));
    break;
  default:
    iotops_lock_free(*lock);
    *lock = NULL;
  }
}

static void use_election(void) {
  iotops_leader_election_options options = IOTOPS_LEADER_ELECTION_OPTIONS_INIT;
  iotops_campaign_options campaign = IOTOPS_CAMPAIGN_OPTIONS_INIT;
  options.position = of("j");
  options.lost = lost;
  campaign.term_ms = 1 + below(5000);
  campaign.renew_ms = one_in(2) ? 0 : campaign.term_ms / 2;
  if (the.election == NULL) {
    assert_int_equal(
        iotops_leader_election_new(stores.store, &options, &the.election, NULL),
        0);
    return;
  }
  switch (below(6)) {
  case 0:
    count(iotops_leader_try_campaign(the.election, &campaign, acquired, NULL,
                                     NULL));
    break;
  case 1:
    count(
        iotops_leader_campaign(the.election, &campaign, acquired, NULL, NULL));
    break;
  case 2:
    count(iotops_leader_resign(the.election, 2000000, store_done, NULL, NULL));
    break;
  case 3:
    iotops_leader_cancel(the.election);
    break;
  case 4:
    if (the.leadership != NULL) {
      iotops_leadership_watch *watch = the.leadership;
      the.leadership = NULL;
      count(iotops_leader_unobserve(watch, 1000000, store_done, NULL, NULL));
    } else {
      count(iotops_leader_observe(the.election, 1000000, leader_changed, ended,
                                  store_done, NULL, &the.leadership, NULL));
    }
    break;
  default:
    iotops_leader_election_free(the.election);
    the.election = NULL;
  }
}

static void use_scan(void) {
  if (the.scan == NULL) {
    assert_int_equal(
        iotops_store_scan_new(stores.store, of("*"), &the.scan, NULL), 0);
  } else if (!one_in(4)) {
    count(iotops_store_scan_next(the.scan, NULL, paged, NULL, NULL));
  } else {
    iotops_store_scan_free(the.scan);
    the.scan = NULL;
  }
}

/* Frees all, in a random order with the store last. */
static void free_all(void) {
  if (one_in(2)) {
    iotops_store_scan_free(the.scan);
    the.scan = NULL;
  }
  for (size_t i = 0; i < LOCKS; i++) {
    iotops_lock_free(the.locks[i]);
    the.locks[i] = NULL;
  }
  iotops_leader_election_free(the.election);
  the.election = NULL;
  iotops_store_scan_free(the.scan);
  the.scan = NULL;
  /* Observations may be ended before the store or after it. */
  bool before = one_in(2);
  for (int turn = 0; turn < 2; turn++) {
    if (turn == (before ? 1 : 0)) {
      iotops_state_store_free(stores.store);
      stores.store = NULL;
    }
    if (turn == (before ? 0 : 1)) {
      for (size_t i = 0; i < WATCHERS; i++) {
        iotops_store_observation *observation = the.observations[i];
        the.observations[i] = NULL;
        if (observation != NULL)
          count(iotops_store_unobserve(observation, NULL, store_done, NULL,
                                       NULL));
      }
      if (the.watch != NULL)
        toggle_watch();
      if (the.leadership != NULL) {
        iotops_leadership_watch *watch = the.leadership;
        the.leadership = NULL;
        count(iotops_leader_unobserve(watch, 1000000, store_done, NULL, NULL));
      }
    }
  }
  drop_change();
}

static void call_something(void) {
  unsigned what = below(20);
  if (what < 6)
    toggle_observation();
  else if (what < 12)
    use_lock();
  else if (what < 15)
    use_election();
  else if (what < 17)
    use_scan();
  else if (what < 18)
    toggle_watch();
  else if (what < 19)
    count(
        iotops_store_get(stores.store, of("k"), NULL, store_done, NULL, NULL));
  else if (one_in(8)) {
    free_all();
    assert_int_equal(store_world_make(one_in(2)), 0);
  }
}

/* ---------------------------------------------------------------- events -- */

static void answer_something(void) {
  static const char *const payloads[] = {
      "+OK\r\n",
      "+OK\r\n",
      "+OK\r\n",
      ":-1\r\n",
      ":-1\r\n",
      ":0\r\n",
      ":1\r\n",
      "$-1\r\n",
      "$3\r\nabc\r\n",
      "*1\r\n*0\r\n",
      "*2\r\n*2\r\n$1\r\nk\r\n$1\r\nj\r\n$1\r\nt\r\n",
      "-ERR not authorized\r\n",
      "junk",
  };
  size_t sent = publish_count();
  if (sent == 0)
    return;
  /* Mostly one of the last few, of which most are still out. */
  size_t back = below(sent < 6 ? (unsigned)sent : 6);
  answer(sent - 1 - back, payloads[below(sizeof payloads / sizeof *payloads)],
         one_in(6) ? NULL : T1);
}

static void notify_something(void) {
  static const char *const payloads[] = {
      "*2\r\n$6\r\nNOTIFY\r\n$6\r\nDELETE\r\n",
      "*2\r\n$6\r\nNOTIFY\r\n$6\r\nDELETE\r\n",
      "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n$4\r\nme:a\r\n",
      "*0\r\n",
  };
  notify(one_in(2) ? "6B" : "6A", payloads[below(4)], T2, 7);
}

static void happen(void) {
  unsigned what = below(10);
  if (what < 4)
    call_something();
  else if (what < 7)
    answer_something();
  else if (what < 8)
    notify_something();
  else if (what < 9)
    virtual_time_pass(world.time, below(one_in(8) ? 12000 : 800));
  else if (world.stub->connected && one_in(3))
    lose_connection();
  else if (!world.stub->connected)
    regain_connection();
  if (!one_in(4))
    settle_down();
}

static void run_episode(void **state, uint64_t seed) {
  memset(&the, 0, sizeof the);
  the.random = seed * 0x9E3779B97F4A7C15U + 1;
  assert_int_equal(store_world_open(state), 0);
  for (int step = 0; step < STEPS; step++)
    happen();
  /* From here on callbacks only count. */
  the.depth = 100;
  free_all();
  virtual_time_pass(world.time, 60000);
  if (the.accepted != the.completed)
    fail_msg("seed %llu: %u accepted, %u completed", (unsigned long long)seed,
             the.accepted, the.completed);
  if (store_world_close(state) != 0)
    fail_msg("seed %llu: memory is left", (unsigned long long)seed);
}

static uint64_t setting(const char *name, uint64_t otherwise) {
  const char *value = getenv(name);
  return value == NULL ? otherwise : strtoull(value, NULL, 10);
}

static void whatever_happens_each_call_completes_once(void **state) {
  uint64_t episodes = setting("STORM_EPISODES", 300);
  uint64_t seed = setting("STORM_SEED", 0);
  if (seed != 0) {
    run_episode(state, seed);
    return;
  }
  for (seed = 1; seed <= episodes; seed++)
    run_episode(state, seed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whatever_happens_each_call_completes_once),
  };
  return cmocka_run_group_tests_name("store_storm", tests, NULL, NULL);
}
