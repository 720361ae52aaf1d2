/* How a state is handed over, and the way back to the last good version. */
#include "reload_scene.h"

/* ------------------------------------------------------------- hand-off -- */

static void hand_over(void) {
  world.handoff =
      (iotops_lua_handoff){.saves = true, .restores = true, .version = 1};
}

static void
a_state_is_handed_over_at_once_when_nothing_is_in_hand(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  assert_int_equal(world.saves, 0);
  change(f, "2", "a@x");
  assert_int_equal(f->script->generation, 2);
  assert_int_equal(world.restored, 1);
  assert_false(world.slots[1].paused);
  assert_int_equal(f->script->last_reload.outcome, RELOAD_COMMITTED);
  assert_int_equal(f->script->last_reload.records, 3);
}

static void calls_in_hand_are_waited_for(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.busy = 1;
  change(f, "2", "a@x");
  assert_int_equal(f->script->generation, 1);
  assert_true(world.slots[0].paused && world.frozen);
  assert_true(f->script->client.keeping);
  reload_turn_ended(f->script);
  pass(f, 1);
  assert_int_equal(f->script->generation, 1);
  world.busy = 0;
  reload_turn_ended(f->script);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  assert_false(f->script->client.keeping);
}

static void calls_that_do_not_end_in_time_are_left_behind(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.busy = 2;
  change(f, "2", "a@x");
  pass(f, 60);
  assert_int_equal(f->script->generation, 2);
  assert_true(logged("2 calls have not ended within 0.0 s"));
}

static void a_failed_hand_off_changes_nothing(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.save_fails = true;
  change(f, "2", "a@x");
  assert_int_equal(f->script->generation, 1);
  assert_false(world.slots[0].paused || world.frozen);
  assert_false(f->script->client.keeping);
  assert_true(logged("its state cannot be saved; still serving generation 1"));
  world.save_fails = false;
  world.restore_fails = true;
  change(f, "3", "a@x b@y");
  answer(&world.slots[3], NULL);
  pass(f, 1);
  assert_int_equal(f->script->generation, 1);
  assert_true(world.slots[3].closed);
  assert_false(world.slots[0].paused || world.frozen);
  assert_true(logged("the state cannot be restored; still serving"));
  assert_int_equal(world.snapshots, 0);
  world.restore_fails = false;
  change(f, "4", "a@x");
  assert_int_equal(f->script->generation, 2);
}

static void a_change_while_quiescing_begins_anew(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.busy = 1;
  change(f, "2", "a@x");
  change(f, "3", "a@x");
  assert_int_equal(world.frees, 1);
  assert_true(world.slots[0].paused && world.frozen);
  world.busy = 0;
  reload_turn_ended(f->script);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  assert_int_equal(world.loads, 3);
}

static void what_was_put_back_while_quiescing_goes_on(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.busy = 1;
  change(f, "2", "a@x");
  change(f, "1", "a@x");
  assert_null(f->script->reload);
  assert_false(world.slots[0].paused || world.frozen);
  assert_int_equal(f->script->generation, 1);
}

static void a_script_that_stops_while_quiescing_is_not_replaced(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.busy = 1;
  change(f, "2", "a@x");
  script_quiesce(f->script);
  pass(f, 60);
  assert_int_equal(f->script->generation, 1);
  assert_null(f->script->reload);
  assert_false(f->script->client.keeping);
}

/* ------------------------------------------------------------ probation -- */

/* Calls of the serving generation end, so many of them with an error. */
static void serve(fixture *f, unsigned calls, unsigned failed) {
  for (unsigned i = 0; i < calls; i++) {
    f->script->current->ended_calls++;
    if (i >= failed)
      continue;
    f->script->current->failed_calls++;
    probation_call_failed(f->script);
  }
}

static void a_version_that_mostly_fails_is_taken_back(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  serve(f, 4, 4);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  serve(f, 1, 1);
  pass(f, 1);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(world.restored, 1); /* what generation 1 had handed over */
  assert_int_equal(world.saves, 1);
  assert_int_equal(f->script->last_reload.outcome, RELOAD_ROLLED_BACK);
  assert_non_null(
      strstr(f->script->last_reload.message, "5 of its first 5 calls failed"));
  assert_int_equal(f->script->client.counters.rollbacks, 1);
  /* What has failed is not tried again, unless somebody says so. */
  script_consider(f->script, SCRIPT_LOOK_CONTENT);
  script_consider(f->script, SCRIPT_LOOK_FORCED);
  assert_int_equal(f->script->generation, 3);
  /* And there is no way back from the way back. */
  serve(f, 9, 9);
  pass(f, 1);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(script_rollback(f->script, NULL), -1);
  assert_int_equal(script_reload(f->script, NULL), 0);
  assert_int_equal(f->script->generation, 4);
}

static void few_errors_among_many_calls_are_borne_with(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  serve(f, 10, 0);
  serve(f, 10, 10);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  serve(f, 1, 1);
  pass(f, 1);
  assert_int_equal(f->script->generation, 3);
}

static void after_the_probation_nothing_is_taken_back(void **state) {
  fixture *f = *state;
  f->host.options.probation_ms = 20;
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  pass(f, 40);
  serve(f, 9, 9);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  /* By hand it is. */
  assert_int_equal(script_rollback(f->script, NULL), 0);
  assert_int_equal(f->script->generation, 3);
}

static void a_bad_version_does_not_become_the_last_good_one(void **state) {
  fixture *f = *state;
  change(f, "good", "a@x");
  change(f, "bad", "a@x");
  serve(f, 3, 3);
  change(f, "worse", "a@x");
  assert_int_equal(f->script->generation, 3);
  serve(f, 5, 5);
  pass(f, 1);
  assert_int_equal(f->script->generation, 4);
  assert_memory_equal(f->script->current->source.files[0].bytes, "good", 4);
}

static void
a_version_that_nobody_called_is_not_the_last_good_one(void **state) {
  fixture *f = *state;
  change(f, "good", "a@x");
  change(f, "bad", "a@x");
  change(f, "worse", "a@x");
  serve(f, 5, 5);
  pass(f, 1);
  assert_int_equal(f->script->generation, 4);
  assert_memory_equal(f->script->current->source.files[0].bytes, "good", 4);
}

static void a_remedy_that_cannot_be_loaded_does_not_keep_it(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  /* The remedy waits for a grant when the last error comes. */
  change(f, "3", "a@x b@y");
  serve(f, 5, 5);
  pass(f, 5);
  assert_int_equal(f->script->generation, 2);
  snprintf(world.declares, sizeof world.declares, "a@x");
  answer(&world.slots[3], "Not authorized");
  pass(f, 5);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(f->script->last_reload.outcome, RELOAD_ROLLED_BACK);
}

static void a_way_back_is_not_disturbed_by_what_the_files_hold(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "b@y");
  answer(&world.slots[1], NULL);
  pass(f, 5);
  assert_int_equal(f->script->generation, 2);
  snprintf(world.declares, sizeof world.declares, "a@x");
  serve(f, 5, 5);
  pass(f, 5);
  assert_non_null(f->script->reload);
  script_consider(f->script, SCRIPT_LOOK_CONTENT);
  script_consider(f->script, SCRIPT_LOOK_FORCED);
  assert_int_equal(world.loads, 3);
  /* A remedy that cannot be loaded is no reason to stay. */
  world.fails = true;
  change(f, "4", "");
  world.fails = false;
  snprintf(world.declares, sizeof world.declares, "a@x");
  pass(f, 5);
  answer(&world.slots[3], NULL);
  pass(f, 5);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(f->script->last_reload.outcome, RELOAD_ROLLED_BACK);
}

static void a_way_back_that_fails_is_not_tried_again(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "b@y");
  answer(&world.slots[1], NULL);
  pass(f, 5);
  snprintf(world.declares, sizeof world.declares, "a@x");
  serve(f, 5, 5);
  pass(f, 60);
  assert_null(f->script->reload);
  assert_true(logged("cannot go back; still serving generation 2"));
  serve(f, 5, 5);
  pass(f, 5);
  assert_int_equal(world.loads, 3);
}

static void a_state_of_the_same_layout_is_taken_back_by_hand(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  assert_int_equal(script_rollback(f->script, NULL), 0);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(world.restored, 2);
}

static void
a_state_that_cannot_be_read_gives_way_to_the_one_handed_over(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  world.unreadable = 2;
  assert_int_equal(script_rollback(f->script, NULL), 0);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(world.restores, 3);
  assert_int_equal(world.restored, 1);
  assert_int_equal(f->script->last_reload.outcome, RELOAD_ROLLED_BACK);
  assert_true(logged("the last one that was handed over is taken"));
  assert_false(world.slots[2].paused);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
  const struct CMUnitTest tests[] = {
      TEST(a_state_is_handed_over_at_once_when_nothing_is_in_hand),
      TEST(calls_in_hand_are_waited_for),
      TEST(calls_that_do_not_end_in_time_are_left_behind),
      TEST(a_failed_hand_off_changes_nothing),
      TEST(a_change_while_quiescing_begins_anew),
      TEST(what_was_put_back_while_quiescing_goes_on),
      TEST(a_script_that_stops_while_quiescing_is_not_replaced),
      TEST(a_version_that_mostly_fails_is_taken_back),
      TEST(few_errors_among_many_calls_are_borne_with),
      TEST(after_the_probation_nothing_is_taken_back),
      TEST(a_bad_version_does_not_become_the_last_good_one),
      TEST(a_version_that_nobody_called_is_not_the_last_good_one),
      TEST(a_remedy_that_cannot_be_loaded_does_not_keep_it),
      TEST(a_way_back_is_not_disturbed_by_what_the_files_hold),
      TEST(a_way_back_that_fails_is_not_tried_again),
      TEST(a_state_of_the_same_layout_is_taken_back_by_hand),
      TEST(a_state_that_cannot_be_read_gives_way_to_the_one_handed_over),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
