/*
** text_check.h -- which texts may go into an MQTT property (protocol.md
** section 3.2): valid UTF-8 without U+0000 to U+001F and U+007F to U+009F.
*/
#ifndef PROTOCOL_TEXT_CHECK_H
#define PROTOCOL_TEXT_CHECK_H

#include "context/text.h" /* text_is_utf8 */

enum { PROPERTY_TEXT_MAX = 65535 }; /* bytes of an MQTT string */

/* True when `text` may be sent, its length aside; an absent text may. */
bool property_text_valid(iotops_text text);

/*
** Copies `text` without what may not be sent into `out`, which has room for
** `size` bytes, as far as whole characters fit; returns the bytes written.
*/
size_t text_sanitise(iotops_text text, char *out, size_t size);

#endif
