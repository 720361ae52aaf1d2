/*
** handoff.h -- the serving generation hands its state over.
**
** From the begin of quiescing to the commit nothing new begins in the serving
** generation: its messages and requests are held, in order and unacknowledged,
** and its timers are late.  The calls that it has in hand end or, past the
** deadline, stay as they are; then `save` of the old and `restore` of the new
** state run in one turn of the loop with the commit.  If anything fails, the
** old generation goes on with what was held, as if nothing had been.
*/
#ifndef RUNTIME_HANDOFF_H
#define RUNTIME_HANDOFF_H

#include "runtime/reload.h"

/* Whether the staged generation is to be given a state. */
bool handoff_is_due(const reload *reload);

/*
** Begins to quiesce; the reload ends by itself, maybe before this returns, or
** is cancelled.
*/
void handoff_begin(reload *reload);

/* Looks whether the last call that is waited for has ended. */
void handoff_look(reload *reload);

/*
** Without a hand-off: keeps what the serving generation would have saved, for
** the case that it comes back.  What fails leaves nothing.
*/
void handoff_remember(reload *reload);

/* The serving generation goes on; nothing was handed over. */
void handoff_resume(script *script);

/* Endpoints of a generation that took over begin. */
void handoff_unpause(const script_state *state);

/* Closes a generation that has handed its state over. */
void handoff_retire(script_state *state);

#endif
