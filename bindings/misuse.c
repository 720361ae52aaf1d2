#include "misuse.h"

#include <stdarg.h>
#include <string.h>

/* Files of ours through which a script's mistake gets to the core. */
static bool is_ours(const char *source) {
  static const char *const files[] = {
      "iotops/init.lua",  "iotops/sessions.lua",     "iotops/setup.lua",
      "iotops/calls.lua", "iotops/declarations.lua", "iotops/services.lua",
      "iotops/retry.lua", "iotops/pattern.lua"};
  size_t size = strlen(source);
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    size_t tail = strlen(files[i]);
    if (size >= tail && strcmp(source + size - tail, files[i]) == 0)
      return true;
  }
  return false;
}

bool is_own_file(const char *source) {
  return strncmp(source, "@iotops/", 8) == 0 || is_ours(source);
}

void misuse_where(lua_State *L) {
  lua_Debug frame;
  for (int level = 1; lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "Sl", &frame);
    if (frame.currentline > 0 && !is_ours(frame.source)) {
      lua_pushfstring(L, "%s:%d: ", frame.short_src, frame.currentline);
      return;
    }
  }
  lua_pushliteral(L, "");
}

int misuse(lua_State *L, const char *format, ...) {
  va_list args;
  va_start(args, format);
  misuse_where(L);
  lua_pushvfstring(L, format, args);
  va_end(args);
  lua_concat(L, 2);
  return lua_error(L);
}

/* misuse(message): what error() is elsewhere. */
static int core_misuse(lua_State *L) {
  return misuse(L, "%s", luaL_checkstring(L, 1));
}

const core_field misuse_fields[] = {{"misuse", core_misuse, false}, {0}};
