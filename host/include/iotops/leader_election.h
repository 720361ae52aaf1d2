/*
** leader_election.h -- leader election over the state store (services.md
** section 5): a leased lock whose holder leads.
**
** A position has at most one leader at a time, as the state store sees it.
** Nothing stops a leader that was paused past the end of its term from
** believing that it still leads: whatever is done as the leader must carry
** the fencing token, which the store checks.
*/
#ifndef IOTOPS_LEADER_ELECTION_H
#define IOTOPS_LEADER_ELECTION_H

#include "iotops/lock.h"

typedef struct iotops_leader_election iotops_leader_election;

typedef struct iotops_leader_election_options {
  size_t size;            /* IOTOPS_LEADER_ELECTION_OPTIONS_INIT */
  iotops_text position;   /* the key that candidates share; copied; so is all */
  iotops_text candidate;  /* absent: the client id */
  iotops_text session_id; /* absent: none; else `candidate:session` */
  /*
  ** Leadership is over without a resignation: renewal was refused, or the
  ** term ended.  Called once for each leadership that ends so, after
  ** iotops_leader_last_result() says so.  May be NULL.
  */
  void (*lost)(void *user, const iotops_error *err);
  void *user; /* borrowed; passed to lost */
} iotops_leader_election_options;

#define IOTOPS_LEADER_ELECTION_OPTIONS_INIT                                    \
  { .size = sizeof(iotops_leader_election_options) }

typedef struct iotops_campaign_options {
  size_t size;        /* IOTOPS_CAMPAIGN_OPTIONS_INIT */
  int64_t term_ms;    /* of the leadership, >= 1; default 10 s */
  int64_t renew_ms;   /* > 0 and < term_ms; 0 (default): not by itself */
  int64_t wait_ms;    /* campaign: bound of the wait; -1 (default): none */
  int64_t timeout_us; /* of each request; default 10 s */
} iotops_campaign_options;

#define IOTOPS_CAMPAIGN_OPTIONS_INIT                                           \
  {                                                                            \
    .size = sizeof(iotops_campaign_options), .term_ms = 10000, .wait_ms = -1,  \
    .timeout_us = 10000000                                                     \
  }

/* How the latest campaign stands. */
typedef struct iotops_campaign_result {
  bool is_leader;                  /* false once lost or resigned */
  const iotops_hlc *fencing_token; /* borrowed; NULL unless is_leader */
} iotops_campaign_result;

typedef enum iotops_leadership {
  IOTOPS_NO_LEADER,
  IOTOPS_LEADER_ELECTED
} iotops_leadership;

/* A view that dies when the callback returns. */
typedef struct iotops_leadership_change {
  iotops_leadership state;
  iotops_text leader;        /* absent with IOTOPS_NO_LEADER */
  const iotops_hlc *version; /* NULL: not known */
} iotops_leadership_change;

/* The same leader elected again, which a renewal is, is no change. */
typedef void (*iotops_leadership_changed)(
    void *user, const iotops_leadership_change *change);

typedef struct iotops_leadership_watch iotops_leadership_watch;

#ifdef __cplusplus
extern "C" {
#endif

/*
** Makes one, to be freed before its store.  Fails with invalid configuration:
** `position`, `candidate`.
*/
IOTOPS_API int iotops_leader_election_new(
    iotops_state_store *store, const iotops_leader_election_options *options,
    iotops_leader_election **election, iotops_error *err);

/*
** Frees it and stops renewing; a leadership is left to run out.  A campaign
** in hand completes with a cancellation.  NULL is allowed.
*/
IOTOPS_API void iotops_leader_election_free(iotops_leader_election *election);

/*
** One attempt.  While leading it renews, with a newer token.  Completes as
** iotops_lock_try(): someone else leading is the service error
** `lease_already_held`.  Fails at once with invalid configuration (`term`,
** `renewal_period`, `command_timeout`) or with invalid state when a campaign
** is in hand.
*/
IOTOPS_API int iotops_leader_try_campaign(
    iotops_leader_election *election, const iotops_campaign_options *options,
    iotops_acquire_done done, void *user, iotops_error *err);

/* Waits to be elected; timeout when `wait_ms` has passed. */
IOTOPS_API int iotops_leader_campaign(iotops_leader_election *election,
                                      const iotops_campaign_options *options,
                                      iotops_acquire_done done, void *user,
                                      iotops_error *err);

/* Gives the campaign in hand up: it completes with a cancellation. */
IOTOPS_API void iotops_leader_cancel(iotops_leader_election *election);

/*
** Stops renewing, forgets the token, then resigns; resigning what one does
** not lead is a success.  `done` may be NULL.
*/
IOTOPS_API int iotops_leader_resign(iotops_leader_election *election,
                                    int64_t timeout_us, iotops_store_done done,
                                    void *user, iotops_error *err);

/* Who leads; absent: nobody. */
IOTOPS_API int iotops_leader_get_current(iotops_leader_election *election,
                                         int64_t timeout_us,
                                         iotops_holder_done done, void *user,
                                         iotops_error *err);

/*
** Watches the position.  As iotops_lock_observe(), but an election of the
** leader that was last told is not told again.
*/
IOTOPS_API int iotops_leader_observe(iotops_leader_election *election,
                                     int64_t timeout_us,
                                     iotops_leadership_changed changed,
                                     iotops_store_on_end on_end,
                                     iotops_store_done done, void *user,
                                     iotops_leadership_watch **watch,
                                     iotops_error *err);

/* Ends and frees a watch, as iotops_lock_unobserve(). */
IOTOPS_API int iotops_leader_unobserve(iotops_leadership_watch *watch,
                                       int64_t timeout_us,
                                       iotops_store_done done, void *user,
                                       iotops_error *err);

IOTOPS_API iotops_campaign_result
iotops_leader_last_result(const iotops_leader_election *election);

/*
** Milliseconds until the term ends unless it is renewed, reckoned from when
** it was asked for; 0 when not leading.
*/
IOTOPS_API int64_t
iotops_leader_term_left_ms(const iotops_leader_election *election);

/* The name it campaigns under; borrowed. */
IOTOPS_API iotops_text
iotops_leader_candidate_name(const iotops_leader_election *election);

#ifdef __cplusplus
}
#endif

#endif
