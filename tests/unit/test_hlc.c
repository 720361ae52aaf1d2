#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/hlc.h"

enum { DRIFT_MS = 60000 };

static const int64_t wall = 1696374425000;

static iotops_hlc at(int64_t offset_s, uint64_t counter, const char *node) {
  iotops_hlc hlc = {.ms = wall + offset_s * 1000, .counter = counter};
  snprintf(hlc.node, sizeof hlc.node, "%s", node);
  return hlc;
}

static void assert_malformed(iotops_text text) {
  iotops_hlc hlc;
  iotops_error err;
  if (iotops_hlc_parse(text, &hlc, &err) == 0)
    fail_msg("accepted: %.*s", (int)text.size, text.data);
  assert_int_equal(err.kind, IOTOPS_INVALID_HEADER);
  assert_string_equal(err.header_name, "__ts");
  assert_false(err.is_shallow);
  assert_false(err.is_remote);
}

static void the_text_form_is_padded(void **state) {
  (void)state;
  iotops_hlc hlc = at(0, 7, "n1");
  char text[IOTOPS_HLC_TEXT_SIZE];
  assert_int_equal(iotops_hlc_format(&hlc, text), 24);
  assert_string_equal(text, "001696374425000:00007:n1");
}

static void the_longest_clock_fits_its_text(void **state) {
  (void)state;
  iotops_hlc hlc = {INT64_MAX, UINT64_MAX, ""}, back;
  char text[IOTOPS_HLC_TEXT_SIZE];
  memset(hlc.node, 'x', IOTOPS_HLC_NODE_SIZE - 1);
  size_t size = iotops_hlc_format(&hlc, text);
  assert_int_equal(size, strlen(text));
  assert_true(size < sizeof text);
  assert_int_equal(iotops_hlc_parse(iotops_text_of(text), &back, NULL), 0);
  assert_int_equal(iotops_hlc_compare(&hlc, &back), 0);
}

static void what_is_written_is_read(void **state) {
  (void)state;
  iotops_hlc hlc;
  assert_int_equal(
      iotops_hlc_parse(iotops_text_of("001696374425000:00007:n1"), &hlc, NULL),
      0);
  assert_int_equal(hlc.ms, 1696374425000);
  assert_int_equal(hlc.counter, 7);
  assert_string_equal(hlc.node, "n1");
  assert_int_equal(iotops_hlc_parse(iotops_text_of("1:2:"), &hlc, NULL), 0);
  assert_int_equal(hlc.ms, 1);
  assert_int_equal(hlc.counter, 2);
  assert_string_equal(hlc.node, "");
  assert_int_equal(
      iotops_hlc_parse(iotops_text_of("00000000009223372036854775807:"
                                      "0018446744073709551615:a b"),
                       &hlc, NULL),
      0);
  assert_int_equal(hlc.ms, INT64_MAX);
  assert_true(hlc.counter == UINT64_MAX);
}

static void malformed_texts_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    ":",
                                    "::",
                                    "1:2",
                                    "1:2:3:4",
                                    "1::n",
                                    ":1:n",
                                    "-1:2:n",
                                    "1:-2:n",
                                    "+1:2:n",
                                    " 1:2:n",
                                    "1: 2:n",
                                    "1.0:2:n",
                                    "0x1:2:n",
                                    "9223372036854775808:0:n",
                                    "99999999999999999999:0:n",
                                    "0:18446744073709551616:n",
                                    "a:b:c",
                                    "1:2a:n"};
  char long_node[200] = "1:2:";
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_malformed(iotops_text_of(bad[i]));
  assert_malformed(iotops_text_of(NULL));
  iotops_text nul = {"1:2:a\0b", 7};
  assert_malformed(nul);
  memset(long_node + 4, 'x', 127);
  iotops_hlc hlc;
  assert_int_equal(iotops_hlc_parse(iotops_text_of(long_node), &hlc, NULL), 0);
  long_node[4 + 127] = 'x';
  assert_malformed(iotops_text_of(long_node));
}

static void the_malformed_text_is_the_errors_value(void **state) {
  (void)state;
  iotops_hlc hlc;
  iotops_error err;
  assert_int_equal(iotops_hlc_parse(iotops_text_of("bad"), &hlc, &err), -1);
  assert_true(err.has_header_value);
  assert_string_equal(err.header_value, "bad");
}

static void clocks_are_ordered(void **state) {
  (void)state;
  iotops_hlc a = at(0, 1, "a"), b = at(1, 0, "a"), c = at(0, 2, "a"),
             d = at(0, 1, "b"), high = at(0, 1, "\xc3\xa9");
  assert_true(iotops_hlc_compare(&a, &b) < 0);
  assert_true(iotops_hlc_compare(&c, &a) > 0);
  assert_true(iotops_hlc_compare(&a, &d) < 0);
  assert_true(iotops_hlc_compare(&d, &high) < 0);
  assert_int_equal(iotops_hlc_compare(&a, &a), 0);
}

typedef struct merge_case {
  int64_t local_s, remote_s;
  uint64_t local_counter, remote_counter;
  int64_t result_s; /* of the clock */
  uint64_t result_counter;
  const char *property; /* NULL: success */
} merge_case;

static void the_update_rules_hold(void **state) {
  (void)state;
  static const merge_case cases[] = {
      {-120, -30, 5, 6, 0, 0, NULL}, /* rule 1 */
      {-30, 30, 5, 6, 30, 7, NULL},  /* rule 4 */
      {30, -30, 5, 6, 30, 6, NULL},  /* rule 3 */
      {30, 30, 5, 6, 30, 7, NULL},   /* rule 2 */
      {30, 30, 9, 6, 30, 10, NULL},  /* rule 2 */
      {0, 0, 3, 4, 0, 5, NULL},      /* the wall is not ahead */
      {0, -30, 3, 4, 0, 4, NULL},
      {60, 30, 1, 1, 60, 2, NULL}, /* exactly the drift */
      {30, 60, 1, 1, 60, 2, NULL},
      {-120, 120, 5, 6, -120, 5, "MaxClockDrift"},
      {30, 120, 5, 6, 30, 5, "MaxClockDrift"},
      {60, 120, 5, 6, 60, 5, "MaxClockDrift"},
      {120, -30, 5, 6, 120, 5, "MaxClockDrift"},
      {120, 30, 5, 6, 120, 5, "MaxClockDrift"},
      {120, 120, 5, 6, 120, 5, "MaxClockDrift"},
      {-30, -30, UINT64_MAX, 0, 0, 0, NULL},
      {15, 30, 0, UINT64_MAX, 15, 0, "Counter"},
      {30, 15, 0, UINT64_MAX, 30, 1, NULL},
      {30, 15, UINT64_MAX, 0, 30, UINT64_MAX, "Counter"},
      {30, 30, 0, UINT64_MAX, 30, 0, "Counter"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const merge_case *c = &cases[i];
    iotops_hlc local = at(c->local_s, c->local_counter, "l");
    iotops_hlc remote = at(c->remote_s, c->remote_counter, "r");
    iotops_hlc expected = at(c->result_s, c->result_counter, "l");
    iotops_error err = {.kind = IOTOPS_NO_ERROR};
    int rc = iotops_hlc_merge(&local, &remote, wall, DRIFT_MS, &err);
    if (rc != (c->property == NULL ? 0 : -1) ||
        iotops_hlc_compare(&local, &expected) != 0)
      fail_msg("case %zu", i);
    if (c->property != NULL) {
      assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
      assert_string_equal(err.property_name, c->property);
      assert_false(err.is_shallow);
    }
  }
}

static void an_own_message_leaves_the_clock_alone(void **state) {
  (void)state;
  iotops_hlc local = at(-30, 5, "n"), remote = at(500, 6, "n");
  iotops_hlc before = local;
  assert_int_equal(iotops_hlc_merge(&local, &remote, wall, DRIFT_MS, NULL), 0);
  assert_int_equal(iotops_hlc_compare(&local, &before), 0);
}

static void advancing_follows_the_wall_or_counts(void **state) {
  (void)state;
  iotops_error err;
  iotops_hlc hlc = at(-1, UINT64_MAX, "n");
  assert_int_equal(iotops_hlc_advance(&hlc, wall, DRIFT_MS, &err), 0);
  assert_int_equal(hlc.ms, wall);
  assert_int_equal(hlc.counter, 0);
  assert_int_equal(iotops_hlc_advance(&hlc, wall, DRIFT_MS, &err), 0);
  assert_int_equal(hlc.ms, wall);
  assert_int_equal(hlc.counter, 1);
  hlc = at(60, 1, "n");
  assert_int_equal(iotops_hlc_advance(&hlc, wall, DRIFT_MS, &err), 0);
  assert_int_equal(hlc.counter, 2);
  hlc = at(61, 1, "n");
  assert_int_equal(iotops_hlc_advance(&hlc, wall, DRIFT_MS, &err), -1);
  assert_string_equal(err.property_name, "MaxClockDrift");
  assert_true(err.is_shallow);
  hlc = at(1, UINT64_MAX, "n");
  assert_int_equal(iotops_hlc_advance(&hlc, wall, DRIFT_MS, &err), -1);
  assert_string_equal(err.property_name, "Counter");
}

static int64_t frozen_wall(void *user) {
  return *(int64_t *)user;
}

static uint64_t frozen_mono(void *user) {
  return (uint64_t) * (int64_t *)user;
}

static void no_alarm(void *user, iotops_context *context, uint64_t due_ms) {
  (void)user;
  (void)context;
  (void)due_ms;
}

static void a_context_has_a_clock_of_its_own(void **state) {
  (void)state;
  int64_t now_ms = wall;
  iotops_clock clock = {frozen_wall, frozen_mono, no_alarm, &now_ms};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  options.clock = &clock;
  iotops_context *one, *two;
  assert_int_equal(iotops_context_new(&options, &one, NULL), 0);
  options.max_clock_drift_ms = 1000;
  assert_int_equal(iotops_context_new(&options, &two, NULL), 0);
  iotops_hlc now;
  assert_int_equal(iotops_context_hlc(one)->ms, wall);
  assert_int_equal(strlen(iotops_context_hlc(one)->node), 36);
  assert_string_not_equal(iotops_context_hlc(one)->node,
                          iotops_context_hlc(two)->node);
  assert_int_equal(iotops_context_hlc_now(one, &now, NULL), 0);
  assert_int_equal(now.counter, 1);
  now_ms += 5;
  assert_int_equal(iotops_context_hlc_now(one, &now, NULL), 0);
  assert_int_equal(now.ms, wall + 5);
  assert_int_equal(now.counter, 0);

  iotops_hlc remote = at(30, 3, "r");
  iotops_error err;
  assert_int_equal(iotops_context_hlc_receive(one, &remote, &err), 0);
  assert_int_equal(iotops_context_hlc(one)->ms, remote.ms);
  assert_int_equal(iotops_context_hlc(one)->counter, 4);
  assert_int_equal(iotops_context_hlc_receive(two, &remote, &err), -1);
  assert_string_equal(err.property_name, "MaxClockDrift");
  iotops_context_free(one);
  iotops_context_free(two);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_text_form_is_padded),
      cmocka_unit_test(the_longest_clock_fits_its_text),
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(malformed_texts_are_refused),
      cmocka_unit_test(the_malformed_text_is_the_errors_value),
      cmocka_unit_test(clocks_are_ordered),
      cmocka_unit_test(the_update_rules_hold),
      cmocka_unit_test(an_own_message_leaves_the_clock_alone),
      cmocka_unit_test(advancing_follows_the_wall_or_counts),
      cmocka_unit_test(a_context_has_a_clock_of_its_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
