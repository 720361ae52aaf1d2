/*
** message_table.h -- the tables that scripts get for what was received.
*/
#ifndef BINDINGS_MESSAGE_TABLE_H
#define BINDINGS_MESSAGE_TABLE_H

#include "gate.h"

void push_telemetry(lua_State *L,
                    const iotops_telemetry *telemetry) LUA_MAY_RAISE;
void push_request(lua_State *L, const iotops_request_view *view) LUA_MAY_RAISE;
void push_response(lua_State *L, const iotops_response *response) LUA_MAY_RAISE;

/* The running call, if the message at 1 is the one that it handles. */
call *own_call(lua_State *L) LUA_MAY_RAISE;

/* request:respond(value, options) and request:drop(); executor.c. */
int request_respond(lua_State *L) LUA_MAY_RAISE;
int request_drop(lua_State *L) LUA_MAY_RAISE;

#endif
