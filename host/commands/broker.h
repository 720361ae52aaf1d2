/*
** broker.h -- a private mosquitto: the one place that writes a broker's
** configuration, for `iotops dev`, the tests, the demo and the bench.
**
** The broker listens on 127.0.0.1 only, keeps everything (no limit on queued
** or in-flight messages, whose defaults drop silently) and keeps it on disk in
** a folder of its own.  It dies with the process that started it, even when
** that one is killed, and does not see the terminal's Ctrl-C.
*/
#ifndef COMMANDS_BROKER_H
#define COMMANDS_BROKER_H

#include <sys/types.h>

#include "iotops/error.h"

typedef struct broker_options {
  uint16_t port;                /* 0: a free one */
  const char *folder;           /* borrowed; NULL: temporary, removed at stop */
  const char *log_file;         /* borrowed; NULL: broker.log in the folder */
  const char *const *log_types; /* borrowed; mosquitto's log_type values */
  size_t log_type_count;        /* 0: error, warning, notice */
  const char *const *lines;     /* borrowed; added to the configuration */
  size_t line_count;
  bool nagle; /* leave set_tcp_nodelay at its default, off */
} broker_options;

typedef struct broker {
  pid_t pid; /* 0: none */
  uint16_t port;
  char folder[256];
  char log_file[512];
  bool temporary; /* the folder is removed at stop */
} broker;

/*
** Starts a broker and waits until it accepts connections.  Fails with invalid
** configuration (mosquitto missing, a folder that cannot be written, a
** configuration that it refuses) or timeout (5 s).
*/
int broker_start(const broker_options *options, broker *broker,
                 iotops_error *err);

/*
** True when the broker has ended by itself; `why` then says how, in a few
** words.
*/
bool broker_ended(broker *broker, char *why, size_t size);

/* Ends it, waits for it, and removes a temporary folder.  May be repeated. */
void broker_stop(broker *broker);

/* Removes `folder` and what is in it, following no links. */
void broker_remove_folder(const char *folder);

#endif
