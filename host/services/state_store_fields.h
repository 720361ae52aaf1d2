/*
** state_store_fields.h -- what the parts of the state store client share:
** requests (state_store.c), observations (store_observe.c), scans
** (store_scan.c).
*/
#ifndef IOTOPS_STATE_STORE_FIELDS_H
#define IOTOPS_STATE_STORE_FIELDS_H

#include "iotops/command.h"
#include "iotops/state_store.h"
#include "services/resp3.h"

#define STORE_UUID "FA9AE35F-2F64-47CD-9BFF-08E2B32A0FE8"

enum { STORE_BUCKETS = 256 };

typedef struct store_key store_key; /* store_key.h */

struct iotops_state_store {
  iotops_mqtt_client *client;      /* borrowed */
  iotops_context *context;         /* borrowed */
  iotops_command_invoker *invoker; /* owned */
  bool close_on_disconnect;

  /* Observations. */
  iotops_telemetry_receiver *receiver; /* owned; NULL until the first */
  bool subscribed;                     /* to the notification filter */
  bool subscribing;
  bool freed; /* and the memory stays until the subscription is answered */
  store_key *keys[STORE_BUCKETS]; /* owned, by the hash of their names */
  iotops_mqtt_observer observer;
  unsigned epoch;       /* connections lost so far */
  iotops_error failure; /* what doomed observations are ended with */
};

/* The answer to one request. */
typedef void (*store_answer)(void *user, const iotops_response *response,
                             const iotops_error *err);

/* Which of the options go with a request. */
typedef enum store_effect {
  STORE_READS,   /* none but the timeout */
  STORE_DELETES, /* and the fencing token */
  STORE_WRITES   /* and persistence */
} store_effect;

/* The options given, or the defaults. */
iotops_store_options store_options_of(const iotops_store_options *given);

/* Sends `blobs` as one request.  Errors of iotops_command_invoke(). */
int store_request(iotops_state_store *store, const iotops_text *blobs,
                  size_t count, const iotops_store_options *options,
                  store_effect effect, store_answer answer, void *user,
                  iotops_error *err);

/* Reads a scalar answer; false with `*err` set for a refusal or a misfit. */
bool store_read_answer(const iotops_response *response, resp3_value *value,
                       iotops_error *err);

/* Invalid configuration `key` when it is empty. */
int store_check_key(iotops_text key, iotops_error *err);

/* Ends all observations; called when the store is freed. */
void store_observe_close(iotops_state_store *store);

#endif
