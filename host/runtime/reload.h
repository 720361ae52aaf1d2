/*
** reload.h -- how a new generation of a script takes over from the old one.
**
**   stage   the new state runs its main chunk beside the old one, which
**           serves; it declares endpoints and opens none
**   grants  filters that are new are subscribed to; what arrives by them is
**           held
**   commit  between two turns of the loop, endpoints that stay the same pass
**           to the new state, the others are opened and closed, and held
**           messages are handed over
**   drain   the old state finishes the calls that it has in hand
**
** Until the commit everything can be thrown away, and any failure does: the
** old generation goes on as if nothing had been tried.
*/
#ifndef RUNTIME_RELOAD_H
#define RUNTIME_RELOAD_H

#include "runtime/script.h"

typedef struct reload reload;
struct reload {
  script *script;       /* borrowed */
  uint64_t serial;      /* tells it from others of the script; never 0 */
  script_state *staged; /* owned until the commit */
  bool *opened;         /* owned; by endpoint: opened before the commit */
  size_t awaited;       /* grants outstanding */
  bool failed;          /* one was refused; `error` says why */
  iotops_error error;
  uint64_t began_ns;
  iotops_timer timeout; /* of the grants */
  iotops_task decide;   /* commits or gives up, outside of callbacks */
};

/*
** Begins to replace the script's current generation, if any, by what its file
** holds now.  Logs how it ends.
*/
void reload_begin(script *script);

/* Gives up the reload under way, if any, without a word. */
void reload_cancel(script *script);

/*
** The broker is reached again: asks once more for the subscriptions that the
** serving generation has been refused.
*/
void reload_reopen(script *script);

#endif
