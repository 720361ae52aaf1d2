#include "payload_value.h"

#include <string.h>

#include "error.h"
#include "json.h"
#include "misuse.h"
#include "options.h"

iotops_format check_serializer(lua_State *L, int index) {
  static const char *const names[] = {"json", "raw", "empty"};
  if (lua_isnoneornil(L, index))
    return IOTOPS_FORMAT_JSON;
  if (!lua_istable(L, index))
    misuse(L,
           "serializer: iotops.json, iotops.raw, iotops.empty or a "
           "table with serialize and deserialize expected, got %s",
           luaL_typename(L, index));
  if (lua_getfield(L, index, "format") == LUA_TSTRING) {
    for (int i = IOTOPS_FORMAT_JSON; i <= IOTOPS_FORMAT_EMPTY; i++)
      if (strcmp(lua_tostring(L, -1), names[i]) == 0) {
        lua_pop(L, 1);
        return (iotops_format)i;
      }
  }
  lua_pop(L, 1);
  return IOTOPS_FORMAT_CUSTOM;
}

/* -------------------------------------------------------------- write -- */

/* Calls a function of the serializer; leaves its three results. */
static int call_serializer(lua_State *L, int serializer, const char *name,
                           int arguments, iotops_error *err) {
  luaL_checkstack(L, 4, NULL);
  if (lua_getfield(L, serializer, name) != LUA_TFUNCTION) {
    lua_pop(L, 1 + arguments);
    return iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                            "the serializer has no function %s", name);
  }
  lua_insert(L, -1 - arguments);
  int status = lua_pcall(L, arguments, 3, 0);
  if (status == LUA_ERRMEM)
    return lua_error(L); /* says nothing of the payload */
  if (status != LUA_OK) {
    read_error(L, -1, IOTOPS_INVALID_PAYLOAD, err);
    err->kind = IOTOPS_INVALID_PAYLOAD;
    lua_pop(L, 1);
    return -1;
  }
  return 0;
}

static int write_custom(lua_State *L, int serializer, int value,
                        iotops_payload *payload, iotops_error *err) {
  lua_pushvalue(L, value);
  if (call_serializer(L, serializer, "serialize", 1, err) != 0)
    return -1;
  if (lua_type(L, -3) != LUA_TSTRING) {
    if (lua_isnil(L, -3) && !lua_isnil(L, -2))
      read_error(L, -2, IOTOPS_INVALID_PAYLOAD, err);
    else
      iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                       "serialize returned a %s, not a string",
                       luaL_typename(L, -3));
    err->kind = IOTOPS_INVALID_PAYLOAD;
    return -1;
  }
  payload->bytes.data = lua_tolstring(L, -3, &payload->bytes.size);
  if (lua_type(L, -2) == LUA_TSTRING)
    payload->content_type.data =
        lua_tolstring(L, -2, &payload->content_type.size);
  payload->format_indicator = (int)lua_tointeger(L, -1);
  return 0; /* the three results stay on the stack */
}

int write_payload(lua_State *L, iotops_format format, int serializer, int value,
                  iotops_payload *payload, iotops_error *err) {
  iotops_lua *state = state_of(L);
  iotops_text bytes = {0};
  *payload = (iotops_payload){0};
  int result = 0;
  switch (format) {
  case IOTOPS_FORMAT_JSON:
    state->text.size = 0;
    result = json_write(L, state, value, err);
    bytes = (iotops_text){state->text.bytes, state->text.size};
    break;
  case IOTOPS_FORMAT_RAW:
    if (lua_type(L, value) == LUA_TSTRING)
      bytes.data = lua_tolstring(L, value, &bytes.size);
    else
      result = iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                                "raw bytes are a string, not a %s",
                                luaL_typename(L, value));
    break;
  case IOTOPS_FORMAT_EMPTY:
    if (!lua_isnoneornil(L, value) &&
        !(lua_islightuserdata(L, value) && lua_touserdata(L, value) == NULL))
      result = iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                                "no value can be sent in an empty payload");
    break;
  case IOTOPS_FORMAT_CUSTOM:
    result = write_custom(L, serializer, value, payload, err);
    break;
  }
  if (result != 0) {
    if (err != NULL)
      err->is_shallow = true;
    return -1;
  }
  if (format != IOTOPS_FORMAT_CUSTOM)
    *payload = iotops_format_payload(format, bytes);
  return 0;
}

/* --------------------------------------------------------------- read -- */

static void invalid_header(iotops_error *err, const char *name,
                           iotops_text value) {
  iotops_error_set(err, IOTOPS_INVALID_HEADER, "%s '%.*s' is not accepted",
                   name, (int)value.size, value.data);
  iotops_error_name(err->header_name, iotops_text_of(name));
  iotops_error_header_value(err, value);
}

/* What a deserializer said, second result at the top: protocol.md 3.5. */
static void read_refusal(lua_State *L, const iotops_payload *payload,
                         iotops_error *err) {
  read_error(L, -1, IOTOPS_INVALID_PAYLOAD, err);
  if (strcmp(err->message, "unsupported content type") == 0)
    invalid_header(err, "Content Type",
                   payload->content_type.data != NULL ? payload->content_type
                                                      : iotops_text_of("None"));
  else if (strcmp(err->message, "unsupported format indicator") == 0)
    invalid_header(err, "Payload Format Indicator",
                   iotops_text_of(payload->format_indicator == 1 ? "1" : "0"));
  else
    err->kind = IOTOPS_INVALID_PAYLOAD;
}

static int read_custom(lua_State *L, int serializer,
                       const iotops_payload *payload, iotops_error *err) {
  luaL_checkstack(L, 5, NULL);
  lua_pushlstring(L, payload->bytes.data != NULL ? payload->bytes.data : "",
                  payload->bytes.size);
  if (payload->content_type.data != NULL)
    lua_pushlstring(L, payload->content_type.data, payload->content_type.size);
  else
    lua_pushnil(L);
  lua_pushinteger(L, payload->format_indicator);
  if (call_serializer(L, serializer, "deserialize", 3, err) != 0)
    return -1;
  lua_pop(L, 1);
  if (lua_isnil(L, -2) && !lua_isnil(L, -1)) {
    read_refusal(L, payload, err);
    lua_pop(L, 2);
    return -1;
  }
  lua_pop(L, 1);
  return 0;
}

int read_payload(lua_State *L, iotops_format format, int serializer,
                 const iotops_payload *payload, iotops_error *err) {
  if (format == IOTOPS_FORMAT_CUSTOM)
    return read_custom(L, serializer, payload, err);
  if (iotops_format_accepts(format, payload, err) != 0)
    return -1;
  if (format == IOTOPS_FORMAT_JSON)
    return json_read(L, payload->bytes, err);
  luaL_checkstack(L, 1, NULL);
  if (format == IOTOPS_FORMAT_RAW)
    lua_pushlstring(L, payload->bytes.data != NULL ? payload->bytes.data : "",
                    payload->bytes.size);
  else
    lua_pushnil(L);
  return 0;
}

static int make_any(lua_State *L) {
  push_any(L);
  return 1;
}

const core_field payload_fields[] = {{"any", make_any, true}, {0}};
