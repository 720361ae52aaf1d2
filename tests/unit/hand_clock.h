/*
** hand_clock.h -- a context whose clock is moved by hand.
*/
#ifndef UNIT_HAND_CLOCK_H
#define UNIT_HAND_CLOCK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#include "iotops/context.h"

/* ------------------------------------------------- a clock by hand -- */

typedef struct hand_clock {
  uint64_t now;
  uint64_t alarm_ms;
} hand_clock;

static inline int64_t hand_wall(void *user) {
  return 1700000000000 + (int64_t)((hand_clock *)user)->now;
}

static inline uint64_t hand_mono(void *user) {
  return ((hand_clock *)user)->now;
}

static inline void hand_alarm(void *user, iotops_context *context,
                              uint64_t due_ms) {
  (void)context;
  ((hand_clock *)user)->alarm_ms = due_ms;
}

static inline iotops_context *context_on(hand_clock *hand) {
  iotops_clock clock = {hand_wall, hand_mono, hand_alarm, hand};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  options.clock = &clock;
  iotops_context *context;
  hand->now = 0;
  hand->alarm_ms = UINT64_MAX;
  assert_int_equal(iotops_context_new(&options, &context, NULL), 0);
  return context;
}

static inline iotops_context *system_context(void) {
  iotops_context *context;
  assert_int_equal(iotops_context_new(NULL, &context, NULL), 0);
  return context;
}

typedef struct restarting {
  iotops_timer timer;
  iotops_context *context;
  int count;
} restarting;

static inline void start_again(iotops_timer *timer) {
  restarting *r = timer->user;
  r->count++;
  iotops_timer_start(r->context, timer, 0);
}

#endif
