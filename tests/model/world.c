/* world.c -- owners that keep book of what they were promised. */
#include "world.h"

#define CHECK(condition) MODEL_CHECK(&world->random, condition)

/* ------------------------------------------------- memory, time, chance -- */

/* Blocks carry their size in front: nothing else is needed to count them. */
static void *resize(void *user, void *block, size_t size) {
  world *world = user;
  max_align_t *old = block ? (max_align_t *)block - 1 : NULL, *made;

  if (size == 0) {
    world->live -= old != NULL;
    free(old);
    return NULL;
  }
  if (++world->allocations == world->fail_at)
    return NULL;
  made = realloc(old, sizeof *made + size);
  if (!made)
    abort();
  world->live += old == NULL;
  return made + 1;
}

static int64_t wall_ms(void *user) {
  return 1700000000000 + (int64_t)((world *)user)->now_ms;
}

static uint64_t mono_ms(void *user) {
  return ((world *)user)->now_ms;
}

static void alarm_at(void *user, iotops_context *context, uint64_t due_ms) {
  (void)user;
  (void)context;
  (void)due_ms;
}

static void fill(void *user, void *bytes, size_t size) {
  world *world = user;

  for (size_t i = 0; i < size; i++)
    ((uint8_t *)bytes)[i] = (uint8_t)model_draw(&world->random, 256);
}

static void print_log(void *user, const iotops_log_record *record) {
  fprintf(stderr, "%8llu %s: %.*s\n",
          (unsigned long long)((world *)user)->now_ms,
          iotops_log_level_name(record->level), (int)record->message.size,
          record->message.data);
}

void world_pass(world *world, uint64_t ms) {
  uint64_t until = world->now_ms + ms;
  unsigned rounds = 0;

  for (;;) {
    uint64_t due;

    iotops_context_drain(world->context);
    due = iotops_context_next_due(world->context);
    if (due > until)
      break;
    if (due > world->now_ms)
      world->now_ms = due;
    iotops_context_ring(world->context);
    CHECK(++rounds < 200000); /* nothing spins */
  }
  world->now_ms = until;
}

/* ---------------------------------------------------------- operations -- */

static void note(world *world, char what, uint32_t number) {
  char seen[64];
  int size = snprintf(seen, sizeof seen, "%c%u@%llu", what, (unsigned)number,
                      (unsigned long long)world->now_ms);

  world->network.trace = model_trace(world->network.trace, seen, (size_t)size);
}

static world_operation *new_operation(world *world, char kind) {
  world_operation *operation;

  if (world->operation_count == WORLD_OPERATIONS)
    return NULL;
  operation = &world->operations[world->operation_count];
  memset(operation, 0, sizeof *operation);
  operation->world = world;
  operation->kind = kind;
  operation->number = (uint32_t)world->operation_count;
  return operation;
}

static void complete(world_operation *operation, bool succeeded) {
  world *world = operation->world;

  CHECK(operation->completed == 0);
  operation->completed++;
  operation->succeeded = succeeded;
  note(world, succeeded ? '+' : '-', operation->number);
}

static void sent(void *user, const iotops_error *err) {
  world_operation *operation = user;
  world *world = operation->world;

  complete(operation, !err);
  if (!err)
    CHECK(world->telemetry[operation->number].accepted);
}

static void send_unsure(void *user, const iotops_error *err) {
  complete(user, !err); /* QoS 0: nobody knows */
}

static iotops_payload payload_of(char text[16], char kind, uint32_t number) {
  (void)snprintf(text, 16, "%c%u", kind, (unsigned)number);
  return iotops_format_payload(IOTOPS_FORMAT_RAW, iotops_text_of(text));
}

void world_send(world *world, int qos) {
  iotops_telemetry_send_options options = IOTOPS_TELEMETRY_SEND_OPTIONS_INIT;
  world_operation *operation = new_operation(world, 't');
  char text[16];

  if (!operation || !world->sender || operation->number == 0)
    return;
  options.payload = payload_of(text, qos ? 't' : 'q', operation->number);
  options.qos = qos;
  options.message_expiry_us = INT64_C(3600000000);
  if (iotops_telemetry_send(world->sender, &options, qos ? sent : send_unsure,
                            operation, NULL) != 0)
    return;
  world->telemetry[operation->number].sent_ms = world->now_ms;
  world->operation_count++;
}

static void invoked(void *user, const iotops_response *response,
                    const iotops_error *err) {
  world_operation *operation = user;
  world *world = operation->world;

  CHECK(!response == !!err);
  complete(operation, response != NULL);
  if (!response)
    return;
  CHECK(response->payload.bytes.size > 1 &&
        *response->payload.bytes.data == 'r');
  CHECK(network_number(response->payload.bytes) == operation->number);
  CHECK(world->requests[operation->number].handled);
}

void world_invoke(world *world) {
  iotops_invoke_options options = IOTOPS_INVOKE_OPTIONS_INIT;
  world_operation *operation = new_operation(world, 'c');
  char text[16];

  if (!operation || !world->invoker || operation->number == 0)
    return;
  options.payload = payload_of(text, 'c', operation->number);
  if (iotops_command_invoke(world->invoker, &options, invoked, operation,
                            &operation->invocation, NULL) != 0)
    return;
  world->requests[operation->number].sent_ms = world->now_ms;
  world->operation_count++;
}

void world_cancel(world *world, size_t number) {
  world_operation *operation = &world->operations[number];

  if (number < world->operation_count && operation->kind == 'c' &&
      world->invoker)
    iotops_invoke_cancel(world->invoker, operation->invocation);
}

static void receiver_started(void *user, const iotops_error *err) {
  world_operation *operation = user;

  complete(operation, !err);
  operation->world->starting_receiver = false;
  operation->world->receiving |= !err;
}

static void executor_started(void *user, const iotops_error *err) {
  world_operation *operation = user;

  complete(operation, !err);
  operation->world->starting_executor = false;
  operation->world->executing |= !err;
}

void world_start(world *world) {
  world_operation *operation = new_operation(world, 's');

  if (operation && world->receiver && !world->receiving &&
      !world->starting_receiver &&
      iotops_telemetry_receiver_start(world->receiver, receiver_started,
                                      operation, NULL) == 0) {
    world->starting_receiver = true;
    world->operation_count++;
  }
  operation = new_operation(world, 's');
  if (operation && world->executor && !world->executing &&
      !world->starting_executor &&
      iotops_command_executor_start(world->executor, executor_started,
                                    operation, NULL) == 0) {
    world->starting_executor = true;
    world->operation_count++;
  }
}

/* ------------------------------------------------------------ handlers -- */

static void received(void *user, iotops_telemetry_delivery *delivery,
                     const iotops_telemetry *telemetry) {
  world *world = user;
  uint32_t number = network_number(telemetry->payload.bytes);

  CHECK(number < world->operation_count);
  note(world, 'h', number);
  CHECK(world->delivery_count < WORLD_HELD);
  world->deliveries[world->delivery_count].delivery = delivery;
  world->deliveries[world->delivery_count++].number = number;
}

void world_handle(world *world) {
  size_t at;

  if (world->delivery_count == 0)
    return;
  at = model_draw(&world->random, (uint32_t)world->delivery_count);
  world->telemetry[world->deliveries[at].number].handled = true;
  iotops_telemetry_delivery_done(world->deliveries[at].delivery);
  world->deliveries[at] = world->deliveries[--world->delivery_count];
}

static void asked(void *user, iotops_request *request,
                  const iotops_request_view *view) {
  world *world = user;
  uint32_t number = network_number(view->payload.bytes);

  CHECK(number < world->operation_count);
  CHECK(world->requests[number].accepted);
  note(world, 'x', number);
  CHECK(world->pending_count < WORLD_HELD);
  world->pending[world->pending_count].request = request;
  world->pending[world->pending_count++].number = number;
}

static void given_up(void *user, iotops_request *request) {
  world *world = user;

  for (size_t i = 0; i < world->pending_count; i++)
    if (world->pending[i].request == request)
      world->requests[world->pending[i].number].handled = true;
}

void world_respond(world *world) {
  iotops_respond_options options = IOTOPS_RESPOND_OPTIONS_INIT;
  world_request pending;
  char text[16];
  size_t at;

  if (world->pending_count == 0)
    return;
  at = model_draw(&world->random, (uint32_t)world->pending_count);
  pending = world->pending[at];
  world->pending[at] = world->pending[--world->pending_count];
  world->requests[pending.number].handled = true;
  options.payload = payload_of(text, 'r', pending.number);
  if (model_once_in(&world->random, 10))
    iotops_request_fail(pending.request, NULL);
  else if (iotops_request_respond(pending.request, &options, NULL) != 0)
    iotops_request_drop(pending.request);
}

/* -------------------------------------------------------------- broker -- */

static void accepted(void *user, iotops_text payload) {
  world *world = user;
  uint32_t number = network_number(payload);

  if (payload.size == 0 || number >= world->operation_count)
    return;
  if (*payload.data == 't') {
    world->telemetry[number].accepted = true;
    world->telemetry[number].owed |=
        world->receiving && !world->network.clients[1].forgotten;
  } else if (*payload.data == 'c') {
    world->requests[number].accepted = true;
  }
}

static bool settled(void *user, iotops_text payload) {
  world *world = user;
  uint32_t number = network_number(payload);

  /* Freeing gives up what is held, and memory that is short what arrives. */
  if (world->closing || world->fail_at > 0 || payload.size == 0)
    return true;
  if (*payload.data == 't')
    return world->telemetry[number].handled;
  if (*payload.data == 'c')
    return world->requests[number].handled ||
           world->now_ms >= world->requests[number].sent_ms + 10000;
  return true;
}

static void on_connected(void *user, const iotops_connected_event *event) {
  world_side *side = user;
  world *world = side->world;

  (void)event;
  CHECK(!side->connected && side->ended == 0);
  side->connected = true;
  note(world, 'C', side->network == &world->network.clients[0]);
}

static void on_disconnected(void *user,
                            const iotops_disconnected_event *event) {
  world_side *side = user;
  world *world = side->world;

  CHECK(side->connected && event->cause != NULL);
  side->connected = false;
  note(world, 'D', side->network == &world->network.clients[0]);
}

static void on_ended(void *user, const iotops_error *err) {
  world_side *side = user;
  world *world = side->world;

  CHECK(!side->connected && side->ended == 0);
  side->ended++;
  side->failed = err != NULL;
  side->network->gone = true;
  note(world, 'E', side->network == &world->network.clients[0]);
}

/* ---------------------------------------------------------------- life -- */

static bool make_session(world *world, int which) {
  static const char *const names[] = {"hostname", "use_tls", "keep_alive",
                                      "client_id"};
  const char *values[] = {"broker", "false", "10", which ? "b" : "a"};
  iotops_session_options options = IOTOPS_SESSION_OPTIONS_INIT;
  iotops_settings *settings = iotops_settings_new(world->context);
  world_side *side = &world->sides[which];
  iotops_transport transport;
  bool made = settings != NULL;

  side->world = world;
  side->network = &world->network.clients[which];
  transport = network_transport(side->network);
  for (int i = 0; made && i < 4; i++)
    made = iotops_settings_set(settings, names[i], iotops_text_of(values[i]),
                               NULL) == 0;
  options.settings = settings;
  options.transport = &transport;
  options.connected = on_connected;
  options.disconnected = on_disconnected;
  options.ended = on_ended;
  options.user = side;
  made = made && iotops_session_new(world->context, &options, &side->session,
                                    NULL) == 0;
  iotops_settings_free(settings);
  return made;
}

static bool make_envoys(world *world) {
  iotops_telemetry_sender_options sender = IOTOPS_TELEMETRY_SENDER_OPTIONS_INIT;
  iotops_telemetry_receiver_options receiver =
      IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
  iotops_command_invoker_options invoker = IOTOPS_COMMAND_INVOKER_OPTIONS_INIT;
  iotops_command_executor_options executor =
      IOTOPS_COMMAND_EXECUTOR_OPTIONS_INIT;
  iotops_mqtt_client *a = iotops_session_client(world->sides[0].session);
  iotops_mqtt_client *b = iotops_session_client(world->sides[1].session);

  sender.topic_pattern = receiver.topic_pattern = iotops_text_of("line/tele");
  receiver.concurrency = 1 + model_draw(&world->random, 4);
  receiver.handler = received;
  receiver.user = world;
  invoker.command_name = executor.command_name = iotops_text_of("ask");
  invoker.request_topic_pattern = executor.request_topic_pattern =
      iotops_text_of("line/ask");
  invoker.response_topic_pattern = iotops_text_of("line/answer");
  executor.handler = asked;
  executor.cancelled = given_up;
  executor.user = world;
  return iotops_telemetry_sender_new(a, &sender, &world->sender, NULL) == 0 &&
         iotops_command_invoker_new(a, &invoker, &world->invoker, NULL) == 0 &&
         iotops_telemetry_receiver_new(b, &receiver, &world->receiver, NULL) ==
             0 &&
         iotops_command_executor_new(b, &executor, &world->executor, NULL) == 0;
}

bool world_begin(world *world, uint64_t seed, uint64_t fail_at) {
  iotops_clock clock = {wall_ms, mono_ms, alarm_at, world};
  iotops_allocator allocator = {resize, world};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;

  memset(world, 0, sizeof *world);
  model_begin(&world->random, seed);
  world->now_ms = 1000;
  world->fail_at = fail_at;
  world->operation_count = 1; /* number 0 is nothing */
  options.clock = &clock;
  options.allocator = &allocator;
  options.random = fill;
  options.random_user = world;
  if (getenv("MODEL_LOG")) {
    options.log = print_log;
    options.log_user = world;
    options.log_level = IOTOPS_LOG_DEBUG;
  }
  if (iotops_context_new(&options, &world->context, NULL) != 0) {
    CHECK(fail_at > 0);
    world->context = NULL;
    return false;
  }
  network_init(&world->network, world->context, &world->random);
  world->network.accepted = accepted;
  world->network.settled = settled;
  world->network.user = world;
  if (!make_session(world, 0) || !make_session(world, 1) ||
      !make_envoys(world) ||
      iotops_session_run(world->sides[0].session, NULL) != 0 ||
      iotops_session_run(world->sides[1].session, NULL) != 0) {
    CHECK(fail_at > 0);
    return false;
  }
  return true;
}

void world_check(world *world) {
  world->steps++;
  for (int i = 0; i < NETWORK_CLIENTS; i++) {
    world_side *side = &world->sides[i];
    iotops_session_state state = iotops_session_get_state(side->session);

    if (side->connected)
      CHECK(state == IOTOPS_SESSION_CONNECTED ||
            state == IOTOPS_SESSION_EXITING);
    if (side->ended)
      CHECK(state == IOTOPS_SESSION_ENDED && !side->network->stream);
  }
}

void world_end(world *world) {
  world->closing = true;
  if (!world->context)
    goto done;
  iotops_telemetry_sender_free(world->sender);
  iotops_command_invoker_free(world->invoker);
  iotops_telemetry_receiver_free(world->receiver);
  iotops_command_executor_free(world->executor);
  while (world->delivery_count > 0)
    world_handle(world);
  while (world->pending_count > 0)
    iotops_request_drop(world->pending[--world->pending_count].request);
  iotops_context_drain(world->context);
  for (int i = 0; i < NETWORK_CLIENTS; i++)
    if (world->sides[i].session)
      iotops_session_free(world->sides[i].session);
  iotops_context_drain(world->context);
  for (size_t i = 1; i < world->operation_count; i++)
    CHECK(world->operations[i].completed == 1);
  for (int i = 0; i < NETWORK_CLIENTS; i++)
    CHECK(!world->network.clients[i].stream);
  network_free(&world->network);
  iotops_context_free(world->context);
done:
  CHECK(world->live == 0);
}
