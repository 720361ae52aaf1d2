#include "runtime/modules.h"

#include <lauxlib.h>
#include <string.h>

#include "runtime/embedded.h"

typedef struct compiling {
  iotops_context *context;
  compiled_module *module;
} compiling;

static int append(lua_State *L, const void *bytes, size_t size, void *user) {
  const compiling *compiling = user;
  compiled_module *module = compiling->module;
  (void)L;
  if (size > module->capacity - module->size) {
    size_t capacity = module->capacity * 2 + size;
    char *larger = iotops_resize(compiling->context, module->bytes, capacity);
    if (larger == NULL)
      return 1;
    module->bytes = larger;
    module->capacity = capacity;
  }
  memcpy(module->bytes + module->size, bytes, size);
  module->size += size;
  return 0;
}

/* Compiles and leaves nothing on the stack; raises on failure. */
static void compile(lua_State *L, module_cache *cache, size_t index) {
  const embedded_module *source = &embedded_modules[index];
  compiled_module made = {0};
  compiling compiling = {cache->context, &made};
  if (luaL_loadbufferx(L, (const char *)source->bytes, source->size,
                       source->chunk, "t") != LUA_OK)
    lua_error(L);
  if (lua_dump(L, append, &compiling, 1) != 0) {
    iotops_free(cache->context, made.bytes);
    luaL_error(L, "out of memory");
  }
  lua_pop(L, 1);
  cache->modules[index] = made;
}

static int open_module(lua_State *L) {
  module_cache *cache = lua_touserdata(L, lua_upvalueindex(1));
  size_t index = (size_t)lua_tointeger(L, lua_upvalueindex(2));
  const compiled_module *module = &cache->modules[index];
  if (module->bytes == NULL)
    compile(L, cache, index);
  if (luaL_loadbufferx(L, module->bytes, module->size,
                       embedded_modules[index].chunk, "b") != LUA_OK)
    return lua_error(L);
  lua_pushstring(L, embedded_modules[index].name);
  lua_call(L, 1, 1);
  return 1;
}

bool module_cache_init(module_cache *cache, iotops_context *context) {
  cache->context = context;
  cache->modules = iotops_zalloc(context, (embedded_module_count + 1) *
                                              sizeof *cache->modules);
  return cache->modules != NULL;
}

void module_cache_free(module_cache *cache) {
  if (cache->modules == NULL)
    return;
  for (size_t i = 0; i < embedded_module_count; i++)
    iotops_free(cache->context, cache->modules[i].bytes);
  iotops_free(cache->context, cache->modules);
  cache->modules = NULL;
}

bool module_cache_push(module_cache *cache, lua_State *L, const char *name) {
  /* Not a stand-in's nor a test's: scripts have no use for it. */
  if (strncmp(name, "iotops", 6) != 0 ||
      strncmp(name, "iotops.testing", 14) == 0)
    return false;
  for (size_t i = 0; i < embedded_module_count; i++)
    if (strcmp(name, embedded_modules[i].name) == 0) {
      lua_pushlightuserdata(L, cache);
      lua_pushinteger(L, (lua_Integer)i);
      lua_pushcclosure(L, open_module, 2);
      return true;
    }
  return false;
}
