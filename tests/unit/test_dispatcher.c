/* test_dispatcher.c -- routing, against a matcher that looks at everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/topic.h"
#include "session/dispatcher.h"

static iotops_context *context;

static int make_context(void **state) {
  (void)state;
  return iotops_context_new(NULL, &context, NULL);
}

static int free_context(void **state) {
  (void)state;
  iotops_context_free(context);
  return 0;
}

static uint32_t seed;

static uint32_t draw(uint32_t below) {
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 8) % below;
}

static void ignore(void *user, const iotops_message *message, iotops_ack ack) {
  (void)user;
  (void)message;
  (void)ack;
}

/* A random topic, or filter when `wild`. */
static void make_text(char *text, bool wild) {
  static const char *const levels[] = {"a", "b", "", "cc", "$s"};
  unsigned count = 1 + draw(4);

  *text = 0;
  if (wild && draw(5) == 0)
    strcpy(text, "$share/g/");
  for (unsigned i = 0; i < count; i++) {
    if (i > 0)
      strcat(text, "/");
    if (wild && draw(4) == 0)
      strcat(text, "+");
    else if (wild && draw(6) == 0 && strlen(text) < 60) {
      strcat(text, "#");
      return;
    } else
      strcat(text, levels[draw(5)]);
  }
  if (*text == 0)
    strcpy(text, "a");
}

static bool was_matched(const dispatcher *dispatcher,
                        const iotops_receiver *receiver) {
  unsigned times = 0;

  for (size_t i = 0; i < dispatcher->matched_count; i++)
    times += dispatcher->matched[i] == receiver;
  assert_true(times <= 1);
  return times == 1;
}

static void random_filters_agree_with_the_naive_matcher(void **state) {
  struct {
    char filter[80];
    iotops_receiver *receiver;
  } all[40] = {0};
  dispatcher dispatcher;
  const char *given = getenv("SEED");

  (void)state;
  seed = given ? (uint32_t)strtoul(given, NULL, 0) : 77;
  print_message("SEED=%u\n", seed);
  assert_true(dispatcher_init(&dispatcher, context));
  for (int round = 0; round < 30000; round++) {
    unsigned slot = draw(40);
    char topic[80];
    size_t expected = 0;

    if (all[slot].receiver) {
      dispatcher_remove(&dispatcher, all[slot].receiver);
      all[slot].receiver = NULL;
    } else {
      make_text(all[slot].filter, true);
      if (!iotops_topic_filter_valid(iotops_text_of(all[slot].filter)))
        continue;
      all[slot].receiver = dispatcher_add(
          &dispatcher, iotops_text_of(all[slot].filter), ignore, NULL);
      assert_non_null(all[slot].receiver);
    }
    make_text(topic, false);
    assert_true(dispatcher_match(&dispatcher, iotops_text_of(topic), NULL, 0));
    for (int i = 0; i < 40; i++) {
      bool matches = all[i].receiver &&
                     iotops_topic_filter_matches(iotops_text_of(all[i].filter),
                                                 iotops_text_of(topic));

      expected += matches;
      if (all[i].receiver)
        assert_int_equal(was_matched(&dispatcher, all[i].receiver), matches);
    }
    assert_int_equal(dispatcher.matched_count, expected);
    dispatcher_end(&dispatcher);
  }
  for (int i = 0; i < 40; i++)
    if (all[i].receiver)
      dispatcher_remove(&dispatcher, all[i].receiver);
  assert_int_equal(dispatcher.node_count, 0);
  assert_int_equal(dispatcher.ids.count, 0);
  dispatcher_free(&dispatcher);
}

static iotops_receiver *add(dispatcher *dispatcher, const char *filter) {
  iotops_receiver *receiver =
      dispatcher_add(dispatcher, iotops_text_of(filter), ignore, NULL);

  assert_non_null(receiver);
  return receiver;
}

static void an_identifier_is_the_same_in_every_process(void **state) {
  dispatcher one, two;
  uint64_t id;

  (void)state;
  assert_true(dispatcher_init(&one, context));
  assert_true(dispatcher_init(&two, context));
  add(&one, "x");
  id = add(&one, "a/+/b")->filter->by_id.id;
  assert_int_equal(add(&two, "a/+/b")->filter->by_id.id, id);
  assert_in_range(id, 1, 268435455);
  dispatcher_free(&one);
  dispatcher_free(&two);
}

static void identifiers_choose_among_overlapping_filters(void **state) {
  dispatcher dispatcher;
  iotops_receiver *all, *one, *listener;
  uint32_t ids[3];

  (void)state;
  assert_true(dispatcher_init(&dispatcher, context));
  all = add(&dispatcher, "a/#");
  one = add(&dispatcher, "a/+");
  listener = add(&dispatcher, "a/b");
  dispatcher_own(all->filter);
  dispatcher_own(one->filter);
  ids[0] = ids[2] = (uint32_t)all->filter->by_id.id;
  ids[1] = (uint32_t)one->filter->by_id.id;

  dispatcher_match(&dispatcher, iotops_text_of("a/b"), ids, 1);
  assert_int_equal(dispatcher.matched_count, 1);
  assert_ptr_equal(dispatcher.matched[0], all);
  dispatcher_end(&dispatcher);

  /* All of them, and the repeated one once. */
  dispatcher_match(&dispatcher, iotops_text_of("a/b"), ids, 3);
  assert_int_equal(dispatcher.matched_count, 2);
  dispatcher_end(&dispatcher);

  /* The subscription's own receiver is gone: only who has none of its own. */
  dispatcher_remove(&dispatcher, all);
  dispatcher_match(&dispatcher, iotops_text_of("a/b"), ids, 1);
  assert_int_equal(dispatcher.matched_count, 1);
  assert_ptr_equal(dispatcher.matched[0], listener);
  dispatcher_end(&dispatcher);
  dispatcher_free(&dispatcher);
}

static void unfiltered_receivers_take_what_nobody_else_takes(void **state) {
  dispatcher dispatcher;
  iotops_receiver *rest;

  (void)state;
  assert_true(dispatcher_init(&dispatcher, context));
  rest = dispatcher_add(&dispatcher, (iotops_text){0}, ignore, NULL);
  add(&dispatcher, "a");
  dispatcher_match(&dispatcher, iotops_text_of("a"), NULL, 0);
  assert_int_equal(dispatcher.matched_count, 1);
  assert_ptr_not_equal(dispatcher.matched[0], rest);
  dispatcher_end(&dispatcher);
  dispatcher_match(&dispatcher, iotops_text_of("b"), NULL, 0);
  assert_int_equal(dispatcher.matched_count, 1);
  assert_ptr_equal(dispatcher.matched[0], rest);
  dispatcher_end(&dispatcher);
  dispatcher_free(&dispatcher);
}

static void a_receiver_removed_while_dispatching_stays_readable(void **state) {
  dispatcher dispatcher;
  iotops_receiver *first, *second;

  (void)state;
  assert_true(dispatcher_init(&dispatcher, context));
  first = add(&dispatcher, "a");
  second = add(&dispatcher, "a");
  dispatcher_match(&dispatcher, iotops_text_of("a"), NULL, 0);
  dispatcher_remove(&dispatcher, second);
  dispatcher_remove(&dispatcher, first);
  add(&dispatcher, "a"); /* sees the next message only */
  assert_int_equal(dispatcher.matched_count, 2);
  assert_true(dispatcher.matched[0]->removed);
  assert_true(dispatcher.matched[1]->removed);
  dispatcher_end(&dispatcher);
  dispatcher_match(&dispatcher, iotops_text_of("a"), NULL, 0);
  assert_int_equal(dispatcher.matched_count, 1);
  dispatcher_end(&dispatcher);
  dispatcher_free(&dispatcher);
}

static void a_hostile_topic_goes_no_deeper_than_the_filters(void **state) {
  static char topic[65535];
  dispatcher dispatcher;

  (void)state;
  memset(topic, '/', sizeof topic);
  assert_true(dispatcher_init(&dispatcher, context));
  add(&dispatcher, "+/+/+/#");
  dispatcher_match(&dispatcher, (iotops_text){topic, sizeof topic}, NULL, 0);
  assert_int_equal(dispatcher.matched_count, 1);
  dispatcher_end(&dispatcher);
  dispatcher_free(&dispatcher);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_filters_agree_with_the_naive_matcher),
      cmocka_unit_test(an_identifier_is_the_same_in_every_process),
      cmocka_unit_test(identifiers_choose_among_overlapping_filters),
      cmocka_unit_test(unfiltered_receivers_take_what_nobody_else_takes),
      cmocka_unit_test(a_receiver_removed_while_dispatching_stays_readable),
      cmocka_unit_test(a_hostile_topic_goes_no_deeper_than_the_filters),
  };

  return cmocka_run_group_tests(tests, make_context, free_context);
}
