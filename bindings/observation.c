/*
** observation.c -- key notifications, from the state store to the handler.
**
** An observation runs one handler at a time, in the order of the changes; what
** comes meanwhile is queued.  The message is acknowledged when the handler has
** ended or, with manual_ack, when it says so.
*/
#include <string.h>

#include "error.h"
#include "options.h"
#include "store.h"

static const char class_name[] = "iotops.observation";
static const class_info observation_class;
static const char ack_class[] = "iotops.change_ack";
static const class_info change_ack_class;

typedef struct queued { /* what is to be handled; a copy */
  struct queued *next;
  iotops_store_change *change; /* NULL: taken over, or the end */
  bool deleted, ended, has_version;
  iotops_hlc version;
  size_t key_size, value_size;
  char bytes[]; /* key, value */
} queued;

typedef struct observation observation;
struct observation { /* in memory of the context: its callbacks may be late */
  store_part part;
  iotops_lua *state;
  iotops_context *context;
  iotops_store_observation *handle; /* NULL: ended */
  wait *waiting;                    /* for the registration */
  bool registering;                 /* `done` is still to come */
  bool dead;                        /* the userdata has gone */
  bool manual_ack, running;
  queued *first, **last;
  iotops_task pump;
};

enum { HANDLER = 1, ON_END, STORE, VALUES = STORE }; /* user values */

/* --------------------------------------------------------------- queue -- */

static void queued_free(iotops_context *context, queued *one) {
  if (one->change != NULL)
    iotops_store_change_done(one->change);
  iotops_free(context, one);
}

static void drop_queue(observation *self) {
  while (self->first != NULL) {
    queued *one = self->first;
    self->first = one->next;
    queued_free(self->context, one);
  }
  self->last = &self->first;
}

static void enqueue(observation *self, queued *one) {
  *self->last = one;
  self->last = &one->next;
  iotops_task_soon(self->context, &self->pump);
}

static void changed(void *user, iotops_store_change *change,
                    const iotops_store_notification *what) {
  observation *self = user;
  size_t key_size = what->key.size;
  size_t value_size = what->deleted ? 0 : what->value.size;
  queued *one = NULL;
  if (!self->state->closing && !self->state->quiet)
    one = iotops_zalloc(self->context, sizeof *one + key_size + value_size);
  if (one == NULL) {
    iotops_store_change_done(change);
    return;
  }
  one->change = change;
  one->deleted = what->deleted;
  one->key_size = key_size;
  one->value_size = value_size;
  memcpy(one->bytes, what->key.data, key_size);
  if (value_size > 0)
    memcpy(one->bytes + key_size, what->value.data, value_size);
  one->has_version = what->version != NULL;
  if (one->has_version)
    one->version = *what->version;
  enqueue(self, one);
}

static void detach(observation *self) {
  iotops_error err;
  iotops_store_observation *handle = self->handle;
  self->handle = NULL;
  part_leave(&self->part);
  if (handle != NULL &&
      iotops_store_unobserve(handle, NULL, NULL, NULL, &err) != 0)
    iotops_log(self->context, IOTOPS_LOG_WARN, "script",
               "an observation was not ended: %s", err.message);
}

static void ended(void *user) {
  observation *self = user;
  detach(self);
  if (self->state->closing || self->state->quiet)
    return;
  queued *one = iotops_zalloc(self->context, sizeof *one);
  if (one == NULL)
    return;
  one->ended = true;
  enqueue(self, one);
}

static void registered(void *user, const iotops_store_result *result,
                       const iotops_error *err) {
  observation *self = user;
  self->registering = false;
  if (self->dead) {
    iotops_free(self->context, self);
    return;
  }
  if (err != NULL)
    detach(self);
  wait *waiting = self->waiting;
  self->waiting = NULL;
  if (waiting != NULL)
    wait_complete(waiting, result, err);
}

/* --------------------------------------------------------------- calls -- */

static int acknowledge(lua_State *L) {
  iotops_store_change **held =
      luaL_checkudata(L, lua_upvalueindex(1), ack_class);
  lua_pushboolean(L, *held != NULL);
  if (*held != NULL)
    iotops_store_change_done(*held);
  *held = NULL;
  return 1;
}

static int ack_gc(lua_State *L) {
  iotops_store_change **held = lua_touserdata(L, 1);
  if (*held != NULL)
    iotops_store_change_done(*held);
  *held = NULL;
  return 0;
}

static void push_change(lua_State *L, queued *one, bool manual_ack) {
  lua_createtable(L, 0, 5);
  lua_pushlstring(L, one->bytes, one->key_size);
  lua_setfield(L, -2, "key");
  lua_pushstring(L, one->deleted ? "DELETE" : "SET");
  lua_setfield(L, -2, "operation");
  if (!one->deleted) {
    lua_pushlstring(L, one->bytes + one->key_size, one->value_size);
    lua_setfield(L, -2, "value");
  }
  push_version(L, one->has_version ? &one->version : NULL);
  lua_setfield(L, -2, "version");
  if (!manual_ack)
    return;
  iotops_store_change **held = lua_newuserdatauv(L, sizeof *held, 1);
  *held = NULL;
  class_set(L, &change_ack_class);
  lua_pushvalue(L, 1); /* keeps observation, store and session */
  lua_setiuservalue(L, -2, 1);
  lua_pushcclosure(L, acknowledge, 1);
  lua_setfield(L, -2, "ack");
  *held = one->change;
  one->change = NULL;
}

static int handled(lua_State *L, int status, lua_KContext context) {
  (void)L;
  (void)status;
  (void)context;
  return 0;
}

/* Runs as the call. */
static int change_body(lua_State *L) {
  const call *begun = lua_touserdata(L, 1);
  const observation *self = begun->user;
  queued *one = begun->subject;
  lua_settop(L, 0);
  push_anchored(L, self); /* stays: keeps it alive */
  lua_getiuservalue(L, 1, one->ended ? ON_END : HANDLER);
  if (lua_isnil(L, -1))
    return 0;
  int count = 0;
  if (!one->ended) {
    push_change(L, one, self->manual_ack);
    count = 1;
  }
  lua_callk(L, count, 0, 0, handled);
  return 0;
}

static void call_ended(call *over, const char *failed) {
  observation *self = over->user;
  (void)failed; /* was logged */
  queued_free(self->context, over->subject);
  over->subject = NULL;
  self->running = false;
  iotops_task_soon(self->context, &self->pump);
}

static void pump(iotops_task *task) {
  observation *self = task->user;
  if (self->running || self->dead || self->state->closing)
    return;
  queued *one = self->first;
  if (one == NULL) {
    if (self->handle == NULL)
      drop_anchor(self->state->L, self);
    return;
  }
  call *begun = call_new(self->state, IOTOPS_CALL_TELEMETRY);
  if (begun == NULL) {
    iotops_log(self->context, IOTOPS_LOG_ERROR, "script",
               "key notifications were not handled: out of memory");
    drop_queue(self);
    return;
  }
  self->first = one->next;
  if (self->first == NULL)
    self->last = &self->first;
  self->running = true;
  begun->user = self;
  begun->subject = one;
  begun->ended = call_ended;
  call_begin(begun, change_body, NULL);
}

/* --------------------------------------------------------------- observe -- */

static void part_closed(store_part *part) {
  detach((observation *)part);
}

static bool give_up(wait *waiting) {
  observation *self = waiting->user;
  self->waiting = NULL;
  return true;
}

/* Stack: the store, key, options, handler, the userdata. */
static int push_observation(lua_State *L, const wait *begun) {
  observation *self = begun->user;
  if (begun->err != NULL) {
    drop_anchor(L, self);
    return push_failure(L, begun->err);
  }
  luaL_checkstack(L, 2, NULL);
  push_anchored(L, self);
  return 1;
}

static observation *new_observation(lua_State *L, iotops_lua *state) {
  observation **slot = lua_newuserdatauv(L, sizeof *slot, VALUES);
  *slot = NULL;
  class_set(L, &observation_class);
  observation *made = iotops_zalloc(state->context, sizeof *made);
  if (made == NULL) {
    luaL_error(L, "out of memory");
    return NULL;
  }
  made->state = state;
  made->context = state->context;
  made->last = &made->first;
  made->pump.run = pump;
  made->pump.user = made;
  *slot = made;
  return made;
}

/* observe(key, [options,] handler) */
int store_observe(lua_State *L) {
  static const char *const names[] = {"timeout", "manual_ack", "on_end", NULL};
  lua_store *store = check_store(L, 1);
  iotops_text key;
  iotops_store_options options;
  iotops_hlc token;
  iotops_error err;
  key.data = luaL_checklstring(L, 2, &key.size);
  if (lua_gettop(L) < 4) {
    lua_settop(L, 3);
    lua_pushnil(L);
    lua_insert(L, 3);
  }
  lua_settop(L, 4);
  luaL_checktype(L, 4, LUA_TFUNCTION);
  if (request_options(L, 3, names, &options, &token, &err) != 0)
    return push_failure(L, &err);
  observation *made = new_observation(L, store->state);
  lua_pushvalue(L, 4);
  lua_setiuservalue(L, 5, HANDLER);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 5, STORE);
  if (!lua_isnil(L, 3)) {
    made->manual_ack = boolean_option(L, 3, "manual_ack", false);
    if (lua_getfield(L, 3, "on_end") != LUA_TNIL)
      luaL_checktype(L, -1, LUA_TFUNCTION);
    lua_setiuservalue(L, 5, ON_END);
  }
  wait *begun = wait_new(L, push_observation);
  begun->user = made;
  begun->cancel = give_up;
  if (iotops_store_observe(store->handle, key, &options, changed, ended,
                           registered, made, &made->handle, &err) != 0) {
    wait_drop(begun);
    return push_failure(L, &err);
  }
  made->waiting = begun;
  made->registering = true;
  part_join(&made->part, store, part_closed);
  lua_pushvalue(L, 5);
  anchor(L, made);
  return wait_yield(L, begun, NULL);
}

static int push_was_observed(lua_State *L, const wait *done) {
  const iotops_store_result *result = done->view;
  if (done->err != NULL)
    return push_failure(L, done->err);
  lua_pushboolean(L, result->count == 1);
  return 1;
}

/* unobserve(options): no change is handled from now on. */
static int observation_unobserve(lua_State *L) {
  observation *self = *(observation **)luaL_checkudata(L, 1, class_name);
  iotops_store_options options;
  iotops_hlc token;
  iotops_error err;
  lua_settop(L, 2);
  if (request_options(L, 2, timeout_option, &options, &token, &err) != 0)
    return push_failure(L, &err);
  if (self->handle == NULL) {
    lua_pushboolean(L, false);
    return 1;
  }
  wait *begun = wait_new(L, push_was_observed);
  if (iotops_store_unobserve(self->handle, &options, store_answered, begun,
                             &err) != 0) {
    wait_drop(begun);
    return push_failure(L, &err);
  }
  self->handle = NULL;
  part_leave(&self->part);
  drop_queue(self);
  iotops_task_soon(self->context, &self->pump);
  return wait_yield(L, begun, NULL);
}

static int observation_gc(lua_State *L) {
  observation **slot = lua_touserdata(L, 1);
  observation *self = *slot;
  if (self == NULL)
    return 0;
  *slot = NULL;
  iotops_task_cancel(self->context, &self->pump);
  if (self->first != NULL)
    iotops_log(self->context, IOTOPS_LOG_WARN, "script",
               "key notifications were not handled: the script was stopped or "
               "replaced before");
  detach(self);
  drop_queue(self);
  self->dead = true;
  if (!self->registering)
    iotops_free(self->context, self);
  return 0;
}

static const luaL_Reg methods[] = {{"unobserve", observation_unobserve},
                                   {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", observation_gc}, {NULL, NULL}};
static const class_info observation_class = {class_name, methods, meta};

static const luaL_Reg ack_meta[] = {{"__gc", ack_gc}, {NULL, NULL}};
static const class_info change_ack_class = {ack_class, NULL, ack_meta};
