/*
** simulate.c -- sessions and envoys in random trouble.
**
** simulate SEEDS [FIRST]: that many histories, every tenth of them twice.  A
** history that breaks a promise ends the program with its seed; the same seed
** gives the same history.
*/
#include <time.h>

#include "world.h"

#define CHECK(condition) MODEL_CHECK(&world->random, condition)

static uint64_t connects, cuts, operations, succeeded;

static void go_wrong(world *world) {
  int which = (int)model_draw(&world->random, 2);
  network_client *client = &world->network.clients[which];
  static const uint8_t codes[] = {0x00, 0x80, 0x83, 0x89, 0x8b, 0x97, 0x98};

  switch (model_draw(&world->random, 12)) {
  case 0:
    world->network.refusing_until =
        world->now_ms + model_draw(&world->random, 20000);
    network_cut(client, 0, true);
    break;
  case 1:
    network_dismiss(client, codes[model_draw(&world->random, 7)]);
    break;
  case 2:
    if (model_once_in(&world->random, 6)) {
      network_forget(client);
      if (which == 1)
        for (size_t i = 0; i < WORLD_OPERATIONS; i++)
          world->telemetry[i].owed = false;
      if (which == 1)
        world->receiving = world->executing = false;
    }
    break;
  default:
    network_cut(client, model_draw(&world->random, 200),
                model_once_in(&world->random, 2));
  }
}

static void act(world *world) {
  switch (model_draw(&world->random, 16)) {
  case 0:
  case 1:
  case 2:
    world_send(world, 1);
    break;
  case 3:
    world_send(world, 0);
    break;
  case 4:
  case 5:
    world_invoke(world);
    break;
  case 6:
    world_cancel(world, model_draw(&world->random, WORLD_OPERATIONS));
    break;
  case 7:
  case 8:
  case 9:
    world_handle(world);
    break;
  case 10:
  case 11:
    world_respond(world);
    break;
  case 12:
    world_start(world);
    break;
  default:
    if (world->network.trouble > 0)
      go_wrong(world);
  }
  if (model_once_in(&world->random, 2000))
    iotops_session_detach(world->sides[model_draw(&world->random, 2)].session,
                          NULL);
}

/* Nothing goes wrong any more: what was promised must come true. */
static void come_true(world *world) {
  bool lost = false;

  world->network.trouble = 0;
  world->network.refusing_until = 0;
  for (int i = 0; i < 400; i++) {
    while (world->delivery_count > 0)
      world_handle(world);
    while (world->pending_count > 0)
      world_respond(world);
    world_pass(world, 500);
    world_check(world);
  }
  for (int i = 0; i < NETWORK_CLIENTS; i++) {
    lost |= world->sides[i].ended > 0;
    CHECK(world->sides[i].connected || world->sides[i].ended);
  }
  for (size_t i = 1; i < world->operation_count; i++) {
    if (world->operations[i].completed != 1 && !lost)
      printf("operation %zu, of kind %c, never completed\n", i,
             world->operations[i].kind);
    CHECK(world->operations[i].completed == 1 || lost);
  }
  for (size_t i = 1; i < WORLD_OPERATIONS && !world->sides[1].ended; i++) {
    if (world->telemetry[i].owed && !world->telemetry[i].handled)
      printf("message %zu was taken but never handled\n", i);
    CHECK(world->telemetry[i].handled || !world->telemetry[i].owed);
  }
}

static uint64_t one_history(uint64_t seed) {
  static world made;
  world *world = &made;
  unsigned steps;

  CHECK(world_begin(world, seed, 0));
  steps = 20 + model_draw(&world->random, 100);
  world->network.trouble = model_draw(&world->random, 4) * 3;
  world_start(world);
  while (steps-- > 0) {
    act(world);
    world_pass(world, model_once_in(&world->random, 12)
                          ? model_draw(&world->random, 20000)
                          : model_draw(&world->random, 300));
    world_check(world);
  }
  come_true(world);
  switch (model_draw(&world->random, 4)) {
  case 0:
    (void)iotops_session_force_exit(world->sides[0].session);
    break;
  case 1:
    (void)iotops_session_exit(world->sides[1].session, NULL, NULL);
    break;
  case 2:
    iotops_session_detach(world->sides[0].session, NULL);
    break;
  default:
    break;
  }
  if (model_draw(&world->random, 2))
    world_pass(world, 2000);
  connects += world->network.connects;
  cuts += world->network.cuts;
  operations += world->operation_count;
  for (size_t i = 0; i < world->operation_count; i++)
    succeeded += world->operations[i].succeeded;
  world_end(world);
  return world->network.trace;
}

int main(int count, char **words) {
  const char *given = getenv("SEED");
  uint64_t seeds = count > 1 ? strtoull(words[1], NULL, 0) : 200;
  uint64_t first = given       ? strtoull(given, NULL, 0)
                   : count > 2 ? strtoull(words[2], NULL, 0)
                               : 1;
  clock_t began = clock();

  if (given)
    seeds = 1;
  for (uint64_t i = 0; i < seeds; i++) {
    uint64_t trace = one_history(first + i);

    if (given)
      printf("SEED=%llu: trace %016llx\n", (unsigned long long)first,
             (unsigned long long)trace);
    if ((given || i % 10 == 0) && one_history(first + i) != trace) {
      printf("SEED=%llu: two runs, two traces\n",
             (unsigned long long)first + i);
      return 1;
    }
  }
  printf("SEED=%llu on: %llu connections, %llu cuts, %llu of %llu operations "
         "succeeded, %.1f s\n",
         (unsigned long long)first, (unsigned long long)connects,
         (unsigned long long)cuts, (unsigned long long)succeeded,
         (unsigned long long)operations,
         (double)(clock() - began) / CLOCKS_PER_SEC);
  printf("%llu passed, 0 failed\n", (unsigned long long)seeds);
  return 0;
}
