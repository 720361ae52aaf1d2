#include "runtime/patterns.h"

#include <lauxlib.h>
#include <string.h>

static const matcher_watch *watch_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* The bytes before position `init`, counted from 1, or from the end. */
static size_t bytes_before(lua_Integer init, size_t size) {
  if (init > 0)
    return (size_t)init - 1;
  if (init == 0 || init < -(lua_Integer)size)
    return 0;
  return size - (size_t)-init;
}

/* ---------------------------------------------------------- find, match -- */

/* Whether none of `^$*+?.([%-` is in it. */
static bool is_plain(const char *pattern, size_t size) {
  enum { LOWEST = '$', HIGHEST = '^' };
  static const char special[HIGHEST - LOWEST + 1] = {
      ['$' - LOWEST] = 1, ['%' - LOWEST] = 1, ['(' - LOWEST] = 1,
      ['*' - LOWEST] = 1, ['+' - LOWEST] = 1, ['-' - LOWEST] = 1,
      ['.' - LOWEST] = 1, ['?' - LOWEST] = 1, ['[' - LOWEST] = 1,
      ['^' - LOWEST] = 1,
  };
  for (size_t i = 0; i < size; i++) {
    unsigned index = (unsigned)(unsigned char)pattern[i] - LOWEST;
    if (index < sizeof special && special[index])
      return false;
  }
  return true;
}

static int find_plain(lua_State *L, const char *text, size_t size,
                      size_t before, const char *pattern, size_t pattern_size) {
  const char *found =
      matcher_search(text + before, size - before, pattern, pattern_size);
  if (found == NULL) {
    luaL_pushfail(L);
    return 1;
  }
  lua_pushinteger(L, found - text + 1);
  lua_pushinteger(L, found - text + (lua_Integer)pattern_size);
  return 2;
}

static int find_or_match(lua_State *L, bool find) {
  size_t size, pattern_size;
  const char *text = luaL_checklstring(L, 1, &size);
  const char *pattern = luaL_checklstring(L, 2, &pattern_size);
  size_t before = bytes_before(luaL_optinteger(L, 3, 1), size);
  if (before > size) {
    luaL_pushfail(L);
    return 1;
  }
  if (find && (lua_toboolean(L, 4) || is_plain(pattern, pattern_size)))
    return find_plain(L, text, size, before, pattern, pattern_size);
  matcher m;
  const char *begin = text + before, *end = NULL;
  bool anchored = pattern_size > 0 && *pattern == '^';
  matcher_init(&m, L, watch_of(L), text, size, pattern + anchored,
               pattern_size - anchored);
  if (anchored)
    end = matcher_match(&m, begin);
  else
    begin = matcher_find(&m, begin, &end);
  if (begin == NULL || end == NULL) {
    luaL_pushfail(L);
    return 1;
  }
  if (!find)
    return matcher_push_all(&m, begin, end);
  lua_pushinteger(L, begin - text + 1);
  lua_pushinteger(L, end - text);
  return m.captures > 0 ? 2 + matcher_push_all(&m, begin, end) : 2;
}

static int string_find(lua_State *L) {
  return find_or_match(L, true);
}

static int string_match(lua_State *L) {
  return find_or_match(L, false);
}

/* --------------------------------------------------------------- gmatch -- */

/* Where a gmatch goes on; a userdata. */
typedef struct walk {
  const matcher_watch *watch; /* kept by upvalue 2 */
  const char *text, *pattern; /* kept by upvalues 3 and 4 */
  size_t text_size, pattern_size;
  size_t at;   /* bytes before it; past the text: it is over */
  size_t last; /* where the last match ended, plus 1; 0: none yet */
} walk;

/* Upvalues: the walk, the watch, the text, the pattern. */
static int gmatch_next(lua_State *L) {
  walk *walked = lua_touserdata(L, lua_upvalueindex(1));
  matcher m;
  matcher_init(&m, L, walked->watch, walked->text, walked->text_size,
               walked->pattern, walked->pattern_size);
  while (walked->at <= walked->text_size) {
    const char *end, *begin = matcher_find(&m, m.text + walked->at, &end);
    if (begin == NULL)
      break;
    if ((size_t)(end - m.text) + 1 == walked->last) {
      /* Nothing, right behind the last match: it was part of that. */
      walked->at = (size_t)(begin - m.text) + 1;
      continue;
    }
    walked->at = (size_t)(end - m.text);
    walked->last = walked->at + 1;
    return matcher_push_all(&m, begin, end);
  }
  walked->at = walked->text_size + 1;
  return 0;
}

static int string_gmatch(lua_State *L) {
  walk begun = {.watch = watch_of(L)};
  begun.text = luaL_checklstring(L, 1, &begun.text_size);
  begun.pattern = luaL_checklstring(L, 2, &begun.pattern_size);
  begun.at = bytes_before(luaL_optinteger(L, 3, 1), begun.text_size);
  lua_settop(L, 2);
  *(walk *)lua_newuserdatauv(L, sizeof begun, 0) = begun;
  lua_insert(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 2);
  lua_pushcclosure(L, gmatch_next, 4);
  return 1;
}

/* ----------------------------------------------------------------- gsub -- */

static void add_bytes(luaL_Buffer *to, const char *bytes, const char *end) {
  if (end - bytes == 1)
    luaL_addchar(to, *bytes);
  else if (end > bytes)
    luaL_addlstring(to, bytes, (size_t)(end - bytes));
}

/* Adds the replacement text at 3, with what its `%` escapes mean. */
static void add_text(matcher *m, luaL_Buffer *to, const char *begin,
                     const char *end) {
  lua_State *L = m->L;
  size_t size;
  const char *text = lua_tolstring(L, 3, &size);
  const char *text_end = text + size;
  matcher_count(m, size / 16);
  for (;;) {
    const char *escape = memchr(text, '%', (size_t)(text_end - text));
    if (escape == NULL)
      break;
    add_bytes(to, text, escape);
    text = escape + 2;
    char what = escape + 1 < text_end ? escape[1] : '\0';
    if (what == '%') {
      luaL_addchar(to, '%');
    } else if (what == '0') {
      add_bytes(to, begin, end);
      matcher_count(m, (size_t)(end - begin) / 16);
    } else if (what >= '1' && what <= '9') {
      matcher_push(m, what - '1', begin, end);
      luaL_tolstring(L, -1, NULL);
      lua_remove(L, -2);
      matcher_count(m, lua_rawlen(L, -1) / 16);
      luaL_addvalue(to);
    } else {
      luaL_error(L, "invalid use of '%%' in replacement string");
    }
  }
  add_bytes(to, text, text_end);
}

/*
** Adds what the function or table at 3 gives for the match; true when that
** was something else than to leave it.
*/
static bool add_answer(matcher *m, luaL_Buffer *to, int type, const char *begin,
                       const char *end) {
  lua_State *L = m->L;
  if (type == LUA_TTABLE) {
    matcher_push(m, 0, begin, end);
    lua_gettable(L, 3);
  } else {
    lua_pushvalue(L, 3);
    lua_call(L, matcher_push_all(m, begin, end), 1);
  }
  if (!lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    add_bytes(to, begin, end);
    return false;
  }
  if (!lua_isstring(L, -1))
    luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
  luaL_addvalue(to);
  return true;
}

static int string_gsub(lua_State *L) {
  size_t size, pattern_size;
  const char *text = luaL_checklstring(L, 1, &size);
  const char *pattern = luaL_checklstring(L, 2, &pattern_size);
  int type = lua_type(L, 3);
  lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)size + 1);
  luaL_argexpected(L,
                   type == LUA_TSTRING || type == LUA_TNUMBER ||
                       type == LUA_TTABLE || type == LUA_TFUNCTION,
                   3, "string/function/table");
  bool anchored = pattern_size > 0 && *pattern == '^';
  bool changed = false;
  lua_Integer count = 0;
  const char *rest = text, *at = text, *last = NULL;
  luaL_Buffer result;
  matcher m;
  matcher_init(&m, L, watch_of(L), text, size, pattern + anchored,
               pattern_size - anchored);
  if (type == LUA_TNUMBER)
    lua_tostring(L, 3); /* in place */
  luaL_buffinit(L, &result);
  while (count < most && at <= m.text_end) {
    const char *begin = at;
    const char *end = NULL;
    if (anchored)
      end = matcher_match(&m, at);
    else
      begin = matcher_find(&m, at, &end);
    if (begin == NULL || end == NULL)
      break;
    at = begin + 1;
    if (end != last) {
      add_bytes(&result, rest, begin);
      if (type == LUA_TTABLE || type == LUA_TFUNCTION) {
        changed |= add_answer(&m, &result, type, begin, end);
      } else {
        add_text(&m, &result, begin, end);
        changed = true;
      }
      count++;
      at = rest = last = end;
    }
    if (anchored)
      break;
  }
  if (!changed) {
    lua_pushvalue(L, 1);
  } else {
    add_bytes(&result, rest, m.text_end);
    luaL_pushresult(&result);
  }
  lua_pushinteger(L, count);
  return 2;
}

/* ----------------------------------------------------------------- open -- */

void patterns_open(lua_State *L, void (*look)(lua_State *L, void *user),
                   void *user) {
  static const luaL_Reg functions[] = {{"find", string_find},
                                       {"match", string_match},
                                       {"gmatch", string_gmatch},
                                       {"gsub", string_gsub},
                                       {NULL, NULL}};
  matcher_watch *watch = lua_newuserdatauv(L, sizeof *watch, 0);
  *watch = (matcher_watch){.look = look, .user = user};
  luaL_setfuncs(L, functions, 1);
}
