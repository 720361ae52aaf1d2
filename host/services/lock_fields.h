/*
** lock_fields.h -- what the parts of a lock share: its life, release and
** questions (lock.c), attempts (lock_attempt.c), renewal (lock_renewal.c).
**
** A lock's memory stays until everything that was asked of the store for it
** has been answered.  Leases are reckoned from when they were asked for, which
** is never later than when the store began to count.
*/
#ifndef IOTOPS_LOCK_FIELDS_H
#define IOTOPS_LOCK_FIELDS_H

#include "iotops/lock.h"

typedef struct lock_attempt lock_attempt; /* lock_attempt.c */

struct iotops_lock {
  iotops_state_store *store; /* borrowed */
  iotops_context *context;   /* borrowed */
  iotops_text name;          /* owned */
  iotops_text holder;        /* owned */
  void (*lost)(void *user, const iotops_error *err);
  void *user;

  bool has_token;
  iotops_hlc token;
  uint64_t lease_ends_ms; /* on mono_ms */

  lock_attempt *attempt; /* in hand; NULL: none */
  bool stray;            /* a grant came for an attempt that is over */

  bool renewing;
  unsigned lease; /* number of the lease that is renewed */
  unsigned renewals_out;
  iotops_acquire_options renewal;
  iotops_timer renew;

  unsigned holds; /* the user's, and what is still to be answered */
  bool freed;     /* by the user */
};

void lock_hold(iotops_lock *lock);
void lock_release_memory(iotops_lock *lock);

/* A grant of a lease asked for at `asked_ms`. */
void lock_granted(iotops_lock *lock, const iotops_hlc *version,
                  uint64_t asked_ms, int64_t lease_ms);

/* The SET that asks for a lease. */
int lock_ask(iotops_lock *lock, int64_t lease_ms, int64_t timeout_us,
             iotops_store_done done, void *user, iotops_error *err);

/*
** Why an answered SET is no lease: someone else holds it, or the grant came
** without version.  False when it is one.
*/
bool lock_refused(const iotops_store_result *result, iotops_error *err);

/* A grant that nobody waits for would block others for as long as it lasts. */
void lock_give_back(iotops_lock *lock);

/* A random number of milliseconds, 0 to `most`. */
uint64_t lock_jitter(iotops_lock *lock, uint64_t most);

/* Gives the attempt in hand up; it completes with a cancellation, later. */
void lock_cancel_attempt(iotops_lock *lock);

/* Renews the lease that was just granted, or not, as `options` say. */
void lock_start_renewing(iotops_lock *lock, uint64_t asked_ms,
                         const iotops_acquire_options *options);
void lock_stop_renewing(iotops_lock *lock);

/* Forgets the lease; tells that it was lost when it was being renewed. */
void lock_lose(iotops_lock *lock, const iotops_error *err);

void lock_renew(iotops_timer *timer);

#endif
