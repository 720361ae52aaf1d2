/*
** command_world.h -- what the tests of commands share: a clock, a client and
** what became of things.  One world at a time; the teardown fails the test
** when memory is left.
*/
#ifndef UNIT_COMMAND_WORLD_H
#define UNIT_COMMAND_WORLD_H

#include "iotops/command.h"
#include "stub_client.h"
#include "virtual_time.h"

enum { OUTCOMES_MAX = 64 };

/* One end of a start, stop, respond or invocation. */
typedef struct outcome {
  bool failed;
  iotops_error err;
  uint16_t status; /* of a response; 0 */
  char payload[64];
} outcome;

typedef struct command_world {
  virtual_time *time;
  stub_client *stub;
  outcome outcomes[OUTCOMES_MAX]; /* in order */
  size_t outcome_count;
} command_world;

extern command_world world;

int command_world_open(void);

/* Ends what the client still has; -1 when memory is left. */
int command_world_close(void);

/* Lets what was queued happen. */
void settle_down(void);

/* An iotops_envoy_done and iotops_respond_done that records. */
void note_end(void *user, const iotops_error *err);

/* The n-th publish from the first, and its user property; both must be. */
const iotops_message *published(size_t n);
const char *property_of(const iotops_message *message, const char *name);

size_t publish_count(void);

/* Answers the n-th operation of a kind and lets that happen. */
void answer_nth(stub_kind kind, size_t n, uint8_t reason_code);

/* "1,2,": the packets that were acknowledged, in order. */
const char *acks(void);

#endif
