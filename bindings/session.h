/*
** session.h -- sessions of scripts: one of their own, or a client that
** somebody else owns.
*/
#ifndef BINDINGS_SESSION_H
#define BINDINGS_SESSION_H

#include "wait.h"

/* The client of the session at `index`; raises when it is none or closed. */
iotops_mqtt_client *check_client(lua_State *L, int index) LUA_MAY_RAISE;

/* True when an operation failed since a queue of the client was full. */
bool is_queue_full(const iotops_error *err);

/*
** Waits until the client may have room again, then goes on in `k`, which
** calls wait_results() and tries again.  For `return wait_for_room(...)`.
*/
int wait_for_room(lua_State *L, iotops_mqtt_client *client,
                  lua_KFunction k) LUA_MAY_RAISE;

/* Methods of a session that are elsewhere: the constructors of its envoys. */
int publish_messages(lua_State *L) LUA_MAY_RAISE;
int new_sender(lua_State *L) LUA_MAY_RAISE;
int new_invoker(lua_State *L) LUA_MAY_RAISE;
int new_receiver(lua_State *L) LUA_MAY_RAISE;
int new_executor(lua_State *L) LUA_MAY_RAISE;

/* Stops watching `client`; NULL: all clients. */
void rooms_close(iotops_lua *state, const iotops_mqtt_client *client);

#endif
