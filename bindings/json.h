/*
** json.h -- exact JSON (RFC 8259): 64-bit integers stay integers, reals stay
** floats, depth and size are bounded, texts are valid UTF-8.
*/
#ifndef BINDINGS_JSON_H
#define BINDINGS_JSON_H

#include "core.h"

enum {
  JSON_DEPTH = 128,             /* arrays and objects in one another */
  JSON_SIZE = 256 * 1024 * 1024 /* bytes of one text */
};

/* Key in the registry of the metatable that marks lists. */
extern const char json_array_key;

/* Pushes the value of a text; -1 with an invalid payload error. */
int json_read(lua_State *L, iotops_text text, iotops_error *err) LUA_MAY_RAISE;

/*
** Appends the value at `index` to the scratch of the state; -1 with an
** invalid payload error that names the path of what cannot be written.
*/
int json_write(lua_State *L, iotops_lua *state, int index,
               iotops_error *err) LUA_MAY_RAISE;

#endif
