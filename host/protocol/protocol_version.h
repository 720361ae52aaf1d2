/*
** protocol_version.h -- versions of the protocol (protocol.md section 5):
** 1.0 is spoken, major version 1 is understood.
*/
#ifndef PROTOCOL_PROTOCOL_VERSION_H
#define PROTOCOL_PROTOCOL_VERSION_H

#include "iotops/error.h"

#define PROTOCOL_VERSION          "1.0"
#define PROTOCOL_SUPPORTED_MAJORS "1" /* value of __supProtMajVer */

/* Reads `<major>.<minor>`; false when it is anything else. */
bool protocol_version_parse(iotops_text text, uint16_t *major, uint16_t *minor);

/*
** Whether a message of this version may be read; an absent one counts as 1.0.
** Fails with a local, not shallow unsupported version that carries the text
** and the majors that are supported.
*/
int protocol_version_check(iotops_text version, iotops_error *err);

#endif
