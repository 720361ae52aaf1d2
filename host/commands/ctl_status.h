/*
** ctl_status.h -- what a host says of itself, as a table for a person.
*/
#ifndef COMMANDS_CTL_STATUS_H
#define COMMANDS_CTL_STATUS_H

#include <jansson.h>
#include <stdbool.h>

/* The answer to `status` (status.h).  What fails to be there shows as "-". */
void ctl_status_show(const json_t *answer, bool colour);

/* The answer to `reload` and `rollback`: a line a script. */
void ctl_status_show_reloads(const json_t *answer, bool colour);

/* A record of the log, as a line; a traceback follows on lines of its own. */
void ctl_status_show_record(const json_t *record, bool colour);

#endif
