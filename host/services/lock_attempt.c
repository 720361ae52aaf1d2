/*
** lock_attempt.c -- trying for a lease and waiting for it (services.md
** sections 4.2 and 4.3).
*/
#include <string.h>

#include "protocol/expiry.h"
#include "services/lock_fields.h"

enum {
  RELEASE_JITTER_MS = 200, /* pause after a release */
  LEASE_MAX_MS = INT32_MAX
};

typedef enum attempt_state {
  OBSERVING, /* the observation is being registered */
  ASKING,    /* the SET is out */
  WAITING    /* for a notification, the jitter or the safety net */
} attempt_state;

struct lock_attempt { /* owned by the lock, then by what is to be answered */
  iotops_lock *lock;  /* held */
  attempt_state state;
  bool waits;    /* lock, not try */
  bool released; /* a DELETE arrived while the SET was out */
  bool hurried;  /* WAITING for the jitter alone */
  bool over;     /* has ended, or is given up */
  iotops_acquire_options options;
  iotops_acquire_done done;
  void *user;
  iotops_store_observation *observation; /* owned; NULL: none */
  iotops_timer again;                    /* jitter, safety net */
  iotops_timer deadline;                 /* wait_ms */
  iotops_task given_up;
  unsigned holds;
};

typedef struct attempt_call { /* one SET; owned by itself until answered */
  lock_attempt *attempt;
  uint64_t asked_ms;
} attempt_call;

static void release(lock_attempt *attempt) {
  iotops_lock *lock = attempt->lock;
  if (--attempt->holds > 0)
    return;
  iotops_free(lock->context, attempt);
  lock_release_memory(lock);
}

static void unobserved(void *user, const iotops_store_result *result,
                       const iotops_error *err) {
  (void)result;
  if (err != NULL)
    iotops_log(user, IOTOPS_LOG_WARN, "lock",
               "a lock's key could not be unobserved: %s", err->message);
}

static void stop_observing(lock_attempt *attempt) {
  iotops_context *context = attempt->lock->context;
  iotops_store_observation *observation = attempt->observation;
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.timeout_us = attempt->options.timeout_us;
  attempt->observation = NULL;
  if (observation != NULL)
    iotops_store_unobserve(observation, &options, unobserved, context, NULL);
}

/* From here on nothing happens to the attempt but that it is told. */
static void end(lock_attempt *attempt) {
  iotops_lock *lock = attempt->lock;
  iotops_timer_stop(lock->context, &attempt->again);
  iotops_timer_stop(lock->context, &attempt->deadline);
  stop_observing(attempt);
  attempt->over = true;
  lock->attempt = NULL;
  if (lock->stray)
    lock_give_back(lock);
}

/* Ends the attempt and says how; the lock may be freed meanwhile. */
static void finish(lock_attempt *attempt, const iotops_error *err) {
  iotops_hlc token = attempt->lock->token;
  end(attempt);
  attempt->done(attempt->user, err == NULL ? &token : NULL, err);
  release(attempt);
}

static void tell_given_up(iotops_task *task) {
  lock_attempt *attempt = task->user;
  iotops_error err;
  iotops_error_set(&err, IOTOPS_CANCELLATION, "the attempt was given up");
  attempt->done(attempt->user, NULL, &err);
  release(attempt);
}

void lock_cancel_attempt(iotops_lock *lock) {
  lock_attempt *attempt = lock->attempt;
  if (attempt == NULL)
    return;
  end(attempt);
  iotops_task_soon(lock->context, &attempt->given_up);
}

static void wait_over(iotops_timer *timer) {
  lock_attempt *attempt = timer->user;
  iotops_error err;
  iotops_error_set(&err, IOTOPS_TIMEOUT, "the lease was not to be had in time");
  iotops_error_name(err.timeout_name, iotops_text_of("wait"));
  err.has_timeout_value = true;
  err.timeout_ms = attempt->options.wait_ms;
  finish(attempt, &err);
}

/* --------------------------------------------------------------- asking -- */

static void wait_again(lock_attempt *attempt, bool hurry) {
  iotops_lock *lock = attempt->lock;
  attempt->state = WAITING;
  attempt->hurried = hurry;
  iotops_timer_start(lock->context, &attempt->again,
                     hurry ? lock_jitter(lock, RELEASE_JITTER_MS)
                           : (uint64_t)attempt->options.lease_ms);
}

static void refused(lock_attempt *attempt, const iotops_store_result *result,
                    const iotops_error *err) {
  iotops_lock *lock = attempt->lock;
  bool is_held = result->count != 1;
  lock_hold(lock);
  lock->stray = lock->stray || !is_held; /* of no use without its token */
  if (is_held && attempt->waits)
    wait_again(attempt, attempt->released);
  else
    finish(attempt, err);
  /* The lease that this attempt would have renewed is gone. */
  if (is_held)
    lock_lose(lock, err);
  lock_release_memory(lock);
}

static void conclude(lock_attempt *attempt, uint64_t asked_ms,
                     const iotops_store_result *result,
                     const iotops_error *err) {
  iotops_lock *lock = attempt->lock;
  iotops_error failure;
  if (err != NULL) {
    /* It may have been granted with the answer on its way. */
    if (err->kind == IOTOPS_TIMEOUT)
      lock->stray = true;
    finish(attempt, err);
  } else if (!lock_refused(result, &failure)) {
    lock_granted(lock, result->version, asked_ms, attempt->options.lease_ms);
    lock_start_renewing(lock, asked_ms, &attempt->options);
    finish(attempt, NULL);
  } else if (attempt->state == ASKING || result->count == 1) {
    refused(attempt, result, &failure);
  } /* else it is asked for again once it is observed again */
}

static void answered(void *user, const iotops_store_result *result,
                     const iotops_error *err) {
  attempt_call call = *(attempt_call *)user;
  iotops_lock *lock = call.attempt->lock;
  iotops_free(lock->context, user);
  if (!call.attempt->over)
    conclude(call.attempt, call.asked_ms, result, err);
  else if (err == NULL ? result->count == 1 : err->kind == IOTOPS_TIMEOUT)
    lock_give_back(lock);
  release(call.attempt);
}

static int send(lock_attempt *attempt, iotops_error *err) {
  iotops_lock *lock = attempt->lock;
  attempt_call *call = iotops_zalloc(lock->context, sizeof *call);
  if (call == NULL)
    return iotops_error_memory(err);
  *call = (attempt_call){attempt, iotops_mono_ms(lock->context)};
  if (lock_ask(lock, attempt->options.lease_ms, attempt->options.timeout_us,
               answered, call, err) != 0) {
    iotops_free(lock->context, call);
    return -1;
  }
  attempt->state = ASKING;
  attempt->holds++;
  return 0;
}

static void ask(lock_attempt *attempt) {
  iotops_error err;
  attempt->released = false;
  if (send(attempt, &err) != 0)
    finish(attempt, &err);
}

static void try_again(iotops_timer *timer) {
  ask(timer->user);
}

/* ------------------------------------------------------------ observing -- */

static void changed(void *user, iotops_store_change *change,
                    const iotops_store_notification *notification) {
  lock_attempt *attempt = user;
  bool is_free = notification->deleted && !attempt->over;
  iotops_store_change_done(change);
  if (is_free && attempt->state == ASKING)
    attempt->released = true;
  else if (is_free && attempt->state == WAITING && !attempt->hurried)
    wait_again(attempt, true);
}

static void observed(void *user, const iotops_store_result *result,
                     const iotops_error *err) {
  lock_attempt *attempt = user;
  (void)result;
  if (!attempt->over && err != NULL)
    finish(attempt, err);
  else if (!attempt->over && attempt->state == OBSERVING)
    ask(attempt);
  release(attempt);
}

static void observation_ended(void *user);

static int observe(lock_attempt *attempt, iotops_error *err) {
  iotops_lock *lock = attempt->lock;
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.timeout_us = attempt->options.timeout_us;
  iotops_timer_stop(lock->context, &attempt->again);
  attempt->state = OBSERVING;
  if (iotops_store_observe(lock->store, lock->name, &options, changed,
                           observation_ended, observed, attempt,
                           &attempt->observation, err) != 0)
    return -1;
  attempt->holds++;
  return 0;
}

/* With close_on_disconnect: observe again. */
static void observation_ended(void *user) {
  lock_attempt *attempt = user;
  iotops_error err;
  if (attempt->over)
    return;
  stop_observing(attempt);
  if (observe(attempt, &err) != 0)
    finish(attempt, &err);
}

/* --------------------------------------------------------------- public -- */

static int check(const iotops_lock *lock, const iotops_acquire_options *options,
                 iotops_error *err) {
  iotops_text none = {NULL, 0};
  uint32_t seconds;
  if (options->lease_ms < 1 || options->lease_ms > LEASE_MAX_MS)
    return iotops_error_configuration(
        err, "lease", none, "a lease lasts from 1 ms to %d ms, got %lld",
        LEASE_MAX_MS, (long long)options->lease_ms);
  if (options->renew_ms < 0 || options->renew_ms >= options->lease_ms)
    return iotops_error_configuration(
        err, "renewal_period", none,
        "the renewal period must be less than the lease (%lld ms), got %lld",
        (long long)options->lease_ms, (long long)options->renew_ms);
  if (options->wait_ms < -1)
    return iotops_error_configuration(err, "wait", none,
                                      "a wait lasts 0 ms or more, got %lld",
                                      (long long)options->wait_ms);
  if (expiry_from_us(options->timeout_us, "command_timeout", &seconds, err) !=
      0)
    return -1;
  if (lock->attempt != NULL)
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "an attempt on this lock is in hand already");
  return 0;
}

static lock_attempt *make(iotops_lock *lock,
                          const iotops_acquire_options *given,
                          iotops_acquire_done done, void *user,
                          iotops_error *err) {
  iotops_acquire_options options = IOTOPS_ACQUIRE_OPTIONS_INIT;
  if (given != NULL) /* an older caller's struct is shorter */
    memcpy(&options, given,
           given->size < sizeof options ? given->size : sizeof options);
  if (check(lock, &options, err) != 0)
    return NULL;
  lock_attempt *self = iotops_zalloc(lock->context, sizeof *self);
  if (self == NULL) {
    iotops_error_memory(err);
    return NULL;
  }
  self->lock = lock;
  self->options = options;
  self->done = done;
  self->user = user;
  self->again.fire = try_again;
  self->deadline.fire = wait_over;
  self->given_up.run = tell_given_up;
  self->again.user = self->deadline.user = self->given_up.user = self;
  self->holds = 1;
  return self;
}

/* In hand when it could be started. */
static int begin(lock_attempt *attempt, int failed) {
  iotops_lock *lock = attempt->lock;
  lock_hold(lock);
  if (failed != 0)
    release(attempt);
  else
    lock->attempt = attempt;
  return failed;
}

int iotops_lock_try(iotops_lock *lock, const iotops_acquire_options *options,
                    iotops_acquire_done done, void *user, iotops_error *err) {
  lock_attempt *attempt = make(lock, options, done, user, err);
  if (attempt == NULL)
    return -1;
  return begin(attempt, send(attempt, err));
}

int iotops_lock_acquire(iotops_lock *lock,
                        const iotops_acquire_options *options,
                        iotops_acquire_done done, void *user,
                        iotops_error *err) {
  lock_attempt *attempt = make(lock, options, done, user, err);
  if (attempt == NULL)
    return -1;
  attempt->waits = true;
  if (begin(attempt, observe(attempt, err)) != 0)
    return -1;
  if (attempt->options.wait_ms >= 0)
    iotops_timer_start(lock->context, &attempt->deadline,
                       (uint64_t)attempt->options.wait_ms);
  return 0;
}

void iotops_lock_cancel(iotops_lock *lock) {
  lock_cancel_attempt(lock);
}
