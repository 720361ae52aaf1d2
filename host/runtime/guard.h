/*
** guard.h -- a turn of a script is stopped once it has taken too much.
**
** A timer on the loop thread's processor time signals that same thread while
** it computes; an idle host is never woken.  The signal's handler sets a hook
** on the coroutine that runs, once the turn's time is over, and again at each
** tick: the hook raises at every instruction, so no pcall lasts, until the
** turn has ended.  A turn that is within its limits runs without a hook.
**
** What runs in a C function is not reached before that returns; bounds.h
** keeps those short that a script can make long.  Time that the script spends
** asleep in the system is not counted.
*/
#ifndef RUNTIME_GUARD_H
#define RUNTIME_GUARD_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { GUARD_TICK_MS = 10 };

typedef enum guard_reason {
  GUARD_NONE,
  GUARD_TIME,   /* the turn ran too long */
  GUARD_MEMORY, /* its state asked for more than it may hold */
  GUARD_COUNT   /* it made more of something than it may have */
} guard_reason;

enum { GUARD_REASONS = GUARD_COUNT + 1 };

/* What a state's turns are watched with; all zero but for the first three. */
typedef struct guard_turn guard_turn;
struct guard_turn {
  lua_State *const *running; /* borrowed; where the coroutine is noted */
  lua_Hook hook;             /* must call guard_hook() */
  size_t memory_limit;       /* bytes, for the message */
  uint64_t limit_ms;         /* of the running turn; 0: none */
  uint64_t began_ns;         /* at the first tick; 0: no tick yet */
  volatile guard_reason reason;
  char text[256]; /* why and where it was stopped; "": not said yet */
  guard_turn *outer;
};

typedef struct guard {
  timer_t timer;
  bool ticks;
  guard_turn *volatile turn; /* the running one; NULL: none */
} guard;

/* To be called on the loop's thread.  False, with errno: nothing is timed. */
bool guard_start(guard *guard);
void guard_stop(guard *guard);

/* Around a turn; `limit_ms` 0: as long as it likes. */
void guard_enter(guard *guard, guard_turn *turn, uint64_t limit_ms);
void guard_leave(guard *guard, guard_turn *turn, lua_State *co);

/*
** The processor's time that the running turn has taken, within GUARD_TICK_MS:
** as much too much as it may have run before the first tick.
*/
uint64_t guard_spent_us(const guard_turn *turn);

/* Begins the running turn anew, within the same limit. */
void guard_again(guard_turn *turn);

/* Ends the running turn of a state at its next instruction. */
void guard_trip(guard_turn *turn, guard_reason reason);

/*
** What a function in C that may take long calls now and then, with the turn of
** its state: raises, if that is to end.
*/
void guard_look(lua_State *L, void *turn);

/*
** Ends the running turn of a state from a function that it called: raises in
** L.  The reason is `what`, as in "more than 10 coroutines".
*/
void guard_refuse(lua_State *L, guard_turn *turn, size_t most,
                  const char *what);

/* What the hook does: raises, if the turn is to end. */
void guard_hook(guard_turn *turn, lua_State *L);

/*
** Why the turn was stopped, with the line of `co` that ran; valid until the
** next turn.  GUARD_NONE gives NULL.
*/
const char *guard_text(guard_turn *turn, guard_reason reason, lua_State *co);

#endif
