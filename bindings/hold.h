/*
** hold.h -- messages whose acknowledgement a script took over.
**
** message:hold() gives an object that acknowledges when the script says so; it
** remembers the line that called it.  What is never acknowledged would hold up
** the acknowledgements of everybody: the embedder can look for such messages,
** and for handlers that wait without end, and settle them.
*/
#ifndef BINDINGS_HOLD_H
#define BINDINGS_HOLD_H

#include "gate.h"

/* message:hold() */
int message_hold(lua_State *L) LUA_MAY_RAISE;

/* Acknowledges what scripts hold of `client` (NULL: of all), with a warning. */
void holds_abandon(iotops_lua *state, const iotops_mqtt_client *client);

#endif
