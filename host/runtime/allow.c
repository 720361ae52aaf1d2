#include "runtime/allow.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

/* ----------------------------------------------------------------- list -- */

/* The next name of a list, and its size; NULL at the end. */
static const char *next_name(const char **list, size_t *size) {
  const char *name = *list;
  if (name == NULL)
    return NULL;
  *size = strcspn(name, ",");
  *list = name[*size] == ',' ? name + *size + 1 : NULL;
  return name;
}

static bool is_name(const char *name, size_t size, const char *wanted) {
  return strlen(wanted) == size && memcmp(name, wanted, size) == 0;
}

bool allow_is_list(const char *list) {
  const char *name;
  size_t size = 0;
  while ((name = next_name(&list, &size)) != NULL) {
    if (size == 0 || strspn(name, "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_-.") < size)
      return false;
  }
  return true;
}

static bool has_exactly(const char *list, const char *wanted) {
  const char *name;
  size_t size = 0;
  if (list == NULL)
    list = ALLOW_DEFAULT;
  while ((name = next_name(&list, &size)) != NULL)
    if (is_name(name, size, wanted) || is_name(name, size, "all") ||
        (is_name(name, size, "default") && has_exactly(NULL, wanted)))
      return true;
  return false;
}

/* Libraries of which a part is named by itself. */
static bool is_in_parts(const char *name, size_t size) {
  return is_name(name, size, "luv") || is_name(name, size, "io") ||
         is_name(name, size, "os") || is_name(name, size, "package");
}

bool allow_has(const char *list, const char *name) {
  char root[128];
  size_t size = strcspn(name, ".");
  if (has_exactly(list, name))
    return true;
  if (name[size] == '\0' || size >= sizeof root || is_in_parts(name, size))
    return false;
  memcpy(root, name, size);
  root[size] = '\0';
  return has_exactly(list, root);
}

int allow_refuse(lua_State *L, const char *name) {
  return luaL_error(L,
                    "%s is not allowed to scripts here; the host would allow "
                    "it with --allow default,%s",
                    name, name);
}

/* ------------------------------------------------------------ libraries -- */

typedef struct withheld {
  const char *library, *name, *grant; /* grant NULL: by its own name */
} withheld;

static const withheld all[] = {
    {"io", "open", "io"},
    {"io", "lines", "io"},
    {"io", "input", "io"},
    {"io", "output", "io"},
    {"io", "read", "io"},
    {"io", "stdin", "io"}, /* who reads it waits for an operator's keys */
    {"io", "tmpfile", "io"},
    {"io", "popen", NULL},
    {"os", "remove", "io"},
    {"os", "rename", "io"},
    {"os", "tmpname", "io"},
    {"os", "execute", NULL},
    {"os", "getenv", NULL},
    {"os", "setlocale", NULL},
    {LUA_GNAME, "dofile", "io"},
    {LUA_GNAME, "loadfile", "io"},
    {"package", "loadlib", NULL},
    {"debug", "debug", "debug"},
    {"debug", "gethook", "debug"},
    {"debug", "getlocal", "debug"},
    {"debug", "getmetatable", "debug"},
    {"debug", "getregistry", "debug"},
    {"debug", "getupvalue", "debug"},
    {"debug", "getuservalue", "debug"},
    {"debug", "setcstacklimit", "debug"},
    {"debug", "setlocal", "debug"},
    {"debug", "setmetatable", "debug"},
    {"debug", "setupvalue", "debug"},
    {"debug", "setuservalue", "debug"},
    {"debug", "upvalueid", "debug"},
    {"debug", "upvaluejoin", "debug"},
};

static bool is_granted(const char *list, const withheld *part) {
  char name[64];
  snprintf(name, sizeof name, "%s.%s", part->library, part->name);
  return (part->grant != NULL && has_exactly(list, part->grant)) ||
         has_exactly(list, name);
}

/* Upvalue: what it stands in for. */
static int refused(lua_State *L) {
  return allow_refuse(L, lua_tostring(L, lua_upvalueindex(1)));
}

/* __index of a library: a function that says why there is none.  Upvalues: the
** library's name, the list. */
static int refusing(lua_State *L) {
  const char *library = lua_tostring(L, lua_upvalueindex(1));
  const char *list = lua_touserdata(L, lua_upvalueindex(2));
  if (lua_type(L, 2) != LUA_TSTRING)
    return 0;
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    if (strcmp(all[i].library, library) != 0 ||
        strcmp(all[i].name, lua_tostring(L, 2)) != 0 ||
        is_granted(list, &all[i]))
      continue;
    lua_pushfstring(L, "%s.%s", library, all[i].name);
    if (strcmp(all[i].name, "stdin") == 0) /* no function: nobody calls it */
      return allow_refuse(L, lua_tostring(L, -1));
    lua_pushcclosure(L, refused, 1);
    return 1;
  }
  return 0;
}

/* Globals are looked up too often for an __index: these stand in themselves. */
static void push_stand_in(lua_State *L, const withheld *part) {
  if (strcmp(part->library, LUA_GNAME) == 0) {
    lua_pushstring(L, part->grant);
    lua_pushcclosure(L, refused, 1);
  } else {
    lua_pushnil(L);
  }
}

/*
** debug.getinfo, which does not give functions of ours away: called out of
** their place they could do anything.  Upvalue: Lua's own.
*/
static int get_info(lua_State *L) {
  lua_tocfunction(L, lua_upvalueindex(1))(L);
  if (!lua_istable(L, -1))
    return 1;
  lua_getfield(L, -1, "func");
  bool hidden = lua_iscfunction(L, -1);
  lua_pop(L, 1);
  if (hidden) {
    lua_pushnil(L);
    lua_setfield(L, -2, "func");
  }
  return 1;
}

static void open_library(lua_State *L, const char *list, const char *library) {
  bool complete = true;
  lua_getglobal(L, library);
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    if (strcmp(all[i].library, library) != 0 || is_granted(list, &all[i]))
      continue;
    push_stand_in(L, &all[i]);
    lua_setfield(L, -2, all[i].name);
    complete = false;
  }
  if (!complete && strcmp(library, LUA_GNAME) != 0) {
    lua_createtable(L, 0, 1);
    lua_pushstring(L, library);
    lua_pushlightuserdata(L, (void *)list);
    lua_pushcclosure(L, refusing, 2);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
  }
  lua_pop(L, 1);
}

/* -------------------------------------------------------------- modules -- */

/* "FILE:LINE: " of the script that requires, which may be some levels up. */
static const char *push_requirer(lua_State *L) {
  lua_Debug frame;
  for (int level = 1; lua_getstack(L, level, &frame) != 0; level++) {
    lua_getinfo(L, "Sl", &frame);
    if (frame.currentline > 0)
      return lua_pushfstring(L, "%s:%d: ", frame.short_src, frame.currentline);
  }
  return lua_pushliteral(L, "");
}

void allow_check_module(lua_State *L, const char *list, const char *module,
                        const char *path) {
  char root[128];
  size_t size = strcspn(module, ".");
  if (allow_has(list, module))
    return;
  if (size < sizeof root) { /* parts come with the whole */
    memcpy(root, module, size);
    root[size] = '\0';
    if (allow_has(list, root))
      return;
    module = root;
  }
  luaL_error(
      L,
      "%smodule '%s' (%s) is not allowed to scripts here; the host would "
      "allow it with --allow default,%s",
      push_requirer(L), module, path, module);
}

/* What search_c has kept: the script may change `package` as it likes. */
enum {
  KEPT_LIST = 1,
  KEPT_SEARCHPATH,
  KEPT_LOADLIB,
  KEPT_CPATH,
  KEPT_WHOLE, /* looks for the library of the name's first part */
  KEPT_COUNT = KEPT_WHOLE
};

/*
** Stands in for a searcher of C modules.  Unlike Lua's own it looks in the
** places that the host has set, and takes nothing but the function that is
** named after the whole module.
*/
static int search_c(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  bool whole = lua_toboolean(L, lua_upvalueindex(KEPT_WHOLE));
  size_t size = whole ? strcspn(name, ".") : strlen(name);
  if (whole && name[size] == '\0')
    return 0;
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(KEPT_SEARCHPATH));
  lua_pushlstring(L, name, size);
  lua_pushvalue(L, lua_upvalueindex(KEPT_CPATH));
  lua_call(L, 2, 2);
  if (lua_isnil(L, 2))
    return 1; /* where it was looked for */
  lua_settop(L, 2);
  const char *path = lua_tostring(L, 2);
  allow_check_module(L, lua_touserdata(L, lua_upvalueindex(KEPT_LIST)), name,
                     path);
  lua_pushvalue(L, lua_upvalueindex(KEPT_LOADLIB));
  lua_pushvalue(L, 2);
  lua_pushliteral(L, "luaopen_");
  luaL_gsub(L, name, ".", "_");
  lua_concat(L, 2);
  lua_call(L, 2, 3);
  if (lua_isfunction(L, 3)) {
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 2);
    return 2; /* the loader and the file's name */
  }
  if (whole && strcmp(lua_tostring(L, 5), "init") == 0) {
    lua_pushfstring(L, "no module '%s' in file '%s'", name, path);
    return 1;
  }
  return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s", name,
                    path, lua_tostring(L, 4));
}

void allow_open(lua_State *L, const char *list) {
  static const char *const libraries[] = {"io", "os", LUA_GNAME, "package",
                                          "debug"};
  if (list == NULL)
    list = ALLOW_DEFAULT;
  if (has_exactly(list, "all"))
    return;
  if (!has_exactly(list, "debug")) {
    lua_getglobal(L, "debug");
    lua_getfield(L, -1, "getinfo");
    lua_pushcclosure(L, get_info, 1);
    lua_setfield(L, -2, "getinfo");
    lua_pop(L, 1);
  }
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers");
  for (int i = 3; i <= 4; i++) {
    lua_pushlightuserdata(L, (void *)list);
    lua_getfield(L, -3, "searchpath");
    lua_getfield(L, -4, "loadlib");
    lua_getfield(L, -5, "cpath");
    lua_pushboolean(L, i == 4);
    lua_pushcclosure(L, search_c, KEPT_COUNT);
    lua_rawseti(L, -2, i);
  }
  lua_pop(L, 2);
  for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++)
    open_library(L, list, libraries[i]);
}
