#include "plain_data.h"

#include <string.h>

#include "json.h"

/* A table: its number of array slots and of others, then keys and values up
** to a MARK_END.  A table that was written before: its number. */
enum {
  MARK_NIL,
  MARK_FALSE,
  MARK_TRUE,
  MARK_INTEGER,
  MARK_FLOAT,
  MARK_STRING,
  MARK_NULL,
  MARK_TABLE,
  MARK_ARRAY,
  MARK_AGAIN,
  MARK_END
};

/* The way to a value: keys are on the Lua stack while they are walked. */
typedef struct step {
  const struct step *outer;
  int key;          /* stack index; 0: the value is the root */
  const char *name; /* borrowed; of the root */
} step;

/* ---------------------------------------------------------------- path -- */

static void add_key(lua_State *L, luaL_Buffer *path, int key, bool first) {
  size_t size = 0;
  const char *text = NULL;
  if (lua_type(L, key) != LUA_TSTRING) {
    luaL_addchar(path, '[');
    luaL_tolstring(L, key, NULL);
    luaL_addvalue(path);
    luaL_addchar(path, ']');
    return;
  }
  text = lua_tolstring(L, key, &size);
  if (size <= 64 && is_lua_name(text, size)) {
    if (!first)
      luaL_addchar(path, '.');
    luaL_addlstring(path, text, size);
    return;
  }
  luaL_addstring(path, "[\"");
  for (size_t i = 0; i < size && i < 64; i++)
    luaL_addchar(path, (unsigned char)text[i] < 32 ? '?' : text[i]);
  luaL_addstring(path, size > 64 ? "...\"]" : "\"]");
}

/* Raises "PATH WHAT". */
static void refuse(lua_State *L, const step *at, const char *what) {
  const step *steps[PLAIN_DATA_DEPTH + 2];
  int count = 0;
  luaL_Buffer path;
  const char *name = at->name;
  for (; at != NULL && at->key != 0; at = at->outer)
    steps[count++] = at;
  luaL_checkstack(L, 16, NULL);
  luaL_buffinit(L, &path);
  if (count == 0)
    luaL_addstring(&path, name);
  for (int i = count; i-- > 0;)
    add_key(L, &path, steps[i]->key, i == count - 1);
  luaL_addchar(&path, ' ');
  luaL_addstring(&path, what);
  luaL_pushresult(&path);
  lua_error(L);
}

/* --------------------------------------------------------------- bytes -- */

static void add(lua_State *L, plain_data *data, const void *bytes,
                size_t size) {
  if (size == 0)
    return;
  if (size > data->limit || data->size > data->limit - size)
    luaL_error(L, "%s takes more than %I bytes", data->name,
               (lua_Integer)data->limit);
  if (data->size + size > data->capacity) {
    size_t capacity = data->capacity > 0 ? data->capacity * 2 : 1024;
    while (capacity < data->size + size)
      capacity *= 2;
    char *moved = iotops_resize(data->context, data->bytes, capacity);
    if (moved == NULL) {
      luaL_error(L, "out of memory");
      return;
    }
    data->bytes = moved;
    data->capacity = capacity;
  }
  memcpy(data->bytes + data->size, bytes, size);
  data->size += size;
}

static void add_mark(lua_State *L, plain_data *data, unsigned char mark) {
  add(L, data, &mark, 1);
}

/* ---------------------------------------------------------------- seen -- */

static size_t place_of(const plain_data *data, const void *address) {
  size_t mask = data->seen_capacity - 1;
  size_t at = ((uintptr_t)address >> 4) * 0x9E3779B97F4A7C15U >> 20 & mask;
  while (data->seen[at].address != NULL && data->seen[at].address != address)
    at = (at + 1) & mask;
  return at;
}

static void grow_seen(lua_State *L, plain_data *data) {
  plain_data larger = *data;
  larger.seen_capacity =
      data->seen_capacity > 0 ? data->seen_capacity * 4 : 256;
  larger.seen =
      iotops_zalloc(data->context, larger.seen_capacity * sizeof *larger.seen);
  if (larger.seen == NULL) {
    luaL_error(L, "out of memory");
    return;
  }
  for (size_t i = 0; i < data->seen_capacity; i++)
    if (data->seen[i].address != NULL)
      larger.seen[place_of(&larger, data->seen[i].address)] = data->seen[i];
  iotops_free(data->context, data->seen);
  data->seen = larger.seen;
  data->seen_capacity = larger.seen_capacity;
}

/* ---------------------------------------------------------------- write -- */

static void write_value(lua_State *L, int index, plain_data *data,
                        const step *at, int depth);

/* JSON's mark of an array passes; any other metatable does not. */
static bool has_array_mark(lua_State *L, int index, const plain_data *data,
                           const step *at) {
  luaL_checkstack(L, 8, NULL);
  if (!lua_getmetatable(L, index))
    return false;
  push_anchored(L, &json_array_key);
  bool is_mark = lua_rawequal(L, -1, -2);
  if (!is_mark && !data->bare)
    refuse(L, at, "has a metatable");
  lua_pop(L, 2);
  return is_mark;
}

static void write_table(lua_State *L, int index, plain_data *data,
                        const step *at, int depth) {
  const void *address = lua_topointer(L, index);
  if (data->tables * 2 >= data->seen_capacity)
    grow_seen(L, data);
  const seen_table *seen = &data->seen[place_of(data, address)];
  if (seen->address != NULL) {
    if (seen->open)
      refuse(L, at, "is a table that contains itself");
    data->shares = true;
    add_mark(L, data, MARK_AGAIN);
    add(L, data, &seen->number, sizeof seen->number);
    return;
  }
  bool is_array = has_array_mark(L, index, data, at);
  if (depth >= PLAIN_DATA_DEPTH)
    refuse(L, at, "is nested too deep");
  if (data->tables == UINT32_MAX)
    refuse(L, at, "is one table too many");
  data->seen[place_of(data, address)] = (seen_table){
      .address = address, .number = (uint32_t)data->tables, .open = true};
  data->tables++;
  uint32_t sizes[2] = {0};
  size_t length = lua_rawlen(L, index), count = 0;
  add_mark(L, data, is_array ? MARK_ARRAY : MARK_TABLE);
  size_t head = data->size;
  add(L, data, sizes, sizeof sizes);
  luaL_checkstack(L, 8, NULL);
  lua_pushnil(L);
  while (lua_next(L, index) != 0) {
    int key = lua_gettop(L) - 1;
    step inner = {.outer = at, .key = key, .name = at->name};
    count++;
    if (lua_type(L, key) == LUA_TTABLE || lua_type(L, key) == LUA_TNIL)
      refuse(L, at, "has a table as a key");
    write_value(L, key, data, &inner, depth + 1);
    write_value(L, key + 1, data, &inner, depth + 1);
    lua_settop(L, key);
  }
  add_mark(L, data, MARK_END);
  /* Only a hint for the reader: a table with holes counts as all others. */
  if (length <= count && length <= INT32_MAX) {
    sizes[0] = (uint32_t)length;
    sizes[1] = count - length <= INT32_MAX ? (uint32_t)(count - length) : 0;
  }
  memcpy(data->bytes + head, sizes, sizeof sizes);
  data->seen[place_of(data, address)].open = false;
}

static void write_value(lua_State *L, int index, plain_data *data,
                        const step *at, int depth) {
  switch (lua_type(L, index)) {
  case LUA_TNIL:
    add_mark(L, data, MARK_NIL);
    return;
  case LUA_TBOOLEAN:
    add_mark(L, data, lua_toboolean(L, index) ? MARK_TRUE : MARK_FALSE);
    return;
  case LUA_TNUMBER:
    if (lua_isinteger(L, index)) {
      lua_Integer value = lua_tointeger(L, index);
      add_mark(L, data, MARK_INTEGER);
      add(L, data, &value, sizeof value);
    } else {
      lua_Number value = lua_tonumber(L, index);
      add_mark(L, data, MARK_FLOAT);
      add(L, data, &value, sizeof value);
    }
    return;
  case LUA_TSTRING: {
    size_t size = 0;
    const char *text = lua_tolstring(L, index, &size);
    add_mark(L, data, MARK_STRING);
    add(L, data, &size, sizeof size);
    add(L, data, text, size);
    return;
  }
  case LUA_TTABLE:
    write_table(L, index, data, at, depth);
    return;
  case LUA_TLIGHTUSERDATA:
    if (lua_touserdata(L, index) == NULL) {
      add_mark(L, data, MARK_NULL);
      return;
    }
    break;
  case LUA_TTHREAD:
    refuse(L, at, "is a coroutine");
    return;
  case LUA_TFUNCTION:
    refuse(L, at, "is a function");
    return;
  default:
    break;
  }
  refuse(L, at, "is a userdata");
}

void plain_data_write(lua_State *L, int index, plain_data *data) {
  step root = {.name = data->name};
  write_value(L, lua_absindex(L, index), data, &root, 0);
  iotops_free(data->context, data->seen);
  data->seen = NULL;
  data->seen_capacity = 0;
}

/* ----------------------------------------------------------------- read -- */

typedef struct reader {
  const char *at;
  int made; /* stack index of the tables by number; 0: none is asked for */
  lua_Integer tables;
} reader;

static void take(reader *from, void *bytes, size_t size) {
  memcpy(bytes, from->at, size);
  from->at += size;
}

static void read_value(lua_State *L, reader *from);

static void read_table(lua_State *L, reader *from, bool is_array) {
  uint32_t sizes[2];
  take(from, sizes, sizeof sizes);
  lua_createtable(L, (int)sizes[0], (int)sizes[1]);
  int table = lua_gettop(L);
  if (from->made != 0) {
    lua_pushvalue(L, table);
    lua_rawseti(L, from->made, ++from->tables);
  }
  while (*from->at != MARK_END) {
    read_value(L, from);
    read_value(L, from);
    lua_rawset(L, table);
  }
  from->at++;
  if (is_array) {
    push_anchored(L, &json_array_key);
    lua_setmetatable(L, table);
  }
}

static void read_value(lua_State *L, reader *from) {
  luaL_checkstack(L, 8, NULL);
  switch (*from->at++) {
  case MARK_FALSE:
    lua_pushboolean(L, false);
    return;
  case MARK_TRUE:
    lua_pushboolean(L, true);
    return;
  case MARK_INTEGER: {
    lua_Integer value;
    take(from, &value, sizeof value);
    lua_pushinteger(L, value);
    return;
  }
  case MARK_FLOAT: {
    lua_Number value;
    take(from, &value, sizeof value);
    lua_pushnumber(L, value);
    return;
  }
  case MARK_STRING: {
    size_t size;
    take(from, &size, sizeof size);
    lua_pushlstring(L, from->at, size);
    from->at += size;
    return;
  }
  case MARK_NULL:
    lua_pushlightuserdata(L, NULL);
    return;
  case MARK_TABLE:
  case MARK_ARRAY:
    read_table(L, from, from->at[-1] == MARK_ARRAY);
    return;
  case MARK_AGAIN: {
    uint32_t number;
    take(from, &number, sizeof number);
    lua_rawgeti(L, from->made, (lua_Integer)number + 1);
    return;
  }
  default:
    lua_pushnil(L);
    return;
  }
}

void plain_data_read(lua_State *L, const plain_data *data) {
  reader from = {.at = data->bytes};
  luaL_checkstack(L, 4, NULL);
  if (data->shares) {
    lua_createtable(L, (int)(data->tables <= INT32_MAX ? data->tables : 0), 0);
    from.made = lua_gettop(L);
  }
  read_value(L, &from);
  if (from.made != 0)
    lua_remove(L, from.made);
}

void plain_data_clear(plain_data *data) {
  iotops_free(data->context, data->bytes);
  iotops_free(data->context, data->seen);
  *data = (plain_data){.context = data->context,
                       .limit = data->limit,
                       .name = data->name,
                       .bare = data->bare};
}
