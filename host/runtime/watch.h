/*
** watch.h -- tells that something in a few folders has changed.
**
** Says that, not what: whoever is told looks for itself.  It is told once a
** burst of events has settled, and at a slow pace besides, since not every
** change is an event (a file that a link leads to, a network's file system).
*/
#ifndef RUNTIME_WATCH_H
#define RUNTIME_WATCH_H

#include <sys/types.h>

#include "iotops/context.h"

enum { WATCH_SETTLE_MS = 50, WATCH_BURST_MS = 500, WATCH_POLL_MS = 2000 };

typedef struct watch watch;

/* `event` is false for the slow pace, true when something has happened. */
typedef void (*watch_told)(void *user, bool event);

/* NULL when memory is short. */
watch *watch_new(iotops_context *context, watch_told told, void *user);

/*
** Watches a folder for changes of *.lua files and of a ConfigMap's links; one
** that is watched already is fine.  One that cannot be
** watched is looked at at the slow pace, with a warning.
*/
void watch_folder(watch *watch, const char *path);

/* Stops; its memory goes with the next turns of the loop.  NULL is allowed. */
void watch_close(watch *watch);

#endif
