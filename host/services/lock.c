#include <string.h>

#include "iotops/lock.h"
#include "services/lock_fields.h"
#include "services/lock_watch.h"

/* `a`, or `a:b`; absent when memory is short. */
static iotops_text own(iotops_context *context, iotops_text a, iotops_text b) {
  size_t size = a.size + (b.data != NULL ? b.size + 1 : 0);
  char *bytes = iotops_resize(context, NULL, size + 1);
  if (bytes == NULL)
    return (iotops_text){NULL, 0};
  memcpy(bytes, a.data, a.size);
  if (b.data != NULL) {
    bytes[a.size] = ':';
    memcpy(bytes + a.size + 1, b.data, b.size);
  }
  return (iotops_text){bytes, size};
}

void lock_hold(iotops_lock *lock) {
  lock->holds++;
}

void lock_release_memory(iotops_lock *lock) {
  if (--lock->holds > 0)
    return;
  iotops_free(lock->context, (char *)lock->name.data);
  iotops_free(lock->context, (char *)lock->holder.data);
  iotops_free(lock->context, lock);
}

uint64_t lock_jitter(iotops_lock *lock, uint64_t most) {
  uint32_t random;
  iotops_random(lock->context, &random, sizeof random);
  return random % (most + 1);
}

/* ---------------------------------------------------------------- lease -- */

int lock_ask(iotops_lock *lock, int64_t lease_ms, int64_t timeout_us,
             iotops_store_done done, void *user, iotops_error *err) {
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.condition = IOTOPS_STORE_IF_ABSENT_OR_EQUAL;
  options.expiry_ms = lease_ms;
  options.timeout_us = timeout_us;
  return iotops_store_set(lock->store, lock->name, lock->holder, &options, done,
                          user, err);
}

bool lock_refused(const iotops_store_result *result, iotops_error *err) {
  if (result->count == 1 && result->version != NULL)
    return false;
  bool is_held = result->count != 1;
  iotops_error_set(err, IOTOPS_SERVICE_ERROR, "%s",
                   is_held ? "the lease is held by someone else"
                           : "the lease was granted without a fencing token");
  iotops_error_name(
      err->service_error,
      iotops_text_of(is_held ? "lease_already_held" : "missing_fencing_token"));
  return true;
}

/* Of several renewals on their way, the latest counts. */
void lock_granted(iotops_lock *lock, const iotops_hlc *version,
                  uint64_t asked_ms, int64_t lease_ms) {
  uint64_t ends_ms = asked_ms + (uint64_t)lease_ms;
  lock->token = *version;
  lock->has_token = true;
  lock->lease_ends_ms = ends_ms;
  lock->stray = false;
}

void lock_give_back(iotops_lock *lock) {
  lock->stray = lock->attempt != NULL; /* which may still want it */
  if (lock->stray || lock->has_token)
    return;
  iotops_store_vdel(lock->store, lock->name, lock->holder, NULL, NULL, NULL,
                    NULL);
}

/* ---------------------------------------------------- release and holder -- */

typedef struct lock_call { /* owned by itself until answered */
  iotops_lock *lock;       /* held */
  iotops_store_done done;  /* may be NULL */
  iotops_holder_done holder_done;
  void *user;
} lock_call;

static void released(void *user, const iotops_store_result *result,
                     const iotops_error *err) {
  lock_call call = *(lock_call *)user;
  iotops_free(call.lock->context, user);
  lock_release_memory(call.lock);
  if (call.done != NULL)
    call.done(call.user, result, err);
}

static void holder_read(void *user, const iotops_store_result *result,
                        const iotops_error *err) {
  lock_call call = *(lock_call *)user;
  iotops_text nobody = {NULL, 0};
  iotops_free(call.lock->context, user);
  lock_release_memory(call.lock);
  call.holder_done(call.user, err == NULL ? result->value : nobody, err);
}

static lock_call *make_call(iotops_lock *lock, void *user) {
  lock_call *call = iotops_zalloc(lock->context, sizeof *call);
  if (call != NULL)
    *call = (lock_call){.lock = lock, .user = user};
  return call;
}

int iotops_lock_release(iotops_lock *lock, int64_t timeout_us,
                        iotops_store_done done, void *user, iotops_error *err) {
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.timeout_us = timeout_us;
  lock_stop_renewing(lock);
  lock->has_token = false;
  lock_cancel_attempt(lock);
  lock_call *call = make_call(lock, user);
  if (call == NULL)
    return iotops_error_memory(err);
  call->done = done;
  if (iotops_store_vdel(lock->store, lock->name, lock->holder, &options,
                        released, call, err) != 0) {
    iotops_free(lock->context, call);
    return -1;
  }
  lock_hold(lock);
  return 0;
}

int iotops_lock_get_holder(iotops_lock *lock, int64_t timeout_us,
                           iotops_holder_done done, void *user,
                           iotops_error *err) {
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.timeout_us = timeout_us;
  lock_call *call = make_call(lock, user);
  if (call == NULL)
    return iotops_error_memory(err);
  call->holder_done = done;
  if (iotops_store_get(lock->store, lock->name, &options, holder_read, call,
                       err) != 0) {
    iotops_free(lock->context, call);
    return -1;
  }
  lock_hold(lock);
  return 0;
}

const iotops_hlc *iotops_lock_token(const iotops_lock *lock) {
  return lock->has_token ? &lock->token : NULL;
}

int64_t iotops_lock_lease_left_ms(const iotops_lock *lock) {
  uint64_t now = iotops_mono_ms(lock->context);
  if (!lock->has_token || now >= lock->lease_ends_ms)
    return 0;
  return (int64_t)(lock->lease_ends_ms - now);
}

int iotops_lock_observe(iotops_lock *lock, int64_t timeout_us,
                        iotops_lock_changed on_change,
                        iotops_store_on_end on_end, iotops_store_done done,
                        void *user, iotops_lock_watch **watch,
                        iotops_error *err) {
  return lock_watch_new(lock->store, lock->name, false, timeout_us, on_change,
                        on_end, done, user, watch, err);
}

void iotops_lock_set_lost(iotops_lock *lock,
                          void (*lost)(void *user, const iotops_error *err),
                          void *user) {
  lock->lost = lost;
  lock->user = user;
}

bool iotops_lock_is_renewing(const iotops_lock *lock) {
  return lock->renewing && lock->has_token && lock->attempt == NULL;
}

iotops_text iotops_lock_name(const iotops_lock *lock) {
  return lock->name;
}

iotops_text iotops_lock_holder_name(const iotops_lock *lock) {
  return lock->holder;
}

int iotops_lock_new(iotops_state_store *store, const iotops_lock_options *given,
                    iotops_lock **lock, iotops_error *err) {
  iotops_context *context = iotops_state_store_context(store);
  iotops_lock_options options = IOTOPS_LOCK_OPTIONS_INIT;
  memcpy(&options, given,
         given->size < sizeof options ? given->size : sizeof options);
  iotops_text holder = options.holder;
  if (holder.data == NULL)
    holder = iotops_text_of(iotops_state_store_client_id(store));
  if (options.name.data == NULL || options.name.size == 0)
    return iotops_error_configuration(err, "name", options.name,
                                      "a lock needs a name");
  if (holder.size == 0)
    return iotops_error_configuration(err, "holder", holder,
                                      "a lock's holder needs a name");
  iotops_lock *self = iotops_zalloc(context, sizeof *self);
  if (self == NULL)
    return iotops_error_memory(err);
  self->store = store;
  self->context = context;
  self->lost = options.lost;
  self->user = options.user;
  self->name = own(context, options.name, (iotops_text){NULL, 0});
  self->holder = own(context, holder, options.session_id);
  self->renew.fire = lock_renew;
  self->renew.user = self;
  self->holds = 1;
  if (self->name.data == NULL || self->holder.data == NULL) {
    lock_release_memory(self);
    return iotops_error_memory(err);
  }
  *lock = self;
  return 0;
}

void iotops_lock_free(iotops_lock *lock) {
  if (lock == NULL)
    return;
  lock_stop_renewing(lock);
  lock->freed = true;
  lock_cancel_attempt(lock);
  lock_release_memory(lock);
}
