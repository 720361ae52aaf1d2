/*
** duration.h -- ISO 8601 durations (protocol.md section 6.5), in
** microseconds.
*/
#ifndef PROTOCOL_DURATION_H
#define PROTOCOL_DURATION_H

#include "iotops/api.h"

enum { DURATION_TEXT_SIZE = 40 }; /* longest text, terminator included */

/*
** Reads `[+-]P[nY][nM][nW][nD][T[nH][nM][nS]]`, a fraction on the last
** component allowed; a year counts 365 days, a month 30.  What is finer than
** a microsecond is cut off.  False when malformed or out of range.
*/
bool duration_parse(iotops_text text, int64_t *us);

/*
** Writes hours, minutes and seconds, terminated, cut to `size`
** (DURATION_TEXT_SIZE always suffices); returns the length.
*/
size_t duration_format(int64_t us, char *text, size_t size);

#endif
