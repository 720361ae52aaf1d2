/*
** commit.h -- the one step in which a staged generation takes over.
**
** It happens between two turns of the loop and either happens whole or, when
** memory is too short for it, not at all.
*/
#ifndef RUNTIME_COMMIT_H
#define RUNTIME_COMMIT_H

#include "runtime/reload.h"

/*
** Makes the staged generation the current one.  -1 with an error in the
** reload: nothing has changed.
*/
int reload_commit(reload *reload);

#endif
