/*
** world.h -- two sessions with envoys on a simulated network, under a virtual
** clock.
**
** One session has a telemetry sender and a command invoker, the other their
** counterparts.  Everything that is promised of them is checked where it can
** be seen: each accepted operation completes exactly once; what was sent with
** success was taken by the broker; nothing is acknowledged that was not
** finished with; what the broker took while the receiver was subscribed is
** handled, unless the broker lost the session; connections come and go in
** turn, and a session ends once; all memory is given back.
*/
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include "iotops/command.h"
#include "iotops/session.h"
#include "network.h"

enum { WORLD_OPERATIONS = 512, WORLD_HELD = 256 };

typedef struct world world;

typedef struct world_operation {
  world *world;
  char kind; /* t: send, c: invoke, s: start */
  uint32_t number;
  iotops_invocation invocation;
  unsigned completed;
  bool succeeded;
} world_operation;

typedef struct world_side {
  world *world;
  iotops_session *session; /* owned */
  network_client *network; /* borrowed */
  bool connected;
  unsigned ended;
  bool failed; /* the end was an error */
} world_side;

/* What became of telemetry or a request. */
typedef struct world_fate {
  bool accepted; /* by the broker */
  bool owed;     /* to the receiver, which was subscribed then */
  bool handled;  /* its handler has finished, or it was given up */
  uint64_t sent_ms;
} world_fate;

typedef struct world_request {
  iotops_request *request;
  uint32_t number;
} world_request;

struct world {
  model_random random;
  network network;
  iotops_context *context; /* owned */
  uint64_t now_ms;
  /* Memory of the context; the `fail_at`-th allocation fails, 0: none. */
  uint64_t allocations, fail_at, live;
  uint64_t steps;
  bool closing;
  world_side sides[NETWORK_CLIENTS];
  iotops_telemetry_sender *sender;
  iotops_telemetry_receiver *receiver;
  iotops_command_invoker *invoker;
  iotops_command_executor *executor;
  bool receiving, executing, starting_receiver, starting_executor;
  world_operation operations[WORLD_OPERATIONS];
  size_t operation_count;
  world_fate telemetry[WORLD_OPERATIONS], requests[WORLD_OPERATIONS];
  struct {
    iotops_telemetry_delivery *delivery;
    uint32_t number;
  } deliveries[WORLD_HELD];
  size_t delivery_count;
  world_request pending[WORLD_HELD];
  size_t pending_count;
};

/*
** Makes everything and starts connecting.  False when memory was short, which
** is none only with `fail_at` 0; world_end() is then still to be called.
*/
bool world_begin(world *world, uint64_t seed, uint64_t fail_at);

/* Frees everything and checks that nothing is left. */
void world_end(world *world);

/* Runs everything that is due within so many milliseconds. */
void world_pass(world *world, uint64_t ms);

/* What the owners may do; nothing when it cannot be done now. */
void world_start(world *world);
void world_send(world *world, int qos);
void world_invoke(world *world);
void world_cancel(world *world, size_t operation);
void world_handle(world *world);  /* ends one delivery that is held */
void world_respond(world *world); /* ends one request that is held */

/* The invariants that hold between events. */
void world_check(world *world);

#endif
