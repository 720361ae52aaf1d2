#include "testing/world.h"

#include <errno.h>
#include <ftw.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "embed.h"
#include "runtime/carried.h"

static const char module_key;

/* ---------------------------------------------------------------- clock -- */

static int64_t wall_ms(void *user) {
  const world *world = user;
  return world->wall_ms + (int64_t)world->now_ms;
}

static uint64_t mono_ms(void *user) {
  return ((const world *)user)->now_ms;
}

static void no_alarm(void *user, iotops_context *context, uint64_t due_ms) {
  (void)user;
  (void)context;
  (void)due_ms;
}

/* The same bytes in each world (splitmix64). */
static void same_bytes(void *user, void *bytes, size_t size) {
  world *world = user;
  uint8_t *at = bytes;
  while (size-- > 0) {
    uint64_t mixed = world->random += UINT64_C(0x9E3779B97F4A7C15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94D049BB133111EB);
    *at++ = (uint8_t)(mixed >> 32);
  }
}

/* ------------------------------------------------------------------ log -- */

static char *copy_text(iotops_context *context, iotops_text text) {
  char *copy = iotops_zalloc(context, text.size + 1);
  if (copy != NULL && text.size > 0)
    memcpy(copy, text.data, text.size);
  return copy;
}

static void free_record(iotops_context *context, world_record *record) {
  iotops_free(context, record->component);
  iotops_free(context, record->message);
  iotops_free(context, record->script);
  iotops_free(context, record->topic);
}

static void keep(void *user, const iotops_log_record *record) {
  world *world = user;
  iotops_context *context = world->context;
  size_t most = record->level >= IOTOPS_LOG_WARN
                    ? (size_t)WORLD_LOG_RECORDS * 10
                    : (size_t)WORLD_LOG_RECORDS;
  if (context == NULL || world->record_count >= most)
    return;
  if (world->record_count == world->record_capacity) {
    size_t capacity = world->record_capacity * 2 + 64;
    world_record *larger =
        iotops_resize(context, world->records, capacity * sizeof *larger);
    if (larger == NULL)
      return;
    world->records = larger;
    world->record_capacity = capacity;
  }
  world_record kept = {.level = record->level, .wall_ms = wall_ms(world)};
  kept.component = copy_text(context, iotops_text_of(record->component));
  kept.message = copy_text(context, record->message);
  for (size_t i = 0; i < record->field_count; i++) {
    const iotops_log_field *field = &record->fields[i];
    if (strcmp(field->name, "script") == 0 && kept.script == NULL)
      kept.script = copy_text(context, field->value);
    else if (strcmp(field->name, "topic") == 0 && kept.topic == NULL)
      kept.topic = copy_text(context, field->value);
  }
  if (kept.component == NULL || kept.message == NULL) {
    free_record(context, &kept);
    return;
  }
  world->records[world->record_count++] = kept;
}

/* ---------------------------------------------------------------- hosts -- */

/*
** session(client_id): what a script that makes a session of its own gets: a
** client of the world's broker, whatever broker it has named.
*/
static int own_session(lua_State *L) {
  world *world = lua_touserdata(L, lua_upvalueindex(1));
  iotops_mqtt_client *client =
      memory_broker_client(world->broker, luaL_checkstring(L, 1));
  if (client == NULL)
    return luaL_error(L, "out of memory");
  iotops_lua_push_client(L, client);
  return 1;
}

/* Gives a script's state the variables, the clock and a seed of the world. */
static void furnish(void *user, lua_State *L) {
  const world_host *owner = user;
  carried_load(L, "iotops.testing.prelude");
  lua_createtable(L, 0, (int)owner->variable_count);
  for (size_t i = 0; i < owner->variable_count; i++) {
    lua_pushstring(L, owner->variables[i].value);
    lua_setfield(L, -2, owner->variables[i].name);
  }
  lua_pushlightuserdata(L, owner->world);
  lua_pushcclosure(L, own_session, 1);
  lua_call(L, 2, 0);
}

static void free_host(world_host *gone) {
  iotops_context *context = gone->world->context;
  if (gone->client != NULL)
    memory_broker_end(gone->client);
  host_free(gone->host);
  for (size_t i = 0; i < gone->variable_count; i++) {
    iotops_free(context, gone->variables[i].name);
    iotops_free(context, gone->variables[i].value);
  }
  iotops_free(context, gone->variables);
  iotops_free(context, gone->client_id);
  iotops_free(context, gone->allow);
  iotops_free(context, gone);
}

world_host *world_add_host(world *world, const char *client_id,
                           const host_options *given, iotops_error *err) {
  host_options options = *given;
  world_host *made = iotops_zalloc(world->context, sizeof *made);
  if (made == NULL)
    goto out_of_memory;
  made->world = world;
  made->client_id = copy_text(world->context, iotops_text_of(client_id));
  made->client = memory_broker_client(world->broker, client_id);
  if (given->allow != NULL)
    options.allow = made->allow =
        copy_text(world->context, iotops_text_of(given->allow));
  if (made->client_id == NULL || made->client == NULL ||
      (given->allow != NULL && made->allow == NULL))
    goto out_of_memory;
  options.context = world->context;
  options.client = made->client;
  options.furnished = furnish;
  options.furnished_user = made;
  if (host_new(&options, &made->host, err) != 0)
    goto failed;
  made->next = world->hosts;
  world->hosts = made;
  return made;
out_of_memory:
  iotops_error_memory(err);
failed:
  if (made != NULL)
    free_host(made);
  return NULL;
}

int world_set_variable(world_host *host, const char *name, const char *value,
                       iotops_error *err) {
  iotops_context *context = host->world->context;
  world_variable *larger = iotops_resize(
      context, host->variables, (host->variable_count + 1) * sizeof *larger);
  if (larger == NULL)
    return iotops_error_memory(err);
  host->variables = larger;
  world_variable made = {copy_text(context, iotops_text_of(name)),
                         copy_text(context, iotops_text_of(value))};
  if (made.name == NULL || made.value == NULL) {
    iotops_free(context, made.name);
    iotops_free(context, made.value);
    return iotops_error_memory(err);
  }
  larger[host->variable_count++] = made;
  return 0;
}

/* ---------------------------------------------------------------- peers -- */

/* Runs protected: the module called by the text at 1. */
static int open_peer(lua_State *L) {
  luaL_openlibs(L);
  carried_preload(L);
  lua_getglobal(L, "require");
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &module_key);
  return 0;
}

/* Runs protected: the embedder is at 1. */
static int embed_peer(lua_State *L) {
  iotops_lua_embed(L, lua_touserdata(L, 1));
  return 0;
}

static int fail(lua_State *L, iotops_error *err) {
  const char *why = lua_tostring(L, -1);
  return iotops_error_set(err, IOTOPS_INVALID_STATE, "%s",
                          why != NULL ? why : "out of memory");
}

static void free_peer(iotops_context *context, world_peer *gone) {
  if (gone->L != NULL) {
    iotops_lua_abandon(gone->L);
    lua_close(gone->L);
  }
  iotops_free(context, gone);
}

world_peer *world_add_peer(world *world, const char *client_id,
                           const char *name, iotops_error *err) {
  world_peer *made = iotops_zalloc(world->context, sizeof *made);
  iotops_lua_embedder embedder = {
      .size = sizeof embedder, .context = world->context, .script = name};
  if (made == NULL || (made->L = luaL_newstate()) == NULL)
    goto out_of_memory;
  made->client = memory_broker_client(world->broker, client_id);
  if (made->client == NULL)
    goto out_of_memory;
  embedder.client = made->client;
  lua_pushcfunction(made->L, embed_peer);
  lua_pushlightuserdata(made->L, &embedder);
  if (lua_pcall(made->L, 1, 0, 0) != LUA_OK) {
    fail(made->L, err);
    goto failed;
  }
  iotops_lua_start(made->L); /* what it declares opens at once */
  lua_pushcfunction(made->L, open_peer);
  lua_pushstring(made->L, name);
  if (lua_pcall(made->L, 1, 0, 0) != LUA_OK) {
    fail(made->L, err);
    goto failed;
  }
  made->next = world->peers;
  world->peers = made;
  return made;
out_of_memory:
  iotops_error_memory(err);
failed:
  if (made != NULL)
    free_peer(world->context, made);
  return NULL;
}

void world_push_module(const world_peer *peer) {
  lua_rawgetp(peer->L, LUA_REGISTRYINDEX, &module_key);
}

/* ----------------------------------------------------------------- time -- */

int world_settle(world *world, iotops_error *err) {
  iotops_context *context = world->context;
  for (size_t rings = 0; rings < WORLD_RINGS; rings++) {
    iotops_context_drain(context);
    if (memory_broker_flooded(world->broker))
      return iotops_error_set(
          err, IOTOPS_INVALID_STATE,
          "more than %d messages at one moment: scripts answer each other "
          "without end",
          MEMORY_BROKER_FLOOD);
    /* What luv has for a script, and handles that close. */
    iotops_context_run_once(context, false);
    iotops_context_drain(context);
    if (iotops_context_next_due(context) > world->now_ms)
      return 0;
    iotops_context_ring(context);
  }
  return iotops_error_set(err, IOTOPS_INVALID_STATE,
                          "a timer starts itself again without a delay, "
                          "without end");
}

int world_step(world *world, uint64_t *left_ms, iotops_error *err) {
  uint64_t due_ms = iotops_context_next_due(world->context);
  uint64_t step_ms = *left_ms;
  if (due_ms <= world->now_ms)
    step_ms = 0;
  else if (due_ms - world->now_ms < step_ms)
    step_ms = due_ms - world->now_ms;
  world->now_ms += step_ms;
  *left_ms -= step_ms;
  return world_settle(world, err);
}

/* --------------------------------------------------------------- folder -- */

const char *world_folder(world *world) {
  const char *temporary = getenv("TMPDIR");
  char path[4096];
  if (world->folder != NULL)
    return world->folder;
  snprintf(path, sizeof path, "%s/iotops-world-XXXXXX",
           temporary != NULL && temporary[0] != '\0' ? temporary : "/tmp");
  if (mkdtemp(path) == NULL)
    return NULL;
  errno = ENOMEM;
  return world->folder = copy_text(world->context, iotops_text_of(path));
}

static int remove_entry(const char *path, const struct stat *info, int type,
                        struct FTW *place) {
  (void)info;
  (void)type;
  (void)place;
  remove(path);
  return 0;
}

static void remove_folder(world *world) {
  if (world->folder != NULL)
    nftw(world->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
  iotops_free(world->context, world->folder);
  world->folder = NULL;
}

/* ----------------------------------------------------------------- life -- */

int world_open(world *opened, int64_t wall, iotops_error *err) {
  iotops_clock clock = {wall_ms, mono_ms, no_alarm, opened};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  *opened = (world){.now_ms = 1000, .wall_ms = wall - 1000};
  options.clock = &clock;
  options.log = keep;
  options.log_user = opened;
  options.log_level = IOTOPS_LOG_DEBUG;
  options.random = same_bytes;
  options.random_user = opened;
  if (iotops_context_new(&options, &opened->context, err) != 0)
    return -1;
  if ((opened->broker = memory_broker_new(opened->context)) == NULL) {
    world_close(opened);
    return iotops_error_memory(err);
  }
  return 0;
}

void world_close(world *closed) {
  iotops_context *context = closed->context;
  if (context == NULL)
    return;
  while (closed->hosts != NULL) {
    world_host *next = closed->hosts->next;
    free_host(closed->hosts);
    closed->hosts = next;
  }
  while (closed->peers != NULL) {
    world_peer *next = closed->peers->next;
    memory_broker_end(closed->peers->client);
    free_peer(context, closed->peers);
    closed->peers = next;
  }
  iotops_context_run_once(context, false);
  memory_broker_free(closed->broker);
  remove_folder(closed);
  plain_data_clear(&closed->parcel);
  for (size_t i = 0; i < closed->record_count; i++)
    free_record(context, &closed->records[i]);
  iotops_free(context, closed->records);
  closed->records = NULL;
  closed->record_count = closed->record_capacity = 0;
  closed->context = NULL; /* nothing is kept of what is logged from here */
  iotops_context_free(context);
}
