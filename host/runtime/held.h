/*
** held.h -- messages that scripts have in hand for too long.
**
** Messages are acknowledged in the order of receipt, so one that a script holds
** and forgets holds up the session for all.  While scripts have messages in
** hand, each is looked at about once a second:
**
**   held, or its handler waiting, for longer than the age   a warning, once,
**                                                           with the line
**   a script holds more than a share of the receive window  a warning
**   twice the age; or nine tenths of the window for a       settled: the oldest
**   tenth of the age                                        first, or kept, by
**                                                           policy
**
** A held message is settled by acknowledging it, a handler that waits by ending
** it with an error.
*/
#ifndef RUNTIME_HELD_H
#define RUNTIME_HELD_H

#include <stdbool.h>

#include "iotops/context.h"

struct host;

typedef enum held_policy {
  HELD_ACKNOWLEDGE, /* what is forgotten is settled */
  HELD_KEEP         /* it is only reported */
} held_policy;

/* Of a script; all zero at first. */
typedef struct held_record {
  bool crowded;       /* more than the share, and that was said */
  uint64_t filled_ms; /* since when the window is nearly full; 0: it is not */
} held_record;

typedef struct held_watch {
  struct host *host; /* borrowed; NULL: not begun */
  iotops_timer timer;
  bool looks; /* the timer runs */
} held_watch;

void held_start(held_watch *watch, struct host *host);
void held_stop(held_watch *watch);

/* A turn of a script has ended; it may hold messages. */
void held_touch(held_watch *watch);

#endif
