/*
** options.h -- option tables of scripts as the core's option structs.
**
** What is read are views of strings that the table keeps; converted values
** stay on the stack.  Misuse (a wrong type, an unknown name) raises at the
** caller's line.
*/
#ifndef BINDINGS_OPTIONS_H
#define BINDINGS_OPTIONS_H

#include "core.h"

enum { OPTIONS_INLINE = 16 };

/* Tokens or properties; the array may be in a userdata on the stack. */
typedef struct token_list {
  const iotops_token *items;
  size_t count;
  iotops_token few[OPTIONS_INLINE];
} token_list;

typedef struct property_list {
  const iotops_user_property *items;
  size_t count;
  iotops_user_property few[OPTIONS_INLINE];
} property_list;

/*
** Raises unless the value at `index` is a table (or nothing) whose fields are
** all among `names` (NULL ends them); false when it is nothing.
*/
bool check_options(lua_State *L, int index,
                   const char *const *names) LUA_MAY_RAISE;

/* Absent when the field is nil. */
iotops_text text_option(lua_State *L, int index,
                        const char *name) LUA_MAY_RAISE;
bool boolean_option(lua_State *L, int index, const char *name,
                    bool otherwise) LUA_MAY_RAISE;
lua_Integer integer_option(lua_State *L, int index, const char *name,
                           lua_Integer otherwise) LUA_MAY_RAISE;

/* Seconds in the table, microseconds here. */
int64_t seconds_option(lua_State *L, int index, const char *name,
                       int64_t otherwise) LUA_MAY_RAISE;

/*
** Field `name`: a table of names and values; iotops.any as a value leaves its
** token out.  NULL: the value at `index` itself.
*/
void tokens_option(lua_State *L, int index, const char *name,
                   token_list *tokens) LUA_MAY_RAISE;

/* A list of {name, value} pairs, or a table of names and values. */
void properties_option(lua_State *L, int index, const char *name,
                       property_list *properties) LUA_MAY_RAISE;

/* A cloud event; false when the field is nil. */
bool cloud_event_option(lua_State *L, int index, const char *name,
                        iotops_cloud_event *event) LUA_MAY_RAISE;

/* Marks a token that is to stay open. */
void push_any(lua_State *L);

#endif
