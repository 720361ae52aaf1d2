/*
** metric.h -- counters and gauges of scripts.
**
** While a script registers, what it does to them is kept in the state;
** iotops_lua_start() claims them of the embedder and hands it over.
*/
#ifndef BINDINGS_METRIC_H
#define BINDINGS_METRIC_H

#include "core.h"

void metrics_start(iotops_lua *state);

#endif
