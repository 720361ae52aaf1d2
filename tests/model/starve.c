/*
** starve.c -- one history in which nothing goes wrong but memory: the k-th
** allocation fails, for every k until nothing fails.
**
** Connect, subscribe, publish, receive, answer, lose the connection, come
** back, leave.  No crash, no leak, no answer that is wrong, and every accepted
** operation completes once, which world.c sees to.  What memory was short for
** once must work the next time: at the end both sessions are connected, or
** have ended with an error.
*/
#include "world.h"

#define CHECK(condition) MODEL_CHECK(&world->random, condition)

static void settle(world *world) {
  while (world->delivery_count > 0)
    world_handle(world);
  while (world->pending_count > 0)
    world_respond(world);
}

/* How many allocations there were; `fail_at` beyond that: none failed. */
static uint64_t one_history(uint64_t fail_at) {
  static world made;
  world *world = &made;

  if (world_begin(world, 7, fail_at)) {
    world_start(world);
    world_pass(world, 50);
    for (int round = 0; round < 4; round++) {
      for (int i = 0; i < 3; i++) {
        world_send(world, 1);
        world_send(world, 0);
        world_invoke(world);
      }
      world_cancel(world, world->operation_count - 1);
      world_pass(world, 50);
      settle(world);
      if (round == 1) /* between two bytes of what follows */
        network_cut(&world->network.clients[0], 40, false);
      if (round == 2)
        network_cut(&world->network.clients[1], 0, true);
      world_start(world);
      world_pass(world, 500);
      settle(world);
      world_check(world);
    }
    for (int i = 0; i < 40; i++) {
      world_pass(world, 500);
      settle(world);
      world_check(world);
    }
    for (int i = 0; i < NETWORK_CLIENTS; i++)
      CHECK(world->sides[i].connected || world->sides[i].failed);
    if (fail_at == 0)
      for (size_t i = 1; i < world->operation_count; i++)
        CHECK(world->operations[i].completed == 1);
    (void)iotops_session_exit(world->sides[0].session, NULL, NULL);
    iotops_session_detach(world->sides[1].session, NULL);
    world_pass(world, 2000);
  }
  world_end(world);
  return world->allocations;
}

int main(void) {
  const char *given = getenv("FAIL_AT");
  uint64_t wanted = one_history(0), k = 1;

  if (given) {
    (void)one_history(strtoull(given, NULL, 0));
    return 0;
  }
  for (; k <= one_history(k); k++)
    if (getenv("MODEL_VERBOSE"))
      fprintf(stderr, "FAIL_AT=%llu\n", (unsigned long long)k);
  printf("%llu allocations, each failed once\n", (unsigned long long)(k - 1));
  if (k - 1 < wanted) {
    printf("0 passed, 1 failed\n");
    return 1;
  }
  printf("%llu passed, 0 failed\n", (unsigned long long)(k - 1));
  return 0;
}
