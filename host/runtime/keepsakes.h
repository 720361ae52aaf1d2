/*
** keepsakes.h -- what belongs to a script's name and outlives its generations:
** when its named timers are due, its counters and gauges, its leases.
**
** A generation claims a name when it serves, never while it is staged, so a
** reload that fails has touched nothing.  A timer that a generation does not
** claim does not run; it is forgotten once a further generation has not
** claimed it either, so that a rollback finds it where it was.  A counter is
** forgotten only when there are too many and no living generation has it; so is
** a timer that has fired or was cancelled, beyond KEEPSAKES_TIMERS_MAX names.
*/
#ifndef RUNTIME_KEEPSAKES_H
#define RUNTIME_KEEPSAKES_H

#include "embed.h"

/* Those that run in a generation and those that the one before has left, and
** as many that have fired. */
enum { KEEPSAKES_TIMERS_MAX = 3 * IOTOPS_LUA_TIMERS_MAX };

struct kept_timer;
struct kept_metric;

typedef struct keepsakes {
  iotops_context *context;   /* borrowed */
  struct kept_timer *timers; /* owned; the newest first */
  size_t timer_count;
  struct kept_metric *metrics; /* owned; in order of name */
  size_t metric_count;
  iotops_lua_leases leases; /* cleared by who owns the state store */
} keepsakes;

/* A view that dies with the call that it is given to. */
typedef struct keepsakes_metric {
  const char *name; /* [a-zA-Z_][a-zA-Z0-9_]* */
  const char *help; /* "": not given; may contain any character */
  bool is_gauge;
  double value;
} keepsakes_metric;

typedef void (*keepsakes_visit)(void *user, const keepsakes_metric *metric);

void keepsakes_init(keepsakes *kept, iotops_context *context);

/* After the last generation has gone. */
void keepsakes_clear(keepsakes *kept);

/*
** The record of a timer, for the generation that claims it; a new one is all
** zero.  Valid as long as it says that the timer runs, and until that
*generation
** ends or is quiesced.  NULL when memory is short.
*/
iotops_lua_kept_timer *keepsakes_timer(keepsakes *kept, const char *name,
                                       uint64_t generation);

/*
** The record of a counter or gauge; see keep_metric in embed.h.  One of the
** other kind begins anew.
*/
iotops_lua_kept_metric *keepsakes_metric_of(keepsakes *kept,
                                            const iotops_lua_metric *metric,
                                            uint64_t generation);

/*
** `generation` serves and the one before it is quiesced: forgets timers that
** two generations have not claimed.  `left` (may be NULL) is called for those
** that were running and that this one has not claimed.
*/
void keepsakes_committed(keepsakes *kept, uint64_t generation,
                         void (*left)(void *user, const char *name),
                         void *user);

/* Calls `visit` for each counter and gauge, in order of name. */
void keepsakes_each_metric(const keepsakes *kept, keepsakes_visit visit,
                           void *user);

/*
** Logs them as records `own counters` of the script, as many as it takes; each
** field's name begins with `own.`.  None: nothing.
*/
void keepsakes_log(const keepsakes *kept, const char *script);

#endif
