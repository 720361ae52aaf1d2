#include "iotops/leader_election.h"

#include <string.h>

#include "services/lock_watch.h"

/* A campaign that is not yet told how it ended; then it is freed. */
typedef struct campaign campaign;
struct campaign {
  campaign *next;                   /* of the election */
  iotops_context *context;          /* borrowed */
  iotops_leader_election *election; /* borrowed; NULL once that is freed */
  bool renews;
  iotops_acquire_done done;
  void *user;
};

struct iotops_leader_election {
  iotops_context *context;   /* borrowed */
  iotops_state_store *store; /* borrowed */
  iotops_lock *lock;         /* owned */
  iotops_text position;      /* owned */
  void (*lost)(void *user, const iotops_error *err);
  void *user;
  bool is_leader;
  iotops_timer term_end; /* of a leadership that is not renewed by itself */
  campaign *campaigns;   /* the one in hand, and those given up */
};

/* ----------------------------------------------------------- leadership -- */

static void end_leadership(iotops_leader_election *election,
                           const iotops_error *err) {
  if (!election->is_leader)
    return;
  election->is_leader = false;
  iotops_timer_stop(election->context, &election->term_end);
  if (election->lost != NULL)
    election->lost(election->user, err);
}

static void lease_lost(void *user, const iotops_error *err) {
  end_leadership(user, err);
}

static void term_over(iotops_timer *timer) {
  iotops_leader_election *election = timer->user;
  iotops_error err;
  iotops_error_set(&err, IOTOPS_TIMEOUT,
                   "the term ended; the leadership was not renewed");
  iotops_error_name(err.timeout_name, iotops_text_of("term"));
  end_leadership(election, &err);
}

static void begin_leadership(iotops_leader_election *election, bool renews) {
  election->is_leader = true;
  iotops_timer_stop(election->context, &election->term_end);
  if (!renews) /* else the lock tells when it is lost */
    iotops_timer_start(election->context, &election->term_end,
                       (uint64_t)iotops_lock_lease_left_ms(election->lock));
}

/* ------------------------------------------------------------ campaigns -- */

static bool is_refusal(const iotops_error *err) {
  return err->kind == IOTOPS_SERVICE_ERROR &&
         strcmp(err->service_error, "lease_already_held") == 0;
}

static void campaigned(void *user, const iotops_hlc *token,
                       const iotops_error *err) {
  campaign call = *(campaign *)user;
  iotops_leader_election *election = call.election;
  if (election != NULL) {
    campaign **at = &election->campaigns;
    while (*at != user)
      at = &(*at)->next;
    *at = call.next;
  }
  iotops_free(call.context, user);
  if (election != NULL) {
    if (err == NULL)
      begin_leadership(election, call.renews);
    else if (is_refusal(err)) /* somebody else leads; may free the election */
      end_leadership(election, err);
  }
  call.done(call.user, token, err);
}

typedef int start_attempt(iotops_lock *lock,
                          const iotops_acquire_options *options,
                          iotops_acquire_done done, void *user,
                          iotops_error *err);

static int start(iotops_leader_election *election,
                 const iotops_campaign_options *given, start_attempt *attempt,
                 iotops_acquire_done done, void *user, iotops_error *err) {
  iotops_campaign_options options = IOTOPS_CAMPAIGN_OPTIONS_INIT;
  iotops_acquire_options acquire = IOTOPS_ACQUIRE_OPTIONS_INIT;
  if (given != NULL) /* an older caller's struct is shorter */
    memcpy(&options, given,
           given->size < sizeof options ? given->size : sizeof options);
  if (options.term_ms < 1 || options.term_ms > INT32_MAX)
    return iotops_error_configuration(
        err, "term", (iotops_text){NULL, 0},
        "a term lasts from 1 ms to %d ms, got %lld", INT32_MAX,
        (long long)options.term_ms);
  acquire.lease_ms = options.term_ms;
  acquire.renew_ms = options.renew_ms;
  acquire.wait_ms = options.wait_ms;
  acquire.timeout_us = options.timeout_us;
  campaign *call = iotops_zalloc(election->context, sizeof *call);
  if (call == NULL)
    return iotops_error_memory(err);
  *call = (campaign){.next = election->campaigns,
                     .context = election->context,
                     .election = election,
                     .renews = options.renew_ms > 0,
                     .done = done,
                     .user = user};
  if (attempt(election->lock, &acquire, campaigned, call, err) != 0) {
    iotops_free(election->context, call);
    return -1;
  }
  election->campaigns = call;
  return 0;
}

int iotops_leader_try_campaign(iotops_leader_election *election,
                               const iotops_campaign_options *options,
                               iotops_acquire_done done, void *user,
                               iotops_error *err) {
  return start(election, options, iotops_lock_try, done, user, err);
}

int iotops_leader_campaign(iotops_leader_election *election,
                           const iotops_campaign_options *options,
                           iotops_acquire_done done, void *user,
                           iotops_error *err) {
  return start(election, options, iotops_lock_acquire, done, user, err);
}

void iotops_leader_cancel(iotops_leader_election *election) {
  iotops_lock_cancel(election->lock);
}

int iotops_leader_resign(iotops_leader_election *election, int64_t timeout_us,
                         iotops_store_done done, void *user,
                         iotops_error *err) {
  election->is_leader = false;
  iotops_timer_stop(election->context, &election->term_end);
  return iotops_lock_release(election->lock, timeout_us, done, user, err);
}

int iotops_leader_get_current(iotops_leader_election *election,
                              int64_t timeout_us, iotops_holder_done done,
                              void *user, iotops_error *err) {
  return iotops_lock_get_holder(election->lock, timeout_us, done, user, err);
}

/* -------------------------------------------------------------- watches -- */

struct iotops_leadership_watch {
  iotops_context *context; /* borrowed */
  iotops_lock_watch *watch;
  iotops_leadership_changed changed;
  iotops_store_on_end on_end; /* may be NULL */
  iotops_store_done done;     /* may be NULL */
  void *user;
  iotops_store_done ended; /* of unobserve; may be NULL */
  void *ended_user;
};

static void changed(void *user, const iotops_lock_change *change) {
  iotops_leadership_watch *watch = user;
  iotops_leadership_change what = {.state = change->holder.data != NULL
                                                ? IOTOPS_LEADER_ELECTED
                                                : IOTOPS_NO_LEADER,
                                   .leader = change->holder,
                                   .version = change->version};
  watch->changed(watch->user, &what);
}

static void ended_by_itself(void *user) {
  iotops_leadership_watch *watch = user;
  if (watch->on_end != NULL)
    watch->on_end(watch->user);
}

static void observed(void *user, const iotops_store_result *result,
                     const iotops_error *err) {
  iotops_leadership_watch *watch = user;
  if (watch->done != NULL)
    watch->done(watch->user, result, err);
}

static void unobserved(void *user, const iotops_store_result *result,
                       const iotops_error *err) {
  iotops_leadership_watch *watch = user;
  iotops_store_done done = watch->ended;
  void *done_user = watch->ended_user;
  iotops_free(watch->context, watch);
  if (done != NULL)
    done(done_user, result, err);
}

int iotops_leader_observe(iotops_leader_election *election, int64_t timeout_us,
                          iotops_leadership_changed on_change,
                          iotops_store_on_end on_end, iotops_store_done done,
                          void *user, iotops_leadership_watch **watch,
                          iotops_error *err) {
  iotops_leadership_watch *self =
      iotops_zalloc(election->context, sizeof *self);
  if (self == NULL)
    return iotops_error_memory(err);
  self->context = election->context;
  self->changed = on_change;
  self->on_end = on_end;
  self->done = done;
  self->user = user;
  if (lock_watch_new(election->store, election->position, true, timeout_us,
                     changed, ended_by_itself, observed, self, &self->watch,
                     err) != 0) {
    iotops_free(election->context, self);
    return -1;
  }
  *watch = self;
  return 0;
}

int iotops_leader_unobserve(iotops_leadership_watch *watch, int64_t timeout_us,
                            iotops_store_done done, void *user,
                            iotops_error *err) {
  watch->ended = done;
  watch->ended_user = user;
  return iotops_lock_unobserve(watch->watch, timeout_us, unobserved, watch,
                               err);
}

/* ----------------------------------------------------------------- life -- */

iotops_campaign_result
iotops_leader_last_result(const iotops_leader_election *election) {
  iotops_campaign_result result = {election->is_leader, NULL};
  if (election->is_leader)
    result.fencing_token = iotops_lock_token(election->lock);
  return result;
}

int64_t iotops_leader_term_left_ms(const iotops_leader_election *election) {
  return election->is_leader ? iotops_lock_lease_left_ms(election->lock) : 0;
}

iotops_text
iotops_leader_candidate_name(const iotops_leader_election *election) {
  return iotops_lock_holder_name(election->lock);
}

int iotops_leader_election_new(iotops_state_store *store,
                               const iotops_leader_election_options *given,
                               iotops_leader_election **election,
                               iotops_error *err) {
  iotops_context *context = iotops_state_store_context(store);
  iotops_leader_election_options options = IOTOPS_LEADER_ELECTION_OPTIONS_INIT;
  memcpy(&options, given,
         given->size < sizeof options ? given->size : sizeof options);
  if (options.position.data == NULL || options.position.size == 0)
    return iotops_error_configuration(err, "position", options.position,
                                      "a leadership position needs a name");
  if (options.candidate.data != NULL && options.candidate.size == 0)
    return iotops_error_configuration(err, "candidate", options.candidate,
                                      "a candidate needs a name");
  iotops_leader_election *self = iotops_zalloc(context, sizeof *self);
  if (self == NULL)
    return iotops_error_memory(err);
  self->context = context;
  self->store = store;
  self->lost = options.lost;
  self->user = options.user;
  self->term_end.fire = term_over;
  self->term_end.user = self;
  char *position = iotops_resize(context, NULL, options.position.size);
  if (position == NULL) {
    iotops_error_memory(err);
    goto failed;
  }
  memcpy(position, options.position.data, options.position.size);
  self->position = (iotops_text){position, options.position.size};
  iotops_lock_options lock = IOTOPS_LOCK_OPTIONS_INIT;
  lock.name = options.position;
  lock.holder = options.candidate;
  lock.session_id = options.session_id;
  lock.lost = lease_lost;
  lock.user = self;
  if (iotops_lock_new(store, &lock, &self->lock, err) != 0)
    goto failed;
  *election = self;
  return 0;

failed:
  iotops_free(context, position);
  iotops_free(context, self);
  return -1;
}

void iotops_leader_election_free(iotops_leader_election *election) {
  if (election == NULL)
    return;
  iotops_timer_stop(election->context, &election->term_end);
  for (campaign *call = election->campaigns; call != NULL; call = call->next)
    call->election = NULL;
  iotops_lock_free(election->lock);
  iotops_free(election->context, (char *)election->position.data);
  iotops_free(election->context, election);
}
