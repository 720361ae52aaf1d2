/* test_ack_queue.c -- order of acknowledgements, against a simple reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/ack_queue.h"

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

/* The reference: deliveries in order, each with its unsettled shares. */
typedef struct reference {
  uint16_t ids[16];
  unsigned pending[16], count;
} reference;

static void check_order(ack_queue *queue, reference *reference) {
  uint16_t id;

  while (ack_queue_next(queue, &id)) {
    assert_true(reference->count > 0);
    assert_int_equal(reference->pending[0], 0);
    assert_int_equal(reference->ids[0], id);
    reference->count--;
    memmove(reference->ids, reference->ids + 1,
            reference->count * sizeof *reference->ids);
    memmove(reference->pending, reference->pending + 1,
            reference->count * sizeof *reference->pending);
  }
  if (reference->count > 0)
    assert_int_not_equal(reference->pending[0], 0);
}

static void one_history(unsigned steps) {
  static ack_queue queue;
  reference reference = {0};
  struct {
    iotops_ack ack;
    uint16_t id;

  } handles[64];
  unsigned handle_count = 0;
  uint16_t receive_max = (uint16_t)(1 + draw(8));

  ack_queue_init(&queue, context, receive_max);
  ack_queue_begin(&queue);
  while (steps-- > 0) {
    uint32_t what = draw(10);

    if (what < 4) {
      uint16_t id = (uint16_t)(1 + draw(12));
      bool in_use = false;
      unsigned shares = draw(4);
      ack_entry_result result = ack_queue_enter(&queue, id, 10);

      for (unsigned i = 0; i < reference.count; i++)
        in_use |= reference.ids[i] == id;
      if (in_use) {
        assert_int_equal(result, ACK_DUPLICATE);
        continue;
      }
      if (reference.count == receive_max) {
        assert_int_equal(result, ACK_FULL);
        continue;
      }
      assert_int_equal(result, ACK_ENTERED);
      reference.ids[reference.count] = id;
      reference.pending[reference.count++] = shares;
      while (shares-- > 0) {
        unsigned slot = handle_count < 64 ? handle_count++ : draw(64);

        /* A handle that is overwritten is settled first. */
        if (slot < handle_count - 1 || handle_count == 64) {
          bool was = handles[slot].ack.epoch != 0 &&
                     ack_queue_settle(&queue, handles[slot].ack);

          for (unsigned i = 0; was && i < reference.count; i++)
            if (reference.ids[i] == handles[slot].id)
              reference.pending[i]--;
        }
        assert_true(ack_queue_share(&queue, &handles[slot].ack));
        handles[slot].id = id;
      }
      ack_queue_seal(&queue);
    } else if (what < 9 && handle_count > 0) {
      unsigned slot = draw(handle_count);
      bool was = ack_queue_settle(&queue, handles[slot].ack);

      if (was) {
        assert_int_equal(handles[slot].ack.epoch, queue.epoch);
        for (unsigned i = 0; i < reference.count; i++)
          if (reference.ids[i] == handles[slot].id)
            reference.pending[i]--;
      }
      assert_false(ack_queue_settle(&queue, handles[slot].ack));
    } else if (draw(8) == 0) {
      ack_queue_begin(&queue);
      reference.count = 0;
      for (unsigned i = 0; i < handle_count; i++)
        assert_false(ack_queue_settle(&queue, handles[i].ack));
    }
    check_order(&queue, &reference);
    assert_int_equal(queue.count, reference.count);
    assert_int_equal(queue.held_bytes, reference.count * 10);
  }
  ack_queue_free(&queue);
}

static void random_histories_agree_with_the_reference(void **state) {
  const char *given = getenv("SEED");
  uint32_t first = given ? (uint32_t)strtoul(given, NULL, 0) : 20240601;

  (void)state;
  print_message("SEED=%u\n", first);
  for (uint32_t i = 0; i < 100000; i++) {
    seed = first + i;
    one_history(4 + draw(20));
  }
}

static void more_shares_than_a_word_has_bits(void **state) {
  static ack_queue queue;
  iotops_ack acks[200];
  uint16_t id;

  (void)state;
  ack_queue_init(&queue, context, 10);
  ack_queue_begin(&queue);
  assert_int_equal(ack_queue_enter(&queue, 5, 1), ACK_ENTERED);
  for (int i = 0; i < 200; i++)
    assert_true(ack_queue_share(&queue, &acks[i]));
  ack_queue_seal(&queue);
  for (int i = 199; i >= 0; i--) {
    assert_false(ack_queue_next(&queue, &id));
    assert_true(ack_queue_settle(&queue, acks[i]));
    assert_false(ack_queue_settle(&queue, acks[i]));
  }
  assert_true(ack_queue_next(&queue, &id));
  assert_int_equal(id, 5);
  ack_queue_free(&queue);
}

static void the_ring_grows_to_receive_max_in_order(void **state) {
  static ack_queue queue;
  static iotops_ack acks[65535];
  uint16_t id;

  (void)state;
  ack_queue_init(&queue, context, 65535);
  ack_queue_begin(&queue);
  for (unsigned i = 0; i < 65535; i++) {
    assert_int_equal(ack_queue_enter(&queue, (uint16_t)(i + 1), 1),
                     ACK_ENTERED);
    assert_true(ack_queue_share(&queue, &acks[i]));
    ack_queue_seal(&queue);
  }
  assert_int_equal(ack_queue_enter(&queue, 0, 1), ACK_FULL);
  for (unsigned i = 65535; i-- > 0;)
    assert_true(ack_queue_settle(&queue, acks[i]));
  for (unsigned i = 0; i < 65535; i++) {
    assert_true(ack_queue_next(&queue, &id));
    assert_int_equal(id, i + 1);
  }
  assert_false(ack_queue_next(&queue, &id));
  ack_queue_free(&queue);
}

static void a_delivery_is_held_while_it_is_dispatched(void **state) {
  static ack_queue queue;
  iotops_ack ack;
  uint16_t id;

  (void)state;
  ack_queue_init(&queue, context, 1);
  ack_queue_begin(&queue);
  ack_queue_enter(&queue, 1, 1);
  ack_queue_share(&queue, &ack);
  assert_true(ack_queue_settle(&queue, ack));
  assert_false(ack_queue_next(&queue, &id));
  ack_queue_seal(&queue);
  assert_true(ack_queue_next(&queue, &id));
  assert_int_equal(ack_queue_age(&queue), 0);
  ack_queue_free(&queue);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_histories_agree_with_the_reference),
      cmocka_unit_test(more_shares_than_a_word_has_bits),
      cmocka_unit_test(the_ring_grows_to_receive_max_in_order),
      cmocka_unit_test(a_delivery_is_held_while_it_is_dispatched),
  };

  return cmocka_run_group_tests(tests, make_context, free_context);
}
