/* json_write.c -- Lua values as JSON texts. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

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
  scratch *text = &to->state->text;
  char *end = text->capacity - text->size >= size
                  ? text->bytes + text->size
                  : scratch_reserve(to->L, to->state, size);
  memcpy(end, bytes, size);
  text->size += size;
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

/* Writes decimal digits before `end`; returns where they begin. */
static char *digits_before(char *end, uint64_t number) {
  do
    *--end = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  return end;
}

static void write_integer(writing *to, lua_Integer number) {
  char text[24], *end = text + sizeof text;
  uint64_t size = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
  char *begin = digits_before(end, size);
  if (number < 0)
    *--begin = '-';
  put(to, begin, (size_t)(end - begin));
}

/*
** A real with few decimals, as most are.  An integer below 2^53 divided by an
** exact power of ten is rounded once, just as its decimal text is when read.
*/
static bool write_short_real(writing *to, double number) {
  static const double tens[] = {1e1, 1e2, 1e3, 1e4, 1e5, 1e6};
  double size = fabs(number);
  if (size >= 1e9 || (number == 0 && signbit(number)))
    return false;
  for (int decimals = 1; decimals <= 6; decimals++) {
    double ten = tens[decimals - 1];
    uint64_t scaled = (uint64_t)(size * ten + 0.5);
    if ((double)scaled / ten != size)
      continue;
    char text[24], *end = text + sizeof text, *begin = end;
    for (int i = 0; i < decimals; i++, scaled /= 10)
      *--begin = (char)('0' + scaled % 10);
    *--begin = '.';
    begin = digits_before(begin, scaled);
    if (number < 0)
      *--begin = '-';
    put(to, begin, (size_t)(end - begin));
    return true;
  }
  return false;
}

static void write_real(writing *to, double number) {
  char text[40];
  if (write_short_real(to, number))
    return;
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
}

static int write_number(writing *to, int index) {
  if (lua_isinteger(to->L, index)) {
    write_integer(to, lua_tointeger(to->L, index));
    return 0;
  }
  double number = lua_tonumber(to->L, index);
  if (isnan(number) || isinf(number))
    return refuse(to, "not a finite number");
  write_real(to, number);
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
  push_anchored(L, &json_array_key);
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
