/*
** script_metrics.h -- what each script has done so far, for metrics.c.
*/
#ifndef RUNTIME_SCRIPT_METRICS_H
#define RUNTIME_SCRIPT_METRICS_H

#include "runtime/exposition.h"
#include "runtime/host.h"

/* Writes the metrics whose names begin with `iotops_script_`. */
void script_metrics_write(const host *host, exposition *to);

#endif
