/*
** lock_renewal.c -- keeping a lease (services.md section 4.4): asked for again
** each period, whether or not the last answer has come, until the lease would
** have run out.
*/
#include "services/lock_fields.h"

enum { RENEWALS_OUT_MAX = 4, TIMEOUT_MIN_MS = 1000 };

typedef struct renewal { /* owned by itself until answered */
  iotops_lock *lock;
  unsigned lease;
  uint64_t asked_ms;
} renewal;

void lock_stop_renewing(iotops_lock *lock) {
  lock->renewing = false;
  iotops_timer_stop(lock->context, &lock->renew);
}

void lock_lose(iotops_lock *lock, const iotops_error *err) {
  bool was_renewing = lock->renewing;
  lock_stop_renewing(lock);
  lock->has_token = false;
  if (!was_renewing)
    return;
  iotops_log(lock->context, IOTOPS_LOG_WARN, "lock", "a lease was lost: %s",
             err->message);
  if (lock->lost != NULL && !lock->freed)
    lock->lost(lock->user, err);
}

static void renewed(void *user, const iotops_store_result *result,
                    const iotops_error *err) {
  renewal call = *(renewal *)user;
  iotops_lock *lock = call.lock;
  iotops_error failure;
  iotops_free(lock->context, user);
  lock->renewals_out--;
  bool is_current = lock->renewing && call.lease == lock->lease;
  if (err == NULL && lock_refused(result, &failure)) {
    if (is_current)
      lock_lose(lock, &failure);
  } else if (err == NULL && is_current) {
    lock_granted(lock, result->version, call.asked_ms, lock->renewal.lease_ms);
  } else if (err == NULL) {
    lock_give_back(lock);
  } else if (is_current) {
    iotops_log(lock->context, IOTOPS_LOG_WARN, "lock",
               "a lease could not be renewed, yet: %s", err->message);
  } else if (err->kind == IOTOPS_TIMEOUT) {
    lock_give_back(lock); /* it may have been granted all the same */
  }
  lock_release_memory(lock);
}

static void send_renewal(iotops_lock *lock, uint64_t now) {
  int64_t timeout_us = lock->renewal.timeout_us;
  int64_t period_ms = lock->renewal.renew_ms;
  iotops_error err;
  if (lock->renewals_out >= RENEWALS_OUT_MAX)
    return;
  /* One that is lost on the way must not keep out the next for long. */
  if (period_ms < TIMEOUT_MIN_MS)
    period_ms = TIMEOUT_MIN_MS;
  if (timeout_us > period_ms * 1000)
    timeout_us = period_ms * 1000;
  renewal *call = iotops_zalloc(lock->context, sizeof *call);
  if (call == NULL)
    return; /* until the next period */
  *call = (renewal){lock, lock->lease, now};
  if (lock_ask(lock, lock->renewal.lease_ms, timeout_us, renewed, call, &err) !=
      0) {
    iotops_log(lock->context, IOTOPS_LOG_WARN, "lock",
               "a lease could not be renewed, yet: %s", err.message);
    iotops_free(lock->context, call);
    return;
  }
  lock->renewals_out++;
  lock_hold(lock);
}

/* Up to a tenth early, so that many holders do not renew in step. */
static uint64_t period(iotops_lock *lock) {
  uint64_t renew_ms = (uint64_t)lock->renewal.renew_ms;
  return renew_ms - lock_jitter(lock, renew_ms / 10);
}

void lock_renew(iotops_timer *timer) {
  iotops_lock *lock = timer->user;
  iotops_error err;
  uint64_t now = iotops_mono_ms(lock->context);
  uint64_t next = period(lock);
  if (now >= lock->lease_ends_ms) {
    iotops_error_set(&err, IOTOPS_TIMEOUT,
                     "the lease ran out before it was renewed");
    iotops_error_name(err.timeout_name, iotops_text_of("lease"));
    err.has_timeout_value = true;
    err.timeout_ms = lock->renewal.lease_ms;
    lock_lose(lock, &err);
    return;
  }
  if (next > lock->lease_ends_ms - now)
    next = lock->lease_ends_ms - now;
  iotops_timer_start(lock->context, &lock->renew, next);
  send_renewal(lock, now);
}

void lock_start_renewing(iotops_lock *lock, uint64_t asked_ms,
                         const iotops_acquire_options *options) {
  uint64_t now = iotops_mono_ms(lock->context);
  lock_stop_renewing(lock);
  lock->lease++;
  if (options->renew_ms == 0)
    return;
  lock->renewing = true;
  lock->renewal = *options;
  uint64_t due = asked_ms + period(lock);
  iotops_timer_start(lock->context, &lock->renew, due > now ? due - now : 0);
}
