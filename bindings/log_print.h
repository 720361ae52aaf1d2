/*
** log_print.h -- how a plain Lua shows log records: a line each on standard
** error, from the level that IOTOPS_LOG names (info).
*/
#ifndef BINDINGS_LOG_PRINT_H
#define BINDINGS_LOG_PRINT_H

#include "core.h"

void log_print(const iotops_log_record *record);
iotops_log_level log_first_level(void);

#endif
