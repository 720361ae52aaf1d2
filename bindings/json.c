#include "json.h"

#include <jansson.h>

#include "error.h"

const char json_array_key;

/* ------------------------------------------------------------ reading -- */

typedef struct reading {
  const json_t *root;
  bool too_deep;
} reading;

static bool push_json(lua_State *L, const json_t *value, int depth);

static void push_array(lua_State *L, const json_t *array, int depth,
                       bool *fits) {
  size_t size = json_array_size(array);
  lua_createtable(L, size < INT32_MAX ? (int)size : 0, 0);
  if (size == 0) { /* stays an array when it is written again */
    push_anchored(L, &json_array_key);
    lua_setmetatable(L, -2);
  }
  for (size_t i = 0; i < size && *fits; i++) {
    *fits = push_json(L, json_array_get(array, i), depth);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void push_object(lua_State *L, const json_t *object, int depth,
                        bool *fits) {
  json_t *fields = (json_t *)object; /* jansson iterates a mutable one */
  size_t size = json_object_size(object);
  lua_createtable(L, 0, size < INT32_MAX ? (int)size : 0);
  for (void *at = json_object_iter(fields); at != NULL && *fits;
       at = json_object_iter_next(fields, at)) {
    lua_pushlstring(L, json_object_iter_key(at), json_object_iter_key_len(at));
    *fits = push_json(L, json_object_iter_value(at), depth);
    lua_rawset(L, -3);
  }
}

/* Pushes one value whatever happens; false when it is nested too deep. */
static bool push_json(lua_State *L, const json_t *value, int depth) {
  bool fits = true;
  switch (json_typeof(value)) {
  case JSON_STRING:
    lua_pushlstring(L, json_string_value(value), json_string_length(value));
    break;
  case JSON_INTEGER:
    lua_pushinteger(L, json_integer_value(value));
    break;
  case JSON_REAL:
    lua_pushnumber(L, json_real_value(value));
    break;
  case JSON_TRUE:
  case JSON_FALSE:
    lua_pushboolean(L, json_is_true(value));
    break;
  case JSON_NULL:
    lua_pushlightuserdata(L, NULL);
    break;
  case JSON_ARRAY:
  case JSON_OBJECT:
    if (depth >= JSON_DEPTH) {
      lua_pushnil(L);
      return false;
    }
    luaL_checkstack(L, 4, "JSON");
    if (json_is_array(value))
      push_array(L, value, depth + 1, &fits);
    else
      push_object(L, value, depth + 1, &fits);
    break;
  }
  return fits;
}

/* Runs protected, so that the tree is freed whatever happens. */
static int push_root(lua_State *L) {
  reading *tree = lua_touserdata(L, 1);
  tree->too_deep = !push_json(L, tree->root, 0);
  return 1;
}

/*
** The tree of a text, or NULL.  jansson takes a string that it has no memory
** for to be a mistake of the text, so what is said to be one is read once
** more: memory that is short says so then, or is there again.
*/
static json_t *load(iotops_text text, json_error_t *where) {
  const char *data = text.data != NULL ? text.data : "";
  json_t *root = NULL;
  for (int i = 0; i < 2 && root == NULL; i++)
    root = json_loadb(data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, where);
  return root;
}

int json_read(lua_State *L, iotops_text text, iotops_error *err) {
  json_error_t where;
  if (text.size > JSON_SIZE)
    return iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                            "JSON of %zu bytes is too long", text.size);
  json_t *root = load(text, &where);
  if (root == NULL && where.text[0] == '\0') /* a mistake has a text */
    return luaL_error(L, "not enough memory");
  if (root == NULL)
    return iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                            "not JSON: %s at byte %d", where.text,
                            where.position);
  reading tree = {.root = root};
  luaL_checkstack(L, 4, NULL);
  lua_pushcfunction(L, push_root);
  lua_pushlightuserdata(L, &tree);
  int status = lua_pcall(L, 1, 1, 0);
  json_decref(root);
  if (status != LUA_OK)
    return lua_error(L);
  if (tree.too_deep) {
    lua_pop(L, 1);
    return iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                            "JSON nested deeper than %d levels", JSON_DEPTH);
  }
  return 0;
}

/* -------------------------------------------------------------- module -- */

static int json_encode(lua_State *L) {
  iotops_error err;
  iotops_lua *state = state_of(L);
  luaL_checkany(L, 1);
  state->text.size = 0;
  if (json_write(L, state, 1, &err) != 0)
    return push_failure(L, &err);
  lua_pushlstring(L, state->text.bytes, state->text.size);
  return 1;
}

static int json_decode(lua_State *L) {
  iotops_error err;
  iotops_text text;
  text.data = luaL_checklstring(L, 1, &text.size);
  return json_read(L, text, &err) == 0 ? 1 : push_failure(L, &err);
}

static int json_mark_array(lua_State *L) {
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  push_anchored(L, &json_array_key);
  lua_setmetatable(L, 1);
  return 1;
}

void open_json(lua_State *L) {
  lua_newtable(L);
  anchor(L, &json_array_key);
}

const core_field json_fields[] = {{"json_encode", json_encode, false},
                                  {"json_decode", json_decode, false},
                                  {"json_array", json_mark_array, false},
                                  {0}};
