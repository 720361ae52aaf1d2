/*
** store.h -- what the files about the state store share.
**
** A store of a script is a client of its own, or one that the embedder lends
** to all scripts of a session: registrations for key notifications belong to
** the session's client id, and must be counted together.
*/
#ifndef BINDINGS_STORE_H
#define BINDINGS_STORE_H

#include "iotops/state_store.h"
#include "wait.h"

typedef struct lua_store lua_store;

/* A scan, observation or lock: closed before its store is. */
typedef struct store_part store_part;
struct store_part {
  lua_store *store; /* NULL: closed */
  void (*close)(store_part *part);
  store_part *next, *previous; /* of the store */
};

struct lua_store { /* a userdata; user value 1 is the session */
  iotops_lua *state;
  iotops_state_store *handle; /* NULL: closed */
  bool owned;
  store_part *parts;
};

/* The store at `index`; raises when it is closed. */
lua_store *check_store(lua_State *L, int index) LUA_MAY_RAISE;

void part_join(store_part *part, lua_store *store,
               void (*close)(store_part *part));

/* Out of the store's list; closing twice does nothing. */
void part_leave(store_part *part);

/*
** Options of one request from the table at `index`, whose names must be among
** `names`.  -1 with `err` when the fencing token is malformed; a good one is
** read into `token`.
*/
int request_options(lua_State *L, int index, const char *const *names,
                    iotops_store_options *options, iotops_hlc *token,
                    iotops_error *err) LUA_MAY_RAISE;

/* { "timeout", NULL } */
extern const char *const timeout_option[];

/* Pushes the text of a version; nil when absent. */
void push_version(lua_State *L, const iotops_hlc *version) LUA_MAY_RAISE;

/* A store_done function whose user is the wait. */
void store_answered(void *user, const iotops_store_result *result,
                    const iotops_error *err);

/* store:observe(key, options, handler); observation.c. */
int store_observe(lua_State *L) LUA_MAY_RAISE;

#endif
