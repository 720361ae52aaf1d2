/*
** probation.h -- the way back to the last good version of a script.
**
** The version that a reload replaces is kept: the bytes of all its files and
** the state that it has handed over.  For a while after the commit the calls of
** the new generation are watched, and if most of them fail the last good
** version takes over again, once, with that state; the content that has failed
** is not tried again until it changes.  The same happens whenever somebody says
** so, then with the present state if the last good version can read it.
**
** A version that is replaced while it is watched becomes the last good one if
** it has been called and most of its calls have ended well.
*/
#ifndef RUNTIME_PROBATION_H
#define RUNTIME_PROBATION_H

#include "embed.h"
#include "runtime/source.h"

struct reload;
struct script;
struct script_state;

typedef struct probation {
  source good; /* the files of the last good version; count 0: there is none */
  iotops_lua_snapshot *snapshot; /* owned; its state, or NULL */
  uint64_t generation;           /* that it was */
  bool watching;                 /* the current generation is on probation */
  bool failed;                   /* and has failed it */
  iotops_timer end;
  iotops_task back; /* outside of the turn that has failed */
} probation;

void probation_init(struct script *script);

/* A call of the current generation has raised. */
void probation_call_failed(struct script *script);

/*
** A reload was committed, or a way back was; `old` is the generation that was
** replaced (NULL: none), whose files are taken.
*/
void probation_committed(struct reload *reload, struct script_state *old);

/* The way back has failed; it is not tried again by itself. */
void probation_no_way_back(struct script *script);

/* A reload has ended without a commit: a way back may be due still. */
void probation_reconsider(struct script *script);

/* No way back any more. */
void probation_clear(struct script *script);

#endif
