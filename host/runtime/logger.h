/*
** logger.h -- the host's log: one record a line, readable on a terminal and
** JSON otherwise.
**
** Whatever a record holds, its line is one line of valid text: control
** characters are escaped (a script's message cannot move the cursor), bytes
** that are not UTF-8 are replaced, and what is too long is cut.  A record is
** handed to the kernel in one piece.
*/
#ifndef RUNTIME_LOGGER_H
#define RUNTIME_LOGGER_H

#include "iotops/log.h"

enum { LOGGER_LINE_SIZE = 32768 };

typedef enum logger_format {
  LOGGER_AUTO, /* text on a terminal, else JSON */
  LOGGER_TEXT,
  LOGGER_JSON
} logger_format;

typedef struct logger {
  int fd; /* borrowed */
  bool json;
  bool colour;
} logger;

/* Writes to `fd`; colour is used on terminals unless NO_COLOR is set. */
void logger_init(logger *logger, int fd, logger_format format);

/* The sink for iotops_context_options; `user` is the logger. */
void logger_write(void *user, const iotops_log_record *record);

/*
** The line of JSON that the record is, without its end, for other places than
** the log; returns its length.
*/
size_t logger_json(const iotops_log_record *record,
                   char bytes[LOGGER_LINE_SIZE]);

/* Reads "auto", "text" or "json"; false for anything else. */
bool logger_format_from(const char *name, logger_format *format);

#endif
