/*
** tap.h -- what a script receives and sends, told while it happens.
**
** A script that nobody taps pays for one test of a pointer a message.
*/
#ifndef RUNTIME_TAP_H
#define RUNTIME_TAP_H

#include "runtime/message_line.h"

/* Embedded in what listens; zero it before its use. */
typedef struct tap tap;
struct tap {
  /*
  ** The message as its line (message_line.h), the end included; dies with the
  ** call.  May end this tap.
  */
  void (*tapped)(tap *tap, iotops_text line);
  void *user;         /* the owner's, never touched */
  const char *script; /* borrowed; the script's name */
  tap *next;
};

void tap_begin(tap **taps, tap *begun);
void tap_end(tap **taps, tap *ended);

/* Tells all of `taps`; `outcome` is cut when it is long. */
void tap_tell(tap *taps, iotops_context *context, const iotops_message *message,
              message_direction direction, int64_t time_ms,
              const char *outcome);

#endif
