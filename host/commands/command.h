/*
** command.h -- the subcommands of the `iotops` program.
**
** A command is given its own arguments (argv[0] is its name) and returns the
** program's exit status.  What a command has to show goes to the standard
** output, what it has to say about its work to the standard error.
*/
#ifndef COMMANDS_COMMAND_H
#define COMMANDS_COMMAND_H

#include "iotops/error.h"

enum {
  COMMAND_DONE = 0,
  COMMAND_REFUSED = 1, /* by the broker or the peer; a session that ended */
  COMMAND_USAGE = 2,   /* arguments or configuration */
  COMMAND_UNREACHABLE = 3,
  COMMAND_TIMEOUT = 4,
  COMMAND_SESSION_LOST = 5, /* the broker has forgotten the session */
  COMMAND_INTERRUPTED = 130
};

int command_run(int argc, char **argv);
int command_dev(int argc, char **argv);
int command_send(int argc, char **argv);
int command_invoke(int argc, char **argv);
int command_watch(int argc, char **argv);
int command_ctl(int argc, char **argv);
int command_record(int argc, char **argv);
int command_kv(int argc, char **argv);
int command_lock(int argc, char **argv);
int command_standin(int argc, char **argv);
int command_check(int argc, char **argv);
int command_test(int argc, char **argv);
int command_replay(int argc, char **argv);

/*
** Says what is wrong with the arguments of the command `name` and where help
** is to be had.  Returns COMMAND_USAGE.
*/
int command_usage_error(const char *name, const char *format, ...)
    IOTOPS_PRINTF(2, 3);

/*
** The same for an option that getopt_long() answered with '?' or ':'; `typed`
** is the argument that it stopped at.
*/
int command_option_error(const char *name, int answer, const char *typed);

/* Reports `err` on the standard error, kind first. */
void command_report(const iotops_error *err);

/*
** Reads a whole number from `low` to `high` out of `text`.  False when it is
** none.
*/
bool command_number(const char *text, uint64_t low, uint64_t high,
                    uint64_t *number);

/* Reads seconds, such as "10" or "0.5", into milliseconds; at least one. */
bool command_seconds(const char *text, uint64_t *milliseconds);

#endif
