/*
** timer.h -- functions that run later: after, every, spawn, on_start.
**
** While a script registers, timers and jobs are kept; iotops_lua_start()
** lets them go.
*/
#ifndef BINDINGS_TIMER_H
#define BINDINGS_TIMER_H

#include "core.h"

void timers_start(iotops_lua *state);
void timers_stop(iotops_lua *state);

void jobs_init(iotops_lua *state);
void jobs_start(iotops_lua *state);

/* Begins what was spawned, calls the on_stop functions, and begins what these
** have spawned. */
void jobs_stop(iotops_lua *state, const char *reason);

/* Gives up what has not begun; functions that were spawned are in the log. */
void jobs_drop(iotops_lua *state);

#endif
