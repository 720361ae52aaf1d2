/*
** standin.c -- `iotops standin`: the stand-ins for services of the platform.
**
** A stand-in is a Lua program on the product's own module, carried inside this
** one.  It runs in a Lua state as a plain lua5.4 would run it.
*/
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/command.h"
#include "commands/dev_record.h"
#include "commands/standins.h"
#include "runtime/carried.h"

static void print_help(void) {
  printf("iotops standin -- serve like one of the platform's services\n\n"
         "usage: iotops standin NAME [OPTION...]\n\n");
  for (size_t i = 0; i < STANDIN_COUNT; i++)
    printf("  %-12s %s\n", standin_entries[i].name, standin_entries[i].summary);
  printf("\n`iotops dev` starts them by itself.  Alone they serve programs of "
         "any kind on\nthe broker that the AIO_* environment variables name, "
         "else that of a running\n`iotops dev`.  `iotops standin NAME --help` "
         "lists a stand-in's options.\n\n"
         "  iotops standin statestore --state-file store.journal\n");
}

/* Names the broker of a running `iotops dev` when none is configured. */
static int use_broker(iotops_error *err) {
  dev_record record = {0};
  iotops_error why;
  char port[8];
  const char *name = getenv("AIO_BROKER_HOSTNAME");
  const char *mount = getenv("CONNECTOR_CONFIGURATION_MOUNT_PATH");
  if ((name != NULL && name[0] != '\0') || (mount != NULL && mount[0] != '\0'))
    return 0;
  if (dev_record_read(&record, &why) != 0)
    return iotops_error_configuration(
        err, "AIO_BROKER_HOSTNAME", (iotops_text){0},
        "no broker is configured (AIO_BROKER_HOSTNAME is not set) and no "
        "`iotops dev` was found: %s",
        why.message);
  snprintf(port, sizeof port, "%u", record.port);
  setenv("AIO_BROKER_HOSTNAME", "127.0.0.1", 1);
  setenv("AIO_BROKER_TCP_PORT", port, 1);
  setenv("AIO_MQTT_USE_TLS", "false", 1);
  return 0;
}

typedef struct standin {
  const char *name;
  int argc;
  char **argv; /* after the name */
} standin;

static int explain(lua_State *L) {
  const char *message = luaL_tolstring(L, 1, NULL);
  luaL_traceback(L, L, message, 1);
  return 1;
}

/* Runs protected: the stand-in, to its end. */
static int run_standin(lua_State *L) {
  const standin *started = lua_touserdata(L, 1);
  luaL_openlibs(L);
  carried_preload(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_createtable(L, started->argc, 0);
  for (int i = 0; i < started->argc; i++) {
    lua_pushstring(L, started->argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setglobal(L, "arg");
  lua_pushfstring(L, "standin.%s", started->name);
  lua_getfield(L, -2, lua_tostring(L, -1));
  lua_insert(L, -2);
  lua_call(L, 1, 0);
  return 0;
}

static bool wants_help(const standin *started) {
  for (int i = 0; i < started->argc; i++)
    if (strcmp(started->argv[i], "--help") == 0 ||
        strcmp(started->argv[i], "-h") == 0)
      return true;
  return false;
}

static int run(standin *started) {
  iotops_error err;
  if (!wants_help(started) && use_broker(&err) != 0) {
    command_report(&err);
    return COMMAND_USAGE;
  }
  lua_State *L = luaL_newstate();
  if (L == NULL)
    return COMMAND_REFUSED;
  lua_pushcfunction(L, explain);
  lua_pushcfunction(L, run_standin);
  lua_pushlightuserdata(L, started);
  int status = lua_pcall(L, 1, 0, 1);
  if (status != LUA_OK)
    fprintf(stderr, "iotops standin %s: %s\n", started->name,
            lua_tostring(L, -1));
  lua_close(L);
  return status == LUA_OK ? COMMAND_DONE : COMMAND_REFUSED;
}

int command_standin(int argc, char **argv) {
  if (argc > 1 &&
      (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
    print_help();
    return COMMAND_DONE;
  }
  if (argc < 2)
    return command_usage_error("standin", "it needs the name of a stand-in");
  for (size_t i = 0; i < STANDIN_COUNT; i++)
    if (strcmp(standin_entries[i].name, argv[1]) == 0) {
      standin started = {argv[1], argc - 2, argv + 2};
      return run(&started);
    }
  return command_usage_error("standin", "there is no stand-in called %s",
                             argv[1]);
}
