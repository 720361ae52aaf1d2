/*
** test_runtime_exposition.c -- what is written for Prometheus is valid,
** whatever a name holds, and its numbers are exact.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/exposition.h"

typedef struct world {
  iotops_context *context;
  text_buffer buffer;
  exposition to;
} world;

static int begin(void **state) {
  world *world = test_calloc(1, sizeof *world);
  if (iotops_context_new(NULL, &world->context, NULL) != 0)
    return -1;
  text_buffer_init(&world->buffer, world->context);
  world->to.buffer = &world->buffer;
  *state = world;
  return 0;
}

static int end(void **state) {
  world *world = *state;
  text_buffer_clear(&world->buffer);
  iotops_context_free(world->context);
  test_free(world);
  return 0;
}

static void assert_written(world *world, const char *expected) {
  text_buffer_add_char(&world->buffer, '\0');
  assert_false(world->buffer.failed);
  assert_string_equal(text_buffer_text(&world->buffer).data, expected);
  text_buffer_reset(&world->buffer);
}

/* The line of a sample whose label `script` is `name`. */
static void assert_label(world *world, iotops_text name, const char *expected) {
  const exposition_labels labels = {{{"script", name}}};
  exposition_family(&world->to, "x", "gauge", "h");
  text_buffer_reset(&world->buffer);
  exposition_sample(&world->to, &labels, 1, 0);
  assert_written(world, expected);
}

static void a_family_says_what_it_is(void **state) {
  world *world = *state;
  exposition_family(&world->to, "iotops_a_total", "counter", "What it is.");
  assert_written(world, "# HELP iotops_a_total What it is.\n"
                        "# TYPE iotops_a_total counter\n");
}

static void a_sample_has_its_labels_in_order(void **state) {
  world *world = *state;
  const exposition_labels two = {
      {{"script", iotops_text_of("a")}, {"kind", iotops_text_of("b")}}};
  const exposition_labels none = {{{NULL, {0}}}};
  exposition_family(&world->to, "x", "gauge", "h");
  text_buffer_reset(&world->buffer);
  exposition_sample(&world->to, &two, 1, 0);
  exposition_sample(&world->to, &none, 2, 0);
  exposition_sample(&world->to, NULL, 3, 0);
  assert_written(world, "x{script=\"a\",kind=\"b\"} 1\nx 2\nx 3\n");
}

static void quotes_backslashes_and_line_ends_are_escaped(void **state) {
  assert_label(*state, iotops_text_of("a\"} 1\n# HELP b\\"),
               "x{script=\"a\\\"} 1\\n# HELP b\\\\\"} 1\n");
}

static void what_is_not_text_is_written_as_digits(void **state) {
  assert_label(*state, iotops_text_of("a\xFF\xC3"),
               "x{script=\"a\xEF\xBF\xBD"
               "FF\xEF\xBF\xBD"
               "C3\"} 1\n");
  assert_label(*state, iotops_text_of("\xED\xA0\x80"),
               "x{script=\"\xEF\xBF\xBD"
               "ED\xEF\xBF\xBD"
               "A0\xEF\xBF\xBD"
               "80\"} 1\n");
  assert_label(*state, (iotops_text){"\0\r\x7F", 3},
               "x{script=\"\xEF\xBF\xBD"
               "00\xEF\xBF\xBD"
               "0D\xEF\xBF\xBD"
               "7F\"} 1\n");
}

static void text_in_any_language_stays_as_it_is(void **state) {
  assert_label(*state,
               iotops_text_of("l\xC3\xADnea \xE2\x82\xAC \xF0\x9F\x8F"
                              "\xAD"),
               "x{script=\"l\xC3\xADnea \xE2\x82\xAC \xF0\x9F\x8F\xAD\"} 1\n");
}

/* Two scripts of one name would make the whole answer invalid. */
static void names_that_differ_are_written_differently(void **state) {
  assert_label(*state,
               iotops_text_of("\xEF\xBF\xBD"
                              "FF"),
               "x{script=\"\xEF\xBF\xBD"
               "EF\xEF\xBF\xBD"
               "BF\xEF\xBF\xBD"
               "BDFF\"} 1\n");
}

static void numbers_are_exact_and_short(void **state) {
  world *world = *state;
  exposition_family(&world->to, "x", "gauge", "h");
  text_buffer_reset(&world->buffer);
  exposition_sample(&world->to, NULL, UINT64_MAX, 0);
  exposition_sample(&world->to, NULL, 1500, 3);
  exposition_sample(&world->to, NULL, 2000, 3);
  exposition_sample(&world->to, NULL, 1, 9);
  exposition_sample(&world->to, NULL, 0, 6);
  exposition_real(&world->to, NULL, 3);
  exposition_real(&world->to, NULL, -0.5);
  assert_written(world, "x 18446744073709551615\nx 1.5\nx 2\nx 0.000000001\n"
                        "x 0\nx 3\nx -0.5\n");
}

static void buckets_of_a_histogram_add_up(void **state) {
  world *world = *state;
  const exposition_labels labels = {{{"script", iotops_text_of("a")}}};
  latency latency = {0};
  latency_record(&latency, 9000, 1);
  latency_record(&latency, 20000, 1);
  latency_record(&latency, UINT64_C(70000000000), 1);
  exposition_family(&world->to, "x", "histogram", "h");
  text_buffer_reset(&world->buffer);
  exposition_histogram(&world->to, &labels, &latency);
  text_buffer_add_char(&world->buffer, '\0');
  const char *text = text_buffer_text(&world->buffer).data;
  assert_non_null(strstr(text, "x_bucket{script=\"a\",le=\"0.00001\"} 1\n"));
  assert_non_null(strstr(text, "x_bucket{script=\"a\",le=\"0.00005\"} 2\n"));
  assert_non_null(strstr(text, "x_bucket{script=\"a\",le=\"60\"} 2\n"));
  assert_non_null(strstr(text, "x_bucket{script=\"a\",le=\"+Inf\"} 3\n"));
  assert_non_null(strstr(text, "x_sum{script=\"a\"} 70.000029\n"));
  assert_non_null(strstr(text, "x_count{script=\"a\"} 3\n"));
  text_buffer_reset(&world->buffer);
}

static void a_histogram_without_labels_has_its_bound_alone(void **state) {
  world *world = *state;
  exposition_family(&world->to, "x", "histogram", "h");
  text_buffer_reset(&world->buffer);
  exposition_histogram(&world->to, NULL, NULL);
  text_buffer_add_char(&world->buffer, '\0');
  const char *text = text_buffer_text(&world->buffer).data;
  assert_non_null(strstr(text, "x_bucket{le=\"+Inf\"} 0\nx_sum 0\n"));
  text_buffer_reset(&world->buffer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_family_says_what_it_is),
      TEST(a_sample_has_its_labels_in_order),
      TEST(quotes_backslashes_and_line_ends_are_escaped),
      TEST(what_is_not_text_is_written_as_digits),
      TEST(text_in_any_language_stays_as_it_is),
      TEST(names_that_differ_are_written_differently),
      TEST(numbers_are_exact_and_short),
      TEST(buckets_of_a_histogram_add_up),
      TEST(a_histogram_without_labels_has_its_bound_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
