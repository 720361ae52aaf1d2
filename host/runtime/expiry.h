/*
** expiry.h -- until when a credential in a file is good.
**
** What is in the file now is what the next connection presents: one whose
** rotation has failed is seen before it has expired.
*/
#ifndef RUNTIME_EXPIRY_H
#define RUNTIME_EXPIRY_H

#include "iotops/context.h"

enum { EXPIRY_FILE_MAX = 256 * 1024 };

/*
** The end of validity, in seconds since 1970, of the first certificate of a
** PEM file, or of a token (JWT, its claim `exp`).  0: it cannot be read or
** does not say.
*/
uint64_t expiry_of_certificate(iotops_context *context, const char *path);
uint64_t expiry_of_token(iotops_context *context, const char *path);

#endif
