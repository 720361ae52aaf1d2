#include "json.h"

#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static const char array_key; /* registry: the metatable of arrays */

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
    push_anchored(L, &array_key);
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

int json_read(lua_State *L, iotops_text text, iotops_error *err) {
  json_error_t where;
  if (text.size > JSON_SIZE)
    return iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                            "JSON of %zu bytes is too long", text.size);
  json_t *root = json_loadb(text.data != NULL ? text.data : "", text.size,
                            JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
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

/* ------------------------------------------------------------ writing -- */

/* Where in the value the writer is, innermost first. */
typedef struct place place;
struct place {
  const place *outer;
  const char *key; /* NULL: an index */
  lua_Integer index;
};

typedef struct writing {
  lua_State *L;
  iotops_lua *state;
  iotops_error *err;
  const place *place;
  int depth;
} writing;

static int write_value(writing *to, int index);

static void write_place(const place *at, char *text, size_t size) {
  if (at == NULL) {
    snprintf(text, size, "value");
    return;
  }
  write_place(at->outer, text, size);
  size_t used = strlen(text);
  if (at->key != NULL)
    snprintf(text + used, size - used, ".%s", at->key);
  else
    snprintf(text + used, size - used, "[%lld]", (long long)at->index);
}

static int refuse(writing *to, const char *why) {
  char path[256];
  write_place(to->place, path, sizeof path);
  return iotops_error_set(to->err, IOTOPS_INVALID_PAYLOAD,
                          "cannot write %s as JSON: %s", path, why);
}

static void put(writing *to, const char *bytes, size_t size) {
  memcpy(scratch_reserve(to->L, to->state, size), bytes, size);
  to->state->text.size += size;
}

/* Length of the UTF-8 character at `text`; 0 when it is none. */
static size_t character(const unsigned char *text, size_t size) {
  unsigned char first = text[0];
  if (first < 0x80)
    return 1;
  if (first < 0xC2 || first > 0xF4)
    return 0;
  size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (length > size)
    return 0;
  for (size_t i = 1; i < length; i++)
    if ((text[i] & 0xC0) != 0x80)
      return 0;
  if ((first == 0xE0 && text[1] < 0xA0) || (first == 0xED && text[1] > 0x9F) ||
      (first == 0xF0 && text[1] < 0x90) || (first == 0xF4 && text[1] > 0x8F))
    return 0;
  return length;
}

static void put_escaped(writing *to, unsigned char character) {
  static const char hex[] = "0123456789abcdef";
  static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
  for (const char *at = named; *at != '\0'; at += 2)
    if ((unsigned char)at[0] == character) {
      put(to, (char[]){'\\', at[1]}, 2);
      return;
    }
  put(to,
      (char[]){'\\', 'u', '0', '0', hex[character >> 4], hex[character & 15]},
      6);
}

static int write_string(writing *to, int index) {
  size_t size;
  const char *text = lua_tolstring(to->L, index, &size);
  const unsigned char *bytes = (const unsigned char *)text;
  size_t plain = 0; /* from here on, not yet written */
  put(to, "\"", 1);
  for (size_t i = 0; i < size;) {
    unsigned char byte = bytes[i];
    if (byte >= 0x80) {
      size_t length = character(bytes + i, size - i);
      if (length == 0)
        return refuse(to, "a string that is not UTF-8; send bytes with "
                          "serializer = iotops.raw");
      i += length;
      continue;
    }
    if (byte < 0x20 || byte == '"' || byte == '\\') {
      put(to, text + plain, i - plain);
      put_escaped(to, byte);
      plain = i + 1;
    }
    i++;
  }
  put(to, text + plain, size - plain);
  put(to, "\"", 1);
  return 0;
}

static int write_number(writing *to, int index) {
  char text[40];
  if (lua_isinteger(to->L, index)) {
    int size = snprintf(text, sizeof text, "%lld",
                        (long long)lua_tointeger(to->L, index));
    put(to, text, (size_t)size);
    return 0;
  }
  double number = lua_tonumber(to->L, index);
  if (isnan(number) || isinf(number))
    return refuse(to, "not a finite number");
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, number);
    if (strtod(text, NULL) == number)
      break;
  }
  const char point = localeconv()->decimal_point[0];
  bool is_real = false;
  for (char *at = text; *at != '\0'; at++) {
    if (*at == point)
      *at = '.';
    is_real = is_real || *at == '.' || *at == 'e';
  }
  put(to, text, strlen(text));
  if (!is_real) /* reads as a float again */
    put(to, ".0", 2);
  return 0;
}

static int write_element(writing *to, const char *key, lua_Integer at) {
  place here = {.outer = to->place, .key = key, .index = at};
  to->place = &here;
  int result = write_value(to, lua_gettop(to->L));
  to->place = here.outer;
  return result;
}

static int write_array(writing *to, int table, lua_Integer size) {
  put(to, "[", 1);
  for (lua_Integer i = 1; i <= size; i++) {
    if (i > 1)
      put(to, ",", 1);
    lua_rawgeti(to->L, table, i);
    if (write_element(to, NULL, i) != 0)
      return -1;
    lua_pop(to->L, 1);
  }
  put(to, "]", 1);
  return 0;
}

static int write_object(writing *to, int table) {
  lua_State *L = to->L;
  bool first = true;
  put(to, "{", 1);
  lua_pushnil(L);
  while (lua_next(L, table) != 0) {
    if (lua_type(L, -2) != LUA_TSTRING)
      return refuse(to, lua_isinteger(L, -2)
                            ? "a list with holes, or a table with both names "
                              "and numbers"
                            : "a key that is no string");
    if (!first)
      put(to, ",", 1);
    first = false;
    const char *key = lua_tostring(L, -2);
    place here = {.outer = to->place, .key = key};
    to->place = &here;
    int result = write_string(to, lua_gettop(L) - 1);
    to->place = here.outer;
    if (result != 0)
      return -1;
    put(to, ":", 1);
    if (write_element(to, key, 0) != 0)
      return -1;
    lua_pop(L, 1);
  }
  put(to, "}", 1);
  return 0;
}

/* Marked as an array by us or by lua-cjson. */
static bool is_marked(lua_State *L, int table) {
  if (!lua_getmetatable(L, table))
    return false;
  push_anchored(L, &array_key);
  bool marked = lua_rawequal(L, -1, -2);
  lua_pop(L, 1);
  if (!marked) {
    lua_pushliteral(L, "__name");
    lua_rawget(L, -2);
    const char *name =
        lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    marked = strcmp(name, "array") == 0;
    lua_pop(L, 1);
  }
  if (!marked && luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE)) {
    static const char *const marks[] = {"array_mt", "empty_array_mt"};
    lua_getfield(L, -1, "cjson");
    for (int i = 0; i < 2 && lua_istable(L, -1) && !marked; i++) {
      lua_getfield(L, -1, marks[i]);
      marked = lua_istable(L, -1) && lua_rawequal(L, -1, -4);
      lua_pop(L, 1);
    }
    lua_pop(L, 2);
  } else if (!marked) {
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return marked;
}

static int write_table(writing *to, int table) {
  lua_State *L = to->L;
  lua_Integer size = (lua_Integer)lua_rawlen(L, table), fields = 0;
  if (to->depth >= JSON_DEPTH)
    return refuse(to, "nested too deep, or a table inside itself");
  luaL_checkstack(L, 6, "JSON");
  to->depth++;
  int result;
  if (size > 0 || is_marked(L, table)) {
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
      lua_Integer at = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
      fields += at >= 1 && at <= size ? 1 : size + 1;
      lua_pop(L, 1);
    }
    result = fields == size
                 ? write_array(to, table, size)
                 : refuse(to, "a list with holes, or a table with both names "
                              "and numbers");
  } else {
    result = write_object(to, table);
  }
  to->depth--;
  return result;
}

/* lua-cjson's mark for an empty array, if that is what the value is. */
static bool is_empty_array(lua_State *L, int index) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "cjson");
  bool same = false;
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "empty_array");
    same = lua_islightuserdata(L, -1) && lua_rawequal(L, -1, index);
    lua_pop(L, 1);
  }
  lua_pop(L, 2);
  return same;
}

static int write_value(writing *to, int index) {
  lua_State *L = to->L;
  switch (lua_type(L, index)) {
  case LUA_TNIL:
    put(to, "null", 4);
    return 0;
  case LUA_TBOOLEAN:
    if (lua_toboolean(L, index))
      put(to, "true", 4);
    else
      put(to, "false", 5);
    return 0;
  case LUA_TNUMBER:
    return write_number(to, index);
  case LUA_TSTRING:
    return write_string(to, index);
  case LUA_TTABLE:
    return write_table(to, index);
  case LUA_TLIGHTUSERDATA:
    if (lua_touserdata(L, index) == NULL) {
      put(to, "null", 4);
      return 0;
    }
    if (is_empty_array(L, index)) {
      put(to, "[]", 2);
      return 0;
    }
    break;
  default:
    break;
  }
  char why[64];
  snprintf(why, sizeof why, "a %s", luaL_typename(L, index));
  return refuse(to, why);
}

int json_write(lua_State *L, iotops_lua *state, int index, iotops_error *err) {
  writing to = {.L = L, .state = state, .err = err};
  int top = lua_gettop(L);
  luaL_checkstack(L, 6, "JSON");
  int result = write_value(&to, lua_absindex(L, index));
  lua_settop(L, top);
  if (result == 0 && state->text.size > JSON_SIZE)
    return iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                            "JSON of %zu bytes is too long", state->text.size);
  return result;
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
  push_anchored(L, &array_key);
  lua_setmetatable(L, 1);
  return 1;
}

void open_json(lua_State *L) {
  lua_newtable(L);
  anchor(L, &array_key);
  lua_pushcfunction(L, json_encode);
  lua_setfield(L, -2, "json_encode");
  lua_pushcfunction(L, json_decode);
  lua_setfield(L, -2, "json_decode");
  lua_pushcfunction(L, json_mark_array);
  lua_setfield(L, -2, "json_array");
}
