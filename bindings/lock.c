/* lock.c -- leased locks of scripts. */
#include "iotops/lock.h"

#include <string.h>

#include "error.h"
#include "lease.h"
#include "options.h"
#include "store.h"

static const char class_name[] = "iotops.core_lock";
static const class_info lock_class;

enum { ON_LOST = 1, STORE, VALUES = STORE }; /* user values */

typedef struct lua_lock { /* a userdata, anchored while it renews */
  store_part part;
  iotops_lua *state;
  iotops_lock *handle; /* NULL: closed */
  lease *lease;        /* renews itself; noted for the next generation */
  bool anchored;
  bool claimed;     /* has looked for an earlier generation's lease */
  bool passed_on;   /* its lease is the next generation's */
  iotops_hlc token; /* of that, as it was then */
} lua_lock;

static void let_go(lua_lock *self) {
  if (self->anchored)
    drop_anchor(self->state->L, self);
  self->anchored = false;
  lease_forget(self->lease);
  self->lease = NULL;
}

/* What renews itself keeps the lock alive, and is the script's name's. */
static void keep(lua_State *L, lua_lock *self) {
  if (!self->anchored) {
    lua_pushvalue(L, 1);
    anchor(L, self);
    self->anchored = true;
  }
  /* A store of the state's own ends with it. */
  if (self->lease == NULL && !self->part.store->owned)
    self->lease = lease_note(self->state, self->handle, self);
}

static void lost(void *user, const iotops_error *err);

/*
** Takes over the lease that an earlier generation has, once, when the lock is
** first used.  The earlier one's lock, if it lives, is left with its token.
*/
static void claim(lua_State *L, lua_lock *self) {
  const iotops_lua *state = self->state;
  if (self->claimed || state->registering || state->quiet)
    return;
  self->claimed = true;
  lease *found = NULL;
  if (!self->part.store->owned)
    found = lease_find(state, self->handle);
  if (found == NULL)
    return;
  keep(L, self); /* may raise; the lock is at 1 */
  lease_forget(self->lease);
  iotops_lock *own = self->handle;
  lua_lock *before = found->owner;
  lease_take(found, self, state);
  self->lease = found;
  self->handle = found->lock;
  iotops_lock_set_lost(found->lock, lost, self);
  if (before == NULL) {
    iotops_lock_free(own);
    return;
  }
  before->handle = own;
  iotops_lock_set_lost(own, lost, before);
  before->lease = NULL;
  before->passed_on = true;
  before->token = *iotops_lock_token(self->handle);
  let_go(before);
}

static lua_lock *check_lock(lua_State *L) {
  lua_lock *self = luaL_checkudata(L, 1, class_name);
  if (self->handle == NULL)
    luaL_error(L, "the lock is closed");
  claim(L, self);
  return self;
}

/* ---------------------------------------------------------------- lost -- */

static int lost_k(lua_State *L, int status, lua_KContext context) {
  (void)L;
  (void)status;
  (void)context;
  return 0;
}

static int lost_body(lua_State *L) {
  const call *begun = lua_touserdata(L, 1);
  const iotops_error *err = begun->view;
  lua_lock *self = begun->user;
  lua_settop(L, 0);
  push_anchored(L, self); /* stays */
  let_go(self);
  lua_getiuservalue(L, 1, ON_LOST);
  if (lua_isnil(L, -1))
    return 0;
  push_error(L, err);
  lua_callk(L, 1, 0, 0, lost_k);
  return 0;
}

static void lost(void *user, const iotops_error *err) {
  lua_lock *self = user;
  if (self->state->closing)
    return;
  call *begun = call_new(self->state, IOTOPS_CALL_SPAWNED);
  if (begun == NULL) {
    iotops_log(self->state->context, IOTOPS_LOG_ERROR, "script",
               "the loss of a lease was not told: out of memory");
    return;
  }
  begun->user = self;
  begun->view = err;
  call_begin(begun, lost_body, NULL);
}

/* ------------------------------------------------------------- acquire -- */

static const char *const acquire_options[] = {
    "lease", "renewal_period", "timeout", "request_timeout", NULL};

/* Milliseconds, rounded up; what is not positive stays so. */
static int64_t milliseconds(lua_State *L, int index, const char *name,
                            int64_t otherwise_ms) {
  int64_t us = seconds_option(L, index, name, otherwise_ms * 1000);
  return us > 0 ? (us + 999) / 1000 : us / 1000;
}

static void read_options(lua_State *L, int index,
                         iotops_acquire_options *options) {
  *options = (iotops_acquire_options)IOTOPS_ACQUIRE_OPTIONS_INIT;
  if (!check_options(L, index, acquire_options))
    return;
  options->lease_ms = milliseconds(L, index, "lease", options->lease_ms);
  options->renew_ms = milliseconds(L, index, "renewal_period", 0);
  if (lua_getfield(L, index, "timeout") != LUA_TNIL)
    options->wait_ms = milliseconds(L, index, "timeout", 0);
  lua_pop(L, 1);
  if (options->wait_ms < -1)
    options->wait_ms = 0;
  options->timeout_us =
      seconds_option(L, index, "request_timeout", options->timeout_us);
}

static int push_token(lua_State *L, const wait *ended) {
  if (ended->err != NULL)
    return push_failure(L, ended->err);
  push_version(L, ended->view);
  return 1;
}

static void acquired(void *user, const iotops_hlc *token,
                     const iotops_error *err) {
  wait_complete(user, token, err);
}

/* Nobody waits any more: the lock tells the end of the attempt later. */
static bool give_up(wait *waiting) {
  lua_lock *self = waiting->user;
  if (self->handle != NULL)
    iotops_lock_cancel(self->handle);
  return false;
}

static int acquire(lua_State *L, bool waits) {
  lua_lock *self = check_lock(L);
  iotops_acquire_options options;
  iotops_error err;
  lua_settop(L, 2);
  read_options(L, 2, &options);
  if (self->passed_on)
    options.renew_ms = 0; /* the other one renews */
  wait *begun = wait_new(L, push_token);
  begun->user = self;
  int status =
      waits ? iotops_lock_acquire(self->handle, &options, acquired, begun, &err)
            : iotops_lock_try(self->handle, &options, acquired, begun, &err);
  if (status != 0) {
    wait_drop(begun);
    return push_failure(L, &err);
  }
  begun->cancel = give_up;
  begun->rests = waits;
  if (options.renew_ms > 0)
    keep(L, self);
  return wait_yield(L, begun, NULL);
}

static int lock_try(lua_State *L) {
  return acquire(L, false);
}

static int lock_acquire(lua_State *L) {
  return acquire(L, true);
}

static int lock_cancel(lua_State *L) {
  iotops_lock_cancel(check_lock(L)->handle);
  return 0;
}

/* ------------------------------------------------------ release, holder -- */

static int64_t request_timeout(lua_State *L) {
  if (!check_options(L, 2, timeout_option))
    return 10000000;
  return seconds_option(L, 2, "timeout", 10000000);
}

static int push_released(lua_State *L, const wait *ended) {
  return wait_push_true(L, ended);
}

static int lock_release(lua_State *L) {
  lua_lock *self = check_lock(L);
  iotops_error err;
  lua_settop(L, 2);
  int64_t timeout_us = request_timeout(L);
  if (self->passed_on) { /* it is not this one's to give away */
    lua_pushboolean(L, true);
    return 1;
  }
  wait *begun = wait_new(L, push_released);
  if (iotops_lock_release(self->handle, timeout_us, store_answered, begun,
                          &err) != 0) {
    wait_drop(begun);
    return push_failure(L, &err);
  }
  let_go(self);
  return wait_yield(L, begun, NULL);
}

static int push_holder(lua_State *L, const wait *ended) {
  if (ended->err != NULL)
    return push_failure(L, ended->err);
  const iotops_text *holder = ended->view;
  if (holder->data == NULL)
    return 0;
  lua_pushlstring(L, holder->data, holder->size);
  return 1;
}

static void holder_came(void *user, iotops_text holder,
                        const iotops_error *err) {
  wait_complete(user, &holder, err);
}

static int lock_get_holder(lua_State *L) {
  const lua_lock *self = check_lock(L);
  iotops_error err;
  lua_settop(L, 2);
  int64_t timeout_us = request_timeout(L);
  wait *begun = wait_new(L, push_holder);
  if (iotops_lock_get_holder(self->handle, timeout_us, holder_came, begun,
                             &err) != 0) {
    wait_drop(begun);
    return push_failure(L, &err);
  }
  return wait_yield(L, begun, NULL);
}

static int lock_token(lua_State *L) {
  const lua_lock *self = check_lock(L);
  push_version(L, self->passed_on ? &self->token
                                  : iotops_lock_token(self->handle));
  return 1;
}

static int lock_holder_name(lua_State *L) {
  iotops_text name = iotops_lock_holder_name(check_lock(L)->handle);
  lua_pushlstring(L, name.data, name.size);
  return 1;
}

/* ---------------------------------------------------------------- life -- */

static bool is_replaced(const iotops_lua *state) {
  return state->closing && state->stop_reason != NULL &&
         strcmp(state->stop_reason, "reload") == 0;
}

static void part_closed(store_part *part) {
  lua_lock *self = (lua_lock *)part;
  part_leave(part);
  if (self->lease != NULL && is_replaced(self->state) &&
      iotops_lock_is_renewing(self->handle)) {
    lease_leave(self->lease);
    self->lease = NULL;
  } else {
    iotops_lock_free(self->handle);
  }
  self->handle = NULL;
  let_go(self);
}

static int lock_close(lua_State *L) {
  lua_lock *self = luaL_checkudata(L, 1, class_name);
  if (self->handle != NULL)
    part_closed(&self->part);
  return 0;
}

/* Scripts of one host contend: each holds under its own name. */
static iotops_text default_holder(lua_State *L, const lua_store *store) {
  iotops_text holder = {0};
  const char *script = store->state->embedder.script;
  if (script == NULL)
    return holder;
  lua_pushfstring(L, "%s:%s", iotops_state_store_client_id(store->handle),
                  script);
  holder.data = lua_tolstring(L, -1, &holder.size);
  return holder;
}

/* lock(store, {name, holder, session_id, on_lost}) */
static int core_lock(lua_State *L) {
  static const char *const names[] = {"name", "holder", "session_id", "on_lost",
                                      NULL};
  lua_store *store = check_store(L, 1);
  iotops_lock_options options = IOTOPS_LOCK_OPTIONS_INIT;
  iotops_error err;
  lua_settop(L, 2);
  luaL_checktype(L, 2, LUA_TTABLE);
  check_options(L, 2, names);
  lua_lock *made = lua_newuserdatauv(L, sizeof *made, VALUES);
  *made = (lua_lock){.state = store->state};
  class_set(L, &lock_class);
  if (lua_getfield(L, 2, "on_lost") != LUA_TNIL)
    luaL_checktype(L, -1, LUA_TFUNCTION);
  lua_setiuservalue(L, 3, ON_LOST);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, STORE);
  options.name = text_option(L, 2, "name");
  options.holder = text_option(L, 2, "holder");
  options.session_id = text_option(L, 2, "session_id");
  if (options.holder.data == NULL)
    options.holder = default_holder(L, store);
  options.lost = lost;
  options.user = made;
  if (iotops_lock_new(store->handle, &options, &made->handle, &err) != 0)
    return push_failure(L, &err);
  part_join(&made->part, store, part_closed);
  lua_settop(L, 3);
  return 1;
}

static const luaL_Reg methods[] = {{"try", lock_try},
                                   {"acquire", lock_acquire},
                                   {"cancel", lock_cancel},
                                   {"release", lock_release},
                                   {"get_holder", lock_get_holder},
                                   {"token", lock_token},
                                   {"holder_name", lock_holder_name},
                                   {"close", lock_close},
                                   {NULL, NULL}};
static const luaL_Reg meta[] = {
    {"__gc", lock_close}, {"__close", lock_close}, {NULL, NULL}};
static const class_info lock_class = {class_name, methods, meta};

const core_field lock_fields[] = {{"lock", core_lock, false}, {0}};
