/*
** test_runtime_log_ring.c -- the last records are kept, in order, in the memory
** that was taken once.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "runtime/log_ring.h"

typedef struct fixture {
  iotops_context *context;
  log_ring ring;
  log_listener listener;
  size_t heard;
} fixture;

static int make_ring(void **state) {
  static fixture made;
  made = (fixture){0};
  if (iotops_context_new(NULL, &made.context, NULL) != 0)
    return -1;
  log_ring_begin(&made.ring, made.context);
  *state = &made;
  return 0;
}

static int free_ring(void **state) {
  fixture *f = *state;
  log_ring_end(&f->ring);
  iotops_context_free(f->context);
  return 0;
}

/* A record with a number and `padding` further bytes. */
static void keep(fixture *f, size_t number, size_t padding,
                 const char *script) {
  static char text[8192];
  snprintf(text, sizeof text, "%06zu%.*s", number, 0, "");
  memset(text + 6, 'x', padding);
  iotops_log_field field = {.name = "script", .value = iotops_text_of(script)};
  iotops_log_record record = {.level = IOTOPS_LOG_WARN,
                              .component = "test",
                              .message = {text, 6 + padding},
                              .fields = &field,
                              .field_count = script != NULL};
  log_ring_keep(&f->ring, &record);
}

static size_t number_of(const log_entry *entry) {
  json_t *json = json_loadb(entry->json, entry->size, 0, NULL);
  assert_non_null(json);
  size_t number = 0;
  assert_int_equal(sscanf(json_string_value(json_object_get(json, "message")),
                          "%6zu", &number),
                   1);
  json_decref(json);
  return number;
}

static void a_record_is_kept_with_its_level_and_script(void **state) {
  fixture *f = *state;
  assert_null(log_ring_first(&f->ring));
  keep(f, 1, 0, NULL);
  keep(f, 2, 3, "fans");
  const log_entry *entry = log_ring_first(&f->ring);
  assert_int_equal(number_of(entry), 1);
  assert_int_equal(entry->level, IOTOPS_LOG_WARN);
  assert_string_equal(log_entry_script(entry), "");
  entry = log_ring_after(&f->ring, entry);
  assert_int_equal(number_of(entry), 2);
  assert_string_equal(log_entry_script(entry), "fans");
  assert_null(log_ring_after(&f->ring, entry));
}

static void the_last_records_stay_whatever_their_sizes(void **state) {
  fixture *f = *state;
  uint32_t seed = 1;
  for (size_t i = 0; i < 20000; i++) {
    seed = seed * 1103515245U + 12345U;
    keep(f, i, (seed >> 16) % (i % 100 == 0 ? 8000 : 300), "s");
    if (i % 250 != 0)
      continue;
    /* They follow each other without a gap up to the newest. */
    const log_entry *entry = log_ring_first(&f->ring);
    size_t first = number_of(entry), count = 0, bytes = 0;
    for (; entry != NULL; entry = log_ring_after(&f->ring, entry)) {
      assert_int_equal(number_of(entry), first + count++);
      bytes += entry->room;
    }
    assert_int_equal(first + count - 1, i);
    assert_int_equal(count, f->ring.count);
    /* No more is given up than what a large record needs. */
    if (first > 0)
      assert_in_range(bytes, LOG_RING_BYTES / 2, LOG_RING_BYTES);
  }
}

static void hear(log_listener *listener, const log_entry *entry) {
  fixture *f = listener->user;
  f->heard = number_of(entry);
}

static void a_listener_hears_each_until_it_listens_no_more(void **state) {
  fixture *f = *state;
  f->listener = (log_listener){.heard = hear, .user = f};
  log_ring_listen(&f->ring, &f->listener);
  keep(f, 7, 0, NULL);
  assert_int_equal(f->heard, 7);
  log_ring_ignore(&f->ring, &f->listener);
  keep(f, 8, 0, NULL);
  assert_int_equal(f->heard, 7);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(
          a_record_is_kept_with_its_level_and_script, make_ring, free_ring),
      cmocka_unit_test_setup_teardown(
          the_last_records_stay_whatever_their_sizes, make_ring, free_ring),
      cmocka_unit_test_setup_teardown(
          a_listener_hears_each_until_it_listens_no_more, make_ring, free_ring),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
