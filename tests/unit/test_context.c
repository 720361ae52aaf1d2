/*
** Posts, memory, randomness and the log of a context.
*/
#include "hand_clock.h"

/* ------------------------------------------------------------- posts -- */

enum { POSTS = 2000, POSTERS = 4 };

typedef struct poster {
  uv_thread_t thread;
  iotops_context *context;
  int posted, *total;
  int seen;
} poster;

static void count_post(void *user) {
  poster *p = user;
  p->seen++;
  if (++*p->total == POSTS * POSTERS)
    iotops_context_stop(p->context);
}

static void post_many(void *user) {
  poster *p = user;
  for (p->posted = 0; p->posted < POSTS; p->posted++)
    if (iotops_context_post(p->context, count_post, p, NULL) != 0)
      return;
}

static void posts_of_several_threads_all_arrive(void **state) {
  (void)state;
  iotops_context *context = system_context();
  restarting far = {.context = context}; /* keeps the loop up */
  poster posters[POSTERS];
  int total = 0;
  far.timer.fire = start_again;
  far.timer.user = &far;
  iotops_timer_start(context, &far.timer, 60000);
  memset(posters, 0, sizeof posters);
  for (int i = 0; i < POSTERS; i++) {
    posters[i].context = context;
    posters[i].total = &total;
    uv_thread_create(&posters[i].thread, post_many, &posters[i]);
  }
  while (total < POSTS * POSTERS)
    iotops_context_run(context);
  for (int i = 0; i < POSTERS; i++) {
    uv_thread_join(&posters[i].thread);
    assert_int_equal(posters[i].seen, POSTS);
  }
  iotops_timer_stop(context, &far.timer);
  iotops_context_free(context);
}

static void note_post(void *user) {
  ++*(int *)user;
}

static void
a_post_to_an_idle_context_runs_and_a_late_one_is_dropped(void **state) {
  (void)state;
  iotops_context *context = system_context();
  int seen = 0;
  assert_int_equal(iotops_context_post(context, note_post, &seen, NULL), 0);
  assert_int_equal(seen, 0);
  iotops_context_run(context);
  assert_int_equal(seen, 1);
  assert_int_equal(iotops_context_post(context, note_post, &seen, NULL), 0);
  iotops_context_free(context);
  assert_int_equal(seen, 1);
}

/* -------------------------------------------------- memory and loops -- */

typedef struct counting {
  int left; /* allocations until failure; < 0: none fails */
  int blocks;
} counting;

static void *counting_resize(void *user, void *block, size_t size) {
  counting *c = user;
  if (size == 0) {
    if (block != NULL)
      c->blocks--;
    free(block);
    return NULL;
  }
  if (c->left == 0)
    return NULL;
  if (c->left > 0)
    c->left--;
  void *resized = realloc(block, size);
  if (block == NULL && resized != NULL)
    c->blocks++;
  return resized;
}

static void a_failed_allocation_is_an_error_and_leaks_nothing(void **state) {
  (void)state;
  counting c = {0, 0};
  iotops_allocator allocator = {counting_resize, &c};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  options.allocator = &allocator;
  iotops_context *context;
  iotops_error err;
  assert_int_equal(iotops_context_new(&options, &context, &err), -1);
  assert_null(context);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
  assert_string_equal(err.message, "out of memory");
  c.left = 1;
  assert_int_equal(iotops_context_new(&options, &context, &err), 0);
  assert_null(iotops_zalloc(context, 10));
  c.left = 2;
  char *block = iotops_zalloc(context, 10);
  assert_non_null(block);
  assert_int_equal(block[9], 0);
  block = iotops_resize(context, block, 1000);
  assert_non_null(block);
  assert_null(iotops_resize(context, block, 2000));
  iotops_free(context, block);
  iotops_free(context, NULL);
  c.left = 1;
  block = iotops_zalloc(context, 0);
  assert_non_null(block);
  iotops_free(context, block);
  iotops_context_free(context);
  assert_int_equal(c.blocks, 0);
}

static void a_borrowed_loop_outlives_its_context(void **state) {
  (void)state;
  counting c = {-1, 0};
  iotops_allocator allocator = {counting_resize, &c};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  uv_loop_t loop;
  uv_loop_init(&loop);
  options.allocator = &allocator;
  options.loop = &loop;
  iotops_context *first, *second;
  assert_int_equal(iotops_context_new(&options, &first, NULL), 0);
  assert_int_equal(iotops_context_new(&options, &second, NULL), 0);
  assert_ptr_equal(iotops_context_loop(first), &loop);
  iotops_context_free(first);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(c.blocks, 1);
  restarting r = {.context = second};
  r.timer.fire = start_again;
  r.timer.user = &r;
  iotops_timer_start(second, &r.timer, 0);
  uv_run(&loop, UV_RUN_ONCE);
  uv_run(&loop, UV_RUN_ONCE);
  assert_true(r.count > 0);
  iotops_timer_stop(second, &r.timer);
  iotops_context_free(second);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(c.blocks, 0);
  assert_int_equal(uv_loop_close(&loop), 0);
}

/* ------------------------------------------------ randomness and log -- */

static void constant_random(void *user, void *bytes, size_t size) {
  memset(bytes, *(int *)user, size);
}

static void a_uuid_carries_version_4_whatever_the_randomness(void **state) {
  (void)state;
  int byte = 0xFF;
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  options.random = constant_random;
  options.random_user = &byte;
  iotops_context *context;
  uint8_t bytes[16];
  char text[37];
  assert_int_equal(iotops_context_new(&options, &context, NULL), 0);
  iotops_uuid(context, bytes);
  iotops_uuid_text(bytes, text);
  assert_string_equal(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
  byte = 0;
  iotops_uuid(context, bytes);
  iotops_uuid_text(bytes, text);
  assert_string_equal(text, "00000000-0000-4000-8000-000000000000");
  iotops_context_free(context);
}

static int compare_uuids(const void *a, const void *b) {
  return memcmp(a, b, 16);
}

static void no_two_uuids_are_the_same(void **state) {
  (void)state;
  enum { UUIDS = 1000 };
  iotops_context *context = system_context();
  static uint8_t uuids[UUIDS][16];
  uint8_t large[1000] = {0}, zero[1000] = {0};
  for (int i = 0; i < UUIDS; i++) {
    iotops_uuid(context, uuids[i]);
    if (i % 7 == 0)
      iotops_random(context, large, (size_t)i);
  }
  assert_memory_not_equal(large, zero, sizeof large);
  qsort(uuids, UUIDS, 16, compare_uuids);
  for (int i = 1; i < UUIDS; i++)
    assert_memory_not_equal(uuids[i - 1], uuids[i], 16);
  iotops_context_free(context);
}

typedef struct log_seen {
  int count;
  size_t fields;
  iotops_log_level level;
  char message[4096];
} log_seen;

static void see_record(void *user, const iotops_log_record *record) {
  log_seen *seen = user;
  seen->count++;
  seen->level = record->level;
  seen->fields = record->field_count;
  memcpy(seen->message, record->message.data, record->message.size);
  seen->message[record->message.size] = '\0';
}

static void the_log_keeps_its_level_and_its_bounds(void **state) {
  (void)state;
  log_seen seen = {0};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  options.log = see_record;
  options.log_user = &seen;
  iotops_context *context;
  assert_int_equal(iotops_context_new(&options, &context, NULL), 0);
  iotops_log(context, IOTOPS_LOG_DEBUG, "test", "not seen");
  assert_int_equal(seen.count, 0);
  iotops_log(context, IOTOPS_LOG_WARN, "test", "seen %d", 5);
  assert_int_equal(seen.count, 1);
  assert_int_equal(seen.level, IOTOPS_LOG_WARN);
  assert_string_equal(seen.message, "seen 5");
  char big[5000];
  memset(big, 'x', sizeof big);
  big[sizeof big - 1] = '\0';
  iotops_log(context, IOTOPS_LOG_INFO, "test", "%s", big);
  assert_int_equal(strlen(seen.message), 2047);
  assert_string_equal(seen.message + 2044, "...");
  iotops_log_field field = {"topic", iotops_text_of("a/b"), false};
  iotops_log_record record = {IOTOPS_LOG_ERROR, "test",
                              iotops_text_of("with fields"), &field, 1};
  iotops_log_fields(context, &record);
  assert_int_equal(seen.fields, 1);
  iotops_log_set_level(context, IOTOPS_LOG_OFF);
  iotops_log_fields(context, &record);
  iotops_log(context, IOTOPS_LOG_OFF, "test", "off is no level to log at");
  assert_int_equal(seen.count, 3);
  iotops_context_free(context);
}

static void log_levels_have_names_both_ways(void **state) {
  (void)state;
  for (int level = IOTOPS_LOG_TRACE; level <= IOTOPS_LOG_OFF; level++)
    assert_int_equal(iotops_log_level_from(iotops_text_of(
                         iotops_log_level_name((iotops_log_level)level))),
                     level);
  assert_int_equal(iotops_log_level_from(iotops_text_of("loud")), -1);
  assert_int_equal(iotops_log_level_from(iotops_text_of(NULL)), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(posts_of_several_threads_all_arrive),
      cmocka_unit_test(
          a_post_to_an_idle_context_runs_and_a_late_one_is_dropped),
      cmocka_unit_test(a_failed_allocation_is_an_error_and_leaks_nothing),
      cmocka_unit_test(a_borrowed_loop_outlives_its_context),
      cmocka_unit_test(a_uuid_carries_version_4_whatever_the_randomness),
      cmocka_unit_test(no_two_uuids_are_the_same),
      cmocka_unit_test(the_log_keeps_its_level_and_its_bounds),
      cmocka_unit_test(log_levels_have_names_both_ways),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
