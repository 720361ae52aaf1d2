#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "protocol/response_cache.h"
#include "virtual_time.h"

typedef struct world {
  virtual_time *time;
  response_cache cache;
} world;

static world the;

static int open_world(void **state) {
  (void)state;
  memset(&the, 0, sizeof the);
  the.time = virtual_time_new();
  if (!the.time)
    return -1;
  response_cache_init(&the.cache, the.time->context);
  return 0;
}

static int close_world(void **state) {
  (void)state;
  response_cache_clear(&the.cache);
  return virtual_time_free(the.time) == 0 ? 0 : -1;
}

static const uint8_t *id(unsigned number) {
  static uint8_t bytes[CORRELATION_BYTES];
  memset(bytes, 0, sizeof bytes);
  memcpy(bytes, &number, sizeof number);
  return bytes;
}

static cache_entry *find(const char *topic, unsigned number) {
  return response_cache_find(&the.cache, iotops_text_of(topic), id(number));
}

static cache_entry *insert(const char *topic, unsigned number,
                           uint64_t lifetime_ms) {
  return response_cache_insert(&the.cache, iotops_text_of(topic), id(number),
                               the.time->now_ms + lifetime_ms);
}

static void unpin(cache_entry *entry) {
  cache_entry_unpin(the.time->context, entry);
}

static iotops_message *answer(const char *payload) {
  iotops_message message = IOTOPS_MESSAGE_INIT;
  message.topic = iotops_text_of("r");
  message.payload = iotops_text_of(payload);
  return iotops_message_copy(the.time->context, &message);
}

/* A request that came, was answered and let go. */
static void answered(const char *topic, unsigned number, uint64_t lifetime_ms) {
  cache_entry *entry = insert(topic, number, lifetime_ms);
  assert_non_null(entry);
  assert_null(response_cache_finish(entry, answer("x")));
  unpin(entry);
}

static void an_unknown_request_is_not_found(void **state) {
  (void)state;
  assert_null(find("r", 1));
  answered("r", 1, 1000);
  assert_null(find("r", 2));
  assert_null(find("q", 1));
  assert_null(find("rr", 1));
}

static void a_request_is_in_progress_until_it_is_finished(void **state) {
  (void)state;
  cache_entry *entry = insert("r", 1, 1000);
  assert_ptr_equal(find("r", 1), entry);
  assert_false(entry->done);
  assert_null(response_cache_finish(entry, answer("x")));
  assert_true(find("r", 1)->done);
  assert_memory_equal(find("r", 1)->message->payload.data, "x", 1);
  unpin(entry);
}

static void one_correlation_with_two_topics_is_two_requests(void **state) {
  (void)state;
  cache_entry *one = insert("r/1", 1, 1000), *two = insert("r/2", 1, 1000);
  assert_ptr_equal(find("r/1", 1), one);
  assert_ptr_equal(find("r/2", 1), two);
  unpin(one);
  unpin(two);
}

static void held_acknowledgements_are_given_over_once_in_order(void **state) {
  (void)state;
  cache_entry *entry = insert("r", 1, 1000);
  for (uint32_t seq = 1; seq <= 3; seq++)
    assert_int_equal(
        response_cache_hold(&the.cache, entry, (iotops_ack){7, seq, 0}), 0);
  held_ack *held = response_cache_finish(entry, NULL);
  for (uint32_t seq = 1; seq <= 3; seq++) {
    assert_non_null(held);
    assert_int_equal(held->ack.seq, seq);
    held_ack *next = held->next;
    iotops_free(the.time->context, held);
    held = next;
  }
  assert_null(held);
  assert_null(entry->held);
  unpin(entry);
}

static void acknowledgements_of_an_old_connection_are_dropped(void **state) {
  (void)state;
  cache_entry *entry = insert("r", 1, 1000);
  for (uint32_t epoch = 1; epoch <= 50; epoch++)
    assert_int_equal(
        response_cache_hold(&the.cache, entry, (iotops_ack){epoch, 1, 0}), 0);
  assert_int_equal(entry->held->ack.epoch, 50);
  assert_null(entry->held->next);
  unpin(entry);
}

static void a_response_goes_at_the_deadline_and_its_key_later(void **state) {
  (void)state;
  answered("r", 1, 1000);
  virtual_time_pass(the.time, 999);
  assert_non_null(find("r", 1)->message);
  virtual_time_pass(the.time, 1);
  assert_non_null(find("r", 1));
  assert_null(find("r", 1)->message);
  virtual_time_pass(the.time, CACHE_RETENTION_MS - 1);
  assert_non_null(find("r", 1));
  virtual_time_pass(the.time, 10);
  assert_null(find("r", 1));
  assert_int_equal(the.cache.count, 0);
  assert_true(iotops_context_next_due(the.time->context) == UINT64_MAX);
}

static void a_later_insert_with_an_earlier_deadline_goes_first(void **state) {
  (void)state;
  answered("r", 1, 50000);
  answered("r", 2, 1000);
  answered("r", 3, 20000);
  virtual_time_pass(the.time, 1000);
  assert_null(find("r", 2)->message);
  assert_non_null(find("r", 3)->message);
  virtual_time_pass(the.time, 19000);
  assert_null(find("r", 3)->message);
  assert_non_null(find("r", 1)->message);
  virtual_time_pass(the.time, 41010);
  assert_null(find("r", 2));
  assert_non_null(find("r", 3));
}

static void a_pinned_entry_outlives_its_time_and_the_cache(void **state) {
  (void)state;
  cache_entry *entry = insert("r", 1, 1000);
  response_cache_finish(entry, answer("x"));
  virtual_time_pass(the.time, 1000 + CACHE_RETENTION_MS + 10);
  assert_null(find("r", 1));
  assert_true(entry->retired);
  assert_memory_equal(entry->message->payload.data, "x", 1);
  unpin(entry);

  entry = insert("r", 2, 1000);
  response_cache_hold(&the.cache, entry, (iotops_ack){1, 1, 0});
  response_cache_clear(&the.cache);
  assert_true(entry->retired);
  unpin(entry);
}

static void live_entries_are_never_evicted(void **state) {
  (void)state;
  enum { MANY = 70000 };
  for (unsigned i = 0; i < MANY; i++)
    answered("r", i, 600000);
  assert_int_equal(the.cache.count, MANY);
  for (unsigned i = 0; i < MANY; i += 997)
    assert_non_null(find("r", i)->message);
}

static void expired_keys_are_bounded_and_the_oldest_go_first(void **state) {
  (void)state;
  enum { MANY = CACHE_EXPIRED_MAX + 5000 };
  for (unsigned i = 0; i < MANY; i++)
    answered("r", i, 1000 + i / 1000);
  virtual_time_pass(the.time, 10000);
  assert_true(the.cache.expired <= CACHE_EXPIRED_MAX + 1);
  assert_null(find("r", 0));
  assert_non_null(find("r", MANY - 1));
}

static void inserting_alone_keeps_expired_entries_from_piling_up(void **state) {
  (void)state;
  for (unsigned i = 0; i < 10000; i++) {
    answered("r", i, 1);
    the.time->now_ms += 100; /* no timer fires */
  }
  assert_true(the.cache.count < 700);
}

static void an_entry_in_progress_is_not_forgotten(void **state) {
  (void)state;
  cache_entry *entry = insert("r", 1, 1);
  virtual_time_pass(the.time, 2u * CACHE_RETENTION_MS);
  assert_ptr_equal(find("r", 1), entry);
  response_cache_finish(entry, NULL);
  unpin(entry);
  virtual_time_pass(the.time, 100);
  assert_null(find("r", 1));
}

static void no_failed_allocation_does_harm(void **state) {
  (void)state;
  for (long fail_from = 0; fail_from < 8; fail_from++) {
    the.time->fail_from = fail_from;
    cache_entry *entry = insert("r", (unsigned)fail_from, 1000);
    if (entry) {
      if (response_cache_hold(&the.cache, entry, (iotops_ack){1, 1, 0}))
        assert_null(entry->held);
      iotops_free(the.time->context, response_cache_finish(entry, NULL));
      unpin(entry);
    }
    the.time->fail_from = -1;
    response_cache_clear(&the.cache);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(name)                                                             \
  cmocka_unit_test_setup_teardown(name, open_world, close_world)
      TEST(an_unknown_request_is_not_found),
      TEST(a_request_is_in_progress_until_it_is_finished),
      TEST(one_correlation_with_two_topics_is_two_requests),
      TEST(held_acknowledgements_are_given_over_once_in_order),
      TEST(acknowledgements_of_an_old_connection_are_dropped),
      TEST(a_response_goes_at_the_deadline_and_its_key_later),
      TEST(a_later_insert_with_an_earlier_deadline_goes_first),
      TEST(a_pinned_entry_outlives_its_time_and_the_cache),
      TEST(live_entries_are_never_evicted),
      TEST(expired_keys_are_bounded_and_the_oldest_go_first),
      TEST(inserting_alone_keeps_expired_entries_from_piling_up),
      TEST(an_entry_in_progress_is_not_forgotten),
      TEST(no_failed_allocation_does_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
