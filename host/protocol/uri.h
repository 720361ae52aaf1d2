/*
** uri.h -- is a text a URI or URI-reference, by the characters and the scheme
** alone (protocol.md section 11.1, RFC 3986).
*/
#ifndef PROTOCOL_URI_H
#define PROTOCOL_URI_H

#include "iotops/api.h"

/* A URI-reference, relative or absolute; an empty text is none. */
bool uri_is_reference(iotops_text text);

/* A URI-reference that has a scheme. */
bool uri_is_absolute(iotops_text text);

#endif
