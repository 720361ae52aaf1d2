/*
** text.h -- bounded copies of texts that may not fit.
**
** A text that is too long is cut between two UTF-8 characters and ends in
** "..."; the result is always terminated.
*/
#ifndef CONTEXT_TEXT_H
#define CONTEXT_TEXT_H

#include <stdarg.h>

#include "iotops/api.h"

/*
** Copies into `field` of `size` bytes (at least 4, terminator included) and
** returns the length.  A NUL inside becomes '?', so that what follows it is
** not lost to readers of C strings.
*/
size_t text_fit(char *field, size_t size, iotops_text text);

/* Formats into `field` likewise. */
size_t text_vformat(char *field, size_t size, const char *format, va_list args);

/* True for well-formed UTF-8 (no surrogates, nothing overlong). */
bool text_is_utf8(iotops_text text);

/*
** True for UTF-8 that MQTT v5 section 1.5.4 has nothing against: also without
** NUL, control characters and non-characters.
*/
bool text_is_clean(iotops_text text);

#endif
