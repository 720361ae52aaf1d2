/*
** reference.h -- what a session is to do, in as few words as will say it
** (session.md sections 5 to 8 and 11).
**
** Knows nothing of how the session does it: it is told what happens to the
** session and says in which state it is then, whether and when it connects
** again, and what becomes of an operation.
*/
#ifndef MODEL_REFERENCE_H
#define MODEL_REFERENCE_H

#include "iotops/session.h"

enum { REFERENCE_OPERATIONS = 64, REFERENCE_STABLE_MS = 10000 };

typedef enum reference_stage {
  REFERENCE_QUEUED,
  REFERENCE_IN_FLIGHT, /* sent, not answered */
  REFERENCE_OVER
} reference_stage;

typedef enum reference_class { /* in order of service */
                               REFERENCE_CONTROL,
                               REFERENCE_QOS0,
                               REFERENCE_QOS1,
                               REFERENCE_CLASSES
} reference_class;

typedef struct reference_operation {
  reference_class class;
  bool subscribes; /* of control: not unsubscribes */
  reference_stage stage;
  bool here; /* in flight: sent on this connection */
  uint16_t packet_id;
  int answer;        /* what it completes with; -1: an error */
  bool cancelled;    /* its caller has been released */
  unsigned expected; /* completions */
} reference_operation;

typedef struct reference {
  /* How it was set up. */
  bool clean_start, renewable; /* credentials of a file */
  uint32_t most_failures;      /* then the policy gives up; 0: never */
  uint32_t limits[REFERENCE_CLASSES];
  int when_full; /* 0: wait, 1: drop newest, 2: drop oldest */

  iotops_session_state state;
  bool ever_connected, connected, lost;
  uint32_t failures;
  bool fatal; /* the class of the last failure */
  uint64_t connected_at, attempt_at, pong_due, leave_due;
  uint64_t retry_from, retry_until;
  bool exits;      /* leaving: not detaching */
  bool end_is_bad; /* it ended with an error */
  int end_code;    /* its reason code, or -1 */
  unsigned connects, disconnects;
  uint32_t window;
  reference_operation operations[REFERENCE_OPERATIONS];
  uint32_t count;
} reference;

void reference_run(reference *session, uint64_t now);
void reference_connect(reference *session, uint64_t now);

/* What the broker says; `present` and `window` are of a CONNACK 0x00. */
void reference_connack(reference *session, uint64_t now, uint8_t code,
                       bool present, uint32_t window);
void reference_disconnect(reference *session, uint64_t now, uint8_t code);

/* The attempt or the connection is gone; nobody gave a reason. */
void reference_cut(reference *session, uint64_t now);

void reference_leave(reference *session, uint64_t now, bool exits,
                     uint64_t drain);
void reference_force(reference *session, uint64_t now);

/* Time has come to `now`. */
void reference_pass(reference *session, uint64_t now);

/* False: refused. */
bool reference_put(reference *session, reference_class class, bool subscribes);
void reference_cancel(reference *session, uint32_t number);

/* It was written to the broker; false: that was not its turn. */
bool reference_sent(reference *session, uint32_t number, bool dup);
void reference_answered(reference *session, uint32_t number, uint8_t code);

/* Whether something could be written that was not. */
bool reference_idles(const reference *session);

/* Operations that are not over. */
uint32_t reference_pending(const reference *session, reference_class class,
                           reference_stage stage);

#endif
