/*
** matcher.h -- Lua's patterns, matched in steps that are counted.
**
** Matches what section 6.4.1 of Lua's manual describes, with the errors of
** Lua's own library at the point of the pattern where it meets them.  A match
** that backtracks can take time without end, and no hook reaches a function in
** C: so the matcher looks up every MATCHER_STEPS steps and calls back, and the
** callback may raise.  A step is a byte looked at, so they are of like length.
** Depth is bounded: a pattern that needs more is refused as too complex.
**
** Allocates nothing.  Character classes are those of the "C" locale.
*/
#ifndef RUNTIME_MATCHER_H
#define RUNTIME_MATCHER_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MATCHER_STEPS = 10000, MATCHER_CAPTURES = 32, MATCHER_DEPTH = 200 };

/* Sizes of captures that have none. */
enum { CAPTURE_OPEN = -1, CAPTURE_POSITION = -2 };

/* What is called every MATCHER_STEPS steps; may raise. */
typedef struct matcher_watch {
  void (*look)(lua_State *L, void *user);
  void *user;
} matcher_watch;

typedef struct matcher {
  lua_State *L;
  const matcher_watch *watch;  /* borrowed */
  const char *text, *text_end; /* borrowed */
  const char *pattern;         /* borrowed; without the anchor */
  const char *pattern_end;     /* borrowed */
  uint32_t left;               /* steps until the next look */
  unsigned depth;              /* of the recursion */
  int captures;                /* begun */
  struct {
    const char *start;
    ptrdiff_t size; /* bytes, CAPTURE_OPEN or CAPTURE_POSITION */
  } capture[MATCHER_CAPTURES];
} matcher;

/* Captures are left as they are: those of a match are set by it. */
void matcher_init(matcher *matcher, lua_State *L, const matcher_watch *watch,
                  const char *text, size_t text_size, const char *pattern,
                  size_t pattern_size);

/*
** Matches at `at` alone.  The end of the match, or NULL.  Raises when the
** pattern is malformed as far as it was followed.
*/
const char *matcher_match(matcher *matcher, const char *at);

/*
** Finds the first match that begins at `at` or later: its begin, with its end
** in `*end`; NULL when there is none.
*/
const char *matcher_find(matcher *matcher, const char *at, const char **end);

/*
** Finds bytes as they are, in time that grows with the text alone; NULL when
** they are not there.
*/
const char *matcher_search(const char *text, size_t size, const char *wanted,
                           size_t wanted_size);

/* Counts work that was done for the match elsewhere. */
void matcher_count(matcher *matcher, size_t steps);

/*
** Pushes a capture of the match from `begin` to `end`; the first of a pattern
** without captures is the whole match.  Raises when there is no such capture,
** or it was never closed.
*/
void matcher_push(matcher *matcher, int index, const char *begin,
                  const char *end);

/* Pushes all captures, or the whole match when there are none; how many. */
int matcher_push_all(matcher *matcher, const char *begin, const char *end);

#endif
