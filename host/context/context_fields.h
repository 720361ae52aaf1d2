/*
** context_fields.h -- what a context is made of, for the units that make it
** up.  Everybody else uses iotops/context.h.
**
** The memory of a context goes away when its last hold is released: besides
** the context itself, whatever of the library still waits for the loop to
** finish with it (a closing handle, a running name look-up) holds it.
*/
#ifndef CONTEXT_CONTEXT_FIELDS_H
#define CONTEXT_CONTEXT_FIELDS_H

#include <uv.h>

#include "context/timer_heap.h"
#include "iotops/context.h"
#include "iotops/hlc.h"

enum { RANDOM_POOL_SIZE = 256 };

typedef struct task_queue {
  iotops_task *first, *last; /* borrowed, linked through the tasks */
} task_queue;

typedef struct context_post context_post;

struct iotops_context {
  uv_loop_t *loop; /* borrowed, or own_loop */
  bool owns_loop, closing, stopping;
  uv_loop_t own_loop;
  unsigned holds, open_handles;
  bool turning;  /* inside iotops_context_run_once() */
  bool advanced; /* a post, timer or task has run since `turning` was set */

  /* Handles of the context on the loop; only `idle` and `alarm` keep it up. */
  uv_prepare_t prepare;
  uv_check_t check;
  uv_idle_t idle;    /* active while tasks are queued */
  uv_async_t wakeup; /* for posts */
  uv_timer_t alarm;  /* of the system clock */

  iotops_allocator allocator;

  iotops_clock clock;
  timer_heap timers;
  uint64_t armed_ms; /* what the clock was last told; UINT64_MAX: never */
  bool ringing;
  bool in_alarm; /* inside the callback of `alarm` */

  task_queue soon, late;
  bool draining;

  uv_mutex_t posts_lock; /* guards the next two */
  context_post *first_post, *last_post;

  iotops_log_sink log;
  void *log_user;
  iotops_log_level log_level;

  void (*random)(void *user, void *bytes, size_t size); /* NULL: system's */
  void *random_user;
  uint8_t random_pool[RANDOM_POOL_SIZE];
  size_t random_left; /* unused bytes at the pool's end */

  /* The hybrid logical clock; all zero until protocol/hlc.c first uses it. */
  iotops_hlc hlc;
  uint64_t max_clock_drift_ms;
};

/* Keep the context's memory, and give it up again. */
void context_hold(iotops_context *context);
void context_release(iotops_context *context);

/* Makes `context->clock` the system's, on the alarm handle. */
void context_use_system_clock(iotops_context *context);

/* Runs what was posted so far; frees it without running. */
void context_run_posts(iotops_context *context);
void context_drop_posts(iotops_context *context);

/*
** The drain of the loop: runs tasks as iotops_context_drain() but stops after
** some thousands, so that tasks that queue tasks cannot starve the network.
*/
void context_drain_some(iotops_context *context);

#endif
