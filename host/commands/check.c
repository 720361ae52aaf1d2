/*
** check.c -- `iotops check`: loads scripts as `iotops run` would, without a
** broker, and says what they would receive, execute and need.
*/
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "commands/command.h"
#include "commands/serve.h"
#include "commands/tool_state.h"
#include "plain_data.h"
#include "runtime/carried.h"
#include "testing/memory_broker.h"

enum { CHECK_JSON = SERVE_OPTION_END };

static const char probe_key;

typedef struct checking {
  host *host;
  lua_State *L; /* of the report; the list of scripts is at 1 */
  const char *path;
  const char *name;
  script_state *state; /* NULL: could not be loaded */
  const iotops_error *err;
  double load_ms;
  iotops_log_level log_level;
  plain_data facts; /* of the script's state, for the report's */
} checking;

static void print_help(void) {
  printf(
      "iotops check -- load scripts and say what they would do, without a "
      "broker\n\n"
      "usage: iotops check [OPTION...] FILE|FOLDER...\n\n"
      "Compiles each script and runs its main chunk as `iotops run` would, "
      "within the\n"
      "same limits; nothing is subscribed to or sent, timers and on_start "
      "functions do\n"
      "not run.  Shows what it receives and executes, its timers, modules, "
      "environment\n"
      "variables, services and locks, and warns of globals that are assigned "
      "while it is\n"
      "loaded and of commands that two scripts execute.  A script that is "
      "refused does\n"
      "not keep the others from being checked.\n\n"
      "  --json                   one JSON object: {\"scripts\": [...]}\n"
      "  --load-limit SECONDS, --memory-limit MIB, --client-id ID and the "
      "other options\n"
      "                           of `iotops run`, as it would be given "
      "them\n"
      "  -h, --help               this text\n\n"
      "Exit status: 0 all can be loaded, 1 something is refused, 2 "
      "arguments.\n\n"
      "  iotops check line1.lua && iotops test line1.lua\n");
}

/* Keeps the probe in the state of the script. */
static void furnished(void *user, lua_State *L) {
  (void)user;
  carried_load(L, "iotops.testing.probe");
  lua_call(L, 0, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &probe_key);
}

/* ---------------------------------------------------------------- facts -- */

/* Runs protected in the script's state: what the probe has seen. */
static int look(lua_State *L) {
  checking *at = lua_touserdata(L, 1);
  const script_state *state = at->state;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &probe_key);
  lua_pushstring(L, state->script->folder);
  lua_createtable(L, (int)state->endpoint_count, 0);
  for (size_t i = 0; i < state->endpoint_count; i++) {
    const iotops_lua_endpoint *endpoint = state->endpoints[i];
    lua_createtable(L, 0, 3);
    lua_pushstring(L, iotops_lua_endpoint_is_executor(endpoint) ? "command"
                                                                : "telemetry");
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, iotops_lua_endpoint_filter(endpoint));
    lua_setfield(L, -2, "filter");
    iotops_lua_endpoint_push_options(L, endpoint);
    lua_setfield(L, -2, "options");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_call(L, 2, 1);
  plain_data_write(L, -1, &at->facts);
  return 0;
}

/* Adds what the state itself knows to the table at the top. */
static void add_state(lua_State *L, const script_state *state) {
  iotops_lua_handoff handoff = iotops_lua_declared_handoff(state->L);
  lua_pushinteger(L, (lua_Integer)state->memory);
  lua_setfield(L, -2, "memory");
  if (!handoff.saves && !handoff.restores)
    return;
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, handoff.version);
  lua_setfield(L, -2, "version");
  lua_pushboolean(L, handoff.saves);
  lua_setfield(L, -2, "saves");
  lua_pushboolean(L, handoff.restores);
  lua_setfield(L, -2, "restores");
  lua_setfield(L, -2, "handoff");
}

/* Runs protected in the report's state: adds a script to the list at 1. */
static int add(lua_State *L) {
  const checking *at = lua_touserdata(L, 2);
  lua_State *from = at->state != NULL ? at->state->L : NULL;
  if (from != NULL) {
    lua_pushcfunction(from, look);
    lua_pushlightuserdata(from, (void *)at);
    if (lua_pcall(from, 1, 0, 0) != LUA_OK)
      return luaL_error(L, "%s: %s", at->path, lua_tostring(from, -1));
    plain_data_read(L, &at->facts);
    add_state(L, at->state);
  } else {
    lua_createtable(L, 0, 8);
    lua_pushstring(L, at->err->message);
    lua_setfield(L, -2, "error");
  }
  lua_pushstring(L, at->path);
  lua_setfield(L, -2, "path");
  lua_pushstring(L, at->name);
  lua_setfield(L, -2, "name");
  lua_pushnumber(L, at->load_ms);
  lua_setfield(L, -2, "load_ms");
  lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
  return 0;
}

static void note(checking *at) {
  lua_State *L = at->L;
  at->facts = (plain_data){.context = at->host->context,
                           .limit = SIZE_MAX / 4,
                           .name = "what is known of the script",
                           .bare = true};
  lua_pushcfunction(L, add);
  lua_pushvalue(L, 1);
  lua_pushlightuserdata(L, at);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    fprintf(stderr, "iotops check: %s\n", lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  plain_data_clear(&at->facts);
}

/* ---------------------------------------------------------------- check -- */

/* Loads one script as the host would, and lets it go again. */
static void check(void *user, const char *path) {
  checking *at = user;
  source tried = {.context = at->host->context};
  iotops_error err;
  script *script = script_new(at->host, path, false);
  if (script == NULL)
    return;
  iotops_log_set_level(at->host->context, at->log_level);
  uint64_t began_ns = uv_hrtime();
  at->state = state_load(script, 1, &tried, &err);
  at->load_ms = (double)(uv_hrtime() - began_ns) / 1e6;
  at->path = path;
  at->name = script->name;
  at->err = &err;
  note(at);
  source_clear(&tried);
  if (at->state != NULL) {
    /* What it has begun and now cannot end is no news. */
    iotops_log_set_level(at->host->context, IOTOPS_LOG_OFF);
    state_free(at->state);
  }
  at->state = NULL;
  script_free(script);
}

/* A name on the command line that stands for no script. */
static void refuse(checking *at, const char *path, const iotops_error *err) {
  at->state = NULL;
  at->path = at->name = path;
  at->err = err;
  at->load_ms = 0;
  note(at);
}

/* Runs protected. */
static int open_report(lua_State *L) {
  tool_state_furnish(L);
  return 0;
}

/* Runs protected: the list is at 1, what else is said at 2. */
static int report(lua_State *L) {
  char folder[4096];
  lua_getglobal(L, "require");
  lua_pushliteral(L, "iotops.testing.check");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "report");
  lua_pushvalue(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushboolean(L, lua_toboolean(L, 2));
  lua_setfield(L, -2, "json");
  lua_pushstring(L, getcwd(folder, sizeof folder) != NULL ? folder : "/");
  lua_setfield(L, -2, "folder");
  lua_call(L, 2, 1);
  return 1;
}

static int call_report(lua_State *L, bool json) {
  int status = COMMAND_REFUSED;
  lua_pushcfunction(L, report);
  lua_insert(L, 1);
  lua_pushboolean(L, json);
  if (lua_pcall(L, 2, 1, 0) == LUA_OK)
    status = (int)lua_tointeger(L, -1);
  else
    fprintf(stderr, "iotops check: %s\n", lua_tostring(L, -1));
  return status;
}

/* ------------------------------------------------------------------ run -- */

static const char *client_id(const serve_options *options, const host *host) {
  iotops_text given = iotops_settings_get(host->settings, "client_id");
  if (options->client_id != NULL)
    return options->client_id;
  return given.data != NULL && given.size > 0 ? given.data : "iotops";
}

static int run(serve_options *options, bool json, int argc, char **argv) {
  iotops_context_options context_options = IOTOPS_CONTEXT_OPTIONS_INIT;
  memory_broker *broker = NULL;
  checking at = {0};
  logger log;
  iotops_error err;
  int status = COMMAND_REFUSED;
  logger_init(&log, STDERR_FILENO, options->host.log_format);
  context_options.log = logger_write;
  context_options.log_user = &log;
  at.log_level =
      options->has_log_level ? options->host.log_level : IOTOPS_LOG_WARN;
  context_options.log_level = at.log_level;
  if (iotops_context_new(&context_options, &options->host.context, &err) != 0)
    goto failed;
  options->host.furnished = furnished;
  if (host_new(&options->host, &at.host, &err) != 0)
    goto failed;
  /* The environment may name no broker: then the client id is made up. */
  iotops_settings_from_environment(at.host->settings, NULL, NULL, &err);
  if (serve_settings(options, at.host, &err) != 0)
    goto failed;
  broker = memory_broker_new(options->host.context);
  at.L = luaL_newstate();
  if (broker == NULL || at.L == NULL ||
      (at.host->client =
           memory_broker_client(broker, client_id(options, at.host))) == NULL) {
    iotops_error_memory(&err);
    goto failed;
  }
  lua_pushcfunction(at.L, open_report);
  if (lua_pcall(at.L, 0, 0, 0) != LUA_OK) {
    iotops_error_memory(&err);
    goto failed;
  }
  lua_newtable(at.L);
  host_watch_over(at.host);
  for (int i = 0; i < argc; i++)
    if (host_add(at.host, argv[i], &err) != 0)
      refuse(&at, argv[i], &err);
  host_each_path(at.host, check, &at);
  status = call_report(at.L, json);
  goto done;
failed:
  command_report(&err);
done:
  if (at.L != NULL)
    lua_close(at.L);
  host_free(at.host);
  memory_broker_free(broker);
  iotops_context_free(options->host.context);
  return status;
}

int command_check(int argc, char **argv) {
  static const struct option long_options[] = {
      {"json", no_argument, NULL, CHECK_JSON}, SERVE_LONG_OPTIONS, {0}};
  serve_options options = SERVE_OPTIONS_INIT;
  bool json = false;
  int option = 0;
  while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    if (option == 'h') {
      print_help();
      return COMMAND_DONE;
    }
    if (option == '?' || option == ':')
      return command_option_error("check", option, argv[optind - 1]);
    if (option == CHECK_JSON)
      json = true;
    else if (serve_option("check", &options, option, optarg) != COMMAND_DONE)
      return COMMAND_USAGE;
  }
  if (optind == argc)
    return command_usage_error("check", "it needs a script or a folder of "
                                        "scripts");
  return run(&options, json, argc - optind, argv + optind);
}
