#include "context/context_fields.h"

#include <stdlib.h>
#include <string.h>

static void *system_resize(void *user, void *block, size_t size) {
  (void)user;
  if (size == 0) {
    free(block);
    return NULL;
  }
  return realloc(block, size);
}

static void on_idle(uv_idle_t *idle) {
  (void)idle; /* being active keeps the loop from waiting */
}

static void on_prepare(uv_prepare_t *prepare) {
  iotops_context *context = prepare->data;
  context_drain_some(context);
  /* Who turns the loop once waits for something that may just have happened
  ** in a timer or task; the drain in on_check stops `idle` again. */
  if (context->turning && context->advanced && !context->closing)
    uv_idle_start(&context->idle, on_idle);
}

static void on_check(uv_check_t *check) {
  context_drain_some(check->data);
}

static void on_wakeup(uv_async_t *wakeup) {
  context_run_posts(wakeup->data);
}

static void add_handle(iotops_context *context, void *handle) {
  ((uv_handle_t *)handle)->data = context;
  context->open_handles++;
}

/* The one handle that can fail comes first, so that failing leaves none. */
static int open_handles(iotops_context *context, iotops_error *err) {
  int rc = uv_async_init(context->loop, &context->wakeup, on_wakeup);
  if (rc != 0)
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "cannot make a wake-up handle: %s",
                            uv_strerror(rc));
  uv_prepare_init(context->loop, &context->prepare);
  uv_check_init(context->loop, &context->check);
  uv_idle_init(context->loop, &context->idle);
  uv_timer_init(context->loop, &context->alarm);
  add_handle(context, &context->wakeup);
  add_handle(context, &context->prepare);
  add_handle(context, &context->check);
  add_handle(context, &context->idle);
  add_handle(context, &context->alarm);
  uv_prepare_start(&context->prepare, on_prepare);
  uv_check_start(&context->check, on_check);
  /* A context with nothing to do does not keep its loop running. */
  uv_unref((uv_handle_t *)&context->wakeup);
  uv_unref((uv_handle_t *)&context->prepare);
  uv_unref((uv_handle_t *)&context->check);
  return 0;
}

static void use_options(iotops_context *context,
                        const iotops_context_options *options) {
  if (options->clock != NULL)
    context->clock = *options->clock;
  else
    context_use_system_clock(context);
  context->armed_ms = UINT64_MAX;
  context->log = options->log;
  context->log_user = options->log_user;
  context->log_level = options->log_level;
  context->random = options->random;
  context->random_user = options->random_user;
  context->max_clock_drift_ms =
      options->max_clock_drift_ms == 0 ? 60000 : options->max_clock_drift_ms;
}

int iotops_context_new(const iotops_context_options *given,
                       iotops_context **result, iotops_error *err) {
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  iotops_allocator allocator = {system_resize, NULL};
  iotops_context *context = NULL;
  bool has_lock = false;
  int rc;

  *result = NULL;
  if (given != NULL) /* an older caller's struct is shorter */
    memcpy(&options, given,
           given->size < sizeof options ? given->size : sizeof options);
  if (options.allocator != NULL)
    allocator = *options.allocator;
  context = allocator.resize(allocator.user, NULL, sizeof *context);
  if (context == NULL)
    return iotops_error_memory(err);
  memset(context, 0, sizeof *context);
  context->allocator = allocator;
  context->holds = 1;
  use_options(context, &options);

  rc = uv_mutex_init(&context->posts_lock);
  if (rc != 0) {
    iotops_error_set(err, IOTOPS_INVALID_STATE, "cannot make a lock: %s",
                     uv_strerror(rc));
    goto failed;
  }
  has_lock = true;
  context->loop = options.loop;
  if (context->loop == NULL) {
    rc = uv_loop_init(&context->own_loop);
    if (rc != 0) {
      iotops_error_set(err, IOTOPS_INVALID_STATE,
                       "cannot make an event loop: %s", uv_strerror(rc));
      goto failed;
    }
    context->loop = &context->own_loop;
    context->owns_loop = true;
  }
  if (open_handles(context, err) != 0)
    goto failed;
  *result = context;
  return 0;

failed:
  if (context->owns_loop)
    uv_loop_close(&context->own_loop);
  if (has_lock)
    uv_mutex_destroy(&context->posts_lock);
  allocator.resize(allocator.user, context, 0);
  return -1;
}

void context_hold(iotops_context *context) {
  context->holds++;
}

void context_release(iotops_context *context) {
  if (--context->holds > 0)
    return;
  uv_mutex_destroy(&context->posts_lock);
  iotops_allocator allocator = context->allocator;
  allocator.resize(allocator.user, context, 0);
}

static void on_closed(uv_handle_t *handle) {
  iotops_context *context = handle->data;
  if (--context->open_handles == 0 && !context->owns_loop)
    context_release(context);
}

/*
** libuv calls close callbacks in no useful order, so the last ones of the
** context are closed a turn later than what its users closed before it.
*/
static void on_idle_closed(uv_handle_t *handle) {
  iotops_context *context = handle->data;
  uv_close((uv_handle_t *)&context->wakeup, on_closed);
  uv_close((uv_handle_t *)&context->prepare, on_closed);
  uv_close((uv_handle_t *)&context->check, on_closed);
  uv_close((uv_handle_t *)&context->alarm, on_closed);
  on_closed(handle);
}

void iotops_context_free(iotops_context *context) {
  if (context == NULL)
    return;
  context->closing = true;
  context_drop_posts(context);
  uv_timer_stop(&context->alarm);
  uv_close((uv_handle_t *)&context->idle, on_idle_closed);
  if (!context->owns_loop)
    return; /* on_closed goes on when the loop turns */
  while (context->open_handles > 0 || context->holds > 1)
    uv_run(context->loop, UV_RUN_ONCE);
  /* Those callbacks may have closed further handles. */
  for (int turns = 0; uv_loop_alive(context->loop) && turns < 8; turns++)
    uv_run(context->loop, UV_RUN_NOWAIT);
  if (uv_loop_close(context->loop) != 0) {
    /* Somebody's handle is still on the loop; letting both leak is better
    ** than pulling the loop from under it. */
    iotops_log(context, IOTOPS_LOG_ERROR, "context",
               "a handle is still open on the loop of a context that is "
               "freed; its memory is not given back");
    return;
  }
  context_release(context);
}

struct uv_loop_s *iotops_context_loop(iotops_context *context) {
  return context->loop;
}

static bool has_posts(iotops_context *context) {
  uv_mutex_lock(&context->posts_lock);
  bool any = context->first_post != NULL;
  uv_mutex_unlock(&context->posts_lock);
  return any;
}

/* uv_run() does not look at wake-ups when nothing else is alive. */
static void run_pending(iotops_context *context) {
  context_run_posts(context);
  context_drain_some(context);
}

void iotops_context_run(iotops_context *context) {
  context->stopping = false;
  do {
    run_pending(context);
    uv_run(context->loop, UV_RUN_DEFAULT);
  } while (!context->stopping && has_posts(context));
}

void iotops_context_run_once(iotops_context *context, bool wait) {
  context->turning = true;
  context->advanced = false;
  run_pending(context);
  uv_run(context->loop, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
  context->turning = false;
}

void iotops_context_stop(iotops_context *context) {
  context->stopping = true;
  uv_stop(context->loop);
}
