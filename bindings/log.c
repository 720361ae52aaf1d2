/* log.c -- iotops.log, and where records of a plain Lua go: standard error. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gate.h"
#include "log_print.h"
#include "misuse.h"

void log_print(const iotops_log_record *record) {
  char stamp[32], line[4096];
  struct timespec now;
  struct tm utc;
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &utc);
  strftime(stamp, sizeof stamp, "%H:%M:%S", &utc);
  size_t size = 0;
  int written = snprintf(
      line, sizeof line, "%s.%03ld %-5s %s: %.*s", stamp, now.tv_nsec / 1000000,
      iotops_log_level_name(record->level), record->component,
      (int)record->message.size, record->message.data);
  if (written > 0)
    size = (size_t)written < sizeof line ? (size_t)written : sizeof line - 1;
  for (size_t i = 0; i < record->field_count && size < sizeof line - 1; i++) {
    const iotops_log_field *field = &record->fields[i];
    written = snprintf(line + size, sizeof line - size, " %s=%.*s", field->name,
                       (int)field->value.size,
                       field->value.data != NULL ? field->value.data : "");
    if (written > 0)
      size += (size_t)written;
    if (size > sizeof line - 1)
      size = sizeof line - 1;
  }
  line[size] = '\n';
  fwrite(line, 1, size + 1, stderr);
}

iotops_log_level log_first_level(void) {
  const char *name = getenv("IOTOPS_LOG");
  int level = name != NULL ? iotops_log_level_from(iotops_text_of(name)) : -1;
  return level >= 0 ? (iotops_log_level)level : IOTOPS_LOG_INFO;
}

/* Upvalue 1: the level.  Arguments are joined as print does. */
static int log_write(lua_State *L) {
  iotops_lua *state = state_of(L);
  iotops_log_level level = (int)lua_tointeger(L, lua_upvalueindex(1));
  if (!iotops_log_enabled(state->context, level))
    return 0;
  int count = lua_gettop(L);
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  for (int i = 1; i <= count; i++) {
    if (i > 1)
      luaL_addchar(&text, ' ');
    luaL_tolstring(L, i, NULL);
    luaL_addvalue(&text);
  }
  luaL_pushresult(&text);
  const char *message = lua_tostring(L, -1);
  call nobody = {.state = state};
  call_log(state->running_call != NULL ? state->running_call : &nobody, level,
           "%s", message);
  return 0;
}

static int log_level(lua_State *L) {
  iotops_lua *state = state_of(L);
  size_t size;
  const char *name = luaL_checklstring(L, 1, &size);
  int level = iotops_log_level_from((iotops_text){name, size});
  luaL_argcheck(L, level >= 0, 1, "trace, debug, info, warn, error or off");
  if (state->embedded)
    return misuse(L, "the level of the log is the host's");
  iotops_log_set_level(state->context, (iotops_log_level)level);
  return 0;
}

static int make_log(lua_State *L) {
  lua_createtable(L, 0, 6);
  for (int level = IOTOPS_LOG_TRACE; level < IOTOPS_LOG_OFF; level++) {
    lua_pushinteger(L, level);
    lua_pushcclosure(L, log_write, 1);
    lua_setfield(L, -2, iotops_log_level_name((iotops_log_level)level));
  }
  lua_pushcfunction(L, log_level);
  lua_setfield(L, -2, "level");
  return 1;
}

const core_field log_fields[] = {{"log", make_log, true}, {0}};
