#include "error.h"

#include <string.h>

static const char class_name[] = "iotops.error";
static const class_info error_class;

static void set_text(lua_State *L, const char *name, const char *text) {
  if (text[0] == '\0')
    return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

void push_error(lua_State *L, const iotops_error *err) {
  luaL_checkstack(L, 4, NULL);
  lua_createtable(L, 0, 8);
  lua_pushstring(L, iotops_error_kind_name(err->kind));
  lua_setfield(L, -2, "kind");
  lua_pushstring(L, err->message);
  lua_setfield(L, -2, "message");
  lua_pushboolean(L, err->is_shallow);
  lua_setfield(L, -2, "is_shallow");
  lua_pushboolean(L, err->is_remote);
  lua_setfield(L, -2, "is_remote");
  set_text(L, "header_name", err->header_name);
  if (err->has_header_value) {
    lua_pushstring(L, err->header_value);
    lua_setfield(L, -2, "header_value");
  }
  set_text(L, "timeout_name", err->timeout_name);
  if (err->has_timeout_value) {
    lua_pushnumber(L, (lua_Number)err->timeout_ms / 1000);
    lua_setfield(L, -2, "timeout_value");
  }
  set_text(L, "property_name", err->property_name);
  if (err->has_property_value) {
    lua_pushstring(L, err->property_value);
    lua_setfield(L, -2, "property_value");
  }
  set_text(L, "command_name", err->command_name);
  set_text(L, "service_error", err->service_error);
  set_text(L, "protocol_version", err->protocol_version);
  if (err->supported_major_count > 0) {
    lua_createtable(L, err->supported_major_count, 0);
    for (int i = 0; i < err->supported_major_count; i++) {
      lua_pushinteger(L, err->supported_majors[i]);
      lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "supported_protocol_major_versions");
  }
  if (err->reason_code >= 0) {
    lua_pushinteger(L, err->reason_code);
    lua_setfield(L, -2, "reason_code");
  }
  class_set(L, &error_class);
}

int push_failure(lua_State *L, const iotops_error *err) {
  luaL_pushfail(L);
  push_error(L, err);
  return 2;
}

int raise_error(lua_State *L, const iotops_error *err) {
  push_error(L, err);
  return lua_error(L);
}

bool is_error(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index))
    return false;
  luaL_getmetatable(L, class_name); /* nil: there is no error yet */
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

static void get_name(lua_State *L, int index, const char *name,
                     char field[IOTOPS_ERROR_NAME_SIZE]) {
  size_t size;
  lua_getfield(L, index, name);
  const char *text = lua_tolstring(L, -1, &size);
  if (text != NULL)
    iotops_error_name(field, (iotops_text){text, size});
  lua_pop(L, 1);
}

static iotops_error_kind kind_from(const char *name) {
  for (int kind = IOTOPS_MISSING_HEADER; kind <= IOTOPS_UNEXPECTED_PAYLOAD;
       kind++)
    if (strcmp(iotops_error_kind_name(kind), name) == 0)
      return kind;
  return IOTOPS_NO_ERROR;
}

static void read_object(lua_State *L, int index, iotops_error_kind kind,
                        iotops_error *err) {
  size_t size;
  lua_getfield(L, index, "message");
  lua_getfield(L, index, "kind");
  const char *message = lua_tostring(L, -2);
  const char *name = lua_tostring(L, -1);
  iotops_error_kind given = name != NULL ? kind_from(name) : IOTOPS_NO_ERROR;
  iotops_error_set(err, given != IOTOPS_NO_ERROR ? given : kind, "%s",
                   message != NULL ? message : "no message was given");
  lua_pop(L, 2);
  get_name(L, index, "header_name", err->header_name);
  get_name(L, index, "timeout_name", err->timeout_name);
  get_name(L, index, "property_name", err->property_name);
  get_name(L, index, "command_name", err->command_name);
  get_name(L, index, "service_error", err->service_error);
  lua_getfield(L, index, "header_value");
  const char *value = lua_tolstring(L, -1, &size);
  if (value != NULL)
    iotops_error_header_value(err, (iotops_text){value, size});
  lua_getfield(L, index, "property_value");
  value = lua_tolstring(L, -1, &size);
  if (value != NULL)
    iotops_error_property_value(err, (iotops_text){value, size});
  lua_pop(L, 2);
  lua_getfield(L, index, "is_shallow");
  lua_getfield(L, index, "is_remote");
  err->is_shallow = lua_toboolean(L, -2);
  err->is_remote = lua_toboolean(L, -1);
  lua_pop(L, 2);
}

void read_error(lua_State *L, int index, iotops_error_kind kind,
                iotops_error *err) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 4, NULL);
  if (is_error(L, index)) {
    read_object(L, index, kind, err);
    return;
  }
  iotops_error_set(err, kind, "%s", luaL_tolstring(L, index, NULL));
  lua_pop(L, 1);
}

/* An unknown kind would read as the fallback; say so instead. */
static int error_new(lua_State *L) {
  iotops_error err;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "kind");
  const char *kind = lua_tostring(L, -1);
  luaL_argcheck(L, kind == NULL || kind_from(kind) != IOTOPS_NO_ERROR, 1,
                "unknown kind of error");
  lua_pop(L, 1);
  read_object(L, 1, IOTOPS_EXECUTION_ERROR, &err);
  push_error(L, &err);
  return 1;
}

static int error_is(lua_State *L) {
  lua_pushboolean(L, is_error(L, 1));
  return 1;
}

static int error_tostring(lua_State *L) {
  lua_settop(L, 1);
  lua_getfield(L, 1, "kind");
  lua_getfield(L, 1, "message");
  const char *kind = lua_tostring(L, -2);
  const char *message = lua_tostring(L, -1);
  lua_pushfstring(L, "%s: %s", kind != NULL ? kind : "error",
                  message != NULL ? message : "no message");
  return 1;
}

static const luaL_Reg meta[] = {{"__tostring", error_tostring}, {NULL, NULL}};
static const class_info error_class = {class_name, NULL, meta};

const core_field error_fields[] = {
    {"error", error_new, false}, {"is_error", error_is, false}, {0}};
