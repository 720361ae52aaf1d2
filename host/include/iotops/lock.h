/*
** lock.h -- leased lock over the state store (services.md section 4).
**
** A lease is held until it expires, is released, or can no longer be renewed.
** Nothing stops a holder that was paused past the end of its lease from
** believing that it still holds it: whatever is done as the holder must carry
** the fencing token, which the store checks.
*/
#ifndef IOTOPS_LOCK_H
#define IOTOPS_LOCK_H

#include "iotops/state_store.h"

typedef struct iotops_lock iotops_lock;

typedef struct iotops_lock_options {
  size_t size;            /* IOTOPS_LOCK_OPTIONS_INIT */
  iotops_text name;       /* the key; copied; so is all else */
  iotops_text holder;     /* absent: the client id */
  iotops_text session_id; /* absent: none; else holder is `holder:session` */
  /*
  ** The lease was lost: refused at renewal, or not renewed before its end.
  ** Called once for each lease that was renewed by itself.  May be NULL.
  */
  void (*lost)(void *user, const iotops_error *err);
  void *user; /* borrowed; passed to lost */
} iotops_lock_options;

#define IOTOPS_LOCK_OPTIONS_INIT                                               \
  { .size = sizeof(iotops_lock_options) }

typedef struct iotops_acquire_options {
  size_t size;        /* IOTOPS_ACQUIRE_OPTIONS_INIT */
  int64_t lease_ms;   /* >= 1; default 10 s */
  int64_t renew_ms;   /* > 0 and < lease_ms; 0 (default): not by itself;
                         renewed up to a tenth earlier, at random */
  int64_t wait_ms;    /* lock: bound of the whole wait; -1 (default): none */
  int64_t timeout_us; /* of each request; default 10 s */
} iotops_acquire_options;

#define IOTOPS_ACQUIRE_OPTIONS_INIT                                            \
  {                                                                            \
    .size = sizeof(iotops_acquire_options), .lease_ms = 10000, .wait_ms = -1,  \
    .timeout_us = 10000000                                                     \
  }

/*
** How an attempt ended: `token` on success, a view.  A lease that someone else
** holds is a service error `lease_already_held`; a grant without version is
** `missing_fencing_token`.
*/
typedef void (*iotops_acquire_done)(void *user, const iotops_hlc *token,
                                    const iotops_error *err);

typedef void (*iotops_holder_done)(void *user, iotops_text holder,
                                   const iotops_error *err);

/* A view that dies when the callback returns. */
typedef struct iotops_lock_change {
  iotops_text holder;        /* absent: nobody holds it */
  const iotops_hlc *version; /* NULL: not known */
} iotops_lock_change;

typedef void (*iotops_lock_changed)(void *user,
                                    const iotops_lock_change *change);

typedef struct iotops_lock_watch iotops_lock_watch;

#ifdef __cplusplus
extern "C" {
#endif

/*
** Makes a lock, to be freed before its store.  Fails with invalid
** configuration: `name`, `holder`.
*/
IOTOPS_API int iotops_lock_new(iotops_state_store *store,
                               const iotops_lock_options *options,
                               iotops_lock **lock, iotops_error *err);

/*
** Frees it and stops renewing; the lease is left to expire.  An attempt in
** hand completes with a cancellation, later, and a grant that comes after it
** is given back.  Watches go on.  NULL is allowed.
*/
IOTOPS_API void iotops_lock_free(iotops_lock *lock);

/* Whom to tell from now on that a lease was lost; `lost` may be NULL. */
IOTOPS_API void iotops_lock_set_lost(iotops_lock *lock,
                                     void (*lost)(void *user,
                                                  const iotops_error *err),
                                     void *user);

/*
** One attempt.  While held by this holder it renews, with a newer token.
** Fails at once with invalid configuration (`lease`, `renewal_period`,
** `wait`, `command_timeout`) or with invalid state when an attempt is in hand.
*/
IOTOPS_API int iotops_lock_try(iotops_lock *lock,
                               const iotops_acquire_options *options,
                               iotops_acquire_done done, void *user,
                               iotops_error *err);

/*
** Waits for the lease: by key notification, and at the latest after the
** duration of a lease.  Timeout when `wait_ms` has passed.
*/
IOTOPS_API int iotops_lock_acquire(iotops_lock *lock,
                                   const iotops_acquire_options *options,
                                   iotops_acquire_done done, void *user,
                                   iotops_error *err);

/*
** Gives the attempt in hand up: it completes with a cancellation.  A grant
** that comes later is given back.
*/
IOTOPS_API void iotops_lock_cancel(iotops_lock *lock);

/*
** Gives an attempt in hand up, stops renewing, forgets the token, then
** releases; a lease that is not held is released with success.  `done` may be
** NULL.
*/
IOTOPS_API int iotops_lock_release(iotops_lock *lock, int64_t timeout_us,
                                   iotops_store_done done, void *user,
                                   iotops_error *err);

/* Who holds it; absent: nobody. */
IOTOPS_API int iotops_lock_get_holder(iotops_lock *lock, int64_t timeout_us,
                                      iotops_holder_done done, void *user,
                                      iotops_error *err);

/*
** Watches who holds it, until iotops_lock_unobserve(), which may come after
** the lock was freed.  `done` (may be NULL) is called when the store has
** registered the watch; when it fails the watch must still be ended.  After a
** reconnect, the holder of then is told.  `on_end` (may be NULL): the watch
** has ended by itself, as an observation does.
*/
IOTOPS_API int iotops_lock_observe(iotops_lock *lock, int64_t timeout_us,
                                   iotops_lock_changed changed,
                                   iotops_store_on_end on_end,
                                   iotops_store_done done, void *user,
                                   iotops_lock_watch **watch,
                                   iotops_error *err);

/* Ends and frees a watch: no change follows.  `done` may be NULL. */
IOTOPS_API int iotops_lock_unobserve(iotops_lock_watch *watch,
                                     int64_t timeout_us, iotops_store_done done,
                                     void *user, iotops_error *err);

/*
** The token of the lease as last granted; NULL once released or known to be
** lost.  It is not cleared when a lease that is not renewed merely runs out.
*/
IOTOPS_API const iotops_hlc *iotops_lock_token(const iotops_lock *lock);

/*
** Milliseconds until the lease runs out unless it is renewed, reckoned from
** when it was asked for; 0 when it is not held.
*/
IOTOPS_API int64_t iotops_lock_lease_left_ms(const iotops_lock *lock);

/* Whether it holds a lease that renews itself, and no attempt is in hand. */
IOTOPS_API bool iotops_lock_is_renewing(const iotops_lock *lock);

/* The key; borrowed. */
IOTOPS_API iotops_text iotops_lock_name(const iotops_lock *lock);

/* The name this lock holds under; borrowed. */
IOTOPS_API iotops_text iotops_lock_holder_name(const iotops_lock *lock);

#ifdef __cplusplus
}
#endif

#endif
