/*
** manifest.h -- what a staged generation declares, held against what the other
** scripts of the host do already.
**
** Two scripts that answer one command would both execute each request; the
** second is refused, and is tried again by itself once nobody answers it any
** more.  Telemetry of one topic may go to any number of scripts, and a group
** shares its requests.
*/
#ifndef RUNTIME_MANIFEST_H
#define RUNTIME_MANIFEST_H

#include "runtime/script.h"

/*
** Fails with invalid configuration, naming the other script and the command,
** which is noted in the script.
*/
int manifest_check(const script_state *staged, iotops_error *err);

/* What was noted of the last try. */
void manifest_forget(script *script);

/* Whether the command that the script was refused for is free now. */
bool manifest_is_free(const script *script);

#endif
