/*
** virtual_time.h -- a context for tests whose time moves only when a test
** says so, and which counts its memory.
*/
#ifndef UNIT_VIRTUAL_TIME_H
#define UNIT_VIRTUAL_TIME_H

#include "iotops/context.h"

typedef struct virtual_time {
  iotops_context *context; /* owned */
  uint64_t now_ms;         /* mono_ms */
  int64_t wall_ms;
  long blocks;    /* allocated and not freed */
  unsigned made;  /* allocations so far */
  long fail_from; /* allocations that still succeed; negative: all */
  char log[4096]; /* the last record of warn or error, "" when none */
} virtual_time;

/* NULL on failure. */
virtual_time *virtual_time_new(void);

/* Frees the context; returns the number of blocks that were left. */
long virtual_time_free(virtual_time *time);

/*
** Lets `ms` pass, firing each timer at its time; runs tasks first, after
** each timer and last.
*/
void virtual_time_pass(virtual_time *time, uint64_t ms);

#endif
