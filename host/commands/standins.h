/*
** standins.h -- the stand-ins for services of the platform, and those that
** `iotops dev` keeps running beside its broker.
**
** Each is a child process with a client id of its own, which dies with the
** process that started it and is started again when it dies by itself.
*/
#ifndef COMMANDS_STANDINS_H
#define COMMANDS_STANDINS_H

#include <sys/types.h>

#include "commands/broker.h"

typedef struct standin_entry {
  const char *name; /* of the module standin.NAME */
  const char *summary;
} standin_entry;

extern const standin_entry standin_entries[];
enum { STANDIN_COUNT = 1 };

typedef struct standin_child {
  bool left_out;
  pid_t pid; /* 0: not running */
  uint64_t started_ms;
} standin_child;

typedef struct standins {
  const broker *broker; /* borrowed; NULL: not started */
  standin_child children[STANDIN_COUNT];
} standins;

/* Leaves one out; false when there is none of that name. */
bool standins_without(standins *standins, const char *name);

/*
** Starts them and waits until they serve.  Their logs and what they keep are in
** the broker's folder.  Fails with timeout (5 s) or invalid state.
*/
int standins_start(standins *standins, const broker *broker, iotops_error *err);

/* A child has ended: starts it again if it was one of these. */
void standins_look(standins *standins);

/* Ends them and waits for them.  May be repeated. */
void standins_stop(standins *standins);

#endif
