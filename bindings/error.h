/*
** error.h -- the error object of scripts: a table with the fields of
** iotops_error that were given, and a readable tostring.
*/
#ifndef BINDINGS_ERROR_H
#define BINDINGS_ERROR_H

#include "core.h"

/* Pushes an error object. */
void push_error(lua_State *L, const iotops_error *err) LUA_MAY_RAISE;

/* True for an error object. */
bool is_error(lua_State *L, int index);

/* Pushes nil and the error object; returns 2. */
int push_failure(lua_State *L, const iotops_error *err) LUA_MAY_RAISE;

/* Raises the error object. */
int raise_error(lua_State *L, const iotops_error *err) LUA_MAY_RAISE;

/*
** Reads the value at `index`, an error object or anything else, into `err`;
** what is no error object becomes one of `kind` with its text.
*/
void read_error(lua_State *L, int index, iotops_error_kind kind,
                iotops_error *err) LUA_MAY_RAISE;

#endif
