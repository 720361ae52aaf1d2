/*
** luv.h -- the loop of a script's luv on the loop of the context.
**
** luv keeps a loop of its own.  Its descriptor is polled and its next timer
** is ours, and it is run, without waiting, through the gate; each callback
** is a call.
*/
#ifndef BINDINGS_LUV_H
#define BINDINGS_LUV_H

#include "core.h"

/* After a turn of Lua: handles may have been started. */
void luv_touch(iotops_lua *state);

/* Stops polling for good. */
void luv_detach(iotops_lua *state);

#endif
