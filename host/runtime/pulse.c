#include "runtime/pulse.h"

#include <uv.h>

struct pulse {
  iotops_context *context; /* borrowed */
  uv_check_t check;        /* after a wait and its callbacks */
  uv_prepare_t prepare;    /* before a wait */
  int open;                /* handles that are not closed yet */
  uint64_t woken_ms;       /* end of the last wait; 0: there was none */
  uint64_t began_ms;       /* of the half that is filled */
  uint64_t longest_ms;     /* in this half */
  uint64_t before_ms;      /* in the half before */
};

static uint64_t now_ms(void) {
  return uv_hrtime() / 1000000;
}

static void rotate(pulse *pulse, uint64_t now) {
  const uint64_t half = PULSE_WINDOW_MS / 2;
  uint64_t age = now - pulse->began_ms;
  if (age < half)
    return;
  pulse->before_ms = age < 2 * half ? pulse->longest_ms : 0;
  pulse->longest_ms = 0;
  pulse->began_ms = now - age % half;
}

/* libuv looked at the time when the wait ended, before its callbacks ran. */
static void woken(uv_check_t *check) {
  pulse *pulse = check->data;
  pulse->woken_ms = uv_now(check->loop);
}

static void to_wait(uv_prepare_t *prepare) {
  pulse *pulse = prepare->data;
  if (pulse->woken_ms == 0)
    return;
  uint64_t now = now_ms(), spent = now - pulse->woken_ms;
  pulse->woken_ms = 0;
  rotate(pulse, now);
  if (spent > pulse->longest_ms)
    pulse->longest_ms = spent;
}

static void closed(uv_handle_t *handle) {
  pulse *pulse = handle->data;
  if (--pulse->open == 0)
    iotops_free(pulse->context, pulse);
}

pulse *pulse_new(iotops_context *context) {
  uv_loop_t *loop = iotops_context_loop(context);
  pulse *pulse = iotops_zalloc(context, sizeof *pulse);
  if (pulse == NULL)
    return NULL;
  pulse->context = context;
  pulse->check.data = pulse->prepare.data = pulse;
  pulse->began_ms = now_ms();
  /* These cannot fail, and do not keep the loop up. */
  uv_check_init(loop, &pulse->check);
  uv_prepare_init(loop, &pulse->prepare);
  uv_check_start(&pulse->check, woken);
  uv_prepare_start(&pulse->prepare, to_wait);
  uv_unref((uv_handle_t *)&pulse->check);
  uv_unref((uv_handle_t *)&pulse->prepare);
  pulse->open = 2;
  return pulse;
}

void pulse_close(pulse *pulse) {
  if (pulse == NULL)
    return;
  uv_close((uv_handle_t *)&pulse->check, closed);
  uv_close((uv_handle_t *)&pulse->prepare, closed);
}

uint64_t pulse_longest_ms(pulse *pulse) {
  rotate(pulse, now_ms());
  return pulse->longest_ms > pulse->before_ms ? pulse->longest_ms
                                              : pulse->before_ms;
}
