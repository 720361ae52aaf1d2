/*
** message_line.h -- a message as one line of JSON, and back.
**
** What `iotops record` writes, `iotops replay` reads, `iotops watch --json`
** prints and a tap streams is of this form.  Members, in this order; those
** that a message has not are left out:
**
**   time                     RFC 3339, UTC, milliseconds
**   direction                "in" (received) or "out" (sent)
**   script, outcome          of a tap: whose it is, and what came of it
**   topic
**   payload                  JSON, as it is; written with `readable` alone
**   payload_text             UTF-8 without NUL
**   payload_base64           other bytes
**   qos, retain
**   content_type, format_indicator, message_expiry (seconds), response_topic,
**   correlation_data_base64
**   user_properties          a list of [name, value]
**
** Reading what was written without `readable` gives the same message, byte for
** byte; text that is not UTF-8 where MQTT wants text is written as U+FFFD.  A
** `payload` is read as its compact JSON.  Packet identifier, duplicate flag and
** subscription identifiers belong to a delivery and are not kept.
**
** A reader takes nothing on trust: a line is bounded, a member that it does not
** know or of the wrong type is refused with its name, and so is what MQTT would
** not carry.  Only `topic` must be there.
*/
#ifndef RUNTIME_MESSAGE_LINE_H
#define RUNTIME_MESSAGE_LINE_H

#include <stdio.h>

#include "iotops/message.h"
#include "protocol/text_buffer.h"

enum {
  MESSAGE_LINE_MAX = 32 * 1024 * 1024, /* bytes, without its end */
  MESSAGE_LINE_PROPERTIES = 1024,
  MESSAGE_LINE_NAME = 256
};

typedef enum message_direction {
  MESSAGE_NO_DIRECTION, /* it was not said */
  MESSAGE_IN,
  MESSAGE_OUT
} message_direction;

/* What a line says besides the message. */
typedef struct message_line {
  bool has_time;
  int64_t time_ms; /* Unix time */
  message_direction direction;
  char script[MESSAGE_LINE_NAME];  /* "": not said; so for the next */
  char outcome[MESSAGE_LINE_NAME]; /* "received", "sent", or why it was not */
  bool readable; /* writing: JSON goes into `payload` as it is */
} message_line;

/*
** Appends the line of a message, its end included.  Short of memory the
** buffer has `failed`.
*/
void message_line_write(text_buffer *buffer, const iotops_message *message,
                        const message_line *line);

/*
** Reads the line `text` (with or without its end).  The message is owned by
** the caller, iotops_free(); `line` may be NULL.  Fails with invalid payload:
*"MEMBER: what is wrong with it".
*/
int message_line_read(iotops_context *context, iotops_text text,
                      iotops_message **message, message_line *line,
                      iotops_error *err);

/* Reads lines of a file, one by one; empty lines are passed over. */
typedef struct message_lines {
  iotops_context *context; /* borrowed */
  FILE *file;              /* borrowed */
  const char *name;        /* borrowed; for messages, "session.jsonl" */
  size_t number;           /* of the line read last, from 1 */
  text_buffer buffer;      /* private */
} message_lines;

void message_lines_init(message_lines *lines, iotops_context *context,
                        FILE *file, const char *name);

/*
** The next message as message_line_read() gives it: 1, or 0 at the end.  Fails
** with invalid payload ("NAME:LINE: MEMBER: ...") or when the file cannot be
** read; after a line that was wrong the next one may be read.
*/
int message_lines_next(message_lines *lines, iotops_message **message,
                       message_line *line, iotops_error *err);

void message_lines_clear(message_lines *lines);

/* Appends `text` as a JSON string, quotes included; for other lines too. */
void message_line_string(text_buffer *buffer, iotops_text text);

#endif
