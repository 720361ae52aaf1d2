/*
** resp3.h -- the subset of RESP3 that the state store speaks (services.md
** section 3.2), read and written exactly.
**
** Reading is one element at a time, without recursion or allocation: an array
** gives its element count, and the elements follow.  Every length and count
** is checked against the bytes that are there before it is believed.
*/
#ifndef IOTOPS_RESP3_H
#define IOTOPS_RESP3_H

#include "iotops/context.h"

typedef enum resp3_type {
  RESP3_ARRAY,  /* count */
  RESP3_BLOB,   /* text */
  RESP3_NULL,   /* $-1 */
  RESP3_NUMBER, /* number */
  RESP3_STRING, /* text, simple string */
  RESP3_ERROR   /* text, without "ERR" and what separates it */
} resp3_type;

typedef struct resp3_value {
  resp3_type type;
  iotops_text text; /* borrowed from what is read; never absent */
  int64_t number;
  size_t count;
} resp3_value;

/*
** Reads the next element off the front of `*rest`.  False when the bytes are
** malformed or cut short; `*rest` is then unspecified.
*/
bool resp3_read(iotops_text *rest, resp3_value *value);

/* Reads a whole payload of one element that is not an array. */
bool resp3_read_scalar(iotops_text payload, resp3_value *value);

/*
** Writes an array of blobs, the form of every request.  The bytes are the
** caller's, to be freed with iotops_free(); NULL data when memory is short.
*/
iotops_text resp3_write_blobs(iotops_context *context, const iotops_text *blobs,
                              size_t count);

#endif
