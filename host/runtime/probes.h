/*
** probes.h -- whether the host lives, whether it is ready, and what it has
** done: the pages that --http answers.
**
** /livez is answered with 200 for as long as the loop turns.  /readyz is 200
** when the broker is connected and every script serves with its subscriptions
** granted; else 503 and, as JSON, each reason why not.  /metrics is what
** metrics_write() writes.
*/
#ifndef RUNTIME_PROBES_H
#define RUNTIME_PROBES_H

#include "runtime/host.h"
#include "runtime/http.h"

/* What http_new() is given; `user` is the host. */
void probes_serve(void *user, const char *path, http_answer *answer);

bool probes_are_ready(const host *host);

#endif
