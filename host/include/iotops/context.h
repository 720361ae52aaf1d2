/*
** context.h -- what sessions and envoys share: loop, clock, memory, log,
** randomness and the hybrid logical clock.
**
** The library has no global state; a process may have several contexts, each
** on a thread of its own.  A context outlives everything made from it.
*/
#ifndef IOTOPS_CONTEXT_H
#define IOTOPS_CONTEXT_H

#include "iotops/allocator.h"
#include "iotops/clock.h"
#include "iotops/error.h"
#include "iotops/log.h"

struct uv_loop_s;

typedef struct iotops_context_options {
  size_t size;                       /* IOTOPS_CONTEXT_OPTIONS_INIT */
  struct uv_loop_s *loop;            /* borrowed; NULL: the context makes one */
  const iotops_clock *clock;         /* copied; NULL: the system's */
  const iotops_allocator *allocator; /* copied; NULL: malloc */
  iotops_log_sink log;               /* NULL: nothing is logged */
  void *log_user;                    /* borrowed; passed to log */
  iotops_log_level log_level;
  /* Fills `bytes` with randomness; NULL: the system's. */
  void (*random)(void *user, void *bytes, size_t size);
  void *random_user;           /* borrowed; passed to random */
  uint64_t max_clock_drift_ms; /* protocol.md section 4.1; 0: 60 000 */
} iotops_context_options;

#define IOTOPS_CONTEXT_OPTIONS_INIT                                            \
  { .size = sizeof(iotops_context_options), .log_level = IOTOPS_LOG_INFO }

/*
** A piece of work to be done before the loop waits again, embedded in what it
** belongs to.  Zero it once before the first use.
*/
typedef struct iotops_task iotops_task;
struct iotops_task {
  void (*run)(iotops_task *task);
  void *user;                   /* the owner's, never touched */
  iotops_task *next, *previous; /* private */
  bool queued;                  /* private */
};

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a context.  Fails with invalid state when memory or the loop fails. */
IOTOPS_API int iotops_context_new(const iotops_context_options *options,
                                  iotops_context **context, iotops_error *err);

/*
** Frees it and, when it made its loop, the loop; not from within the loop.
** On a borrowed loop the memory is given back during the loop's next turns.
** Tasks and posts that have not run are dropped.  NULL is allowed.
*/
IOTOPS_API void iotops_context_free(iotops_context *context);

IOTOPS_API struct uv_loop_s *iotops_context_loop(iotops_context *context);

/*
** Runs the loop until nothing is left to do or iotops_context_stop().
** run_once waits for at most one round of events (`wait` false: does not
** wait), and not when a task or timer has run.  Both run queued tasks first,
** and before each wait.
*/
IOTOPS_API void iotops_context_run(iotops_context *context);
IOTOPS_API void iotops_context_run_once(iotops_context *context, bool wait);
IOTOPS_API void iotops_context_stop(iotops_context *context);

/*
** Queues `task` to run on the loop after the current event, in order of the
** calls; queueing one that is queued does nothing.  iotops_task_late() runs
** it after all tasks of the other kind: what one event produced is written to
** the network there, once.
*/
IOTOPS_API void iotops_task_soon(iotops_context *context, iotops_task *task);
IOTOPS_API void iotops_task_late(iotops_context *context, iotops_task *task);
IOTOPS_API void iotops_task_cancel(iotops_context *context, iotops_task *task);

/* Runs queued tasks until none is left.  Does nothing when called by one. */
IOTOPS_API void iotops_context_drain(iotops_context *context);

/*
** Runs `run(user)` on the loop.  The one function that may be called from
** any thread.  A post does not keep iotops_context_run() from returning
** before it was made.  Fails with invalid state when memory is short.
*/
IOTOPS_API int iotops_context_post(iotops_context *context,
                                   void (*run)(void *user), void *user,
                                   iotops_error *err);

/* Memory of the context's allocator.  zalloc zeroes; resize as realloc. */
IOTOPS_API void *iotops_zalloc(iotops_context *context, size_t size);
IOTOPS_API void *iotops_resize(iotops_context *context, void *block,
                               size_t size);
IOTOPS_API void iotops_free(iotops_context *context, void *block);

/* Randomness of the context. */
IOTOPS_API void iotops_random(iotops_context *context, void *bytes,
                              size_t size);

/* A random UUID (version 4): 16 bytes, or 36 characters and a terminator. */
IOTOPS_API void iotops_uuid(iotops_context *context, uint8_t bytes[16]);
IOTOPS_API void iotops_uuid_text(const uint8_t bytes[16], char text[37]);

#ifdef __cplusplus
}
#endif

#endif
