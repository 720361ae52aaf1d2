/*
** rfc3339.h -- instants as RFC 3339 text and back.
**
** Instants are signed milliseconds of Unix time: dates before 1970 are as
** good as any other.
*/
#ifndef PROTOCOL_RFC3339_H
#define PROTOCOL_RFC3339_H

#include "iotops/api.h"

enum { RFC3339_TEXT_SIZE = 21 }; /* terminator included */

/*
** Reads a date-time; fractions finer than a millisecond are cut off and a
** leap second counts as the second after it.  False when malformed.
*/
bool rfc3339_parse(iotops_text text, int64_t *unix_ms);

/*
** Writes `YYYY-MM-DDThh:mm:ssZ`, terminated, the fraction cut off.  False
** when the instant is outside of the years 0000 to 9999.
*/
bool rfc3339_format(int64_t unix_ms, char text[RFC3339_TEXT_SIZE]);

#endif
