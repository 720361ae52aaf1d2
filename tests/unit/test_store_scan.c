/*
** The pager over SCAN (services.md section 3.10) against the stub.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store_world.h"

#define FIRST "*2\r\n$4\r\nSCAN\r\n$4\r\nkey*\r\n"

static struct {
  iotops_store_scan *scan;
  unsigned pages, ends, failures;
  char keys[256]; /* of the last page, each followed by ";" */
  iotops_error err;
  bool frees, frees_store, goes_on;
} the;

static iotops_text of(const char *text) {
  return iotops_text_of(text);
}

static void paged(void *user, const iotops_text *keys, size_t count,
                  bool finished, const iotops_error *err) {
  assert_ptr_equal(user, &the);
  the.keys[0] = '\0';
  if (err != NULL) {
    the.failures++;
    the.err = *err;
    assert_int_equal(count, 0);
    assert_false(finished);
  } else if (finished) {
    the.ends++;
    assert_int_equal(count, 0);
  } else {
    the.pages++;
    for (size_t i = 0, size = 0; i < count; i++)
      size += (size_t)snprintf(the.keys + size, sizeof the.keys - size, "%.*s;",
                               (int)keys[i].size, keys[i].data);
  }
  if (the.frees) {
    iotops_store_scan_free(the.scan);
    the.scan = NULL;
  }
  if (the.frees_store) {
    iotops_state_store_free(stores.store);
    stores.store = NULL;
  }
  if (the.goes_on && !finished && err == NULL)
    assert_int_equal(iotops_store_scan_next(the.scan, NULL, paged, &the, NULL),
                     0);
}

static int open(void **state) {
  memset(&the, 0, sizeof the);
  if (store_world_open(state) != 0)
    return -1;
  return iotops_store_scan_new(stores.store, of("key*"), &the.scan, NULL);
}

static int close(void **state) {
  iotops_store_scan_free(the.scan);
  return store_world_close(state);
}

static void next(void) {
  assert_int_equal(iotops_store_scan_next(the.scan, NULL, paged, &the, NULL),
                   0);
  settle_down();
}

static void assert_told(unsigned pages, unsigned ends, unsigned failures) {
  assert_int_equal(the.pages, pages);
  assert_int_equal(the.ends, ends);
  assert_int_equal(the.failures, failures);
}

static void a_pattern_must_not_be_empty_and_making_asks_nothing(void **state) {
  (void)state;
  iotops_store_scan *none = NULL;
  iotops_error err;
  assert_int_equal(iotops_store_scan_new(stores.store, of(""), &none, &err),
                   -1);
  assert_string_equal(err.property_name, "pattern");
  assert_int_equal(iotops_store_scan_new(stores.store, of(NULL), &none, &err),
                   -1);
  assert_null(none);
  settle_down();
  assert_int_equal(publish_count(), 0);
}

static void pages_follow_each_other_by_the_token(void **state) {
  (void)state;
  next();
  assert_asked(0, FIRST);
  answer(0, "*2\r\n*1\r\n$4\r\nkey1\r\n$4\r\n1;1;\r\n", T1);
  assert_told(1, 0, 0);
  assert_string_equal(the.keys, "key1;");
  next();
  assert_asked(1, "*3\r\n$4\r\nSCAN\r\n$4\r\nkey*\r\n$4\r\n1;1;\r\n");
  answer(1, "*1\r\n*2\r\n$4\r\nkey1\r\n$4\r\nkey2\r\n", T1);
  assert_told(2, 0, 0);
  assert_string_equal(the.keys, "key1;key2;");
  for (unsigned i = 1; i <= 3; i++) { /* finished stays finished */
    next();
    assert_told(2, i, 0);
  }
  assert_int_equal(publish_count(), 2);
}

static void an_empty_page_with_a_token_is_not_the_end(void **state) {
  (void)state;
  next();
  answer(0, "*2\r\n*0\r\n$4\r\n1;1;\r\n", T1);
  assert_told(1, 0, 0);
  assert_string_equal(the.keys, "");
  next();
  answer(1, "*1\r\n*0\r\n", T1);
  assert_told(2, 0, 0);
  next();
  assert_told(2, 1, 0);
}

static void a_token_may_be_any_bytes_or_none(void **state) {
  (void)state;
  static const char page[] = "*2\r\n*0\r\n$4\r\n\0\r\n;\r\n";
  next();
  answer_text(0, (iotops_text){page, sizeof page - 1}, T1);
  next();
  static const char question[] =
      "*3\r\n$4\r\nSCAN\r\n$4\r\nkey*\r\n$4\r\n\0\r\n;\r\n";
  assert_int_equal(asked(1).size, sizeof question - 1);
  assert_memory_equal(asked(1).data, question, sizeof question - 1);
  answer(1, "*2\r\n*0\r\n$0\r\n\r\n", T1);
  next();
  assert_asked(2, "*3\r\n$4\r\nSCAN\r\n$4\r\nkey*\r\n$0\r\n\r\n");
}

static void
malformed_pages_are_unexpected_and_can_be_asked_for_again(void **state) {
  (void)state;
  static const char *const pages[] = {
      "*0\r\n",
      "*-1\r\n",
      "*3\r\n*0\r\n$1\r\na\r\n$1\r\nb\r\n",
      "*1\r\n*1\r\n$-1\r\n",
      "*2\r\n*0\r\n$-1\r\n",
      "*2\r\n*0\r\n",
      "*2\r\n*0\r\n:1\r\n",
      "*1\r\n*0\r\n ",
      "*1\r\n*1\r\n+a\r\n",
      "*1\r\n*2\r\n$1\r\na\r\n",
      "*1\r\n$1\r\na\r\n",
      "*1\r\n*99999999\r\n",
      "$1\r\na\r\n",
      "+OK\r\n",
      "",
      "*1\r\n*1\r\n*0\r\n",
  };
  enum { PAGES = sizeof pages / sizeof *pages };
  next();
  answer(0, "*2\r\n*0\r\n$1\r\nt\r\n", T1);
  for (size_t i = 0; i < PAGES; i++) {
    next();
    answer(i + 1, pages[i], T1);
    assert_told(1, 0, (unsigned)i + 1);
    assert_int_equal(the.err.kind, IOTOPS_UNEXPECTED_PAYLOAD);
    assert_string_equal(the.err.property_value, pages[i]);
  }
  next(); /* the token is still the first page's */
  assert_asked(PAGES + 1, "*3\r\n$4\r\nSCAN\r\n$4\r\nkey*\r\n$1\r\nt\r\n");
}

static void a_refusal_has_its_kind(void **state) {
  (void)state;
  next();
  answer(0, "-ERR the token is stale\r\n", T1);
  assert_told(0, 0, 1);
  assert_int_equal(the.err.kind, IOTOPS_SERVICE_ERROR);
  assert_string_equal(the.err.service_error, "unknown");
  assert_non_null(strstr(the.err.message, "the token is stale"));
  next();
  answer(1, "-ERR not authorized\r\n", T1);
  assert_string_equal(the.err.service_error, "not_authorized");
}

static void after_a_timeout_the_same_page_can_be_asked_for(void **state) {
  (void)state;
  next();
  virtual_time_pass(world.time, 10000);
  assert_told(0, 0, 1);
  assert_int_equal(the.err.kind, IOTOPS_TIMEOUT);
  next();
  assert_asked(1, FIRST);
  answer(1, "*1\r\n*0\r\n", T1);
  assert_told(1, 0, 1);
}

static void pages_are_asked_for_one_at_a_time(void **state) {
  (void)state;
  iotops_error err;
  next();
  assert_int_equal(iotops_store_scan_next(the.scan, NULL, paged, &the, &err),
                   -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
  answer(0, "*1\r\n*0\r\n", T1);
  assert_int_equal(iotops_store_scan_next(the.scan, NULL, paged, &the, &err),
                   0);
  assert_told(1, 0, 0); /* never inside the call */
  assert_int_equal(iotops_store_scan_next(the.scan, NULL, paged, &the, &err),
                   -1);
  settle_down();
  assert_told(1, 1, 0);
}

static void
a_bad_timeout_is_refused_and_leaves_the_scan_as_it_was(void **state) {
  (void)state;
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  iotops_error err;
  options.timeout_us = 0;
  assert_int_equal(
      iotops_store_scan_next(the.scan, &options, paged, &the, &err), -1);
  assert_string_equal(err.property_name, "command_timeout");
  next();
  assert_asked(0, FIRST);
}

static void the_one_told_may_ask_for_the_next_page(void **state) {
  (void)state;
  the.goes_on = true;
  next();
  answer(0, "*2\r\n*1\r\n$4\r\nkey1\r\n$1\r\nt\r\n", T1);
  settle_down();
  answer(1, "*1\r\n*0\r\n", T1);
  settle_down();
  assert_told(2, 1, 0);
}

static void the_one_told_may_free_the_scan_and_the_store(void **state) {
  (void)state;
  the.frees = the.frees_store = true;
  next();
  answer(0, "*2\r\n*1\r\n$4\r\nkey1\r\n$1\r\nt\r\n", T1);
  assert_told(1, 0, 0);
  assert_string_equal(the.keys, "key1;");
}

static void a_scan_freed_while_a_page_is_out_is_cancelled(void **state) {
  (void)state;
  next();
  iotops_store_scan_free(the.scan);
  the.scan = NULL;
  answer(0, "*1\r\n*1\r\n$4\r\nkey1\r\n", T1);
  assert_told(0, 0, 1);
  assert_int_equal(the.err.kind, IOTOPS_CANCELLATION);
}

static void freeing_scan_and_store_cancels_the_page(void **state) {
  (void)state;
  next();
  iotops_store_scan_free(the.scan);
  the.scan = NULL;
  iotops_state_store_free(stores.store);
  stores.store = NULL;
  assert_told(0, 0, 0);
  settle_down();
  assert_told(0, 0, 1);
  assert_int_equal(the.err.kind, IOTOPS_CANCELLATION);
}

static void any_allocation_may_fail(void **state) {
  bool failed = true;
  for (long k = 0; failed && k < 200; k++) {
    close(state);
    memset(&the, 0, sizeof the);
    assert_int_equal(store_world_open(state), 0);
    world.time->fail_from = k;
    unsigned accepted = 0;
    if (iotops_store_scan_new(stores.store, of("key*"), &the.scan, NULL) == 0)
      for (size_t n = 0; n < 2; n++) {
        bool taken =
            iotops_store_scan_next(the.scan, NULL, paged, &the, NULL) == 0;
        accepted += taken;
        settle_down();
        if (publish_count() > n)
          answer(n, "*2\r\n*1\r\n$4\r\nkey1\r\n$1\r\nt\r\n", T1);
      }
    failed = world.time->fail_from == 0;
    world.time->fail_from = -1;
    virtual_time_pass(world.time, 20000);
    assert_int_equal(the.pages + the.failures, accepted);
    if (the.failures > 0)
      assert_int_not_equal(the.err.kind, IOTOPS_UNEXPECTED_PAYLOAD);
  }
  assert_false(failed);
  assert_int_equal(the.pages, 2);
}

#define test(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void) {
  const struct CMUnitTest tests[] = {
      test(a_pattern_must_not_be_empty_and_making_asks_nothing),
      test(pages_follow_each_other_by_the_token),
      test(an_empty_page_with_a_token_is_not_the_end),
      test(a_token_may_be_any_bytes_or_none),
      test(malformed_pages_are_unexpected_and_can_be_asked_for_again),
      test(a_refusal_has_its_kind),
      test(after_a_timeout_the_same_page_can_be_asked_for),
      test(pages_are_asked_for_one_at_a_time),
      test(a_bad_timeout_is_refused_and_leaves_the_scan_as_it_was),
      test(the_one_told_may_ask_for_the_next_page),
      test(the_one_told_may_free_the_scan_and_the_store),
      test(a_scan_freed_while_a_page_is_out_is_cancelled),
      test(freeing_scan_and_store_cancels_the_page),
      test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests_name("store_scan", tests, NULL, NULL);
}
