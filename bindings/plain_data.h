/*
** plain_data.h -- plain values of one Lua state as bytes, and as values of
** another.
**
** Plain are nil, booleans, integers, floats, strings, iotops.null, and tables
** of these without a metatable (but for the mark of a JSON array).  A table
** that is reached twice is one table afterwards, too; one that contains itself
** is refused, as is everything that is not plain, with the path to it.  The
** bytes are nobody's to send or keep: their form is that of this program alone.
*/
#ifndef BINDINGS_PLAIN_DATA_H
#define BINDINGS_PLAIN_DATA_H

#include "core.h"

enum { PLAIN_DATA_DEPTH = 100 };

typedef struct seen_table { /* one that was written */
  const void *address;      /* NULL: the place is free */
  uint32_t number;
  bool open; /* its contents are being written */
} seen_table;

typedef struct plain_data {
  iotops_context *context; /* borrowed */
  char *bytes;             /* owned */
  size_t size, capacity;
  size_t limit;     /* bytes; written past it: an error */
  const char *name; /* borrowed; of the value, for errors */
  bool bare;        /* metatables are left out rather than refused */
  size_t tables;    /* written so far */
  bool shares;      /* some table is reached more than once */
  seen_table *seen; /* owned; while it is written */
  size_t seen_capacity;
} plain_data;

/*
** Appends the value at `index`.  Raises, naming the path, what is not plain,
** and when memory is short; the data is to be cleared then as ever.
*/
void plain_data_write(lua_State *L, int index, plain_data *data) LUA_MAY_RAISE;

/* Pushes what was written; it may be read any number of times. */
void plain_data_read(lua_State *L, const plain_data *data) LUA_MAY_RAISE;

/* Frees what it holds. */
void plain_data_clear(plain_data *data);

#endif
