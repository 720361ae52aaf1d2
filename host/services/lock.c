#include "iotops/lock.h"

#include <string.h>

#include "services/lock_watch.h"

enum {
  RELEASE_JITTER_MS = 200, /* section 4.3: pause after a release */
  LEASE_MAX_MS = INT32_MAX
};

/*
** One wait for the lease.  It outlives the lock when requests are still out;
** `lock` is then NULL.
*/
typedef enum attempt_state {
  IDLE,
  OBSERVING, /* the observation is being registered */
  ASKING,    /* the SET is out */
  WAITING,   /* for a notification, the jitter or the safety net */
} attempt_state;

struct iotops_lock {
  iotops_state_store *store; /* borrowed */
  iotops_context *context;   /* borrowed */
  iotops_text name;          /* owned */
  iotops_text holder;        /* owned */
  void (*lost)(void *user, const iotops_error *err);
  void *user;

  bool has_token;
  iotops_hlc token;

  /* The attempt in hand. */
  attempt_state state;
  bool waits;    /* lock, not try */
  bool released; /* a DELETE arrived while the SET was out */
  unsigned
      number; /* of the attempt: an answer to an earlier one is told apart */
  iotops_acquire_options options;
  iotops_acquire_done done;
  void *done_user;
  iotops_store_observation *observation;
  iotops_timer again;    /* jitter, safety net */
  iotops_timer deadline; /* wait_ms */
  iotops_task given_up;

  /* Renewal. */
  bool renewing, renewal_out;
  iotops_acquire_options renewal;
  uint64_t lease_ends_ms; /* on mono_ms, by our own reckoning */
  iotops_timer renew;

  unsigned requests; /* out; the lock's memory stays until they are answered */
  bool freed;
};

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

static void destroy(iotops_lock *lock) {
  iotops_free(lock->context, (char *)lock->name.data);
  iotops_free(lock->context, (char *)lock->holder.data);
  iotops_free(lock->context, lock);
}

/* A request has been answered; false when the lock is gone meanwhile. */
static bool answered(iotops_lock *lock) {
  lock->requests--;
  if (!lock->freed)
    return true;
  if (lock->requests == 0)
    destroy(lock);
  return false;
}

static void ended_unobserve(void *user, const iotops_store_result *result,
                            const iotops_error *err) {
  iotops_context *context = user;
  (void)result;
  if (err != NULL)
    iotops_log(context, IOTOPS_LOG_WARN, "lock",
               "the lock's key could not be unobserved: %s", err->message);
}

static void stop_observing(iotops_lock *lock) {
  iotops_error err;
  if (lock->observation == NULL)
    return;
  iotops_store_observation *observation = lock->observation;
  lock->observation = NULL;
  if (iotops_store_unobserve(observation, NULL, ended_unobserve, lock->context,
                             &err) != 0)
    iotops_log(lock->context, IOTOPS_LOG_WARN, "lock",
               "the lock's key could not be unobserved: %s", err.message);
}

/* Ends the attempt in hand and says how. */
static void finish(iotops_lock *lock, const iotops_hlc *token,
                   const iotops_error *err) {
  iotops_timer_stop(lock->context, &lock->again);
  iotops_timer_stop(lock->context, &lock->deadline);
  iotops_task_cancel(lock->context, &lock->given_up);
  stop_observing(lock);
  lock->state = IDLE;
  iotops_acquire_done done = lock->done;
  lock->done = NULL;
  done(lock->done_user, token, err);
}

/* ------------------------------------------------------------- renewal -- */

static void lose(iotops_lock *lock, const iotops_error *err) {
  lock->renewing = false;
  lock->has_token = false;
  iotops_timer_stop(lock->context, &lock->renew);
  iotops_log(lock->context, IOTOPS_LOG_WARN, "lock", "lease lost: %s",
             err->message);
  if (lock->lost != NULL)
    lock->lost(lock->user, err);
}

static iotops_store_options set_options(const iotops_acquire_options *from) {
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.condition = IOTOPS_STORE_IF_ABSENT_OR_EQUAL;
  options.expiry_ms = from->lease_ms;
  options.timeout_us = from->timeout_us;
  return options;
}

static void granted(iotops_lock *lock, const iotops_hlc *version,
                    uint64_t asked_ms, const iotops_acquire_options *options) {
  lock->has_token = true;
  lock->token = *version;
  lock->lease_ends_ms = asked_ms + (uint64_t)options->lease_ms;
}

static void renewed(void *user, const iotops_store_result *result,
                    const iotops_error *err) {
  iotops_lock *lock = user;
  if (!answered(lock))
    return;
  lock->renewal_out = false;
  if (!lock->renewing) /* released, or taken anew, meanwhile */
    return;
  uint64_t now = iotops_mono_ms(lock->context);
  iotops_error failure;
  if (err == NULL && result->count == 1 && result->version != NULL) {
    /* The lease runs from when the store applied it, not before we asked. */
    granted(lock, result->version, now, &lock->renewal);
    return;
  }
  if (err == NULL) {
    iotops_error_set(&failure, IOTOPS_SERVICE_ERROR,
                     "the lease is held by someone else");
    iotops_error_name(failure.service_error,
                      iotops_text_of("lease_already_held"));
    lose(lock, &failure);
  } else if (now >= lock->lease_ends_ms) {
    lose(lock, err);
  }
}

static void renew(iotops_timer *timer) {
  iotops_lock *lock = timer->user;
  iotops_error err;
  uint64_t now = iotops_mono_ms(lock->context);
  uint64_t next = (uint64_t)lock->renewal.renew_ms;
  if (now >= lock->lease_ends_ms) {
    iotops_error_set(&err, IOTOPS_TIMEOUT,
                     "the lease ran out before it was renewed");
    lose(lock, &err);
    return;
  }
  if (now + next > lock->lease_ends_ms)
    next = lock->lease_ends_ms - now;
  iotops_timer_start(lock->context, &lock->renew, next);
  if (lock->renewal_out)
    return;
  iotops_store_options options = set_options(&lock->renewal);
  if (iotops_store_set(lock->store, lock->name, lock->holder, &options, renewed,
                       lock, &err) == 0) {
    lock->requests++;
    lock->renewal_out = true;
  }
}

static void start_renewing(iotops_lock *lock) {
  lock->renewing = lock->options.renew_ms > 0;
  iotops_timer_stop(lock->context, &lock->renew);
  if (!lock->renewing)
    return;
  lock->renewal = lock->options;
  iotops_timer_start(lock->context, &lock->renew,
                     (uint64_t)lock->options.renew_ms);
}

/* ------------------------------------------------------------- attempts -- */

/* A grant that nobody waits for any more would block others for its lease. */
static void give_back(iotops_lock *lock, const iotops_store_result *result,
                      const iotops_error *err) {
  if (err == NULL && result->count == 1 && lock->state == IDLE &&
      !lock->has_token)
    iotops_lock_release(lock, lock->options.timeout_us, NULL, NULL, NULL);
}

static void conclude(iotops_lock *lock, const iotops_store_result *result,
                     const iotops_error *err) {
  iotops_error failure;
  if (err != NULL) {
    finish(lock, NULL, err);
    return;
  }
  if (result->count == 1 && result->version != NULL) {
    granted(lock, result->version, iotops_mono_ms(lock->context),
            &lock->options);
    start_renewing(lock);
    finish(lock, &lock->token, NULL);
    return;
  }
  if (result->count == 1) {
    iotops_error_set(&failure, IOTOPS_SERVICE_ERROR,
                     "the lease was granted without a fencing token");
    iotops_error_name(failure.service_error,
                      iotops_text_of("missing_fencing_token"));
    finish(lock, NULL, &failure);
    return;
  }
  lock->has_token = false;
  if (!lock->waits) {
    iotops_error_set(&failure, IOTOPS_SERVICE_ERROR,
                     "the lease is held by someone else");
    iotops_error_name(failure.service_error,
                      iotops_text_of("lease_already_held"));
    finish(lock, NULL, &failure);
    return;
  }
  lock->state = WAITING;
  uint64_t delay = lock->released ? 0 : (uint64_t)lock->options.lease_ms;
  iotops_timer_start(lock->context, &lock->again, delay);
}

typedef struct attempt_call {
  iotops_lock *lock;
  unsigned number;
} attempt_call;

static void acquired(void *user, const iotops_store_result *result,
                     const iotops_error *err) {
  attempt_call call = *(attempt_call *)user;
  iotops_free(call.lock->context, user);
  if (!answered(call.lock))
    return;
  if (call.number == call.lock->number && call.lock->state == ASKING)
    conclude(call.lock, result, err);
  else
    give_back(call.lock, result, err);
}

static int send_attempt(iotops_lock *lock, iotops_error *err) {
  attempt_call *call = iotops_zalloc(lock->context, sizeof *call);
  if (call == NULL)
    return iotops_error_memory(err);
  *call = (attempt_call){lock, lock->number};
  iotops_store_options options = set_options(&lock->options);
  if (iotops_store_set(lock->store, lock->name, lock->holder, &options,
                       acquired, call, err) != 0) {
    iotops_free(lock->context, call);
    return -1;
  }
  lock->state = ASKING;
  lock->requests++;
  return 0;
}

static void ask(iotops_lock *lock) {
  iotops_error err;
  lock->released = false;
  if (send_attempt(lock, &err) != 0)
    finish(lock, NULL, &err);
}

static void try_again(iotops_timer *timer) {
  ask(timer->user);
}

static void changed(void *user, iotops_store_change *change,
                    const iotops_store_notification *notification) {
  iotops_lock *lock = user;
  if (notification->deleted && lock->state == ASKING)
    lock->released = true;
  if (notification->deleted && lock->state == WAITING) {
    uint32_t random;
    iotops_random(lock->context, &random, sizeof random);
    iotops_timer_start(lock->context, &lock->again,
                       random % (RELEASE_JITTER_MS + 1));
  }
  iotops_store_change_done(change);
}

/* The observation ended (close_on_disconnect): observe again. */
static void observe(iotops_lock *lock);

static void observation_ended(void *user) {
  iotops_lock *lock = user;
  stop_observing(lock);
  if (lock->state == WAITING || lock->state == ASKING)
    observe(lock);
}

static void observed(void *user, const iotops_store_result *result,
                     const iotops_error *err) {
  iotops_lock *lock = user;
  (void)result;
  if (!answered(lock) || lock->observation == NULL)
    return; /* closed or given up meanwhile */
  if (err != NULL && lock->state != IDLE)
    finish(lock, NULL, err);
  else if (lock->state == OBSERVING)
    ask(lock);
}

static void observe(iotops_lock *lock) {
  iotops_error err;
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.timeout_us = lock->options.timeout_us;
  iotops_timer_stop(lock->context, &lock->again);
  lock->state = OBSERVING;
  if (iotops_store_observe(lock->store, lock->name, &options, changed,
                           observation_ended, observed, lock,
                           &lock->observation, &err) != 0)
    finish(lock, NULL, &err);
  else
    lock->requests++;
}

static void wait_over(iotops_timer *timer) {
  iotops_lock *lock = timer->user;
  iotops_error err;
  iotops_error_set(&err, IOTOPS_TIMEOUT, "the lease was not to be had in time");
  iotops_error_name(err.timeout_name, iotops_text_of("wait"));
  err.has_timeout_value = true;
  err.timeout_ms = lock->options.wait_ms;
  finish(lock, NULL, &err);
}

static void give_up(iotops_task *task) {
  iotops_error err;
  iotops_error_set(&err, IOTOPS_CANCELLATION, "the attempt was given up");
  finish(task->user, NULL, &err);
}

static int check(const iotops_lock *lock, const iotops_acquire_options *options,
                 iotops_error *err) {
  iotops_text none = {NULL, 0};
  if (options->lease_ms < 1 || options->lease_ms > LEASE_MAX_MS)
    return iotops_error_configuration(
        err, "lease", none, "a lease lasts from 1 ms to %d ms, got %lld",
        LEASE_MAX_MS, (long long)options->lease_ms);
  if (options->renew_ms < 0 || options->renew_ms >= options->lease_ms)
    return iotops_error_configuration(
        err, "renewal_period", none,
        "the renewal period must be less than the lease (%lld ms), got %lld",
        (long long)options->lease_ms, (long long)options->renew_ms);
  if (lock->state != IDLE)
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "an attempt on this lock is in hand already");
  return 0;
}

static int begin(iotops_lock *lock, const iotops_acquire_options *options,
                 bool waits, iotops_acquire_done done, void *user,
                 iotops_error *err) {
  iotops_acquire_options defaults = IOTOPS_ACQUIRE_OPTIONS_INIT;
  if (options == NULL)
    options = &defaults;
  if (check(lock, options, err) != 0)
    return -1;
  lock->options = *options;
  lock->waits = waits;
  lock->number++;
  lock->done = done;
  lock->done_user = user;
  return 0;
}

int iotops_lock_try(iotops_lock *lock, const iotops_acquire_options *options,
                    iotops_acquire_done done, void *user, iotops_error *err) {
  if (begin(lock, options, false, done, user, err) != 0)
    return -1;
  return send_attempt(lock, err);
}

int iotops_lock_acquire(iotops_lock *lock,
                        const iotops_acquire_options *options,
                        iotops_acquire_done done, void *user,
                        iotops_error *err) {
  if (begin(lock, options, true, done, user, err) != 0)
    return -1;
  iotops_store_options observe_options = IOTOPS_STORE_OPTIONS_INIT;
  observe_options.timeout_us = lock->options.timeout_us;
  if (iotops_store_observe(lock->store, lock->name, &observe_options, changed,
                           observation_ended, observed, lock,
                           &lock->observation, err) != 0)
    return -1;
  lock->state = OBSERVING;
  lock->requests++;
  if (lock->options.wait_ms >= 0)
    iotops_timer_start(lock->context, &lock->deadline,
                       (uint64_t)lock->options.wait_ms);
  return 0;
}

void iotops_lock_cancel(iotops_lock *lock) {
  if (lock->state != IDLE)
    iotops_task_soon(lock->context, &lock->given_up);
}

/* ------------------------------------------------- release, holder, life -- */

typedef struct release_call {
  iotops_lock *lock;
  iotops_context *context;
  iotops_store_done done;
  iotops_holder_done holder_done;
  void *user;
} release_call;

static void released(void *user, const iotops_store_result *result,
                     const iotops_error *err) {
  release_call *call = user;
  answered(call->lock);
  if (call->done != NULL)
    call->done(call->user, result, err);
  iotops_free(call->context, call);
}

static void holder_read(void *user, const iotops_store_result *result,
                        const iotops_error *err) {
  release_call *call = user;
  iotops_text nobody = {NULL, 0};
  answered(call->lock);
  call->holder_done(call->user, err == NULL ? result->value : nobody, err);
  iotops_free(call->context, call);
}

static release_call *make_call(iotops_lock *lock, void *user) {
  release_call *call = iotops_zalloc(lock->context, sizeof *call);
  if (call != NULL) {
    call->lock = lock;
    call->context = lock->context;
    call->user = user;
  }
  return call;
}

int iotops_lock_release(iotops_lock *lock, int64_t timeout_us,
                        iotops_store_done done, void *user, iotops_error *err) {
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.timeout_us = timeout_us;
  lock->renewing = false;
  lock->has_token = false;
  iotops_timer_stop(lock->context, &lock->renew);
  release_call *call = make_call(lock, user);
  if (call == NULL)
    return iotops_error_memory(err);
  call->done = done;
  if (iotops_store_vdel(lock->store, lock->name, lock->holder, &options,
                        released, call, err) != 0) {
    iotops_free(lock->context, call);
    return -1;
  }
  lock->requests++;
  return 0;
}

int iotops_lock_get_holder(iotops_lock *lock, int64_t timeout_us,
                           iotops_holder_done done, void *user,
                           iotops_error *err) {
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.timeout_us = timeout_us;
  release_call *call = make_call(lock, user);
  if (call == NULL)
    return iotops_error_memory(err);
  call->holder_done = done;
  if (iotops_store_get(lock->store, lock->name, &options, holder_read, call,
                       err) != 0) {
    iotops_free(lock->context, call);
    return -1;
  }
  lock->requests++;
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

iotops_text iotops_lock_holder_name(const iotops_lock *lock) {
  return lock->holder;
}

int iotops_lock_new(iotops_state_store *store,
                    const iotops_lock_options *options, iotops_lock **lock,
                    iotops_error *err) {
  iotops_context *context = iotops_state_store_context(store);
  iotops_text holder = options->holder;
  if (holder.data == NULL)
    holder = iotops_text_of(iotops_state_store_client_id(store));
  if (options->name.data == NULL || options->name.size == 0)
    return iotops_error_configuration(err, "name", options->name,
                                      "a lock needs a name");
  if (holder.size == 0)
    return iotops_error_configuration(err, "holder", holder,
                                      "a lock's holder needs a name");
  iotops_lock *self = iotops_zalloc(context, sizeof *self);
  if (self == NULL)
    return iotops_error_memory(err);
  self->store = store;
  self->context = context;
  self->lost = options->lost;
  self->user = options->user;
  self->name = own(context, options->name, (iotops_text){NULL, 0});
  self->holder = own(context, holder, options->session_id);
  self->again.fire = try_again;
  self->deadline.fire = wait_over;
  self->renew.fire = renew;
  self->again.user = self->deadline.user = self->renew.user = self;
  self->given_up.run = give_up;
  self->given_up.user = self;
  if (self->name.data == NULL || self->holder.data == NULL) {
    destroy(self);
    return iotops_error_memory(err);
  }
  *lock = self;
  return 0;
}

static void close_attempt(iotops_task *task) {
  iotops_lock *lock = task->user;
  give_up(task);
  answered(lock);
}

void iotops_lock_free(iotops_lock *lock) {
  if (lock == NULL)
    return;
  iotops_timer_stop(lock->context, &lock->renew);
  iotops_timer_stop(lock->context, &lock->again);
  iotops_timer_stop(lock->context, &lock->deadline);
  lock->renewing = false;
  lock->freed = true;
  if (lock->state != IDLE) {
    lock->requests++; /* holds the memory until the caller has been told */
    lock->given_up.run = close_attempt;
    iotops_task_soon(lock->context, &lock->given_up);
  } else if (lock->requests == 0) {
    destroy(lock);
  }
}
