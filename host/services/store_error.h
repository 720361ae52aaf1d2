/*
** store_error.h -- refusals of the state store (services.md section 3.5).
*/
#ifndef IOTOPS_STORE_ERROR_H
#define IOTOPS_STORE_ERROR_H

#include "iotops/error.h"

/* Makes `*err` a service error for the text of an -ERR answer. */
void store_error_refused(iotops_error *err, iotops_text text);

/* Makes `*err` an unexpected payload, carrying it. */
void store_error_unexpected(iotops_error *err, iotops_text payload);

#endif
