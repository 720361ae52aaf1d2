/*
** lease.h -- leases that renew themselves, which belong to a script's name.
**
** A lock of a generation that serves takes the lease over that the one before
** it has, with the renewal that goes on.  What a replaced generation leaves
** behind is renewed for as long as the lease had left, and then let go: it runs
** out unless the new generation has asked for it.
*/
#ifndef BINDINGS_LEASE_H
#define BINDINGS_LEASE_H

#include "core.h"
#include "iotops/lock.h"

typedef struct lease lease;
struct lease {
  iotops_lua_leases *leases; /* borrowed */
  iotops_lock *lock;         /* the owner's; owned when there is none */
  void *owner;               /* NULL: none */
  const iotops_lua *state;   /* the owner's */
  iotops_timer let_go;
  lease *next;
};

/*
** Notes that `owner` has a lease.  NULL: it is kept for nobody, since nothing
** is or memory is short.
*/
lease *lease_note(const iotops_lua *state, iotops_lock *lock, void *owner);

/* NULL is allowed. */
void lease_forget(lease *noted);

/* `owner` has it, and its lock, from now on. */
void lease_take(lease *noted, void *owner, const iotops_lua *state);

/* The owner's state closes: the lease is on its own, and so is its lock. */
void lease_leave(lease *noted);

/*
** The lease of an earlier generation's lock with the name and holder of `lock`,
** when it is to be had; NULL: there is none.
*/
lease *lease_find(const iotops_lua *state, const iotops_lock *lock);

#endif
