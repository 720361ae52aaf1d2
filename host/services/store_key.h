/*
** store_key.h -- one observed key: its observers, its registration at the
** store, and what it needs next (services.md section 3.9).
**
** At most one request about a key is in flight; when it is answered, what is
** wanted by then decides the next.  Those told may observe, unobserve, free
** the store or let the loop turn: lists are walked with cursors that removal
** moves on, and a key that is held is not freed.
*/
#ifndef IOTOPS_STORE_KEY_H
#define IOTOPS_STORE_KEY_H

#include "services/state_store_fields.h"

struct iotops_store_observation {
  iotops_store_observation *next; /* of the key */
  store_key *key;                 /* borrowed; NULL once ended */
  iotops_context *context;        /* borrowed */
  iotops_store_on_change on_change;
  iotops_store_on_end on_end; /* may be NULL */
  iotops_store_done done;     /* of observe; NULL once called */
  void *user;
  bool doomed; /* to be ended with the store's `failure` */

  /* From unobserve on: */
  bool over;               /* what is left is to tell and to free */
  bool closed;             /* `over` because the store was freed */
  int count;               /* what to tell */
  iotops_store_done ended; /* may be NULL */
  void *ended_user;
  iotops_task report; /* tells outside the caller's call */
};

/* A walk over the observations of a key. */
typedef struct store_cursor {
  iotops_store_observation *next;
  struct store_cursor *outer;
} store_cursor;

typedef enum store_key_request {
  STORE_KEY_IDLE,
  STORE_KEY_REGISTERING,
  STORE_KEY_STOPPING,
  STORE_KEY_READING
} store_key_request;

struct store_key {
  store_key *next;           /* of the bucket */
  iotops_context *context;   /* borrowed */
  iotops_state_store *store; /* borrowed; NULL once that is freed */
  iotops_text name;          /* owned, with the struct */
  iotops_store_observation *first, *last;
  iotops_store_observation *stopped; /* wait for the answer to a STOP */
  store_cursor *cursors;
  iotops_task step;          /* store_key_advance(), soon */
  iotops_timer retry;        /* the same, later */
  store_key_request request; /* in flight */
  unsigned epoch;            /* connection that it was asked on */
  bool registered;           /* the store has it */
  bool unsure;               /* the store may have it */
  bool catch_up;             /* it may have changed unheard: to be read */
  bool heard;                /* a change, since it was asked for */
  unsigned holds;
  int64_t timeout_us; /* of the requests, as last asked for */
};

/* Finds it, or NULL; makes it: NULL when memory is short. */
store_key *store_key_find(const iotops_state_store *store, iotops_text name);
store_key *store_key_new(iotops_state_store *store, iotops_text name);

void store_key_add(store_key *key, iotops_store_observation *observation);
void store_key_remove(store_key *key, iotops_store_observation *observation);

/* Hands one change to the observers.  `delivery` NULL: made up. */
void store_key_notify(store_key *key, const iotops_store_notification *what,
                      iotops_telemetry_delivery *delivery);

/* Lets the key find out soon what it needs. */
void store_key_wake(store_key *key);

/* Its observers are to be ended, soon, with the store's `failure`. */
void store_key_doom(store_key *key);

/* The connection was lost, and with it the registration (N4). */
void store_key_forget(store_key *key);

/* The store is freed: takes the key out of it and ends its observations. */
void store_key_close(store_key *key);

/* Tells, soon, what an observation still has to tell. */
void store_observation_report(iotops_store_observation *observation);

#endif
