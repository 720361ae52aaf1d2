/*
** world.h -- hosts, a broker and a clock that exist in memory alone.
**
** Scripts run in it as `iotops run` would run them: isolated, guarded and
** reloaded by the same code.  Time stands still until world_step() moves it to
** the next timer, so everything happens in one order, at once, and again the
** same.  Only sockets, files and timers that a script opens with luv are real.
*/
#ifndef TESTING_WORLD_H
#define TESTING_WORLD_H

#include "plain_data.h"
#include "runtime/host.h"
#include "testing/memory_broker.h"

enum {
  /* That are kept; of warnings and errors ten times as many. */
  WORLD_LOG_RECORDS = 10000,
  WORLD_RINGS = 200000 /* of one settling */
};

typedef struct world_variable {
  char *name;  /* owned */
  char *value; /* owned */
} world_variable;

typedef struct world_host world_host;
struct world_host {
  struct world *world;        /* borrowed */
  char *client_id;            /* owned */
  char *allow;                /* owned; of its options, or NULL */
  host *host;                 /* owned */
  iotops_mqtt_client *client; /* the broker's */
  world_variable *variables;  /* owned; of the environment, for its scripts */
  size_t variable_count;
  world_host *next;
};

typedef struct world_record {
  iotops_log_level level;
  char *component, *message; /* owned */
  char *script, *topic;      /* owned; NULL: the record has no such field */
  int64_t wall_ms;
} world_record;

/* A Lua state of ours with a client of its own. */
typedef struct world_peer world_peer;
struct world_peer {
  iotops_mqtt_client *client; /* the broker's */
  lua_State *L;               /* owned; its module is anchored at the key */
  world_peer *next;
};

typedef struct world {
  uint64_t now_ms;         /* mono_ms */
  int64_t wall_ms;         /* at now_ms 0 */
  uint64_t random;         /* what comes next */
  iotops_context *context; /* owned */
  memory_broker *broker;   /* owned */
  world_host *hosts;       /* owned */
  world_peer *peers;       /* owned */
  world_record *records;   /* owned */
  size_t record_count, record_capacity;
  char *folder;      /* owned; NULL until somebody asks */
  plain_data parcel; /* what goes to a peer, or comes from one */
} world;

/* `wall_ms` is when it begins.  Fails with invalid state. */
int world_open(world *world, int64_t wall_ms, iotops_error *err);

/* Gives up what is in hand; closing twice does nothing. */
void world_close(world *world);

/* A host and its client, without scripts. */
world_host *world_add_host(world *world, const char *client_id,
                           const host_options *options, iotops_error *err);

/* Shows the host's scripts, from the next load on, a variable. */
int world_set_variable(world_host *host, const char *name, const char *value,
                       iotops_error *err);

/*
** A state that runs the carried module `name` on a client called `client_id`;
** what the module returns is kept for world_push_module().  NULL with `err`.
*/
world_peer *world_add_peer(world *world, const char *client_id,
                           const char *name, iotops_error *err);
void world_push_module(const world_peer *peer);

/*
** A folder of the world's own that goes with it; NULL, with errno, when there
** can be none.
*/
const char *world_folder(world *world);

/*
** Does all that is to be done now.  Fails with invalid state when that has no
** end: messages beget messages, or timers timers.
*/
int world_settle(world *world, iotops_error *err);

/*
** Moves the clock by `*left_ms`, but not past the next timer, takes what it
** moved off, and settles.
*/
int world_step(world *world, uint64_t *left_ms, iotops_error *err);

#endif
