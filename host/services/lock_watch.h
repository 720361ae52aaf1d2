/*
** lock_watch.h -- watching who holds a lock or leads (services.md sections
** 4.2 and 5).
**
** A watch rests on one observation of the key.  Its memory stays until the
** store has been told of its end, since what was asked of it is still to be
** answered.
*/
#ifndef IOTOPS_LOCK_WATCH_H
#define IOTOPS_LOCK_WATCH_H

#include "iotops/lock.h"

/*
** As iotops_lock_observe(), for a key.  With `once` a holder that was told
** last is not told again, nor is its absence.
*/
int lock_watch_new(iotops_state_store *store, iotops_text key, bool once,
                   int64_t timeout_us, iotops_lock_changed changed,
                   iotops_store_on_end on_end, iotops_store_done done,
                   void *user, iotops_lock_watch **watch, iotops_error *err);

#endif
