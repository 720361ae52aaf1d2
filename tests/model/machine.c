/*
** machine.c -- random histories of a session, against the reference.
**
** machine HISTORIES [FIRST]: each is some dozens of things that may happen to
** a session: its owner calls it, the network opens, fails and breaks, the
** broker answers, refuses and goes silent, time passes.  After each the
** session must be in the state that the reference is in, have told the same
** events, completed the same operations with the same answers, and have
** written what was to be written and nothing else.  SEED=N repeats one.
*/
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#include "model.h"
#include "reference.h"

enum { BYTES = 65536 };

typedef struct machine machine;

typedef struct owner { /* of one operation */
  machine *machine;
  iotops_operation id;
  unsigned completed;
  int answer;
} owner;

struct machine {
  model_random random;
  reference reference;
  iotops_context *context;
  iotops_session *session;
  iotops_stream base; /* the stream, when `open` */
  iotops_stream_events events;
  bool open, up, ends;
  bool connect_seen, calling, silent, ended;
  uint64_t now_ms, written_at, live;
  uint8_t to_session[BYTES], to_broker[BYTES];
  size_t start, end, held;
  uint8_t last_disconnect[8]; /* of the session, with its reason first */
  size_t disconnect_size;
  unsigned connects, disconnects;
  bool failed; /* the end was told with an error */
  int failed_code;
  owner owners[REFERENCE_OPERATIONS];
};

#define CHECK(condition) MODEL_CHECK(&machine->random, condition)

static uint64_t actions, connections, completions;
static char password_path[512];

static uint32_t draw(machine *machine, uint32_t below) {
  return model_draw(&machine->random, below);
}

static void say(const char *format, ...) IOTOPS_PRINTF(1, 2);

static void say(const char *format, ...) {
  va_list args;

  if (!getenv("MODEL_LOG"))
    return;
  va_start(args, format);
  (void)vfprintf(stderr, format, args);
  va_end(args);
}

/* ------------------------------------------- time, memory, chance, log -- */

static void *resize(void *user, void *block, size_t size) {
  machine *machine = user;

  machine->live += size > 0 && !block;
  machine->live -= size == 0 && block;
  if (size > 0)
    return realloc(block, size);
  free(block);
  return NULL;
}

static int64_t wall_ms(void *user) {
  return 1700000000000 + (int64_t)((machine *)user)->now_ms;
}

static uint64_t mono_ms(void *user) {
  return ((machine *)user)->now_ms;
}

static void alarm_at(void *user, iotops_context *context, uint64_t due_ms) {
  (void)user;
  (void)context;
  (void)due_ms;
}

static void fill(void *user, void *bytes, size_t size) {
  for (size_t i = 0; i < size; i++)
    ((uint8_t *)bytes)[i] = (uint8_t)draw(user, 256);
}

static void print_log(void *user, const iotops_log_record *record) {
  say("%8llu   %.*s\n", (unsigned long long)((machine *)user)->now_ms,
      (int)record->message.size, record->message.data);
}

/* ------------------------------------------------------ broker's reading -- */

static uint32_t number_in(const uint8_t *bytes, size_t size) {
  uint32_t number = 0;

  for (size_t i = 0; i < size; i++)
    if (bytes[i] >= '0' && bytes[i] <= '9')
      number = number * 10 + (uint32_t)(bytes[i] - '0');
  return number;
}

static void send(machine *machine, const void *bytes, size_t size) {
  memcpy(machine->to_session + machine->end, bytes, size);
  machine->end += size;
}

static void on_publish(machine *machine, uint8_t first, const uint8_t *body,
                       size_t size) {
  size_t at = 2 + ((size_t)body[0] << 8 | body[1]);
  uint16_t id = (uint16_t)(body[at] << 8 | body[at + 1]);
  uint32_t number;

  at += first & 6 ? 2 : 0;
  at += 1 + body[at];
  number = number_in(body + at, size - at);
  CHECK(number < machine->reference.count);
  CHECK(reference_sent(&machine->reference, number, first & 8));
  CHECK((machine->reference.operations[number].class == REFERENCE_QOS1) ==
        !!(first & 6));
  machine->reference.operations[number].packet_id = id;
}

static void on_control(machine *machine, bool subscribes, const uint8_t *body,
                       size_t size) {
  size_t at = 3 + body[2];
  uint32_t number = number_in(body + at + 2, size - at - 2);
  reference_operation *operation = &machine->reference.operations[number];

  CHECK(number < machine->reference.count);
  CHECK(operation->class == REFERENCE_CONTROL);
  /* What its caller gave up before it was granted, nobody else drops. */
  if (!subscribes && operation->subscribes && operation->cancelled &&
      operation->stage == REFERENCE_OVER) {
    uint8_t answer[] = {0xb0, 4, body[0], body[1], 0, 0};

    send(machine, answer, sizeof answer);
    return;
  }
  CHECK(operation->subscribes == subscribes);
  CHECK(reference_sent(&machine->reference, number, false));
  operation->packet_id = (uint16_t)(body[0] << 8 | body[1]);
}

static void take(machine *machine, uint8_t first, const uint8_t *body,
                 size_t size) {
  reference *reference = &machine->reference;

  CHECK(machine->connect_seen == (first >> 4 != 1) || first >> 4 == 14);
  switch (first >> 4) {
  case 1:
    machine->connect_seen = true;
    CHECK(!!(body[7] & 2) ==
          (reference->clean_start && !reference->ever_connected));
    break;
  case 3:
    on_publish(machine, first, body, size);
    break;
  case 8:
  case 10:
    on_control(machine, first >> 4 == 8, body, size);
    break;
  case 12:
    CHECK(reference->connected);
    if (!machine->silent)
      send(machine, "\xd0", 2);
    else if (reference->pong_due == 0)
      reference->pong_due = machine->now_ms + 10000;
    break;
  case 14:
    CHECK(size <= sizeof machine->last_disconnect);
    memcpy(machine->last_disconnect, body, size);
    machine->disconnect_size = size;
    break;
  default:
    CHECK(!"a packet that nobody sends");
  }
}

static ptrdiff_t stream_write(iotops_stream *base, const void *bytes,
                              size_t size) {
  machine *machine =
      (struct machine *)((char *)base - offsetof(struct machine, base));
  size_t at = 0;

  memcpy(machine->to_broker + machine->held, bytes, size);
  machine->held += size;
  machine->written_at = machine->now_ms;
  while (machine->held - at >= 2) {
    const uint8_t *packet = machine->to_broker + at;
    size_t body = packet[1] & 127, front = 2;

    if (packet[1] & 128) {
      if (machine->held - at < 3)
        break;
      body += (size_t)packet[2] << 7;
      front = 3;
    }
    if (machine->held - at < front + body)
      break;
    take(machine, *packet, packet + front, body);
    at += front + body;
  }
  memmove(machine->to_broker, machine->to_broker + at, machine->held - at);
  machine->held -= at;
  return (ptrdiff_t)size;
}

/* -------------------------------------------------------------- stream -- */

static ptrdiff_t stream_read(iotops_stream *base, void *bytes, size_t size) {
  machine *machine =
      (struct machine *)((char *)base - offsetof(struct machine, base));
  size_t left = machine->end - machine->start;

  if (left == 0)
    return machine->ends ? IOTOPS_STREAM_END : IOTOPS_STREAM_AGAIN;
  if (size > left)
    size = left;
  memcpy(bytes, machine->to_session + machine->start, size);
  machine->start += size;
  return (ptrdiff_t)size;
}

static void stream_pause(iotops_stream *base, bool paused) {
  (void)base;
  (void)paused;
}

static const iotops_error *stream_error(iotops_stream *base) {
  static iotops_error err;

  (void)base;
  (void)iotops_error_set(&err, IOTOPS_MQTT_ERROR, "the network broke");
  return &err;
}

static void stream_close(iotops_stream *base, bool graceful) {
  machine *machine =
      (struct machine *)((char *)base - offsetof(struct machine, base));

  (void)graceful;
  CHECK(machine->open);
  machine->open = machine->up = false;
}

static int stream_open(void *user, iotops_context *context,
                       const iotops_settings *settings,
                       const iotops_stream_events *events,
                       iotops_stream **stream, iotops_error *err) {
  static const iotops_stream_ops ops = {
      .read = stream_read,
      .write = stream_write,
      .pause = stream_pause,
      .last_error = stream_error,
      .close = stream_close,
  };
  machine *machine = user;
  reference *reference = &machine->reference;

  (void)context;
  (void)settings;
  (void)err;
  CHECK(!machine->open);
  if (reference->state == IOTOPS_SESSION_WAITING) {
    CHECK(machine->now_ms >= reference->retry_from);
    CHECK(machine->now_ms <= reference->retry_until);
    reference_connect(reference, machine->now_ms);
  }
  CHECK(reference->state == IOTOPS_SESSION_CONNECTING);
  machine->base.ops = &ops;
  machine->events = *events;
  machine->open = true;
  machine->up = machine->ends = machine->connect_seen = machine->silent = false;
  machine->start = machine->end = machine->held = 0;
  *stream = &machine->base;
  return 0;
}

/* -------------------------------------------------------------- owner -- */

static int64_t policy(void *user, iotops_context *context,
                      const iotops_reconnect_question *question) {
  machine *machine = user;
  const reference *reference = &machine->reference;

  CHECK(question->failures == reference->failures);
  CHECK(question->fatal == reference->fatal);
  CHECK(question->ever_connected == reference->ever_connected);
  if (reference->most_failures > 0 &&
      question->failures > reference->most_failures)
    return -1;
  return iotops_reconnect_backoff(NULL, context, question);
}

static void on_connected(void *user, const iotops_connected_event *event) {
  machine *machine = user;

  CHECK(!machine->calling && !machine->ended);
  CHECK(machine->connects == machine->disconnects);
  machine->connects++;
  CHECK(event->epoch == machine->connects);
}

static void on_disconnected(void *user,
                            const iotops_disconnected_event *event) {
  machine *machine = user;

  CHECK(!machine->calling && !machine->ended);
  CHECK(machine->disconnects + 1 == machine->connects);
  machine->disconnects++;
  CHECK(event->will_retry ==
        (machine->reference.state != IOTOPS_SESSION_ENDED));
}

static void on_ended(void *user, const iotops_error *err) {
  machine *machine = user;

  CHECK(!machine->calling && !machine->ended);
  machine->ended = true;
  machine->failed = err != NULL;
  machine->failed_code = err ? err->reason_code : -1;
}

static void completed(void *user, const iotops_mqtt_result *result) {
  owner *owner = user;
  machine *machine = owner->machine;

  CHECK(!machine->calling && !machine->ended);
  CHECK(++owner->completed == 1);
  owner->answer = result->error ? -1 : result->reason_code;
}

/* ------------------------------------------------------------- compare -- */

static void compare(machine *machine) {
  const reference *reference = &machine->reference;

  say("%8llu = state %d\n", (unsigned long long)machine->now_ms,
      (int)reference->state);
  CHECK(iotops_session_get_state(machine->session) == reference->state);
  CHECK(iotops_mqtt_is_connected(iotops_session_client(machine->session)) ==
        reference->connected);
  CHECK(iotops_session_was_lost(machine->session) == reference->lost);
  CHECK(machine->connects == reference->connects);
  CHECK(machine->disconnects == reference->disconnects);
  CHECK(machine->ended == (reference->state == IOTOPS_SESSION_ENDED));
  CHECK(!machine->open || !machine->ended);
  CHECK(!reference->connected ||
        machine->now_ms - machine->written_at <= 60000);
  if (machine->ended) {
    CHECK(machine->failed == reference->end_is_bad);
    CHECK(!machine->failed || machine->failed_code == reference->end_code);
  }
  if (reference->state == IOTOPS_SESSION_WAITING)
    CHECK(machine->now_ms < reference->retry_until);
  CHECK(!reference_idles(reference));
  for (uint32_t i = 0; i < reference->count; i++) {
    CHECK(machine->owners[i].completed == reference->operations[i].expected);
    if (machine->owners[i].completed)
      CHECK(machine->owners[i].answer == reference->operations[i].answer);
  }
}

static void settle(machine *machine) {
  iotops_context_drain(machine->context);
  /* What the broker had said by itself: PINGRESP. */
  while (machine->open && machine->start < machine->end) {
    machine->events.readable(machine->events.user);
    iotops_context_drain(machine->context);
  }
}

static void pass(machine *machine, uint64_t ms) {
  uint64_t until = machine->now_ms + ms;

  for (unsigned rounds = 0;; rounds++) {
    uint64_t due = iotops_context_next_due(machine->context);

    CHECK(rounds < 1000);
    if (due > until)
      break;
    if (due > machine->now_ms)
      machine->now_ms = due;
    reference_pass(&machine->reference, machine->now_ms);
    iotops_context_ring(machine->context);
    settle(machine);
    compare(machine);
  }
  machine->now_ms = until;
  compare(machine);
}

/* ------------------------------------------------------------- broker -- */

/* Whether our last word said that. */
static bool said(const machine *machine, const char *bytes, size_t size) {
  return machine->disconnect_size >= size &&
         memcmp(machine->last_disconnect, bytes, size) == 0;
}

static void tell(machine *machine, const void *bytes, size_t size) {
  send(machine, bytes, size);
  machine->events.readable(machine->events.user);
}

static uint8_t random_code(machine *machine) {
  static const uint8_t common[] = {0x80, 0x82, 0x86, 0x87, 0x88, 0x8b,
                                   0x8d, 0x8e, 0x97, 0x98, 0x9c};

  return model_once_in(&machine->random, 2)
             ? common[draw(machine, 11)]
             : (uint8_t)(0x80 + draw(machine, 48));
}

static void say_connack(machine *machine) {
  uint8_t packet[] = {0x20, 6, 0, 0, 3, 0x21, 0, 0};
  reference *reference = &machine->reference;
  bool clean = reference->clean_start && !reference->ever_connected;
  bool expected = !clean && (reference->ever_connected || draw(machine, 2));
  bool garbage;

  packet[2] = expected != model_once_in(&machine->random, 12);
  if (model_once_in(&machine->random, 4))
    packet[3] = model_once_in(&machine->random, 10)
                    ? (uint8_t)(1 + draw(machine, 127))
                    : random_code(machine);
  if (packet[3] != 0)
    packet[2] = 0;
  packet[7] = (uint8_t)(1 + draw(machine, 3));
  say("CONNACK %d %02x\n", packet[2], packet[3]);
  garbage = reference->connected || (packet[3] > 0 && packet[3] < 0x80) ||
            (packet[2] && clean);
  machine->disconnect_size = 0;
  reference_connack(reference, machine->now_ms, packet[3], packet[2],
                    packet[7]);
  tell(machine, packet, sizeof packet);
  settle(machine);
  CHECK(said(machine, "\x82", 1) == garbage);
  if (reference->lost)
    CHECK(said(machine, "\0\5\x11\0\0\0\0", 7));
}

static void say_disconnect(machine *machine) {
  uint8_t packet[] = {0xe0, 1, 0};

  if (!model_once_in(&machine->random, 8))
    packet[2] = random_code(machine);
  say("DISCONNECT %02x\n", packet[2]);
  reference_disconnect(&machine->reference, machine->now_ms, packet[2]);
  tell(machine, packet, sizeof packet);
}

static void answer(machine *machine) {
  reference *reference = &machine->reference;
  uint32_t first = reference->count ? draw(machine, reference->count) : 0;

  for (uint32_t i = 0; i < reference->count; i++) {
    uint32_t number = (first + i) % reference->count;
    reference_operation *operation = &reference->operations[number];
    uint8_t packet[] = {0x40, 4, 0, 0, 0, 0};

    if (operation->stage != REFERENCE_IN_FLIGHT || !operation->here)
      continue;
    packet[2] = (uint8_t)(operation->packet_id >> 8);
    packet[3] = (uint8_t)operation->packet_id;
    if (operation->class == REFERENCE_CONTROL)
      packet[0] = operation->subscribes ? 0x90 : 0xb0;
    else
      packet[1] = 3;
    /* Where the reason is differs: a PUBACK has it before its properties. */
    packet[packet[1] + 1] = 0;
    if (model_once_in(&machine->random, 4))
      packet[packet[0] == 0x40 ? 4 : 5] =
          model_once_in(&machine->random, 2) ? 0x87 : 0x97;
    say("answer %u: %02x\n", (unsigned)number,
        packet[packet[0] == 0x40 ? 4 : 5]);
    operation->here = false;
    reference_answered(reference, number, packet[packet[0] == 0x40 ? 4 : 5]);
    reference_pass(reference, machine->now_ms);
    tell(machine, packet, packet[1] + 2U);
    return;
  }
}

/* ------------------------------------------------------------- network -- */

static void come_up(machine *machine) {
  bool fails = model_once_in(&machine->random, 5);

  say(fails ? "refused\n" : "open\n");
  if (fails)
    reference_cut(&machine->reference, machine->now_ms);
  machine->up = !fails;
  if (fails)
    machine->events.failed(machine->events.user, stream_error(NULL));
  else
    machine->events.opened(machine->events.user);
}

static void cut(machine *machine) {
  say("cut\n");
  reference_cut(&machine->reference, machine->now_ms);
  machine->ends = true;
  if (draw(machine, 2))
    machine->events.readable(machine->events.user);
  else
    machine->events.failed(machine->events.user, stream_error(NULL));
}

static void happen(machine *machine) {
  bool up = machine->open && machine->up;

  if (machine->open && !machine->up)
    come_up(machine);
  else if (up && !machine->reference.connected && draw(machine, 8))
    say_connack(machine);
  else if (up && model_once_in(&machine->random, 5))
    cut(machine);
  else if (up && machine->reference.connected &&
           model_once_in(&machine->random, 5))
    say_disconnect(machine);
  else if (up && machine->reference.connected &&
           model_once_in(&machine->random, 20))
    say_connack(machine);
  else if (up && model_once_in(&machine->random, 10))
    machine->silent = true;
  else
    answer(machine);
}

/* --------------------------------------------------------------- calls -- */

static void call_publish(machine *machine, int qos) {
  reference *reference = &machine->reference;
  owner *owner = &machine->owners[reference->count];
  iotops_message message = {.topic = iotops_text_of("t"),
                            .format_indicator = -1};
  char text[16];
  int result;

  owner->machine = machine;
  message.qos = (uint8_t)qos;
  (void)snprintf(text, sizeof text, "%u", (unsigned)reference->count);
  message.payload = iotops_text_of(text);
  say("publish %s, QoS %d\n", text, qos);
  result = iotops_mqtt_publish(iotops_session_client(machine->session),
                               &message, completed, owner, &owner->id, NULL);
  CHECK((result == 0) ==
        reference_put(reference, qos ? REFERENCE_QOS1 : REFERENCE_QOS0, false));
}

static void call_control(machine *machine, bool subscribes) {
  reference *reference = &machine->reference;
  owner *owner = &machine->owners[reference->count];
  iotops_mqtt_client *client = iotops_session_client(machine->session);
  char text[16];
  int result;

  owner->machine = machine;
  (void)snprintf(text, sizeof text, "f/%u", (unsigned)reference->count);
  say("%s %s\n", subscribes ? "subscribe" : "unsubscribe", text);
  result = subscribes
               ? iotops_mqtt_subscribe(client, iotops_text_of(text), NULL,
                                       completed, owner, &owner->id, NULL)
               : iotops_mqtt_unsubscribe(client, iotops_text_of(text),
                                         completed, owner, &owner->id, NULL);
  CHECK((result == 0) ==
        reference_put(reference, REFERENCE_CONTROL, subscribes));
}

static void call_cancel(machine *machine) {
  uint32_t number = draw(machine, machine->reference.count);

  say("cancel %u\n", (unsigned)number);
  reference_cancel(&machine->reference, number);
  reference_pass(&machine->reference, machine->now_ms);
  iotops_mqtt_cancel(iotops_session_client(machine->session),
                     machine->owners[number].id);
}

static void call_leave(machine *machine) {
  reference *reference = &machine->reference;
  iotops_exit_options options = IOTOPS_EXIT_OPTIONS_INIT;
  bool could = reference->connected;

  options.drain_ms = draw(machine, 2) ? draw(machine, 5000) : 0;
  say("leave\n");
  switch (draw(machine, 3)) {
  case 0:
    reference_leave(reference, machine->now_ms, true, options.drain_ms);
    CHECK((iotops_session_exit(machine->session, &options, NULL) == 0) ==
          could);
    break;
  case 1:
    reference_leave(reference, machine->now_ms, false, options.drain_ms);
    iotops_session_detach(machine->session, &options);
    break;
  default:
    reference_force(reference, machine->now_ms);
    CHECK(iotops_session_force_exit(machine->session) == could);
  }
}

/* The owner does something, and is called by nobody meanwhile. */
static void call(machine *machine) {
  bool room = machine->reference.count < REFERENCE_OPERATIONS &&
              machine->reference.state != IOTOPS_SESSION_EXITING;
  uint32_t which = draw(machine, 40);

  machine->calling = true;
  if (which < 18 && room)
    call_publish(machine, 1);
  else if (which < 24 && room)
    call_publish(machine, 0);
  else if (which < 32 && room)
    call_control(machine, which < 28);
  else if (which < 36 && machine->reference.count > 0)
    call_cancel(machine);
  else if (which == 36 && machine->reference.state != IOTOPS_SESSION_EXITING)
    call_leave(machine);
  else if (machine->reference.state != IOTOPS_SESSION_NEW)
    CHECK(iotops_session_run(machine->session, NULL) != 0);
  machine->calling = false;
}

static void run_session(machine *machine) {
  reference_run(&machine->reference, machine->now_ms);
  machine->calling = true;
  CHECK(iotops_session_run(machine->session, NULL) == 0);
  machine->calling = false;
}

/* ------------------------------------------------------------- history -- */

static void make_session(machine *machine) {
  static const char *const modes[] = {"wait", "drop_newest", "drop_oldest"};
  iotops_settings *settings = iotops_settings_new(machine->context);
  iotops_session_options options = IOTOPS_SESSION_OPTIONS_INIT;
  iotops_transport transport = {.open = stream_open, .user = machine};
  reference *reference = &machine->reference;
  char qos0[8], qos1[8];
  iotops_error err;
  const char *const pairs[][2] = {
      {"hostname", "broker"},
      {"use_tls", "false"},
      {"client_id", "me"},
      {"clean_start", reference->clean_start ? "true" : "false"},
      {"publish_queue_qos0", qos0},
      {"publish_queue_qos1", qos1},
      {"publish_queue_full", modes[reference->when_full]},
      {"username", "me"},
      {reference->renewable ? "password_file" : "password",
       reference->renewable ? password_path : "secret"},
  };

  (void)snprintf(qos0, sizeof qos0, "%u",
                 (unsigned)reference->limits[REFERENCE_QOS0]);
  (void)snprintf(qos1, sizeof qos1, "%u",
                 (unsigned)reference->limits[REFERENCE_QOS1]);
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    CHECK(iotops_settings_set(settings, pairs[i][0],
                              iotops_text_of(pairs[i][1]), NULL) == 0);
  options.settings = settings;
  options.transport = &transport;
  options.reconnect = policy;
  options.reconnect_user = machine;
  options.connected = on_connected;
  options.disconnected = on_disconnected;
  options.ended = on_ended;
  options.user = machine;
  if (iotops_session_new(machine->context, &options, &machine->session, &err) !=
      0)
    printf("%s\n", err.message);
  CHECK(machine->session != NULL);
  iotops_settings_free(settings);
}

static void begin(machine *machine, uint64_t seed) {
  iotops_clock clock = {wall_ms, mono_ms, alarm_at, machine};
  iotops_allocator allocator = {resize, machine};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  reference *reference = &machine->reference;

  memset(machine, 0, sizeof *machine);
  model_begin(&machine->random, seed);
  machine->now_ms = 1000;
  options.clock = &clock;
  options.allocator = &allocator;
  options.random = fill;
  options.random_user = machine;
  if (getenv("MODEL_LOG")) {
    options.log = print_log;
    options.log_user = machine;
    options.log_level = IOTOPS_LOG_DEBUG;
  }
  reference->clean_start = draw(machine, 2);
  reference->renewable = draw(machine, 2);
  reference->most_failures = draw(machine, 2) ? 0 : 1 + draw(machine, 6);
  reference->when_full = (int)draw(machine, 3);
  reference->limits[REFERENCE_CONTROL] = 100;
  reference->limits[REFERENCE_QOS0] = 1 + draw(machine, 3);
  reference->limits[REFERENCE_QOS1] = 1 + draw(machine, 4);
  CHECK(iotops_context_new(&options, &machine->context, NULL) == 0);
  make_session(machine);
}

static void one_history(uint64_t seed) {
  static machine made;
  machine *machine = &made;
  unsigned steps;

  begin(machine, seed);
  steps = 20 + draw(machine, 60);
  for (unsigned i = 0; i < steps; i++) {
    if (machine->reference.state == IOTOPS_SESSION_NEW && draw(machine, 3))
      run_session(machine);
    else if (draw(machine, 2))
      call(machine);
    else
      happen(machine);
    settle(machine);
    compare(machine);
    if (model_once_in(&machine->random, 3))
      pass(machine,
           draw(machine, model_once_in(&machine->random, 4) ? 100000 : 2000));
  }
  actions += steps;
  connections += machine->connects;
  machine->ended = false; /* no end is told, but operations complete */
  machine->calling = true;
  iotops_session_free(machine->session);
  machine->calling = false;
  iotops_context_drain(machine->context);
  for (uint32_t i = 0; i < machine->reference.count; i++)
    CHECK(machine->owners[i].completed == 1);
  completions += machine->reference.count;
  CHECK(!machine->open && !machine->ended);
  iotops_context_free(machine->context);
  CHECK(machine->live == 0);
}

int main(int count, char **words) {
  const char *given = getenv("SEED");
  uint64_t histories = count > 1 ? strtoull(words[1], NULL, 0) : 2000;
  uint64_t first = given       ? strtoull(given, NULL, 0)
                   : count > 2 ? strtoull(words[2], NULL, 0)
                               : 1;
  clock_t began = clock();
  FILE *password;

  if (given)
    histories = 1;
  model_path(password_path, sizeof password_path, "machine");
  password = fopen(password_path, "w");
  if (!password || fputs("secret", password) < 0 || fclose(password) != 0)
    return 1;
  for (uint64_t i = 0; i < histories; i++)
    one_history(first + i);
  (void)unlink(password_path);
  printf("SEED=%llu on: %llu actions, %llu connections, %llu operations "
         "completed, %.1f s\n",
         (unsigned long long)first, (unsigned long long)actions,
         (unsigned long long)connections, (unsigned long long)completions,
         (double)(clock() - began) / CLOCKS_PER_SEC);
  printf("%llu passed, 0 failed\n", (unsigned long long)histories);
  return 0;
}
