/*
** timer_heap.h -- the running timers of a context, earliest first.
**
** A pairing heap linked through the timers, so that adding never allocates
** and costs a comparison; removing costs amortized log n.  Timers due at the
** same time leave in the order they entered.
*/
#ifndef CONTEXT_TIMER_HEAP_H
#define CONTEXT_TIMER_HEAP_H

#include "iotops/clock.h"

typedef struct timer_heap {
  iotops_timer *root; /* borrowed; the earliest, NULL: none */
  uint64_t next_order;
} timer_heap;

/* Adds a timer that does not run, due at `due_ms`. */
void timer_heap_add(timer_heap *heap, iotops_timer *timer, uint64_t due_ms);

/* Removes a running timer. */
void timer_heap_remove(timer_heap *heap, iotops_timer *timer);

#endif
