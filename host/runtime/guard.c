#include "runtime/guard.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "embed.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { GUARD_SIGNAL = SIGVTALRM };

/* Guards of the process that tick: tests have several hosts. */
static unsigned ticking;

static uint64_t thread_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* -------------------------------------------------------------- signal -- */

static void set_hook(const guard_turn *turn) {
  lua_sethook(*turn->running, turn->hook, LUA_MASKCOUNT, 1);
}

static void tick(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)context;
  if (info->si_code != SI_TIMER)
    return; /* somebody's kill */
  const guard *watching = info->si_value.sival_ptr;
  guard_turn *turn = watching->turn;
  if (turn == NULL)
    return;
  if (turn->reason == GUARD_NONE) {
    uint64_t now = thread_ns();
    if (turn->began_ns == 0)
      turn->began_ns = now;
    else if (turn->limit_ms != 0 &&
             now - turn->began_ns >= turn->limit_ms * 1000000U)
      turn->reason = GUARD_TIME;
  }
  /* Again at each tick: it may be another coroutine that runs by now. */
  if (turn->reason != GUARD_NONE)
    set_hook(turn);
}

bool guard_start(guard *guard) {
  struct sigaction action;
  struct sigevent event;
  const struct itimerspec often = {{0, GUARD_TICK_MS * 1000000L},
                                   {0, GUARD_TICK_MS * 1000000L}};
  memset(&action, 0, sizeof action);
  action.sa_sigaction = tick;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  if (sigaction(GUARD_SIGNAL, &action, NULL) != 0)
    return false;
  memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = GUARD_SIGNAL;
  event.sigev_value.sival_ptr = guard;
  event.sigev_notify_thread_id = gettid();
  if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &guard->timer) != 0)
    return false;
  guard->ticks = true;
  ticking++;
  if (timer_settime(guard->timer, 0, &often, NULL) == 0)
    return true;
  int problem = errno;
  guard_stop(guard);
  errno = problem;
  return false;
}

void guard_stop(guard *guard) {
  if (!guard->ticks)
    return;
  guard->turn = NULL;
  timer_delete(guard->timer);
  guard->ticks = false;
  /* One that is on its way finds nothing to do. */
  if (--ticking == 0)
    signal(GUARD_SIGNAL, SIG_IGN); /* NOLINT(bugprone-signal-handler) */
}

/* ---------------------------------------------------------------- turn -- */

uint64_t guard_spent_us(const guard_turn *turn) {
  uint64_t spent_us = (uint64_t)GUARD_TICK_MS * 1000;
  if (turn->began_ns != 0)
    spent_us += (thread_ns() - turn->began_ns) / 1000;
  return spent_us;
}

void guard_again(guard_turn *turn) {
  turn->began_ns = 0;
  turn->reason = GUARD_NONE;
  turn->text[0] = '\0';
  atomic_signal_fence(memory_order_seq_cst);
}

void guard_enter(guard *guard, guard_turn *turn, uint64_t limit_ms) {
  turn->limit_ms = limit_ms;
  turn->began_ns = 0;
  turn->reason = GUARD_NONE;
  turn->text[0] = '\0';
  turn->outer = guard->turn;
  atomic_signal_fence(memory_order_seq_cst);
  guard->turn = turn;
}

void guard_leave(guard *guard, guard_turn *turn, lua_State *co) {
  guard->turn = turn->outer;
  atomic_signal_fence(memory_order_seq_cst);
  turn->outer = NULL;
  if (lua_gethook(co) != NULL)
    lua_sethook(co, NULL, 0, 0);
}

/* -------------------------------------------------------------- reason -- */

/* The line of the innermost function that has one, as `file:line: `. */
static void where(lua_State *co, char *text, size_t size) {
  lua_Debug frame;
  text[0] = '\0';
  for (int level = 0; lua_getstack(co, level, &frame) != 0; level++) {
    lua_getinfo(co, "Sl", &frame);
    if (frame.currentline > 0) {
      snprintf(text, size, "%s:%d: ", frame.short_src, frame.currentline);
      return;
    }
  }
}

const char *guard_text(guard_turn *turn, guard_reason reason, lua_State *co) {
  char line[LUA_IDSIZE + 24];
  if (reason == GUARD_NONE)
    return NULL;
  if (turn->text[0] != '\0')
    return turn->text;
  where(co, line, sizeof line);
  if (reason == GUARD_TIME)
    snprintf(turn->text, sizeof turn->text,
             "%sstopped: ran longer than %llu ms", line,
             (unsigned long long)turn->limit_ms);
  else
    snprintf(turn->text, sizeof turn->text,
             "%sstopped: needs more than the %.3g MiB of memory that a script "
             "may hold",
             line, (double)turn->memory_limit / (1024.0 * 1024.0));
  return turn->text;
}

void guard_trip(guard_turn *turn, guard_reason reason) {
  if (turn->reason != GUARD_NONE)
    return;
  turn->reason = reason;
  /* A pcall may catch what happens now, and be in another line. */
  guard_text(turn, reason, *turn->running);
  set_hook(turn);
}

void guard_hook(guard_turn *turn, lua_State *L) {
  if (turn->reason == GUARD_NONE) { /* left over from an earlier turn */
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  iotops_lua_interrupt(L, turn->hook);
  lua_pushstring(L, guard_text(turn, turn->reason, L));
  lua_error(L);
}

void guard_refuse(lua_State *L, guard_turn *turn, size_t most,
                  const char *what) {
  char line[LUA_IDSIZE + 24];
  if (turn->reason == GUARD_NONE) {
    turn->reason = GUARD_COUNT;
    where(L, line, sizeof line);
    snprintf(turn->text, sizeof turn->text,
             "%sstopped: needs more than the %zu %s that a script may have",
             line, most, what);
    set_hook(turn);
  }
  guard_hook(turn, L);
}

void guard_look(lua_State *L, void *turn) {
  guard_turn *running = turn;
  if (running->reason != GUARD_NONE)
    guard_hook(running, L);
}
