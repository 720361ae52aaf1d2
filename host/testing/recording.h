/*
** recording.h -- recorded messages for Lua: a class of the module
** `iotops.world`.
*/
#ifndef TESTING_RECORDING_H
#define TESTING_RECORDING_H

#include <lua.h>

#include "iotops/message.h"

/*
** recording(path): an object whose next() gives the messages one by one, or
** nil and why the file cannot be opened.
*/
int recording_open(lua_State *L);

/* Pushes a message as a table of plain data. */
void recording_push_message(lua_State *L, const iotops_message *message);

#endif
