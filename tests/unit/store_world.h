/*
** store_world.h -- a state store client on the stub, and the test as its
** server: what was asked, how it is answered, what became of it.
*/
#ifndef UNIT_STORE_WORLD_H
#define UNIT_STORE_WORLD_H

#include "command_world.h"
#include "iotops/state_store.h"

#define T1 "001696374425000:00001:StateStore"
#define T2 "001696374425000:00002:StateStore"
#define T3 "001696374425001:00000:StateStore"

#define REQUEST_TOPIC                                                          \
  "statestore/v1/FA9AE35F-2F64-47CD-9BFF-08E2B32A0FE8/command/invoke"
#define RESPONSE_TOPIC "clients/me/services/" REQUEST_TOPIC "/response"
/* "me" in hexadecimal. */
#define NOTIFY_TOPIC                                                           \
  "clients/statestore/v1/FA9AE35F-2F64-47CD-9BFF-08E2B32A0FE8/6D65/command/"   \
  "notify/"

enum { STORE_ENDS_MAX = 64 };

/* How one call ended. */
typedef struct store_end {
  bool failed;
  iotops_error err;
  int count;
  bool has_value;
  char value[64];
  char version[IOTOPS_HLC_TEXT_SIZE]; /* "": none */
} store_end;

typedef struct store_world {
  iotops_state_store *store; /* owned */
  store_end ends[STORE_ENDS_MAX];
  size_t end_count;
} store_world;

extern store_world stores;

/* With the command world. */
int store_world_open(void **state);
int store_world_close(void **state);
int store_world_make(bool close_on_disconnect);

/* An iotops_store_done that records. */
void note_store_end(void *user, const iotops_store_result *result,
                    const iotops_error *err);
const store_end *last_end(void);

/* Asserts that the last call, the n-th, ended so. */
void assert_ended(size_t n, int count);
void assert_failed(size_t n, iotops_error_kind kind);

/* The payload of the n-th request; asserts its text. */
iotops_text asked(size_t n);
void assert_asked(size_t n, const char *bytes);

/* Answers the n-th request; `stamp` NULL: without. */
void answer_text(size_t n, iotops_text payload, const char *stamp);
void answer(size_t n, const char *payload, const char *stamp);

/* Delivers a notification, QoS 1, with `packet_id`. */
void notify_topic(const char *topic, iotops_text payload, const char *stamp,
                  uint16_t packet_id);
void notify(const char *hex_key, const char *payload, const char *stamp,
            uint16_t packet_id);

/* The connection goes and comes back. */
void lose_connection(void);
void regain_connection(void);

#endif
