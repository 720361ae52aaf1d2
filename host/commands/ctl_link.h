/*
** ctl_link.h -- from a command to a running host: finding its control socket
** and exchanging lines with it (control.h, operator.h).
*/
#ifndef COMMANDS_CTL_LINK_H
#define COMMANDS_CTL_LINK_H

#include <jansson.h>

#include "iotops/error.h"

typedef struct ctl_link {
  /* Options; borrowed. */
  const char *command; /* for messages, "ctl" */
  const char *socket;  /* NULL: looked for */
  const char *host;    /* its name, when it is looked for; NULL: the only one */
  uint64_t timeout_ms; /* for an answer */
  /* Once it is open. */
  int fd;
  char *bytes; /* owned; received */
  size_t size, capacity;
  size_t taken; /* of them, the line that was given out last */
} ctl_link;

typedef enum ctl_answer {
  CTL_LINE,        /* there is one */
  CTL_END,         /* the host has closed the connection */
  CTL_LATE,        /* nothing came in time */
  CTL_INTERRUPTED, /* by SIGINT or SIGTERM */
  CTL_FAILED       /* the connection is broken, or memory short; was said */
} ctl_answer;

/*
** Connects.  COMMAND_DONE, or the exit status after saying why not: several
** hosts run, none does, or it cannot be reached.
*/
int ctl_link_open(ctl_link *link);

/* Sends a request, which it frees.  COMMAND_DONE, or the exit status. */
int ctl_link_send(ctl_link *link, json_t *request);

/*
** The next line, without its end; terminated, and valid until the next call.
** `patient`: waits without end.
*/
ctl_answer ctl_link_line(ctl_link *link, bool patient, iotops_text *line);

/*
** The next line as an answer: COMMAND_DONE with `*answer`, owned by the caller
** and refused or not; or the exit status after saying what went wrong.
*/
int ctl_link_answer(ctl_link *link, json_t **answer);

/* The exit status of an answer; says why it was refused. */
int ctl_link_verdict(const ctl_link *link, const json_t *answer);

/*
** From now on SIGINT and SIGTERM end the wait for a line instead of the
** program.
*/
void ctl_link_heed_signals(void);

/* Milliseconds since some instant; never goes back. */
uint64_t ctl_link_clock_ms(void);

void ctl_link_close(ctl_link *link);

#endif
