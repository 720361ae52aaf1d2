/*
** state_store.h -- client of the state store (services.md section 3).
**
** Keys and values are bytes.  Every call completes exactly once.  A refusal by
** the store is a service error whose `service_error` names the cause
** (section 3.5); an answer that does not fit is an unexpected payload.
*/
#ifndef IOTOPS_STATE_STORE_H
#define IOTOPS_STATE_STORE_H

#include "iotops/hlc.h"
#include "iotops/mqtt_client.h"

typedef struct iotops_state_store iotops_state_store;

typedef struct iotops_state_store_options {
  size_t size; /* IOTOPS_STATE_STORE_OPTIONS_INIT */
  /*
  ** What becomes of observations when the connection is lost.  False: after
  ** the reconnect they are registered again, which is tried until the store
  ** answers, and each key is read, so that observers learn where it stands.
  ** True: they end.
  */
  bool close_on_disconnect;
} iotops_state_store_options;

#define IOTOPS_STATE_STORE_OPTIONS_INIT                                        \
  { .size = sizeof(iotops_state_store_options) }

typedef enum iotops_store_condition {
  IOTOPS_STORE_ALWAYS,
  IOTOPS_STORE_IF_ABSENT,         /* NX */
  IOTOPS_STORE_IF_ABSENT_OR_EQUAL /* NEX: absent, or holding this value */
} iotops_store_condition;

typedef struct iotops_store_options {
  size_t size;                      /* IOTOPS_STORE_OPTIONS_INIT */
  int64_t timeout_us;               /* of the request; default 10 s */
  const iotops_hlc *fencing_token;  /* set, del, vdel; NULL: none */
  iotops_store_condition condition; /* set */
  int64_t expiry_ms;                /* set; >= 1, or -1 (default): none */
  bool persist;                     /* set */
} iotops_store_options;

#define IOTOPS_STORE_OPTIONS_INIT                                              \
  {                                                                            \
    .size = sizeof(iotops_store_options), .timeout_us = 10000000,              \
    .expiry_ms = -1                                                            \
  }

/* A view that dies when the callback returns. */
typedef struct iotops_store_result {
  iotops_text value; /* get; absent: there is no such key */
  /*
  ** set: 1 applied, 0 condition not met.  del: keys deleted, 0 or 1.  vdel: 1,
  ** 0 absent, -1 the value differs.  unobserve: 1 was observed, 0 was not.
  */
  int count;
  const iotops_hlc *version; /* NULL: the answer carried none */
} iotops_store_result;

typedef void (*iotops_store_done)(void *user, const iotops_store_result *result,
                                  const iotops_error *err);

/* ------------------------------------------------------- observations -- */

typedef struct iotops_store_observation iotops_store_observation;

/* One change, shared by the key's observers; each releases it once. */
typedef struct iotops_store_change iotops_store_change;

typedef struct iotops_store_notification {
  iotops_text key;
  bool deleted;              /* else set; expiry counts as deletion */
  iotops_text value;         /* set only */
  const iotops_hlc *version; /* NULL: found gone after a reconnect */
} iotops_store_notification;

/*
** `notification` is a view that dies on return; `change` is to be given to
** iotops_store_change_done() when the observer has finished with it: the
** message is acknowledged when all have.
*/
typedef void (*iotops_store_on_change)(
    void *user, iotops_store_change *change,
    const iotops_store_notification *notification);

/*
** The observation has ended by itself: the connection was lost
** (close_on_disconnect), the session has ended, or the store refused to
** register it again.  It must still be given to iotops_store_unobserve().
*/
typedef void (*iotops_store_on_end)(void *user);

/* -------------------------------------------------------------- scans -- */

typedef struct iotops_store_scan iotops_store_scan;

/* A page of keys; `finished`: there is none any more and `keys` is empty. */
typedef void (*iotops_store_scan_done)(void *user, const iotops_text *keys,
                                       size_t count, bool finished,
                                       const iotops_error *err);

#ifdef __cplusplus
extern "C" {
#endif

IOTOPS_API int iotops_state_store_new(iotops_mqtt_client *client,
                                      const iotops_state_store_options *options,
                                      iotops_state_store **store,
                                      iotops_error *err);

/*
** Frees it: pending calls complete with a cancellation, later; observations
** and scans end and must be freed before.  NULL is allowed.
*/
IOTOPS_API void iotops_state_store_free(iotops_state_store *store);

/* What it was made with; borrowed. */
IOTOPS_API iotops_context *
iotops_state_store_context(const iotops_state_store *store);
IOTOPS_API const char *
iotops_state_store_client_id(const iotops_state_store *store);

/*
** Fail at once, without calling `done`, with invalid configuration for an
** empty key (`key`), a bad expiry (`expiry`) or timeout (`command_timeout`).
** `done` may be NULL.
*/
IOTOPS_API int iotops_store_get(iotops_state_store *store, iotops_text key,
                                const iotops_store_options *options,
                                iotops_store_done done, void *user,
                                iotops_error *err);
IOTOPS_API int iotops_store_set(iotops_state_store *store, iotops_text key,
                                iotops_text value,
                                const iotops_store_options *options,
                                iotops_store_done done, void *user,
                                iotops_error *err);
IOTOPS_API int iotops_store_del(iotops_state_store *store, iotops_text key,
                                const iotops_store_options *options,
                                iotops_store_done done, void *user,
                                iotops_error *err);
IOTOPS_API int iotops_store_vdel(iotops_state_store *store, iotops_text key,
                                 iotops_text value,
                                 const iotops_store_options *options,
                                 iotops_store_done done, void *user,
                                 iotops_error *err);

/*
** Observes a key.  Any number of observers may share one; the registration is
** counted.  `done` is called when the store has registered it; when it fails
** the observation gets no changes and must still be freed.
*/
IOTOPS_API int iotops_store_observe(iotops_state_store *store, iotops_text key,
                                    const iotops_store_options *options,
                                    iotops_store_on_change on_change,
                                    iotops_store_on_end on_end,
                                    iotops_store_done done, void *user,
                                    iotops_store_observation **observation,
                                    iotops_error *err);

/*
** Ends an observation and frees it: no change follows.  An observe that was
** not yet answered completes with a cancellation.  `done` (may be NULL) is
** called once the store has been told, soon when others still observe.  Fails
** at once, ending nothing, with invalid configuration (`command_timeout`).
*/
IOTOPS_API int iotops_store_unobserve(iotops_store_observation *observation,
                                      const iotops_store_options *options,
                                      iotops_store_done done, void *user,
                                      iotops_error *err);

IOTOPS_API void iotops_store_change_done(iotops_store_change *change);

/* Makes a pager without asking anything; `pattern` as in section 3.10. */
IOTOPS_API int iotops_store_scan_new(iotops_state_store *store,
                                     iotops_text pattern,
                                     iotops_store_scan **scan,
                                     iotops_error *err);

/*
** Asks for the next page.  One at a time: invalid state while one is asked
** for.  After a failure the same page can be asked for again.  Freeing the
** scan meanwhile completes it with a cancellation, when it is answered.
*/
IOTOPS_API int iotops_store_scan_next(iotops_store_scan *scan,
                                      const iotops_store_options *options,
                                      iotops_store_scan_done done, void *user,
                                      iotops_error *err);
IOTOPS_API void iotops_store_scan_free(iotops_store_scan *scan);

#ifdef __cplusplus
}
#endif

#endif
