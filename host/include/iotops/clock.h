/*
** clock.h -- time as an interface.
**
** Everything that reads the time or waits does so through the clock of its
** context, so that a test can freeze and advance time.  All timers of a
** context live in one heap of the context; the clock only has to ring once,
** at the earliest of them.
*/
#ifndef IOTOPS_CLOCK_H
#define IOTOPS_CLOCK_H

#include "iotops/api.h"

typedef struct iotops_context iotops_context;

typedef struct iotops_clock {
  /* Unix time, UTC, milliseconds; may jump either way. */
  int64_t (*wall_ms)(void *user);

  /* Milliseconds since some fixed instant; never goes back. */
  uint64_t (*mono_ms)(void *user);

  /*
  ** Rings at `due_ms` of mono_ms (UINT64_MAX: never) by calling
  ** iotops_context_ring() on the context, replacing an earlier order.  A
  ** virtual clock does nothing here and asks iotops_context_next_due().
  */
  void (*alarm)(void *user, iotops_context *context, uint64_t due_ms);

  void *user; /* borrowed; passed to all three */
} iotops_clock;

/*
** A timer, embedded in what it belongs to, so that starting one never
** allocates.  Zero it once before the first use; it must be stopped before
** its memory goes away.  All fields but `fire` and `user` are private.
*/
typedef struct iotops_timer iotops_timer;
struct iotops_timer {
  void (*fire)(iotops_timer *timer); /* runs on the loop, timer stopped */
  void *user;                        /* the owner's, never touched */
  iotops_timer *child, *sibling, *previous;
  uint64_t due_ms, order;
  bool running;
};

#ifdef __cplusplus
extern "C" {
#endif

/*
** Starts or restarts `timer` to fire once, `delay_ms` from now.  Timers due
** at the same millisecond fire in the order they were started.
*/
IOTOPS_API void iotops_timer_start(iotops_context *context, iotops_timer *timer,
                                   uint64_t delay_ms);

/* Stops `timer`; stopping one that does not run is allowed. */
IOTOPS_API void iotops_timer_stop(iotops_context *context, iotops_timer *timer);

/* The context's clock. */
IOTOPS_API int64_t iotops_wall_ms(const iotops_context *context);
IOTOPS_API uint64_t iotops_mono_ms(const iotops_context *context);

/* When the next timer is due, on mono_ms; UINT64_MAX when none runs. */
IOTOPS_API uint64_t iotops_context_next_due(const iotops_context *context);

/*
** Fires every timer that is due now, then the tasks that became runnable.
** Timers started meanwhile wait for the next ring, even with no delay: who
** advances a virtual clock rings until iotops_context_next_due() has passed.
*/
IOTOPS_API void iotops_context_ring(iotops_context *context);

#ifdef __cplusplus
}
#endif

#endif
