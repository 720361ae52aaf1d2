/*
** pulse.h -- how long the loop was away from the network.
**
** A turn of the loop lasts from the end of a wait to the begin of the next:
** what arrives meanwhile waits for that long.  To the millisecond, as libuv
** keeps its time, and without a timer of its own.
*/
#ifndef RUNTIME_PULSE_H
#define RUNTIME_PULSE_H

#include "iotops/context.h"

typedef struct pulse pulse;

/* Begins to watch the loop of `context`; NULL when memory is short. */
pulse *pulse_new(iotops_context *context);

/* The memory goes when the loop has turned.  NULL is allowed. */
void pulse_close(pulse *pulse);

/*
** The longest turn, in milliseconds, of the last PULSE_WINDOW_MS / 2 to
** PULSE_WINDOW_MS.
*/
enum { PULSE_WINDOW_MS = 300000 };
uint64_t pulse_longest_ms(pulse *pulse);

#endif
