/*
** tool.h -- a short-lived client for the person at the terminal: what `iotops
** send`, `iotops invoke` and `iotops watch` have in common.
**
** A tool has a client id and a session of its own, which ends with it, so it
** never takes over the session of a running host.  It reaches the configured
** broker, else that of a running `iotops dev`, and gives up connecting after
** its timeout.
*/
#ifndef COMMANDS_TOOL_H
#define COMMANDS_TOOL_H

#include <getopt.h>

#include "iotops/session.h"
#include "runtime/logger.h"

struct signals;

enum { TOOL_PROPERTIES = 64 };

typedef struct tool tool;
struct tool {
  const char *verb; /* borrowed; the command's name */
  /* Options. */
  const char *client_id; /* borrowed; NULL: made up */
  uint64_t timeout_ms;   /* for connecting; the command's own for the rest */
  bool verbose;
  iotops_user_property properties[TOOL_PROPERTIES]; /* borrowed */
  size_t property_count;
  /* Once it runs. */
  void (*go)(tool *tool); /* connected for the first time */
  /* A signal came; true: the command has seen to it.  NULL: SIGINT and SIGTERM
  ** finish with interrupted_status, others are ignored. */
  bool (*signalled)(tool *tool, int number);
  void *user; /* the command's */
  logger logger;
  iotops_context *context;    /* owned */
  iotops_settings *settings;  /* owned */
  iotops_session *session;    /* owned */
  iotops_mqtt_client *client; /* the session's */
  struct signals *signals;
  iotops_timer limit;
  iotops_error last_cause; /* why connecting has failed so far */
  bool connected, finishing, ended;
  int interrupted_status; /* exit status when a signal ends it */
  int status;
};

enum {
  TOOL_CLIENT_ID = 256,
  TOOL_TIMEOUT,
  TOOL_PROPERTY,
  TOOL_VERBOSE,
  TOOL_OPTION_END
};

#define TOOL_LONG_OPTIONS                                                      \
  {"client-id", required_argument, NULL, TOOL_CLIENT_ID},                      \
      {"timeout", required_argument, NULL, TOOL_TIMEOUT},                      \
      {"verbose", no_argument, NULL, TOOL_VERBOSE}, {                          \
    "help", no_argument, NULL, 'h'                                             \
  }

extern const char tool_options_help[];

/* The defaults. */
void tool_init(tool *tool, const char *verb);

/* Takes one option.  COMMAND_DONE, or COMMAND_USAGE with a message. */
int tool_option(tool *tool, int option, const char *value);

/*
** Finds the broker and makes the session; the command may then make what it
** needs of `client`.  Fails with invalid configuration.
*/
int tool_open(tool *tool, iotops_error *err);

/* Connects, calls `go`, and returns the exit status once tool_finish() ran. */
int tool_run(tool *tool);

/* The work is done: ends the session, then tool_run() returns `status`. */
void tool_finish(tool *tool, int status);

/* Reports `err` and finishes with the status that fits it. */
void tool_fail(tool *tool, const iotops_error *err);

/*
** Frees the session and what it was made of; what the command has made of the
** client is freed before.
*/
void tool_close(tool *tool);

/*
** The payload of a message: the argument `json`, checked to be JSON ("-":
** what the standard input holds), or the bytes of the file `raw` ("-" alike).
** `*owned` is to be freed with free().  COMMAND_DONE, or COMMAND_USAGE with a
** message.
*/
int tool_payload(const tool *tool, const char *json, const char *raw,
                 iotops_text *payload, char **owned);

/* COMMAND_DONE when `topic` can be used as it is, else COMMAND_USAGE. */
int tool_check_topic(const tool *tool, const char *topic);

/* Whether a payload may be shown as text: valid UTF-8 without NUL. */
bool tool_is_text(iotops_text payload);

/*
** Writes text to the terminal with control characters escaped, so that a
** message cannot move the cursor; line ends and tabs stay.
*/
void tool_print_text(iotops_text text);

/*
** Hands on what was printed.  False when some of it, now or before, has reached
** nobody: the reader at the other end of the pipe has gone.
*/
bool tool_is_read(void);

#endif
