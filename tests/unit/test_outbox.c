/* test_outbox.c -- queues, limits, losses and cancellations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "session/outbox.h"

typedef struct fixture {
  iotops_context *context;
  dispatcher dispatcher;
  outbox outbox;
} fixture;

static fixture all;

static int begin(void **state) {
  (void)state;
  if (iotops_context_new(NULL, &all.context, NULL) != 0 ||
      !dispatcher_init(&all.dispatcher, all.context))
    return -1;
  outbox_init(&all.outbox, all.context, &all.dispatcher);
  return 0;
}

static int end(void **state) {
  (void)state;
  outbox_free(&all.outbox);
  assert_int_equal(all.outbox.ids.count, 0);
  dispatcher_free(&all.dispatcher);
  iotops_context_free(all.context);
  return 0;
}

static void done(void *user, const iotops_mqtt_result *result) {
  (void)user;
  (void)result;
}

static outbox_op *make(outbox_kind kind, outbox_class class) {
  outbox_op *op = outbox_new(&all.outbox, kind, class, done, NULL);

  assert_non_null(op);
  return op;
}

static outbox_op *put(outbox_kind kind, outbox_class class) {
  outbox_op *op = make(kind, class);

  assert_true(outbox_put(&all.outbox, op));
  return op;
}

static outbox_op *publish(outbox_class class) {
  return put(OUTBOX_PUBLISH, class);
}

static void expect_ended(const outbox_op *op, outbox_end how) {
  outbox_op *ended = outbox_next_ended(&all.outbox);

  assert_ptr_equal(ended, op);
  assert_int_equal(ended->end, how);
  outbox_delete(&all.outbox, ended);
}

static void each_queue_has_its_own_limit(void **state) {
  outbox_op *refused;

  (void)state;
  all.outbox.limits[OUTBOX_QOS1] = 2;
  publish(OUTBOX_QOS1);
  publish(OUTBOX_QOS1);
  assert_true(outbox_is_full(&all.outbox, OUTBOX_QOS1));
  assert_false(outbox_has_room(&all.outbox));
  refused = make(OUTBOX_PUBLISH, OUTBOX_QOS1);
  assert_false(outbox_put(&all.outbox, refused));
  assert_true(all.outbox.was_full);
  outbox_delete(&all.outbox, refused);
  publish(OUTBOX_QOS0);
  put(OUTBOX_UNSUBSCRIBE, OUTBOX_CONTROL);
  assert_null(outbox_next_ended(&all.outbox));
}

static void a_full_queue_drops_as_it_is_told(void **state) {
  outbox_op *first, *second, *third;

  (void)state;
  all.outbox.limits[OUTBOX_QOS0] = 1;
  all.outbox.when_full = OUTBOX_DROP_OLDEST;
  first = publish(OUTBOX_QOS0);
  second = publish(OUTBOX_QOS0);
  expect_ended(first, OUTBOX_DROPPED);
  all.outbox.when_full = OUTBOX_DROP_NEWEST;
  third = publish(OUTBOX_QOS0);
  expect_ended(third, OUTBOX_DROPPED);
  assert_ptr_equal(all.outbox.queues[OUTBOX_QOS0].first, second);
  assert_null(outbox_next_ended(&all.outbox));
}

static void answers_find_their_operation_by_kind_and_id(void **state) {
  outbox_op *one = publish(OUTBOX_QOS1), *two = publish(OUTBOX_QOS1);

  (void)state;
  outbox_sent(&all.outbox, one, 7);
  outbox_sent(&all.outbox, two, 8);
  assert_true(outbox_uses(&all.outbox, 7));
  assert_null(outbox_answered(&all.outbox, OUTBOX_SUBSCRIBE, 8));
  assert_null(outbox_answered(&all.outbox, OUTBOX_PUBLISH, 9));
  assert_ptr_equal(outbox_answered(&all.outbox, OUTBOX_PUBLISH, 8), two);
  assert_null(outbox_answered(&all.outbox, OUTBOX_PUBLISH, 8));
  assert_false(outbox_uses(&all.outbox, 8));
  outbox_delete(&all.outbox, two);
}

static void qos0_ends_at_its_last_byte(void **state) {
  outbox_op *one = publish(OUTBOX_QOS0), *two = publish(OUTBOX_QOS0);

  (void)state;
  outbox_sent(&all.outbox, one, 0);
  outbox_sent(&all.outbox, two, 0);
  assert_null(outbox_written(&all.outbox, 1000));
  outbox_placed(&all.outbox, 10);
  assert_null(outbox_written(&all.outbox, 9));
  assert_ptr_equal(outbox_written(&all.outbox, 10), one);
  assert_null(outbox_written(&all.outbox, 1000));
  outbox_placed(&all.outbox, 20);
  assert_ptr_equal(outbox_written(&all.outbox, 20), two);
  outbox_delete(&all.outbox, one);
  outbox_delete(&all.outbox, two);
}

static void a_loss_puts_back_what_is_to_be_sent_again(void **state) {
  outbox_op *control[3], *zero[3], *one[2];

  (void)state;
  for (int i = 0; i < 3; i++) {
    control[i] = put(OUTBOX_UNSUBSCRIBE, OUTBOX_CONTROL);
    zero[i] = publish(OUTBOX_QOS0);
  }
  one[0] = publish(OUTBOX_QOS1);
  one[1] = publish(OUTBOX_QOS1);
  outbox_sent(&all.outbox, control[0], 1);
  outbox_sent(&all.outbox, control[1], 2);
  outbox_sent(&all.outbox, zero[0], 0);
  outbox_sent(&all.outbox, zero[1], 0);
  outbox_placed(&all.outbox, 10);
  outbox_sent(&all.outbox, one[0], 3);
  outbox_lost(&all.outbox);
  for (int i = 0; i < 3; i++) {
    outbox_op *op = all.outbox.queues[OUTBOX_CONTROL].first;

    assert_ptr_equal(op, control[i]);
    outbox_sent(&all.outbox, op, (uint16_t)(10 + i));
    op = all.outbox.queues[OUTBOX_QOS0].first;
    assert_ptr_equal(op, zero[i]);
    outbox_sent(&all.outbox, op, 0);
  }
  /* QoS 1 stays in flight: the engine sends it again by itself. */
  assert_ptr_equal(all.outbox.in_flight[OUTBOX_QOS1].first, one[0]);
  assert_ptr_equal(all.outbox.queues[OUTBOX_QOS1].first, one[1]);
  assert_true(outbox_uses(&all.outbox, 3));
  assert_false(outbox_uses(&all.outbox, 1));
  outbox_placed(&all.outbox, 50);
  assert_ptr_equal(outbox_written(&all.outbox, 50), zero[0]);
  outbox_delete(&all.outbox, zero[0]);
}

static void a_queued_operation_is_cancelled_where_it_stands(void **state) {
  outbox_op *one = publish(OUTBOX_QOS1), *two = publish(OUTBOX_QOS1);

  (void)state;
  outbox_cancel(&all.outbox, one->by_id.id);
  assert_ptr_equal(all.outbox.queues[OUTBOX_QOS1].first, two);
  outbox_cancel(&all.outbox, one->by_id.id); /* it has ended */
  expect_ended(one, OUTBOX_CANCELLED);
  assert_null(outbox_next_ended(&all.outbox));
  outbox_cancel(&all.outbox, 12345);
}

static void in_flight_the_packet_outlives_its_caller(void **state) {
  outbox_op *op = publish(OUTBOX_QOS1), *ended;
  uint64_t id = op->by_id.id;

  (void)state;
  outbox_sent(&all.outbox, op, 5);
  outbox_cancel(&all.outbox, id);
  ended = outbox_next_ended(&all.outbox);
  assert_ptr_not_equal(ended, op);
  assert_int_equal(ended->by_id.id, id);
  assert_true(ended->done == done);
  outbox_delete(&all.outbox, ended);
  outbox_cancel(&all.outbox, id);
  assert_null(outbox_next_ended(&all.outbox));
  assert_ptr_equal(outbox_answered(&all.outbox, OUTBOX_PUBLISH, 5), op);
  assert_true(op->done == NULL);
  outbox_delete(&all.outbox, op);
}

static outbox_op *subscribe(const char *filter) {
  outbox_op *op = make(OUTBOX_SUBSCRIBE, OUTBOX_CONTROL);

  op->filter = dispatcher_hold(&all.dispatcher, iotops_text_of(filter));
  assert_non_null(op->filter);
  dispatcher_own(op->filter);
  op->owns = true;
  return op;
}

static void followers_share_an_answer_and_leave_one_by_one(void **state) {
  outbox_op *leader = subscribe("a"), *one = subscribe("a"),
            *two = subscribe("a"), *ended;
  dispatch_filter *filter = leader->filter;

  (void)state;
  assert_null(outbox_subscribing(&all.outbox, filter));
  assert_true(outbox_put(&all.outbox, leader));
  assert_ptr_equal(outbox_subscribing(&all.outbox, filter), leader);
  outbox_follow(&all.outbox, leader, one);
  outbox_follow(&all.outbox, leader, two);
  assert_int_equal(filter->owners, 3);
  outbox_cancel(&all.outbox, one->by_id.id);
  expect_ended(one, OUTBOX_CANCELLED);
  assert_int_equal(filter->owners, 2);
  /* The leader's caller may go; its packet serves the others. */
  outbox_cancel(&all.outbox, leader->by_id.id);
  ended = outbox_next_ended(&all.outbox);
  assert_ptr_not_equal(ended, leader);
  outbox_delete(&all.outbox, ended);
  assert_int_equal(filter->owners, 1);
  assert_ptr_equal(all.outbox.queues[OUTBOX_CONTROL].first, leader);
  outbox_end_all(&all.outbox);
  expect_ended(two, OUTBOX_STOPPED);
  expect_ended(leader, OUTBOX_STOPPED);
  assert_null(outbox_next_ended(&all.outbox));
}

static void everything_ends_once_with_the_session(void **state) {
  unsigned ended = 0;
  outbox_op *op;

  (void)state;
  for (int i = 0; i < 10; i++) {
    publish(OUTBOX_QOS0);
    publish(OUTBOX_QOS1);
    op = publish(OUTBOX_QOS1);
    if (i % 2)
      outbox_sent(&all.outbox, op, (uint16_t)(i + 1));
  }
  outbox_end_all(&all.outbox);
  outbox_end_all(&all.outbox);
  while ((op = outbox_next_ended(&all.outbox))) {
    assert_int_equal(op->end, OUTBOX_STOPPED);
    outbox_delete(&all.outbox, op);
    ended++;
  }
  assert_int_equal(ended, 30);
  assert_int_equal(all.outbox.packets.count, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
      TEST(each_queue_has_its_own_limit),
      TEST(a_full_queue_drops_as_it_is_told),
      TEST(answers_find_their_operation_by_kind_and_id),
      TEST(qos0_ends_at_its_last_byte),
      TEST(a_loss_puts_back_what_is_to_be_sent_again),
      TEST(a_queued_operation_is_cancelled_where_it_stands),
      TEST(in_flight_the_packet_outlives_its_caller),
      TEST(followers_share_an_answer_and_leave_one_by_one),
      TEST(everything_ends_once_with_the_session),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
