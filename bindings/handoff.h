/*
** handoff.h -- how a script hands its state to its next version.
**
** A script says so once, in its main chunk: `save` gives plain data, `restore`
** takes what the version before it has saved.  Both run through the gate and
** may not wait.
*/
#ifndef BINDINGS_HANDOFF_H
#define BINDINGS_HANDOFF_H

#include "plain_data.h"

struct iotops_lua_snapshot {
  plain_data data;
  int64_t version;
};

#endif
