/*
** operator.h -- the operator's hand in a running host: what `iotops ctl` asks
** for over the host's socket (control.h).
**
** A request is one line, a JSON object with the member `verb`; each answer is
** one line as well, {"ok":true, ...} or {"ok":false, "error":TEXT}.  Members of
** a request that a verb does not know are passed over.
**
**   verb      members                 answer
**   status                            host: {...}, scripts: [{...}]; status.h
**   reload    script (else: all)      scripts: [{script, outcome, message,
*...}]
**                                     once each has ended; outcome:
*"committed",
**                                     "failed", "rolled back", "unchanged"
**   rollback  script                  the same
**   metrics                           text: as http.h gives it
**   logs      script, level, count,   a line {"log":{...}} for each record that
**             follow: true            is kept, oldest first; then the answer,
**                                     or with `follow` further lines
**   tap       script                  the answer, then lines {"message":{...}}
**                                     as message_line.h has them
**   eval      script, code            text: what was printed and the values;
**                                     or error and, when the code breaks off in
**                                     the middle, incomplete: true
**
** A connection that follows or taps takes no further request; it gets lines
** until it is closed, and {"dropped":N} where it was too slow for N of them.
** Values that a connection's evals assign to globals are its own, and last as
** long as the connection and the generation of the script.
*/
#ifndef RUNTIME_OPERATOR_H
#define RUNTIME_OPERATOR_H

#include "iotops/error.h"

struct host;

typedef struct operator_desk operator_desk;

/*
** Lets the operator in.  `path` NULL: at the usual place, named by the
** session's client id.  Fails as control_new() does.
*/
int operator_new(struct host *host, const char *path, operator_desk **made,
                 iotops_error *err);

/* Sends all away.  NULL is allowed. */
void operator_free(operator_desk *desk);

#endif
