/*
** script.h -- one script by name: the generation that serves, those that
** drain, and what belongs to the name rather than to a generation.
**
** A script that cannot be loaded takes nothing away: the generation that
** serves goes on, and the next change of a file is the next try.
*/
#ifndef RUNTIME_SCRIPT_H
#define RUNTIME_SCRIPT_H

#include "runtime/held.h"
#include "runtime/keepsakes.h"
#include "runtime/latency.h"
#include "runtime/probation.h"
#include "runtime/reload_report.h"
#include "runtime/script_client.h"
#include "runtime/state.h"

struct host;
struct reload;

/* What is timed: from the first turn of a handler to its end, and turns. */
typedef enum script_work {
  SCRIPT_TELEMETRY,
  SCRIPT_COMMAND,
  SCRIPT_TURN,
  SCRIPT_WORKS
} script_work;

typedef struct script script;
struct script {
  struct host *host;      /* borrowed */
  char *name;             /* owned; the file's name without .lua */
  char *path;             /* owned */
  char *folder;           /* owned; where its modules are */
  script_client client;   /* outlives every state */
  keepsakes kept;         /* and so does this */
  script_state *current;  /* owned; NULL: none serves */
  script_state *draining; /* owned list */
  struct reload *reload;  /* owned; NULL: none is under way */
  uint64_t generation;    /* the last that served */
  uint64_t reload_serial; /* number of the last reload that was tried */
  size_t ungranted;       /* subscriptions that it serves without so far */
  source refused;         /* what could not be loaded; count 0: nothing */
  char *awaited_command;  /* owned; that another answers; NULL: none */
  bool rolled_back;       /* `refused` is what was replaced by an older one */
  reload_report last_reload;
  probation probation;
  bool retry;       /* at the next connect */
  bool from_folder; /* found in a folder: goes when its file goes */
  bool missing;     /* its file is gone, and that was said */
  /* Turns that were stopped, by reason. */
  held_record held;
  uint64_t stopped_by[GUARD_REASONS];
  script *next;
  /* Owned; NULL: never done so far. */
  latency *took[SCRIPT_WORKS];
};

/* How thoroughly script_consider() looks for a change. */
typedef enum script_look {
  SCRIPT_LOOK_STAMPS,  /* by size and time, as often as one likes */
  SCRIPT_LOOK_CONTENT, /* by content: something has happened */
  SCRIPT_LOOK_FORCED,  /* loads what could not be loaded once more */
  SCRIPT_LOOK_ASKED    /* and what was rolled back, too */
} script_look;

/* NULL when memory is short. */
script *script_new(struct host *host, const char *path, bool from_folder);

/* Loads the script if it has changed since it was loaded or refused. */
void script_consider(script *script, script_look look);

/*
** Takes up what its files hold now, though it was refused before.  0: begun or
** ended, as `reload` and last_reload tell; 1: that is what serves already; -1
** with `err`: its file is gone, or the host is stopping.
*/
int script_reload(script *script, iotops_error *err);

/*
** Goes back to the last good version.  0: begun or ended, as `reload` and
** last_reload tell; -1 with `err`: there is none.
*/
int script_rollback(script *script, iotops_error *err);

/* Its file is gone: a script out of a folder stops serving. */
void script_vanished(script *script);

/* Calls that have begun and not ended, in all generations. */
size_t script_calls(const script *script);

/* No new calls; messages stay with the broker. */
void script_quiesce(script *script);

/* Notes that a piece of work was done within `spent_ns`, on uv_hrtime(). */
void script_took(script *script, script_work work, uint64_t spent_ns,
                 uint64_t now_ns);

/* Gives up all generations.  The client stays for the session's sake. */
void script_close(script *script);

/* After the session has gone. */
void script_free(script *script);

/* Logs with the script's name and a generation (0: none). */
void script_log(const script *script, uint64_t generation,
                iotops_log_level level, const char *format, ...)
    IOTOPS_PRINTF(4, 5);

/*
** How many messages it has in hand, held or in a handler that waits, and for
** how long the oldest of them; 0 when there is none.  Between turns.
*/
void script_held(const script *script, size_t *count, uint64_t *oldest_age_ms);

/* Logs the script's counters as one record. */
void script_log_counters(const script *script);

#endif
