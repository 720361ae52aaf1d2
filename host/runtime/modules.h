/*
** modules.h -- the Lua half of the module, as the host's states load it.
**
** It is compiled once a process, by the Lua that runs it, and without the
** names and lines that only a debugger of the module itself would miss: a
** further script costs little memory and no time to compile it.
*/
#ifndef RUNTIME_MODULES_H
#define RUNTIME_MODULES_H

#include <lua.h>

#include "iotops/context.h"

typedef struct compiled_module {
  char *bytes; /* owned; NULL: not compiled yet */
  size_t size, capacity;
} compiled_module;

typedef struct module_cache {
  iotops_context *context;  /* borrowed */
  compiled_module *modules; /* owned; as many as are embedded */
} module_cache;

/* False when memory is short. */
bool module_cache_init(module_cache *cache, iotops_context *context);
void module_cache_free(module_cache *cache);

/*
** Pushes the loader of the embedded module that scripts know by `name`; false
** when there is none.  May raise.  The cache outlives the state.
*/
bool module_cache_push(module_cache *cache, lua_State *L, const char *name);

#endif
