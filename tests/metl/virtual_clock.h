/*
** virtual_clock.h -- time that moves only when a test says so.
**
** Nothing sleeps: waiting for an event means advancing the clock to the next
** timer that is due and ringing the context.  Frozen time does not move at
** all, and then no timer is due.
**
** A real clock does not listen to freezing, and advancing it waits.
*/
#ifndef METL_VIRTUAL_CLOCK_H
#define METL_VIRTUAL_CLOCK_H

#include "iotops/clock.h"

typedef struct metl_clock {
  uint64_t now_ms; /* mono_ms */
  bool frozen;
  bool real; /* the context has the system's clock */
} metl_clock;

/* Starts at an arbitrary instant, running. */
void metl_clock_init(metl_clock *clock);

/* The table of functions over `clock`, which must outlive its users. */
iotops_clock metl_clock_functions(metl_clock *clock);

/* When the context's next timer is due; UINT64_MAX: none, or time stands. */
uint64_t metl_clock_next_due(const metl_clock *clock,
                             const iotops_context *context);

/*
** Moves time to `to_ms`, through every timer that is due on the way, each
** fired at its own instant.  Does nothing while time is frozen.  A real clock
** is waited for, until something happens or `to_ms` has come.
*/
void metl_clock_advance(metl_clock *clock, iotops_context *context,
                        uint64_t to_ms);

#endif
