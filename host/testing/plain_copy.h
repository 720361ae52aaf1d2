/*
** plain_copy.h -- plain data from one Lua state to another.
**
** Nil, booleans, numbers, texts, light userdata (JSON's null) and tables of
** these go over, without metatables.  The source is only read.
*/
#ifndef TESTING_PLAIN_COPY_H
#define TESTING_PLAIN_COPY_H

#include <lua.h>

enum { PLAIN_COPY_DEPTH = 64 };

/*
** Pushes a copy of the value at `index` of `from` on `to`.  Raises in `to`
** when memory is short, or when something cannot be copied: the message says
** what, and where in the tables it is.
*/
void plain_copy(lua_State *from, int index, lua_State *to);

#endif
