/*
** payload_value.h -- Lua values to payloads and back.
**
** A serializer is a table.  The built-in ones have a `format` field and are
** served here; any other has functions serialize and deserialize.
*/
#ifndef BINDINGS_PAYLOAD_VALUE_H
#define BINDINGS_PAYLOAD_VALUE_H

#include "core.h"

/*
** The format of the serializer at `index` (nil: JSON).  Raises when it is
** none.
*/
iotops_format check_serializer(lua_State *L, int index) LUA_MAY_RAISE;

/*
** Serializes the value at `value` with the serializer at `serializer` (used
** by custom formats).  The payload's bytes live until the next call for this
** state and as long as what it leaves on the stack.  -1 with `err`, an
** invalid payload, when it cannot be.
*/
int write_payload(lua_State *L, iotops_format format, int serializer, int value,
                  iotops_payload *payload, iotops_error *err) LUA_MAY_RAISE;

/*
** Pushes the value of a received payload; -1 with `err` (and nothing pushed),
** an invalid header or payload.
*/
int read_payload(lua_State *L, iotops_format format, int serializer,
                 const iotops_payload *payload,
                 iotops_error *err) LUA_MAY_RAISE;

#endif
