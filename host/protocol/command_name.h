/*
** command_name.h -- names of commands (protocol.md section 7.1).
*/
#ifndef PROTOCOL_COMMAND_NAME_H
#define PROTOCOL_COMMAND_NAME_H

#include "iotops/context.h"

/*
** One or more printable ASCII characters other than space `+ # { }`.  Fails
** with invalid configuration, `command_name`.
*/
int command_name_check(iotops_text name, iotops_error *err);

/* A terminated copy, to be freed; NULL when memory is short. */
char *command_name_copy(iotops_context *context, iotops_text name);

#endif
