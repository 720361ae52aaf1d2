/*
** ctl_repl.h -- `iotops ctl repl` and `eval`: code for a running script.
*/
#ifndef COMMANDS_CTL_REPL_H
#define COMMANDS_CTL_REPL_H

#include "commands/ctl_link.h"

/*
** Evaluates the lines of the standard input, one after the other; code that
** breaks off goes on in the next line.  The exit status: refused when any of
** it has failed.
*/
int ctl_repl(ctl_link *link, const char *script, bool json);

/* Evaluates `code` alone. */
int ctl_eval(ctl_link *link, const char *script, const char *code, bool json);

#endif
