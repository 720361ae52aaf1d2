/*
** command_status.h -- errors as statuses of a response, and back
** (protocol.md sections 6.3 and 6.4).
**
** The executor turns what went wrong into a status, a name and a value; the
** invoker turns those of a peer into an error.  Neither checks that what
** comes along fits the status: peers differ.
*/
#ifndef PROTOCOL_COMMAND_STATUS_H
#define PROTOCOL_COMMAND_STATUS_H

#include "iotops/error.h"
#include "iotops/message.h"
#include "protocol/duration.h"

enum {
  STATUS_OK = 200,
  STATUS_NO_CONTENT = 204,
  STATUS_BAD_REQUEST = 400,
  STATUS_REQUEST_TIMEOUT = 408,
  STATUS_UNSUPPORTED_CONTENT = 415,
  STATUS_INTERNAL_ERROR = 500,
  STATUS_UNAVAILABLE = 503,
  STATUS_UNSUPPORTED_VERSION = 505
};

#define EXECUTION_TIMEOUT_NAME "ExecutionTimeout"

/* What the user properties of an error response say. */
typedef struct command_status {
  uint16_t code;
  bool is_application_error;
  iotops_text message; /* borrowed from the error, as are the next two */
  iotops_text name;    /* absent: not sent */
  iotops_text value;   /* absent: not sent; only together with name */
  char duration[DURATION_TEXT_SIZE]; /* what `value` points to, of a timeout */
} command_status;

/*
** The status of an error of the executor's.  An execution error, and
** whatever section 6.3 has no row for, is 500.
*/
void command_status_of(const iotops_error *err, command_status *status);

/*
** The status code of a response.  Fails with missing header or invalid
** header `__stat`, local.
*/
int command_status_code(const iotops_message *response, uint16_t *code,
                        iotops_error *err);

/*
** What a status code says, together with the other properties of its
** response: 0 with 200 and 204 alone, else the remote error of section 6.4.
*/
int command_status_check(const iotops_message *response, uint16_t code,
                         iotops_error *err);

#endif
