/*
** latency.h -- how long something takes: quantiles of the last minutes, and
** counts for ever.
**
** Durations from a microsecond to four minutes fall into buckets that are 9 %
** apart, so a quantile is at most 5 % off; shorter and longer ones count as
** the first and the last.  Two halves of the window take turns: quantiles
** cover the last LATENCY_WINDOW_NS / 2 to LATENCY_WINDOW_NS.  A histogram is
** less than 2 KiB, allocates nothing, and a record takes a few nanoseconds.
*/
#ifndef RUNTIME_LATENCY_H
#define RUNTIME_LATENCY_H

#include <stddef.h>
#include <stdint.h>

enum {
  LATENCY_STEPS = 8,   /* buckets while durations double */
  LATENCY_LOWEST = 10, /* the first bucket begins at 2^10 ns */
  LATENCY_DOUBLINGS = 28,
  LATENCY_BUCKETS = LATENCY_STEPS * LATENCY_DOUBLINGS,
  LATENCY_BOUNDS = 14
};

#define LATENCY_WINDOW_NS UINT64_C(300000000000)

/* Upper bounds of what is counted for ever, ascending; the last is +Inf. */
extern const uint64_t latency_bounds_ns[LATENCY_BOUNDS];

typedef struct latency_window {
  uint64_t longest_ns;
  uint32_t count[LATENCY_BUCKETS];
} latency_window;

typedef struct latency {
  uint64_t count;                 /* since ever */
  uint64_t sum_ns;                /* since ever */
  uint64_t up_to[LATENCY_BOUNDS]; /* since ever; above the bound before */
  uint64_t began_ns;              /* when windows[now] began; 0: never */
  unsigned now;                   /* the window that is filled */
  latency_window windows[2];
} latency;

/* What quantiles of the last minutes are made of. */
typedef struct latency_recent {
  uint64_t count;
  uint64_t p50_ns;     /* 0: nothing was recorded */
  uint64_t p99_ns;     /* the same */
  uint64_t longest_ns; /* exact */
} latency_recent;

/* `latency` starts zeroed.  `now_ns` is of a clock that does not go back. */
void latency_record(latency *latency, uint64_t spent_ns, uint64_t now_ns);

/* What was recorded up to `now_ns`; `latency` may be NULL: nothing. */
latency_recent latency_get_recent(latency *latency, uint64_t now_ns);

#endif
