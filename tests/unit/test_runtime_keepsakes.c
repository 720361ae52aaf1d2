/*
** test_runtime_keepsakes.c -- what a script's name keeps while its generations
** come and go.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/keepsakes.h"
#include "virtual_time.h"

static virtual_time *world;
static keepsakes kept;
static char told[512]; /* "name," for each timer that was left */

static int open_world(void **state) {
  (void)state;
  world = virtual_time_new();
  if (world == NULL)
    return -1;
  keepsakes_init(&kept, world->context);
  told[0] = '\0';
  return 0;
}

static int close_world(void **state) {
  (void)state;
  keepsakes_clear(&kept);
  return virtual_time_free(world) == 0 ? 0 : -1;
}

static void left(void *user, const char *name) {
  assert_ptr_equal(user, &kept);
  size_t used = strlen(told);
  snprintf(told + used, sizeof told - used, "%s,", name);
}

static void commit(uint64_t generation) {
  told[0] = '\0';
  keepsakes_committed(&kept, generation, left, &kept);
}

static iotops_lua_kept_metric *claim(const char *name, bool is_gauge,
                                     uint64_t generation) {
  iotops_lua_metric meant = {
      .name = name, .help = "", .is_gauge = is_gauge, .claims = true};
  return keepsakes_metric_of(&kept, &meant, generation);
}

/* "name=value," in the order of the visits; a gauge has a "~" in front. */
static char listed[4096];

static void note(void *user, const keepsakes_metric *metric) {
  size_t used = strlen(listed);
  assert_null(user);
  snprintf(listed + used, sizeof listed - used, "%s%s=%g%s%s,",
           metric->is_gauge ? "~" : "", metric->name, metric->value,
           metric->help[0] != '\0' ? ":" : "", metric->help);
}

static const char *list(void) {
  listed[0] = '\0';
  keepsakes_each_metric(&kept, note, NULL);
  return listed;
}

/* --------------------------------------------------------------- timers -- */

static void a_timer_is_the_same_for_each_generation(void **state) {
  (void)state;
  iotops_lua_kept_timer *timer = keepsakes_timer(&kept, "flush", 1);
  assert_false(timer->running || timer->fired);
  timer->running = true;
  timer->due_ms = 77;
  assert_ptr_not_equal(keepsakes_timer(&kept, "flush2", 1), timer);
  commit(1);
  assert_ptr_equal(keepsakes_timer(&kept, "flush", 2), timer);
  assert_int_equal(timer->due_ms, 77);
  commit(2);
  assert_string_equal(told, "");
}

static void ever_new_names_of_timers_do_not_grow_without_end(void **state) {
  char name[32];
  (void)state;
  keepsakes_timer(&kept, "every", 1)->running = true;
  keepsakes_timer(&kept, "once", 1)->fired = true;
  for (int i = 0; i < 2 * KEEPSAKES_TIMERS_MAX; i++) {
    snprintf(name, sizeof name, "order-%d", i);
    *keepsakes_timer(&kept, name, 1) = (iotops_lua_kept_timer){0};
    assert_true(kept.timer_count <= KEEPSAKES_TIMERS_MAX);
  }
  /* What was cancelled goes before what has fired. */
  assert_true(keepsakes_timer(&kept, "once", 1)->fired);
  for (int i = 0; i < 2 * KEEPSAKES_TIMERS_MAX; i++) {
    snprintf(name, sizeof name, "job-%d", i);
    keepsakes_timer(&kept, name, 1)->fired = true;
    assert_true(kept.timer_count <= KEEPSAKES_TIMERS_MAX);
  }
  assert_true(keepsakes_timer(&kept, "every", 1)->running);
  assert_true(keepsakes_timer(&kept, name, 1)->fired);
}

static void
a_timer_is_forgotten_by_the_second_that_does_not_claim_it(void **state) {
  (void)state;
  keepsakes_timer(&kept, "flush", 1)->running = true;
  keepsakes_timer(&kept, "once", 1)->fired = true;
  commit(1);
  commit(2);
  assert_string_equal(told, "flush,");
  /* As a rollback does. */
  assert_true(keepsakes_timer(&kept, "flush", 3)->running);
  commit(3);
  assert_string_equal(told, "");
  assert_false(keepsakes_timer(&kept, "once", 4)->fired);
  commit(4);
  commit(5);
  assert_string_equal(told, "");
  assert_false(keepsakes_timer(&kept, "flush", 5)->running);
}

/* -------------------------------------------------------------- metrics -- */

static void metrics_are_listed_in_order_of_name(void **state) {
  (void)state;
  claim("b", false, 1)->value = 2;
  claim("c", true, 1)->value = -0.5;
  claim("a", false, 1)->value = 1;
  iotops_lua_metric meant = {
      .name = "b", .help = "what \"b\"\nis", .claims = true};
  keepsakes_metric_of(&kept, &meant, 2);
  assert_string_equal(list(), "a=1,b=2:what \"b\"\nis,~c=-0.5,");
  meant.help = "";
  keepsakes_metric_of(&kept, &meant, 3);
  assert_string_equal(list(), "a=1,b=2:what \"b\"\nis,~c=-0.5,");
}

static void to_look_at_a_metric_does_not_make_it(void **state) {
  (void)state;
  iotops_lua_metric meant = {.name = "a", .help = ""};
  assert_null(keepsakes_metric_of(&kept, &meant, 1));
  claim("a", false, 1)->value = 3;
  assert_float_equal(keepsakes_metric_of(&kept, &meant, 2)->value, 3, 0);
  meant.is_gauge = true;
  assert_null(keepsakes_metric_of(&kept, &meant, 2));
  assert_string_equal(list(), "a=3,");
}

static void a_metric_of_another_kind_begins_anew(void **state) {
  (void)state;
  claim("a", false, 1)->value = 3;
  assert_float_equal(claim("a", true, 2)->value, 0, 0);
  assert_string_equal(list(), "~a=0,");
}

static void metrics_that_nobody_uses_go_when_there_are_too_many(void **state) {
  (void)state;
  char name[16];
  iotops_lua_kept_metric *used = claim("used", false, 1);
  used->users = 1;
  for (unsigned i = 1; i < IOTOPS_LUA_METRICS_MAX; i++) {
    snprintf(name, sizeof name, "m%03u", i);
    claim(name, false, i == 500 ? 2 : 3);
  }
  assert_int_equal(kept.metric_count, IOTOPS_LUA_METRICS_MAX);
  claim("more", false, 3); /* m500 is the one that was claimed longest ago */
  assert_int_equal(kept.metric_count, IOTOPS_LUA_METRICS_MAX);
  iotops_lua_metric meant = {.name = "m500", .help = ""};
  assert_null(keepsakes_metric_of(&kept, &meant, 3));
  assert_ptr_equal(claim("used", false, 3), used);
}

/* ------------------------------------------------------------------ log -- */

static size_t records, fields;

static void count_record(void *user, const iotops_log_record *record) {
  (void)user;
  records++;
  fields += record->field_count - 1;
  assert_string_equal(record->fields[0].name, "script");
  for (size_t i = 1; i < record->field_count; i++) {
    assert_true(record->fields[i].is_number);
    assert_memory_equal(record->fields[i].name, "own.", 4);
  }
}

static void the_log_has_all_of_them_in_records_of_a_bounded_size(void **state) {
  (void)state;
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  iotops_context *context = NULL;
  keepsakes many;
  char name[101];
  options.log = count_record;
  options.log_level = IOTOPS_LOG_INFO;
  assert_int_equal(iotops_context_new(&options, &context, NULL), 0);
  keepsakes_init(&many, context);
  keepsakes_log(&many, "s");
  assert_int_equal(records, 0);
  for (unsigned i = 0; i < 130; i++) {
    snprintf(name, sizeof name, "%0100u", i);
    iotops_lua_metric meant = {.name = name, .help = "", .claims = true};
    keepsakes_metric_of(&many, &meant, 1);
  }
  keepsakes_log(&many, "s");
  assert_int_equal(records, 3);
  assert_int_equal(fields, 130);
  keepsakes_clear(&many);
  iotops_context_free(context);
}

static void without_memory_nothing_is_kept_and_nothing_leaks(void **state) {
  (void)state;
  for (long n = 0; n < 3; n++) {
    world->fail_from = n;
    iotops_lua_metric meant = {.name = "a", .help = "help", .claims = true};
    iotops_lua_kept_metric *metric = keepsakes_metric_of(&kept, &meant, 1);
    assert_true((metric != NULL) == (n > 0));
    keepsakes_clear(&kept);
  }
  world->fail_from = 0;
  assert_null(keepsakes_timer(&kept, "flush", 1));
  world->fail_from = -1;
}

#define TEST(name)                                                             \
  cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_timer_is_the_same_for_each_generation),
      TEST(ever_new_names_of_timers_do_not_grow_without_end),
      TEST(a_timer_is_forgotten_by_the_second_that_does_not_claim_it),
      TEST(metrics_are_listed_in_order_of_name),
      TEST(to_look_at_a_metric_does_not_make_it),
      TEST(a_metric_of_another_kind_begins_anew),
      TEST(metrics_that_nobody_uses_go_when_there_are_too_many),
      TEST(the_log_has_all_of_them_in_records_of_a_bounded_size),
      TEST(without_memory_nothing_is_kept_and_nothing_leaks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
