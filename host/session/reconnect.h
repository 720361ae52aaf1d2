/*
** reconnect.h -- whether and when to try again (session.md sections 5, 6, 7.3).
**
** Reason codes have a class; the policy may overrule it.  Failures are counted
** until a connection has lived for ten seconds, so that a server which accepts
** and drops at once meets growing delays instead of a spin.
*/
#ifndef IOTOPS_SESSION_RECONNECT_H
#define IOTOPS_SESSION_RECONNECT_H

#include "iotops/session.h"

typedef enum reconnect_class {
  RECONNECT_RETRY,
  RECONNECT_FATAL,
  RECONNECT_CREDENTIALS /* retry when a credential comes from a file */
} reconnect_class;

/* The classes of a CONNACK's and of a DISCONNECT's reason code. */
reconnect_class reconnect_class_connack(uint8_t reason_code);
reconnect_class reconnect_class_disconnect(uint8_t reason_code);

enum { RECONNECT_STABLE_MS = 10000 };

typedef struct reconnect {
  uint32_t failures;     /* consecutive, in the sense above */
  uint64_t connected_ms; /* when the last connection came up */
} reconnect;

/* A connection came up; the count is kept until it has proved itself. */
void reconnect_connected(reconnect *reconnect, uint64_t now_ms);

/*
** A connection ended or an attempt failed.  Returns the number of consecutive
** failures, 0 when a proven connection was lost: then the next attempt comes at
** once.
*/
uint32_t reconnect_lost(reconnect *reconnect, uint64_t now_ms);
uint32_t reconnect_failed(reconnect *reconnect);

#endif
