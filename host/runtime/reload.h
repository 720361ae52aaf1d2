/*
** reload.h -- how a new generation of a script takes over from the old one.
**
**   1 stage      the new state runs its main chunk beside the old one, which
**                serves; it declares endpoints and opens none
**   2 check      no other script answers one of its commands already
**   3 grants     filters that are new are subscribed to; what arrives by them
**                is held
**   4 quiesce    of a script that hands its state over: no new call begins,
**                messages are held, calls in hand get a while (handoff.h)
**   5 hand off   what the old state saves is restored in the new one
**   6 commit     between two turns of the loop, endpoints that stay the same
**                pass to the new state, the others are opened and closed, and
**                held messages are handed over (commit.h)
**   7 probation  a new generation that mostly fails is replaced by the last
**                good one (probation.h)
**   8 drain      the old state finishes the calls that it has in hand; one that
**                has handed its state over is closed
**
** Steps 3 to 5 are left out when there is nothing to do in them: then all is
** done within one turn.  Until the commit everything can be thrown away, and
** any failure does: the old generation goes on as if nothing had been tried.  A
** change of the script's files in between begins anew.
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
  iotops_timer timeout;       /* of the grants, then of quiescing */
  iotops_task decide;         /* goes on or gives up, outside of callbacks */
  bool quiescing;             /* the serving generation begins nothing new */
  bool back;                  /* to the last good version */
  bool by_hand;               /* back, since somebody has said so */
  char why[160];              /* back: the reason */
  size_t records;             /* tables that were handed over */
  iotops_lua_snapshot *saved; /* owned; what the old generation handed over */
};

/*
** Begins to replace the script's current generation, if any, by what its file
** holds now.  Logs how it ends.
*/
void reload_begin(script *script);

/*
** Begins to replace it by the last good version, which there must be.  `why`
** is for the log.  -1 with `err`: it could not be begun, and that was logged.
*/
int reload_back(script *script, bool by_hand, const char *why,
                iotops_error *err);

/* Gives up the reload under way, if any, without a word. */
void reload_cancel(script *script);

/*
** The broker is reached again: asks once more for the subscriptions that the
** serving generation has been refused.
*/
void reload_reopen(script *script);

/* A turn of the script has ended: a reload may wait for that. */
void reload_turn_ended(script *script);

/* ------------------------------------------ among the files of a reload -- */

/*
** Ends the reload: the staged generation is given up, `error` says why and
** `what` what could not be done.
*/
void reload_fail(reload *reload, const char *what);

/* Ends the reload with its commit. */
void reload_finish(reload *reload);

/*
** Opens an endpoint of `state`, noting a refusal.  `waiter` is told of the
** grant; NULL: only a refusal is logged.
*/
int reload_open(script_state *state, size_t index, reload *waiter,
                iotops_error *err);

/* The same without waiting; what fails is left for the next connection. */
void reload_open_now(script_state *state, size_t index);

/* Notes how an attempt has ended. */
void reload_report_end(script *script, reload_outcome outcome,
                       uint64_t began_ns, size_t records, const char *format,
                       ...) IOTOPS_PRINTF(5, 6);

#endif
