/*
** dev_record.h -- where the broker of `iotops dev` is written down, so that
** the tools find it when no broker is configured.
**
** The record is iotops/dev.json in $XDG_RUNTIME_DIR, else in a folder of the
** user's in the temporary folder.  It is believed only when folder and file
** belong to the user, nobody else may read or write them, and neither is a
** link: else another user of the machine could send our messages elsewhere.
*/
#ifndef COMMANDS_DEV_RECORD_H
#define COMMANDS_DEV_RECORD_H

#include "commands/broker.h"

typedef struct dev_record {
  pid_t pid; /* of the `iotops dev` that wrote it */
  uint16_t port;
  char folder[256]; /* the broker's, when it is temporary; else "" */
} dev_record;

/* Writes the record of this process, replacing another. */
int dev_record_write(const broker *broker, iotops_error *err);

/*
** Reads the record.  Fails with invalid configuration when there is none, it
** cannot be trusted, or the process that wrote it is gone.
*/
int dev_record_read(dev_record *record, iotops_error *err);

/* Removes the record if this process wrote it. */
void dev_record_remove(void);

/* Clears away what an `iotops dev` that was killed has left behind. */
void dev_record_clean(void);

#endif
