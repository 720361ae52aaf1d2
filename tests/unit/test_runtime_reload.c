/* How one generation takes over from another. */
#include "reload_scene.h"

static void the_first_generation_waits_for_no_grant(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x b@y");
  assert_non_null(f->script->current);
  assert_true(world.slots[0].open && world.slots[1].open);
  assert_int_equal(world.starts, 1);
  answer(&world.slots[0], NULL);
  assert_false(logged("subscribed"));
  answer(&world.slots[1], NULL);
  assert_true(logged("subscribed"));
}

static void an_endpoint_that_stays_the_same_is_passed_on(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  assert_int_equal(f->script->generation, 2);
  assert_true(world.slots[1].adopted);
  assert_null(world.slots[1].done);
  assert_int_equal(world.drains, 1);
  assert_int_equal(f->script->client.counters.reloads, 1);
}

static void equal_content_is_no_change(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "1", "a@x");
  assert_int_equal(world.loads, 1);
}

static void
the_old_generation_serves_until_new_filters_are_granted(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  assert_int_equal(f->script->generation, 1);
  assert_true(world.slots[2].open);
  assert_false(world.slots[1].adopted);
  answer(&world.slots[2], NULL);
  /* Not from within the answer, which may come from a receiver's turn. */
  assert_int_equal(f->script->generation, 1);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  assert_true(world.slots[1].adopted);
}

static void
a_known_filter_with_other_options_is_opened_at_the_commit(void **state) {
  fixture *f = *state;
  change(f, "1", "a1@x");
  change(f, "2", "a2@x");
  assert_int_equal(f->script->generation, 2);
  assert_true(world.slots[1].open);
  assert_false(world.slots[1].adopted);
  assert_true(world.slots[0].closed);
}

static void an_endpoint_that_is_gone_is_closed(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x b@y");
  change(f, "2", "b@y");
  assert_true(world.slots[0].closed);
  assert_true(world.slots[2].adopted);
}

static void a_refused_subscription_changes_nothing(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  answer(&world.slots[2], "Not authorized");
  pass(f, 1);
  assert_int_equal(f->script->generation, 1);
  assert_false(world.slots[0].closed);
  assert_true(world.slots[2].closed);
  assert_int_equal(world.frees, 1);
  assert_true(logged("still serving generation 1"));
  assert_true(logged("subscription to y: Not authorized"));
  /* It is not tried again by itself, but when it is asked for. */
  script_consider(f->script, SCRIPT_LOOK_CONTENT);
  assert_int_equal(world.loads, 2);
  script_consider(f->script, SCRIPT_LOOK_FORCED);
  assert_int_equal(world.loads, 3);
}

static void
a_refused_subscription_is_asked_for_again_at_the_next_connect(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x b@y");
  answer(&world.slots[0], NULL);
  answer(&world.slots[1], "Not authorized");
  assert_true(logged("nothing will be received by y: Not authorized"));
  reload_reopen(f->script);
  assert_null(world.slots[0].done);
  answer(&world.slots[1], "Not authorized");
  reload_reopen(f->script);
  answer(&world.slots[1], NULL);
  assert_true(logged("subscribed"));
  reload_reopen(f->script);
  assert_null(world.slots[1].done);
  /* What is granted now is passed on. */
  change(f, "2", "a@x b@y");
  assert_true(world.slots[3].adopted);
}

static void a_script_that_cannot_be_loaded_changes_nothing(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  world.fails = true;
  change(f, "2", "");
  assert_int_equal(f->script->generation, 1);
  assert_false(world.slots[0].closed);
  assert_true(logged("still serving generation 1"));
  script_consider(f->script, SCRIPT_LOOK_CONTENT);
  assert_int_equal(world.loads, 2);
  world.fails = false;
  change(f, "3", "a@x");
  assert_int_equal(f->script->generation, 2);
  assert_int_equal(f->script->client.counters.failed_reloads, 1);
}

static void what_was_refused_and_put_back_is_forgotten(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  world.fails = true;
  change(f, "2", "");
  world.fails = false;
  change(f, "1", "a@x");
  assert_int_equal(world.loads, 2);
  assert_int_equal(f->script->generation, 1);
  assert_true(logged("its file is again what generation 1 was made from"));
  /* The same mistake again is news. */
  world.fails = true;
  change(f, "2", "");
  assert_int_equal(world.loads, 3);
}

static void grants_that_do_not_come_end_the_try(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  pass(f, 60);
  assert_int_equal(f->script->generation, 1);
  assert_true(logged("broker unreachable"));
  assert_true(f->script->retry);
  assert_null(f->script->reload);
}

static void
a_grant_of_a_try_given_up_does_not_count_for_the_next(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  change(f, "3", "a@x c@z");
  answer(&world.slots[2], NULL);
  pass(f, 1);
  assert_int_equal(f->script->generation, 1);
  answer(&world.slots[4], NULL);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
}

static void an_endpoint_that_was_refused_is_opened_anew(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  answer(&world.slots[0], "Not authorized");
  assert_true(logged("nothing will be received by x: Not authorized"));
  change(f, "2", "a@x");
  assert_false(world.slots[1].adopted);
  assert_true(world.slots[1].open);
  assert_int_equal(f->script->generation, 1);
  answer(&world.slots[1], NULL);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
}

static void of_two_changes_the_last_is_taken(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  change(f, "3", "a@x");
  assert_int_equal(f->script->generation, 2);
  assert_int_equal(world.frees, 1);
  assert_null(f->script->reload);
}

static void a_script_that_stops_while_it_waits_for_grants_stays(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  script_quiesce(f->script);
  assert_null(f->script->reload);
  answer(&world.slots[2], NULL);
  pass(f, 5);
  assert_int_equal(f->script->generation, 1);
  assert_true(world.slots[2].closed);
}

static void two_scripts_do_not_answer_one_command(void **state) {
  fixture *f = *state;
  char path[80];
  change(f, "1", "C@fan/set a@x");
  snprintf(path, sizeof path, "%s.other", f->path);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("1", file);
  fclose(file);
  script *other = script_new(&f->host, path, false);
  assert_non_null(other);
  f->host.scripts = f->script;
  f->script->next = other;
  script_consider(other, SCRIPT_LOOK_CONTENT);
  assert_null(other->current);
  assert_true(logged("answers the command fan/set already"));
  /* The same telemetry may go to both, and a group shares its requests. */
  snprintf(world.declares, sizeof world.declares, "%s",
           "a@x C@$share/g/fan/set");
  script_consider(other, SCRIPT_LOOK_FORCED);
  assert_non_null(other->current);
  script_close(other);
  for (size_t i = 0; i < world.used; i++)
    if (world.slots[i].done != NULL)
      answer(&world.slots[i], NULL);
  f->script->next = NULL;
  script_free(other);
  unlink(path);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
  const struct CMUnitTest tests[] = {
      TEST(the_first_generation_waits_for_no_grant),
      TEST(an_endpoint_that_stays_the_same_is_passed_on),
      TEST(equal_content_is_no_change),
      TEST(the_old_generation_serves_until_new_filters_are_granted),
      TEST(a_known_filter_with_other_options_is_opened_at_the_commit),
      TEST(an_endpoint_that_is_gone_is_closed),
      TEST(a_refused_subscription_changes_nothing),
      TEST(a_refused_subscription_is_asked_for_again_at_the_next_connect),
      TEST(a_script_that_cannot_be_loaded_changes_nothing),
      TEST(what_was_refused_and_put_back_is_forgotten),
      TEST(grants_that_do_not_come_end_the_try),
      TEST(a_grant_of_a_try_given_up_does_not_count_for_the_next),
      TEST(an_endpoint_that_was_refused_is_opened_anew),
      TEST(of_two_changes_the_last_is_taken),
      TEST(a_script_that_stops_while_it_waits_for_grants_stays),
      TEST(two_scripts_do_not_answer_one_command),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
