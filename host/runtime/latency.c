#include "runtime/latency.h"

#include <stdbool.h>
#include <string.h>

#define US      UINT64_C(1000)
#define MS      UINT64_C(1000000)
#define S       UINT64_C(1000000000)
#define HALF_NS (LATENCY_WINDOW_NS / 2)

const uint64_t latency_bounds_ns[LATENCY_BOUNDS] = {
    10 * US, 50 * US,  100 * US, 500 * US, 1 * MS, 5 * MS, 10 * MS,
    50 * MS, 100 * MS, 500 * MS, 1 * S,    5 * S,  60 * S, UINT64_MAX};

/* 2^(i/8) with 16 bits behind the point. */
static const uint32_t steps[LATENCY_STEPS] = {65536, 71468,  77936,  84990,
                                              92682, 101070, 110218, 120194};

/* 2^((i + 1/2)/8): the middle of a bucket on the scale of the buckets. */
static const uint32_t middles[LATENCY_STEPS] = {68438, 74632,  81386,  88752,
                                                96785, 105545, 115098, 125515};

static unsigned bucket_of(uint64_t ns) {
  if (ns < UINT64_C(1) << LATENCY_LOWEST)
    return 0;
  unsigned power = 63 - (unsigned)__builtin_clzll(ns);
  if (power >= LATENCY_LOWEST + LATENCY_DOUBLINGS)
    return LATENCY_BUCKETS - 1;
  uint32_t scaled = power >= 16 ? (uint32_t)(ns >> (power - 16))
                                : (uint32_t)(ns << (16 - power));
  unsigned step = 0;
  for (unsigned i = 1; i < LATENCY_STEPS; i++)
    step += scaled >= steps[i];
  return (power - LATENCY_LOWEST) * LATENCY_STEPS + step;
}

static uint64_t middle_of(unsigned bucket) {
  unsigned power = LATENCY_LOWEST + bucket / LATENCY_STEPS;
  return ((uint64_t)middles[bucket % LATENCY_STEPS] << power) >> 16;
}

/* Takes the windows on to `now_ns`. */
static void rotate(latency *latency, uint64_t now_ns) {
  if (latency->began_ns == 0)
    latency->began_ns = now_ns;
  uint64_t age = now_ns - latency->began_ns;
  if (age < HALF_NS)
    return;
  if (age >= LATENCY_WINDOW_NS)
    latency->windows[latency->now] = (latency_window){0};
  latency->now ^= 1;
  latency->windows[latency->now] = (latency_window){0};
  latency->began_ns += age - age % HALF_NS;
}

void latency_record(latency *latency, uint64_t spent_ns, uint64_t now_ns) {
  unsigned bound = 0;
  rotate(latency, now_ns);
  latency_window *window = &latency->windows[latency->now];
  window->count[bucket_of(spent_ns)]++;
  if (spent_ns > window->longest_ns)
    window->longest_ns = spent_ns;
  while (spent_ns > latency_bounds_ns[bound])
    bound++;
  latency->up_to[bound]++;
  latency->count++;
  latency->sum_ns += spent_ns;
}

/* The duration that `share` percent of `count` do not exceed. */
static uint64_t quantile(const latency *latency, uint64_t count,
                         unsigned share) {
  uint64_t rank = (count * share + 99) / 100, seen = 0;
  for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
    seen += latency->windows[0].count[i];
    seen += latency->windows[1].count[i];
    if (seen >= rank)
      return middle_of(i);
  }
  return 0;
}

static uint64_t at_most(uint64_t value, uint64_t limit) {
  return value < limit ? value : limit;
}

latency_recent latency_get_recent(latency *latency, uint64_t now_ns) {
  latency_recent recent = {0};
  if (latency == NULL)
    return recent;
  rotate(latency, now_ns);
  for (unsigned w = 0; w < 2; w++) {
    const latency_window *window = &latency->windows[w];
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
      recent.count += window->count[i];
    if (window->longest_ns > recent.longest_ns)
      recent.longest_ns = window->longest_ns;
  }
  if (recent.count == 0)
    return recent;
  /* The middle of the longest one's bucket may lie above it. */
  recent.p50_ns =
      at_most(quantile(latency, recent.count, 50), recent.longest_ns);
  recent.p99_ns =
      at_most(quantile(latency, recent.count, 99), recent.longest_ns);
  return recent;
}
