#include "options.h"

#include <string.h>

#include "misuse.h"

static const char any_key;

void push_any(lua_State *L) {
  lua_pushlightuserdata(L, (void *)&any_key);
}

bool check_options(lua_State *L, int index, const char *const *names) {
  if (lua_isnoneornil(L, index))
    return false;
  luaL_checktype(L, index, LUA_TTABLE);
  index = lua_absindex(L, index);
  lua_pushnil(L);
  while (lua_next(L, index) != 0) {
    const char *const *at = names;
    if (lua_type(L, -2) == LUA_TSTRING) {
      const char *name = lua_tostring(L, -2);
      while (*at != NULL && strcmp(*at, name) != 0)
        at++;
      if (*at == NULL)
        misuse(L, "unknown option '%s'", name);
    } else {
      misuse(L, "names of options expected, found a %s", luaL_typename(L, -2));
    }
    lua_pop(L, 1);
  }
  return true;
}

static int wrong_type(lua_State *L, const char *name, const char *expected) {
  return misuse(L, "option '%s': %s expected, got %s", name, expected,
                luaL_typename(L, -1));
}

iotops_text text_option(lua_State *L, int index, const char *name) {
  iotops_text text = {0};
  int type = lua_getfield(L, index, name);
  if (type == LUA_TSTRING)
    text.data = lua_tolstring(L, -1, &text.size);
  else if (type != LUA_TNIL)
    wrong_type(L, name, "a string");
  lua_pop(L, 1);
  return text;
}

bool boolean_option(lua_State *L, int index, const char *name, bool otherwise) {
  int type = lua_getfield(L, index, name);
  if (type == LUA_TBOOLEAN)
    otherwise = lua_toboolean(L, -1);
  else if (type != LUA_TNIL)
    wrong_type(L, name, "a boolean");
  lua_pop(L, 1);
  return otherwise;
}

lua_Integer integer_option(lua_State *L, int index, const char *name,
                           lua_Integer otherwise) {
  int is_integer = 1;
  if (lua_getfield(L, index, name) != LUA_TNIL) {
    otherwise = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || lua_type(L, -1) != LUA_TNUMBER)
      wrong_type(L, name, "an integer");
  }
  lua_pop(L, 1);
  return otherwise;
}

int64_t seconds_option(lua_State *L, int index, const char *name,
                       int64_t otherwise) {
  static const lua_Number most = 9e12; /* microseconds fit 64 bits */
  if (lua_getfield(L, index, name) != LUA_TNIL) {
    lua_Number seconds = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || seconds != seconds)
      wrong_type(L, name, "seconds, a number,");
    if (seconds > most)
      seconds = most;
    if (seconds < -most)
      seconds = -most;
    otherwise = (int64_t)(seconds * 1e6);
    /* Less than a microsecond is still more than nothing. */
    if (otherwise == 0 && seconds > 0)
      otherwise = 1;
  }
  lua_pop(L, 1);
  return otherwise;
}

/* ------------------------------------------------------- names, values -- */

/* The table that the option is; false when there is none. */
static bool push_table(lua_State *L, int index, const char *name) {
  luaL_checkstack(L, 6, NULL);
  if (name == NULL)
    lua_pushvalue(L, index);
  else if (lua_isnoneornil(L, index))
    lua_pushnil(L);
  else
    lua_getfield(L, index, name);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return false;
  }
  if (!lua_istable(L, -1))
    wrong_type(L, name != NULL ? name : "tokens", "a table");
  return true;
}

static size_t count_fields(lua_State *L) {
  size_t count = 0;
  lua_pushnil(L);
  while (lua_next(L, -2) != 0) {
    count++;
    lua_pop(L, 1);
  }
  return count;
}

/*
** The text at the top.  A string is kept by its table and popped; a number's
** text stays, below the `above` values on top of it.
*/
static iotops_text keep_text(lua_State *L, const char *what, const char *name,
                             int *kept) {
  iotops_text text;
  int type = lua_type(L, -1);
  if (type != LUA_TSTRING && type != LUA_TNUMBER)
    misuse(L, "%s '%s': a string or a number expected, got %s", what, name,
           luaL_typename(L, -1));
  text.data = lua_tolstring(L, -1, &text.size);
  *kept = type == LUA_TNUMBER;
  return text;
}

void tokens_option(lua_State *L, int index, const char *name,
                   token_list *tokens) {
  tokens->items = tokens->few;
  tokens->count = 0;
  if (!push_table(L, index, name))
    return;
  int table = lua_gettop(L);
  iotops_token *items = tokens->few;
  size_t count = count_fields(L);
  if (count > OPTIONS_INLINE)
    items = lua_newuserdatauv(L, count * sizeof *items, 0);
  lua_pushnil(L);
  while (lua_next(L, table) != 0) {
    int kept;
    if (lua_type(L, -2) != LUA_TSTRING)
      misuse(L, "tokens: names expected, found a %s", luaL_typename(L, -2));
    if (lua_touserdata(L, -1) == (void *)&any_key) {
      lua_pop(L, 1);
      continue;
    }
    iotops_token *item = &items[tokens->count];
    item->name.data = lua_tolstring(L, -2, &item->name.size);
    item->value = keep_text(L, "token", item->name.data, &kept);
    tokens->count++;
    if (kept) { /* the converted value goes below the key */
      luaL_checkstack(L, 4, NULL);
      lua_insert(L, -2);
    } else {
      lua_pop(L, 1);
    }
  }
  tokens->items = items;
}

static void read_pair(lua_State *L, int table, lua_Integer at,
                      iotops_user_property *item) {
  int kept;
  if (lua_rawgeti(L, table, at) != LUA_TTABLE)
    misuse(L, "user_data: pair %d is no {name, value}", (int)at);
  int pair = lua_gettop(L);
  if (lua_rawgeti(L, pair, 1) != LUA_TSTRING)
    misuse(L, "user_data: the name of pair %d is no string", (int)at);
  item->name.data = lua_tolstring(L, -1, &item->name.size);
  lua_pop(L, 1);
  lua_rawgeti(L, pair, 2);
  item->value = keep_text(L, "user_data", item->name.data, &kept);
  /* A caller's table may be changed by nobody meanwhile. */
  if (kept)
    lua_remove(L, pair);
  else
    lua_pop(L, 2);
}

void properties_option(lua_State *L, int index, const char *name,
                       property_list *properties) {
  properties->items = properties->few;
  properties->count = 0;
  if (!push_table(L, index, name))
    return;
  int table = lua_gettop(L);
  iotops_user_property *items = properties->few;
  size_t pairs = lua_rawlen(L, table);
  size_t count = pairs > 0 ? pairs : count_fields(L);
  if (count > OPTIONS_INLINE)
    items = lua_newuserdatauv(L, count * sizeof *items, 0);
  for (size_t i = 0; i < pairs; i++) {
    luaL_checkstack(L, 6, NULL);
    read_pair(L, table, (lua_Integer)i + 1, &items[i]);
    properties->count++;
  }
  if (pairs == 0) {
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
      int kept;
      if (lua_type(L, -2) != LUA_TSTRING)
        misuse(L, "user_data: names expected, found a %s",
               luaL_typename(L, -2));
      iotops_user_property *item = &items[properties->count++];
      item->name.data = lua_tolstring(L, -2, &item->name.size);
      item->value = keep_text(L, "user_data", item->name.data, &kept);
      if (kept) {
        luaL_checkstack(L, 4, NULL);
        lua_insert(L, -2);
      } else {
        lua_pop(L, 1);
      }
    }
  }
  properties->items = items;
}

/* -------------------------------------------------------- cloud events -- */

/* `false` leaves an attribute out that would have a default. */
static iotops_text attribute(lua_State *L, int index, const char *name,
                             bool *left_out) {
  iotops_text text = {0};
  int type = lua_getfield(L, index, name);
  if (type == LUA_TBOOLEAN && !lua_toboolean(L, -1) && left_out != NULL)
    *left_out = true;
  else if (type == LUA_TSTRING)
    text.data = lua_tolstring(L, -1, &text.size);
  else if (type != LUA_TNIL)
    wrong_type(L, name, "a string");
  lua_pop(L, 1);
  return text;
}

bool cloud_event_option(lua_State *L, int index, const char *name,
                        iotops_cloud_event *event) {
  static const char *const names[] = {
      "source",  "type",        "spec_version",      "id", "time",
      "subject", "data_schema", "data_content_type", NULL};
  if (!push_table(L, index, name))
    return false;
  int table = lua_gettop(L);
  check_options(L, table, names);
  *event = (iotops_cloud_event)IOTOPS_CLOUD_EVENT_INIT;
  event->source = attribute(L, table, "source", NULL);
  event->type = attribute(L, table, "type", NULL);
  event->spec_version = attribute(L, table, "spec_version", NULL);
  event->id = attribute(L, table, "id", NULL);
  event->time = attribute(L, table, "time", &event->no_time);
  event->subject = attribute(L, table, "subject", &event->no_subject);
  event->data_schema = attribute(L, table, "data_schema", NULL);
  event->data_content_type = attribute(L, table, "data_content_type", NULL);
  return true; /* the table stays on the stack */
}
