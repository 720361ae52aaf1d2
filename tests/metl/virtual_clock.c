/* virtual_clock.c -- see virtual_clock.h. */
#include "virtual_clock.h"

#include "iotops/context.h"

/* Far from zero, so that a time of 0 is never mistaken for a real one. */
static const uint64_t start_ms = 1000000;
static const int64_t wall_offset_ms = 1760000000000;

static int64_t wall_ms(void *user) {
  const metl_clock *clock = user;
  return wall_offset_ms + (int64_t)clock->now_ms;
}

static uint64_t mono_ms(void *user) {
  const metl_clock *clock = user;
  return clock->now_ms;
}

static void alarm_at(void *user, iotops_context *context, uint64_t due_ms) {
  (void)user;
  (void)context;
  (void)due_ms;
}

void metl_clock_init(metl_clock *clock) {
  *clock = (metl_clock){.now_ms = start_ms};
}

iotops_clock metl_clock_functions(metl_clock *clock) {
  return (iotops_clock){
      .wall_ms = wall_ms, .mono_ms = mono_ms, .alarm = alarm_at, .user = clock};
}

uint64_t metl_clock_next_due(const metl_clock *clock,
                             const iotops_context *context) {
  return clock->frozen ? UINT64_MAX : iotops_context_next_due(context);
}

static void awake(iotops_timer *timer) {
  (void)timer;
}

static void wait_until(iotops_context *context, uint64_t to_ms) {
  uint64_t now_ms = iotops_mono_ms(context);
  iotops_timer timer = {.fire = awake};
  iotops_timer_start(context, &timer, to_ms > now_ms ? to_ms - now_ms : 0);
  iotops_context_run_once(context, true);
  iotops_timer_stop(context, &timer);
}

void metl_clock_advance(metl_clock *clock, iotops_context *context,
                        uint64_t to_ms) {
  if (clock->frozen) {
    return;
  }
  if (clock->real) {
    wait_until(context, to_ms);
    return;
  }
  for (;;) {
    uint64_t due_ms = iotops_context_next_due(context);
    if (due_ms > to_ms) {
      break;
    }
    if (due_ms > clock->now_ms) {
      clock->now_ms = due_ms;
    }
    iotops_context_ring(context);
  }
  if (to_ms > clock->now_ms) {
    clock->now_ms = to_ms;
  }
}
