/* test_session_away.c -- an hour without a broker, in virtual time. */
#include "session_owner.h"

enum { HOUR_MS = 3600 * 1000 };

/* An allocator that knows what is held. */
typedef struct ledger {
  size_t blocks, bytes;
} ledger;

static void *count_resize(void *user, void *block, size_t size) {
  ledger *ledger = user;
  size_t *head = block ? (size_t *)block - 2 : NULL;
  size_t before = head ? head[0] : 0, *resized;

  if (size == 0) {
    if (head)
      ledger->blocks--;
    ledger->bytes -= before;
    free(head);
    return NULL;
  }
  ledger->blocks += head == NULL;
  resized = realloc(head, size + 2 * sizeof *head);
  assert_non_null(resized);
  resized[0] = size;
  ledger->bytes += size - before;
  return resized + 2;
}

/* An hour, minute by minute; the broker does `each` whenever time has moved. */
typedef struct hour {
  ledger ledger;
  iotops_allocator allocator;
  owner *owner;
  unsigned wake_ups, opens;
  size_t early_blocks, early_bytes; /* after ten minutes */
} hour;

static hour *hour_begin(void) {
  hour *hour = calloc(1, sizeof *hour);

  hour->allocator = (iotops_allocator){count_resize, &hour->ledger};
  hour->owner = begin_on(broker_new_with(&hour->allocator), NULL);
  iotops_session_run(hour->owner->session, NULL);
  broker_connack(hour->owner->broker, false);
  assert_int_equal(hour->owner->connected, 1);
  return hour;
}

static void hour_pass(hour *hour, void (*each)(memory_broker *broker)) {
  memory_broker *broker = hour->owner->broker;
  uint64_t start = broker->now_ms;

  hour->opens = broker->opens;
  while (broker->now_ms < start + HOUR_MS) {
    uint64_t due;

    iotops_context_drain(broker->context);
    each(broker);
    broker->packet_count = broker->taken = 0;
    iotops_context_drain(broker->context);
    due = iotops_context_next_due(broker->context);
    assert_true(due != UINT64_MAX); /* it never gives up */
    if (due > broker->now_ms)
      broker->now_ms = due;
    iotops_context_ring(broker->context);
    hour->wake_ups++;
    assert_true(hour->wake_ups < HOUR_MS / 1000);
    if (broker->now_ms < start + HOUR_MS / 6) {
      hour->early_blocks = hour->ledger.blocks;
      hour->early_bytes = hour->ledger.bytes;
    }
  }
  hour->opens = broker->opens - hour->opens;
  assert_int_equal(hour->ledger.blocks, hour->early_blocks);
  assert_int_equal(hour->ledger.bytes, hour->early_bytes);
}

static void hour_end(hour *hour) {
  finish(hour->owner);
  assert_int_equal(hour->ledger.blocks, 0);
  assert_int_equal(hour->ledger.bytes, 0);
  free(hour);
}

/* What comes up ends at once. */
static void hang_up(memory_broker *broker) {
  if (broker->stream)
    broker_end(broker);
}

static void stay_silent(memory_broker *broker) {
  broker->refuse_open = true;
}

static void answer_pings(memory_broker *broker) {
  static const uint8_t pingresp[] = {0xd0, 0};

  for (; broker->taken < broker->packet_count; broker->taken++)
    if (broker->packets[broker->taken].type == 12)
      broker_send(broker, pingresp, sizeof pingresp);
}

static void an_hour_of_refusals_costs_no_memory_and_few_attempts(void **state) {
  hour *hour = hour_begin();

  (void)state;
  for (int i = 0; i < 20; i++)
    publish(hour->owner, 1, "a", "x");
  drain(hour->owner);
  hour_pass(hour, hang_up);
  assert_true(hour->opens >= 60 && hour->opens <= 80);
  assert_true(hour->wake_ups <= 4 * hour->opens);
  assert_int_equal(hour->owner->failed, 0);
  assert_int_equal(hour->owner->ended, 0);
  /* And then it is there again: all that was in flight is sent. */
  hang_up(hour->owner->broker);
  drain(hour->owner);
  hour->owner->broker->packet_count = hour->owner->broker->taken = 0;
  broker_pass(hour->owner->broker, 61000);
  broker_connack(hour->owner->broker, true);
  for (int i = 0; i < 20; i++)
    assert_int_equal(broker_expect(hour->owner->broker, 3)->flags, 10);
  hour_end(hour);
}

static void an_hour_of_silence_costs_no_memory_and_few_attempts(void **state) {
  hour *hour = hour_begin();

  (void)state;
  broker_end(hour->owner->broker);
  hour_pass(hour, stay_silent);
  assert_true(hour->opens >= 40 && hour->opens <= 60);
  assert_true(hour->wake_ups <= 4 * hour->opens);
  assert_int_equal(hour->owner->ended, 0);
  hour_end(hour);
}

static void an_idle_hour_costs_a_ping_a_minute(void **state) {
  hour *hour = hour_begin();

  (void)state;
  hour_pass(hour, answer_pings);
  assert_int_equal(hour->opens, 0);
  assert_true(hour->wake_ups <= 200);
  assert_int_equal(hour->owner->disconnected, 0);
  hour_end(hour);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_hour_of_refusals_costs_no_memory_and_few_attempts),
      cmocka_unit_test(an_hour_of_silence_costs_no_memory_and_few_attempts),
      cmocka_unit_test(an_idle_hour_costs_a_ping_a_minute),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
