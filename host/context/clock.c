#include "context/context_fields.h"

/* ------------------------------------------------------ system clock -- */

static int64_t system_wall_ms(void *user) {
  (void)user;
  uv_timeval64_t now;
  if (uv_gettimeofday(&now) != 0)
    return 0;
  return now.tv_sec * 1000 + now.tv_usec / 1000;
}

static uint64_t system_mono_ms(void *user) {
  (void)user;
  return uv_hrtime() / 1000000;
}

static void fire_due(iotops_context *context);

static void on_alarm(uv_timer_t *alarm) {
  iotops_context *context = alarm->data;
  context->in_alarm = true;
  fire_due(context);
  context->in_alarm = false;
  context_drain_some(context);
}

static void system_alarm(void *user, iotops_context *context, uint64_t due_ms) {
  (void)user;
  if (due_ms == UINT64_MAX) {
    uv_timer_stop(&context->alarm);
    return;
  }
  uint64_t now = system_mono_ms(NULL);
  uint64_t delay = due_ms > now ? due_ms - now : 0;
  /* libuv runs a timer again in the same turn when its callback starts it
  ** without a delay, for ever. */
  if (delay == 0 && context->in_alarm)
    delay = 1;
  /* The loop's idea of now is as old as its turn; the delay counts from it. */
  uv_update_time(context->loop);
  uv_timer_start(&context->alarm, on_alarm, delay, 0);
}

void context_use_system_clock(iotops_context *context) {
  context->clock.wall_ms = system_wall_ms;
  context->clock.mono_ms = system_mono_ms;
  context->clock.alarm = system_alarm;
  context->clock.user = NULL;
}

/* ------------------------------------------------------------ timers -- */

/*
** An alarm that rings too early is harmless (ring sets it again), so it is
** moved only forward: most timers are stopped before they are due.
*/
static void arm(iotops_context *context) {
  if (context->ringing || context->closing)
    return;
  uint64_t due_ms = iotops_context_next_due(context);
  if (due_ms < context->armed_ms ||
      (due_ms == UINT64_MAX && context->armed_ms != UINT64_MAX)) {
    context->armed_ms = due_ms;
    context->clock.alarm(context->clock.user, context, due_ms);
  }
}

void iotops_timer_start(iotops_context *context, iotops_timer *timer,
                        uint64_t delay_ms) {
  uint64_t now = iotops_mono_ms(context);
  if (timer->running)
    timer_heap_remove(&context->timers, timer);
  /* UINT64_MAX means never to the clock, so no timer is due then. */
  uint64_t due_ms =
      delay_ms < UINT64_MAX - 1 - now ? now + delay_ms : UINT64_MAX - 1;
  timer_heap_add(&context->timers, timer, due_ms);
  arm(context);
}

void iotops_timer_stop(iotops_context *context, iotops_timer *timer) {
  if (!timer->running)
    return;
  timer_heap_remove(&context->timers, timer);
  arm(context);
}

int64_t iotops_wall_ms(const iotops_context *context) {
  return context->clock.wall_ms(context->clock.user);
}

uint64_t iotops_mono_ms(const iotops_context *context) {
  return context->clock.mono_ms(context->clock.user);
}

uint64_t iotops_context_next_due(const iotops_context *context) {
  const iotops_timer *first = context->timers.root;
  return first == NULL ? UINT64_MAX : first->due_ms;
}

static void fire_due(iotops_context *context) {
  if (context->ringing || context->closing)
    return;
  context->ringing = true;
  uint64_t now = iotops_mono_ms(context);
  /* A timer started from here on waits for the next ring, even with no
  ** delay: one that always starts itself again must not hold the loop. */
  uint64_t limit = context->timers.next_order;
  iotops_timer *timer;
  while ((timer = context->timers.root) != NULL && timer->due_ms <= now &&
         timer->order < limit) {
    timer_heap_remove(&context->timers, timer);
    context->advanced = true;
    timer->fire(timer);
  }
  context->ringing = false;
  context->armed_ms = UINT64_MAX;
  if (context->timers.root != NULL)
    arm(context);
  else
    context->clock.alarm(context->clock.user, context, UINT64_MAX);
}

void iotops_context_ring(iotops_context *context) {
  fire_due(context);
  iotops_context_drain(context);
}
