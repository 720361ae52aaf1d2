/*
** lock_scene.h -- a lock against the stubbed store: requests and answers as
** they are on the wire, and what the holder was told.
*/
#ifndef UNIT_LOCK_SCENE_H
#define UNIT_LOCK_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/lock.h"
#include "store_world.h"

#define ACQUIRE(lease)                                                         \
  "*6\r\n$3\r\nSET\r\n$5\r\nlock1\r\n$2\r\nme\r\n$3\r\nNEX\r\n$"               \
  "2\r\nPX\r\n" lease "\r\n"
#define ACQUIRE_10S   ACQUIRE("$5\r\n10000")
#define RELEASE       "*3\r\n$4\r\nVDEL\r\n$5\r\nlock1\r\n$2\r\nme\r\n"
#define REGISTER      "*2\r\n$9\r\nKEYNOTIFY\r\n$5\r\nlock1\r\n"
#define STOP          "*3\r\n$9\r\nKEYNOTIFY\r\n$5\r\nlock1\r\n$4\r\nSTOP\r\n"
#define NOTIFY_DELETE "*2\r\n$6\r\nNOTIFY\r\n$6\r\nDELETE\r\n"
#define NOTIFY_SET                                                             \
  "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n$3\r\nyou\r\n"
#define LOCK1 "6C6F636B31"
#define HELD  ":-1\r\n"
#define OK    "+OK\r\n"

static struct {
  iotops_lock *lock;
  unsigned grants, failures; /* of attempts */
  iotops_error err;          /* of the last failure */
  char token[IOTOPS_HLC_TEXT_SIZE];
  unsigned lost;
  iotops_error lost_err;
  bool done_frees, lost_frees; /* the lock */
  char holder[64];
  unsigned holders;
  char heard[128];
  unsigned ends;
} the;

static inline iotops_text of(const char *text) {
  return iotops_text_of(text);
}

static inline void free_lock(void) {
  iotops_lock_free(the.lock);
  the.lock = NULL;
}

static inline void lost(void *user, const iotops_error *err) {
  assert_ptr_equal(user, &the);
  assert_null(iotops_lock_token(the.lock));
  the.lost++;
  the.lost_err = *err;
  if (the.lost_frees)
    free_lock();
}

static inline void acquired(void *user, const iotops_hlc *token,
                            const iotops_error *err) {
  assert_ptr_equal(user, &the);
  assert_true((token != NULL) != (err != NULL));
  if (token != NULL) {
    the.grants++;
    iotops_hlc_format(token, the.token);
  } else {
    the.failures++;
    the.err = *err;
  }
  if (the.done_frees)
    free_lock();
}

static inline int make(void) {
  iotops_lock_options options = IOTOPS_LOCK_OPTIONS_INIT;
  options.name = of("lock1");
  options.lost = lost;
  options.user = &the;
  return iotops_lock_new(stores.store, &options, &the.lock, NULL);
}

static inline int open(void **state) {
  memset(&the, 0, sizeof the);
  return store_world_open(state) == 0 ? make() : -1;
}

static inline int close(void **state) {
  free_lock();
  return store_world_close(state);
}

static inline iotops_acquire_options options_of(int64_t lease_ms,
                                                int64_t renew_ms) {
  iotops_acquire_options options = IOTOPS_ACQUIRE_OPTIONS_INIT;
  options.lease_ms = lease_ms;
  options.renew_ms = renew_ms;
  return options;
}

static inline void try(const iotops_acquire_options *options) {
  assert_int_equal(iotops_lock_try(the.lock, options, acquired, &the, NULL), 0);
  settle_down();
}

static inline void acquire(const iotops_acquire_options *options) {
  assert_int_equal(iotops_lock_acquire(the.lock, options, acquired, &the, NULL),
                   0);
  settle_down();
}

static inline void pass(uint64_t ms) {
  virtual_time_pass(world.time, ms);
}

static inline void assert_attempts(unsigned grants, unsigned failures) {
  assert_int_equal(the.grants, grants);
  assert_int_equal(the.failures, failures);
}

static inline void assert_token(const char *expected) {
  const iotops_hlc *token = iotops_lock_token(the.lock);
  if (expected == NULL) {
    assert_null(token);
    return;
  }
  char text[IOTOPS_HLC_TEXT_SIZE];
  assert_non_null(token);
  iotops_hlc_format(token, text);
  assert_string_equal(text, expected);
}

/* Leaves the lock held and renewed, with one request sent. */
static inline void hold(int64_t lease_ms, int64_t renew_ms) {
  iotops_acquire_options options = options_of(lease_ms, renew_ms);
  try(&options);
  answer(0, OK, T1);
  assert_attempts(1, 0);
}

/* Leaves an attempt waiting for the lock, with two requests sent. */
static inline void wait_for(const iotops_acquire_options *options) {
  acquire(options);
  assert_asked(0, REGISTER);
  answer(0, OK, T1);
  answer(1, HELD, T1);
  assert_attempts(0, 0);
  assert_int_equal(publish_count(), 2);
}

#endif
