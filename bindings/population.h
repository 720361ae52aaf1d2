/*
** population.h -- how many coroutines, spawned functions and timers a script
** has.
**
** A coroutine counts from when it was made until it has ended, was closed, or
** was collected as garbage.  One that ends is known at once; which of the
** others are garbage is found out by collecting, when the count has reached
** the embedder's limit and no sooner.  So the limit holds for what is alive,
** whatever a script drops on the way.
*/
#ifndef BINDINGS_POPULATION_H
#define BINDINGS_POPULATION_H

#include "core.h"

/* Raises when the script may have no further coroutine. */
void population_check(lua_State *L, iotops_lua *state) LUA_MAY_RAISE;

/* Counts the coroutine at the top of the stack, which has just been made. */
void population_add(lua_State *L, iotops_lua *state) LUA_MAY_RAISE;

/* Whether `co` can be resumed, or runs. */
bool population_is_alive(lua_State *co);

/* One that was alive has ended. */
void population_ended(iotops_lua *state);

/* Raises when there are `count` of `what` and may be no more. */
void population_bound(lua_State *L, iotops_lua *state, size_t count,
                      const char *what) LUA_MAY_RAISE;

#endif
