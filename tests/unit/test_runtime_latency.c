/*
** test_runtime_latency.c -- quantiles within 5 % of what was recorded, over
** the last minutes alone, beside counts that never go back.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/latency.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

static void assert_near(uint64_t value, uint64_t right) {
  uint64_t off = value > right ? value - right : right - value;
  if (off * 100 > right * 5)
    fail_msg("%llu is more than 5 %% off %llu", (unsigned long long)value,
             (unsigned long long)right);
}

static int by_size(const void *a, const void *b) {
  const uint64_t *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

static void every_duration_is_within_five_percent(void **state) {
  (void)state;
  for (uint64_t ns = 1100; ns < 274 * S; ns += ns / 97 + 1) {
    latency latency = {0};
    latency_record(&latency, ns, S);
    /* A longer one beside it, so that the exact longest does not help. */
    latency_record(&latency, 300 * S, S);
    assert_near(latency_get_recent(&latency, S).p50_ns, ns);
  }
}

static void quantiles_are_those_of_the_sorted_durations(void **state) {
  enum { COUNT = 10000 };
  static uint64_t all[COUNT];
  latency latency = {0};
  uint32_t seed = 1;
  (void)state;
  for (size_t i = 0; i < COUNT; i++) {
    seed = seed * 1664525 + 1013904223;
    /* From 2 us to 2 s, as many in each doubling. */
    all[i] = (UINT64_C(2000) << (seed >> 16) % 20) + seed % 1000;
    latency_record(&latency, all[i], S + i);
  }
  qsort(all, COUNT, sizeof all[0], by_size);
  latency_recent recent = latency_get_recent(&latency, 2 * S);
  assert_int_equal(recent.count, COUNT);
  assert_near(recent.p50_ns, all[COUNT / 2 - 1]);
  assert_near(recent.p99_ns, all[COUNT * 99 / 100 - 1]);
  assert_int_equal(recent.longest_ns, all[COUNT - 1]);
}

static void nothing_is_reported_of_nothing(void **state) {
  latency latency = {0};
  (void)state;
  assert_int_equal(latency_get_recent(NULL, S).count, 0);
  latency_recent recent = latency_get_recent(&latency, S);
  assert_int_equal(recent.count, 0);
  assert_int_equal(recent.p50_ns, 0);
  assert_int_equal(recent.p99_ns, 0);
  assert_int_equal(recent.longest_ns, 0);
}

static void a_quantile_never_exceeds_the_longest(void **state) {
  latency latency = {0};
  (void)state;
  latency_record(&latency, 1025, S);
  latency_recent recent = latency_get_recent(&latency, S);
  assert_int_equal(recent.p99_ns, 1025);
}

static void the_ends_of_the_range_take_what_is_beyond(void **state) {
  latency latency = {0};
  (void)state;
  latency_record(&latency, 0, S);
  latency_record(&latency, UINT64_MAX, S);
  latency_recent recent = latency_get_recent(&latency, S);
  assert_int_equal(recent.count, 2);
  assert_in_range(recent.p50_ns, 1, 1200);
  assert_in_range(recent.p99_ns, 250 * S, 300 * S);
}

static void what_is_old_leaves_the_quantiles(void **state) {
  latency latency = {0};
  const uint64_t half = LATENCY_WINDOW_NS / 2;
  (void)state;
  latency_record(&latency, 5 * S, S);
  /* Half a window later it is still seen, beside what came since. */
  latency_record(&latency, 10 * US, S + half);
  latency_recent recent = latency_get_recent(&latency, S + half);
  assert_int_equal(recent.count, 2);
  assert_int_equal(recent.longest_ns, 5 * S);
  /* A whole one later it is not, though nothing was recorded since. */
  recent = latency_get_recent(&latency, S + 2 * half);
  assert_int_equal(recent.count, 1);
  assert_int_equal(recent.longest_ns, 10 * US);
  recent = latency_get_recent(&latency, S + 3 * half);
  assert_int_equal(recent.count, 0);
  assert_int_equal(latency.count, 2);
  assert_int_equal(latency.sum_ns, 5 * S + 10 * US);
}

static void a_long_silence_empties_both_halves(void **state) {
  latency latency = {0};
  (void)state;
  latency_record(&latency, 5 * S, S);
  latency_record(&latency, 5 * S, S + LATENCY_WINDOW_NS / 2);
  latency_record(&latency, 1 * MS, S + 10 * LATENCY_WINDOW_NS + 7);
  latency_recent recent =
      latency_get_recent(&latency, S + 10 * LATENCY_WINDOW_NS + 7);
  assert_int_equal(recent.count, 1);
  assert_int_equal(recent.longest_ns, 1 * MS);
}

static void each_bound_counts_what_it_is_not_exceeded_by(void **state) {
  latency latency = {0};
  (void)state;
  for (size_t i = 0; i < LATENCY_BOUNDS; i++) {
    latency_record(&latency, latency_bounds_ns[i], S);
    if (i > 0)
      assert_true(latency_bounds_ns[i] > latency_bounds_ns[i - 1]);
  }
  latency_record(&latency, latency_bounds_ns[0] + 1, S);
  for (size_t i = 0; i < LATENCY_BOUNDS; i++)
    assert_int_equal(latency.up_to[i], i == 1 ? 2 : 1);
  assert_int_equal(latency_bounds_ns[LATENCY_BOUNDS - 1], UINT64_MAX);
}

static void a_histogram_is_less_than_two_kibibytes(void **state) {
  (void)state;
  assert_true(sizeof(latency) < 2048);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_duration_is_within_five_percent),
      cmocka_unit_test(quantiles_are_those_of_the_sorted_durations),
      cmocka_unit_test(nothing_is_reported_of_nothing),
      cmocka_unit_test(a_quantile_never_exceeds_the_longest),
      cmocka_unit_test(the_ends_of_the_range_take_what_is_beyond),
      cmocka_unit_test(what_is_old_leaves_the_quantiles),
      cmocka_unit_test(a_long_silence_empties_both_halves),
      cmocka_unit_test(each_bound_counts_what_it_is_not_exceeded_by),
      cmocka_unit_test(a_histogram_is_less_than_two_kibibytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
