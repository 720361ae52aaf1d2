/*
** allow.h -- what a script may load beyond its own folder and iotops.
**
** A list of names, separated by commas, says what: a module of the system
** ("lpeg" with its parts "lpeg.re"), the parts of Lua's library that reach
** beyond the script ("io", "debug", "os.execute"), functions of luv that act on
** the process ("luv.spawn").  "default" stands for ALLOW_DEFAULT, "all" for
** everything, "none" for nothing.  Base, coroutine, table, string, math, utf8
** and what else os has are always there, as are Lua modules of the script's own
** folder; its C modules have to be named, since they can do anything.
**
** What is not allowed fails when it is called or required, with an error that
** names it and the option.
*/
#ifndef RUNTIME_ALLOW_H
#define RUNTIME_ALLOW_H

#include <lua.h>
#include <stdbool.h>

#define ALLOW_DEFAULT "io,os.getenv,cjson,luv"

/* Whether the text can be such a list. */
bool allow_is_list(const char *list);

/*
** Whether it has `name`, or a module that `name` is part of (but "luv.spawn"
** and its like are not in "luv").  A list that is NULL is the default one.
*/
bool allow_has(const char *list, const char *name);

/*
** Withholds from the opened libraries of a state what the list does not have,
** once bounds are open and package.cpath is what it is to be: C modules are
** looked for there whatever a script makes of it, unless all is allowed.
** `list` outlives the state.  May raise when memory is short.
*/
void allow_open(lua_State *L, const char *list);

/*
** Raises unless the module may be loaded from the file `path`, which is not the
** script's own.
*/
void allow_check_module(lua_State *L, const char *list, const char *module,
                        const char *path);

/* Raises: `name` is not allowed. */
int allow_refuse(lua_State *L, const char *name);

#endif
