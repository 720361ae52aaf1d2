/*
** status.h -- what the host and its scripts are doing, for the operator.
**
** Times are RFC 3339, UTC; durations milliseconds; sizes bytes.
**
** Of the host: version, pid, since, uptime_s, state ("connected",
** "disconnected", "stopping"), client_id, broker, messages (not acknowledged
** yet), oldest_message_ms, memory (resident).
**
** Of a script: script, path, state ("serving", "rolled back": by an older
** version, "failed": its files cannot be loaded and nothing serves, "stopped"),
** reloading, probation, generation, hash, since, endpoints, awaited
** (subscriptions not granted), refused (its files were, as last_reload says),
** calls, running, errors, stopped, received, sent, refused_publishes, held,
** oldest_held_ms, memory, telemetry and command (count, p50_ms, p99_ms,
** longest_ms of the last minutes), last_reload (outcome, when, took_ms,
** records, message).
*/
#ifndef RUNTIME_STATUS_H
#define RUNTIME_STATUS_H

#include <jansson.h>

#include "runtime/host.h"

/* {"ok":true,"host":{...},"scripts":[...]}; NULL when memory is short. */
json_t *status_of(const host *host);

/* How the last reload of a script ended, and what serves now. */
json_t *status_of_reload(const script *script, const char *outcome);

/* A JSON string; bytes that are no UTF-8 are replaced. */
json_t *status_text(const char *text);

#endif
