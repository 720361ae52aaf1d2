/*
** signals.h -- the signals that the host answers to.
*/
#ifndef RUNTIME_SIGNALS_H
#define RUNTIME_SIGNALS_H

#include <uv.h>

#include "iotops/context.h"

typedef struct signals signals;

/* Called from the loop with the signal's number. */
typedef void (*signals_told)(void *user, int number);

/*
** Listens for SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGCHLD, and unblocks all
** signals: one that came while they were blocked is told as well.  NULL when
** memory or the loop fails.
*/
signals *signals_new(iotops_context *context, signals_told told, void *user);

/*
** Stops listening; its memory goes with the next turns of the loop.  NULL is
** allowed.
*/
void signals_close(signals *signals);

#endif
