/*
** world_lua.h -- what the files of the module `iotops.world` share.
*/
#ifndef TESTING_WORLD_LUA_H
#define TESTING_WORLD_LUA_H

#include "core.h"
#include "testing/world.h"

/* The world at 1; raises when it is none or closed. */
world *world_check(lua_State *L) LUA_MAY_RAISE;

/* The host whose client id is at `index`. */
world_host *world_check_host(lua_State *L, world *self,
                             int index) LUA_MAY_RAISE;

/* The text at `index`, alive as long as that. */
iotops_text world_text(lua_State *L, int index) LUA_MAY_RAISE;

/* Sets a field of the table at the top; an absent text sets none. */
void world_set_text(lua_State *L, const char *name,
                    iotops_text text) LUA_MAY_RAISE;
void world_set_integer(lua_State *L, const char *name,
                       uint64_t value) LUA_MAY_RAISE;

/* Raises the error's message. */
int world_raise(lua_State *L, const iotops_error *err) LUA_MAY_RAISE;

/* Methods, in world_messages.c. */
int world_publish(lua_State *L);
int world_message(lua_State *L);
int world_find(lua_State *L);
int world_message_count(lua_State *L);
int world_delivery(lua_State *L);
int world_subscriptions(lua_State *L);
int world_connect(lua_State *L);
int world_refuse(lua_State *L);

#endif
