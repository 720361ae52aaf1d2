/*
** metrics.h -- what the host, its session and its scripts have done so far,
** for Prometheus.
**
** Everything is looked up when it is asked for; nothing is kept.  Each script
** is a value of the label `script`.  host/README.md lists them all.
*/
#ifndef RUNTIME_METRICS_H
#define RUNTIME_METRICS_H

#include "protocol/text_buffer.h"
#include "runtime/host.h"

/*
** Appends all metrics in the text format, version 0.0.4; incomplete when
** `buffer->failed`.
*/
void metrics_write(const host *host, text_buffer *buffer);

/* Memory of the process that is in use and not swapped out; 0: unknown. */
uint64_t metrics_resident_bytes(void);

#endif
