/*
** model.h -- what the random tests share: draws that a seed decides, a trace
** that two runs of one seed must share, and a check that names the seed.
*/
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "iotops/context.h"

typedef struct model_random {
  uint64_t seed;
  uint64_t state;
} model_random;

static inline void model_begin(model_random *random, uint64_t seed) {
  random->seed = seed;
  random->state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* xorshift64*; from 0 to `below` - 1. */
static inline uint32_t model_draw(model_random *random, uint32_t below) {
  random->state ^= random->state >> 12;
  random->state ^= random->state << 25;
  random->state ^= random->state >> 27;
  return (uint32_t)((random->state * UINT64_C(2685821657736338717)) >> 32) %
         below;
}

/* True once in `times`. */
static inline bool model_once_in(model_random *random, uint32_t times) {
  return model_draw(random, times) == 0;
}

/* Where a file of a test goes, with this name and the process's number. */
static inline void model_path(char *path, size_t size, const char *name) {
  const char *folder = getenv("TMPDIR");

  (void)snprintf(path, size, "%s/iotops-%s-%d", folder ? folder : "/tmp", name,
                 (int)getpid());
}

/* FNV-1a over all that was seen. */
static inline uint64_t model_trace(uint64_t trace, const void *bytes,
                                   size_t size) {
  const uint8_t *at = bytes;

  for (size_t i = 0; i < size; i++)
    trace = (trace ^ at[i]) * UINT64_C(1099511628211);
  return trace;
}

#define MODEL_CHECK(random, condition)                                         \
  do {                                                                         \
    if (!(condition)) {                                                        \
      printf("SEED=%llu: %s:%d: not so: %s\n",                                 \
             (unsigned long long)(random)->seed, __FILE__, __LINE__,           \
             #condition);                                                      \
      (void)fflush(stdout);                                                    \
      abort();                                                                 \
    }                                                                          \
  } while (0)

#endif
