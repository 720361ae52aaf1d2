/*
** starve_scripts.c -- a script in a host whose memory runs short: loading,
** handlers, answers and a reload, with the k-th allocation failing, for every
** k until nothing fails.
**
** Everything that the context's allocator serves may fail: the core, the Lua
** states, and here also libuv and jansson, whose allocators belong to the
** process, so that a program may set them and the library does not.  Lua
** collects its garbage and asks once more when it was refused, so RUN of them
** in a row fail (2).
**
** No crash, no leak; what the broker handed over is handled or complained of,
** and always acknowledged; an answer is the right one or an error that does
** not blame who asked; a reload that fails leaves the old generation serving;
** and what memory was short for once works the next time.
**
** starve_scripts [STEP]: every STEP-th k, from a seed that is printed.
*/
#include <fcntl.h>
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

#include "network.h"
#include "runtime/host.h"

enum { MESSAGES = 64 };

typedef struct asked {
  struct farm *farm;
  uint32_t number;
  bool final; /* must succeed, and be answered by the second generation */
  unsigned completed;
} asked;

typedef struct farm {
  model_random random;
  network network;
  uint64_t now_ms;
  host *host;              /* owned; has the script's session */
  iotops_session *session; /* owned; of who sends and asks */
  iotops_telemetry_sender *sender;
  iotops_command_invoker *invoker;
  bool ended[NETWORK_CLIENTS];
  int log;
  char path[512];
  uint64_t generation; /* the highest that served */
  uint32_t count;      /* messages so far */
  bool owed[MESSAGES]; /* the broker took it for the script */
  bool seen[MESSAGES]; /* its handler has said so */
  asked asked[MESSAGES];
  unsigned answered;  /* with success */
  unsigned completed; /* sends */
  unsigned sends;
} farm;

#define CHECK(condition) MODEL_CHECK(&farm->random, condition)

/* ------------------------------------------------------------- memory -- */

/* Of the process, as libuv's and jansson's allocators are. */
static struct {
  uint64_t count, fail_at, run;
  uint64_t live;
} memory;

static bool fails(void) {
  memory.count++;
  return memory.fail_at != 0 && memory.count >= memory.fail_at &&
         memory.count < memory.fail_at + memory.run;
}

static void *resize(void *user, void *block, size_t size) {
  max_align_t *old = block ? (max_align_t *)block - 1 : NULL, *made;

  (void)user;
  if (size == 0) {
    memory.live -= old != NULL;
    free(old);
    return NULL;
  }
  if (fails())
    return NULL;
  made = realloc(old, sizeof *made + size);
  if (!made)
    abort();
  memory.live += old == NULL;
  return made + 1;
}

static void *take(size_t size) {
  return resize(NULL, NULL, size ? size : 1);
}

static void *take_zeroed(size_t count, size_t size) {
  void *block = take(count * size);

  if (block)
    memset(block, 0, count * size);
  return block;
}

/*
** libuv ends the process when its table of watchers cannot grow: nothing that
** who calls it could handle, so that never fails here.
*/
static void *change(void *block, size_t size) {
  uint64_t fail_at = memory.fail_at;
  void *changed;

  memory.fail_at = 0;
  changed = resize(NULL, block, size);
  memory.fail_at = fail_at;
  return changed;
}

static void give(void *block) {
  (void)resize(NULL, block, 0);
}

/* --------------------------------------------------------- time, log -- */

static int64_t wall_ms(void *user) {
  return 1700000000000 + (int64_t)((farm *)user)->now_ms;
}

static uint64_t mono_ms(void *user) {
  return ((farm *)user)->now_ms;
}

static void alarm_at(void *user, iotops_context *context, uint64_t due_ms) {
  (void)user;
  (void)context;
  (void)due_ms;
}

static void pass(farm *farm, uint64_t ms) {
  uint64_t until = farm->now_ms + ms;
  iotops_context *context = farm->host->context;
  unsigned rounds = 0;

  for (;;) {
    uint64_t due;

    iotops_context_drain(context);
    due = iotops_context_next_due(context);
    if (due > until)
      break;
    if (due > farm->now_ms)
      farm->now_ms = due;
    iotops_context_ring(context);
    CHECK(++rounds < 100000); /* nothing spins */
  }
  farm->now_ms = until;
}

/* How often the log has said that. */
static unsigned logged(const farm *farm, const char *text) {
  static char bytes[1024 * 1024];
  ssize_t size = pread(farm->log, bytes, sizeof bytes - 1, 0);
  unsigned count = 0;

  bytes[size > 0 ? size : 0] = '\0';
  for (const char *at = bytes; (at = strstr(at, text)); at++)
    count++;
  return count;
}

/* -------------------------------------------------------------- script -- */

static void write_script(farm *farm, int version) {
  static const char text[] =
      "local iotops = require \"iotops\"\n"
      "local limits = { low = %d, list = { 1, 2, { 3 } } }\n"
      "local kept = { asked = 0, rooms = {} }\n"
      "local ticks = iotops.counter(\"ticks\", \"of the timer\")\n"
      "iotops.every(1, function() ticks:add(1) end, { name = \"tick\" })\n"
      "iotops.handoff {\n"
      "  version = 1,\n"
      "  save = function() return kept end,\n"
      "  restore = function(data) kept = data end,\n"
      "}\n"
      "iotops.on_telemetry(\"line/tele\", function(reading, message)\n"
      "  assert(math.type(reading.n) == \"integer\", \"not what was sent\")\n"
      "  assert(reading.text == \"\\u{263a}\" and #reading.list == 3)\n"
      "  assert(message.topic:match(\"^(%%w+)/\") == \"line\")\n"
      "  kept.rooms[tostring(reading.n)] = { seen = true }\n"
      "  iotops.send(\"line/seen\", { s = reading.n })\n"
      "end)\n"
      "iotops.on_command(\"line/ask\", function(request)\n"
      "  kept.asked = kept.asked + 1\n"
      "  return { n = request.n, version = limits.low, list = limits.list,\n"
      "    asked = kept.asked }\n"
      "end)\n"
      "iotops.on_start(function() limits.started = true end)\n";
  FILE *file = fopen(farm->path, "w");

  CHECK(file != NULL);
  CHECK(fprintf(file, text, version) > 0);
  CHECK(fclose(file) == 0);
}

/* What a script serves with is never taken away. */
static void check_generation(farm *farm) {
  const script *script = farm->host->scripts;

  CHECK(script->generation >= farm->generation);
  CHECK(script->generation == 0 || script->current != NULL);
  farm->generation = script->generation;
}

/* -------------------------------------------------------------- broker -- */

static bool begins(iotops_text text, const char *with) {
  size_t size = strlen(with);

  return text.size >= size && memcmp(text.data, with, size) == 0;
}

/* The first number in it. */
static uint32_t number_of(iotops_text payload) {
  iotops_text rest = {payload.data, payload.size};

  while (rest.size > 0 && (*rest.data < '0' || *rest.data > '9')) {
    rest.data++;
    rest.size--;
  }
  if (rest.size == 0)
    return MESSAGES;
  rest.data--; /* where network_number() expects a letter */
  for (payload.size = 1; payload.size <= rest.size; payload.size++)
    if (rest.data[payload.size] < '0' || rest.data[payload.size] > '9')
      break;
  return network_number((iotops_text){rest.data, payload.size});
}

static void accepted(void *user, iotops_text payload) {
  farm *farm = user;
  uint32_t number = payload.size > 0 ? number_of(payload) : MESSAGES;

  if (begins(payload, "{\"t\":true")) {
    CHECK(number < farm->count);
    farm->owed[number] = farm->network.clients[1].filter_count == 2;
  } else if (begins(payload, "{\"s\"")) {
    CHECK(number < farm->count);
    farm->seen[number] = true;
  }
}

static bool settled(void *user, iotops_text payload) {
  (void)user;
  (void)payload;
  return true;
}

/* -------------------------------------------------------------- asking -- */

static iotops_payload payload_of(char text[80], const char *kind,
                                 uint32_t number) {
  (void)snprintf(text, 80,
                 "{\"%s\":true,\"n\":%u,\"text\":\"\\u263a\","
                 "\"list\":[null,{},[]]}",
                 kind, (unsigned)number);
  return iotops_format_payload(IOTOPS_FORMAT_JSON, iotops_text_of(text));
}

static void sent(void *user, const iotops_error *err) {
  farm *farm = user;

  (void)err;
  farm->completed++;
}

static void say(farm *farm) {
  iotops_telemetry_send_options options = IOTOPS_TELEMETRY_SEND_OPTIONS_INIT;
  char text[80];

  CHECK(farm->count < MESSAGES);
  options.payload = payload_of(text, "t", farm->count++);
  if (iotops_telemetry_send(farm->sender, &options, sent, farm, NULL) == 0)
    farm->sends++;
}

static void answered(void *user, const iotops_response *response,
                     const iotops_error *err) {
  asked *asked = user;
  farm *farm = asked->farm;
  char text[64];

  CHECK(++asked->completed == 1);
  CHECK(!response == !!err);
  if (!response) {
    if (getenv("MODEL_LOG"))
      fprintf(stderr, "answer: %s\n", err->message);
    CHECK(!asked->final);
    /* Memory that was short is nobody's mistake in the request. */
    CHECK(err->kind != IOTOPS_INVALID_PAYLOAD &&
          err->kind != IOTOPS_INVALID_HEADER &&
          err->kind != IOTOPS_INVALID_CONFIGURATION);
    return;
  }
  (void)snprintf(text, sizeof text, "\"n\":%u", (unsigned)asked->number);
  CHECK(memmem(response->payload.bytes.data, response->payload.bytes.size, text,
               strlen(text)) != NULL);
  CHECK(memmem(response->payload.bytes.data, response->payload.bytes.size,
               "[1,2,[3]]", 9) != NULL);
  /* What a version has kept is handed to the next, or it goes on itself. */
  farm->answered++;
  if (asked->final) {
    const char *kept = memmem(response->payload.bytes.data,
                              response->payload.bytes.size, "\"asked\":", 8);

    CHECK(kept != NULL);
    CHECK(strtoul(kept + 8, NULL, 10) >= farm->answered);
  }
  for (unsigned version = 1; version <= 2; version++) {
    (void)snprintf(text, sizeof text, "\"version\":%u", version);
    if (memmem(response->payload.bytes.data, response->payload.bytes.size, text,
               strlen(text)))
      CHECK(version == 2 || !asked->final);
  }
}

static void ask(farm *farm, bool final) {
  iotops_invoke_options options = IOTOPS_INVOKE_OPTIONS_INIT;
  asked *asked = &farm->asked[farm->count];
  char text[80];

  CHECK(farm->count < MESSAGES);
  options.payload = payload_of(text, "c", farm->count);
  *asked = (struct asked){farm, farm->count++, final, 0};
  if (iotops_command_invoke(farm->invoker, &options, answered, asked, NULL,
                            NULL) != 0)
    asked->completed = 1;
}

static void talk(farm *farm) {
  for (int i = 0; i < 3; i++) {
    say(farm);
    ask(farm, false);
  }
}

/* ---------------------------------------------------------------- life -- */

static void ended(void *user, const iotops_error *err) {
  (void)err;
  *(bool *)user = true;
}

static bool make_session(farm *farm, int which, iotops_session **session) {
  static const char *const names[] = {"hostname", "use_tls", "client_id"};
  const char *values[] = {"broker", "false", which ? "b" : "a"};
  iotops_session_options options = IOTOPS_SESSION_OPTIONS_INIT;
  iotops_settings *settings = iotops_settings_new(farm->host->context);
  iotops_transport transport = network_transport(&farm->network.clients[which]);
  bool made = settings != NULL;

  for (int i = 0; made && i < 3; i++)
    made = iotops_settings_set(settings, names[i], iotops_text_of(values[i]),
                               NULL) == 0;
  options.settings = settings;
  options.transport = &transport;
  options.ended = ended;
  options.user = &farm->ended[which];
  made = made &&
         iotops_session_new(farm->host->context, &options, session, NULL) == 0;
  iotops_settings_free(settings);
  return made && iotops_session_run(*session, NULL) == 0;
}

static bool make_asker(farm *farm) {
  iotops_telemetry_sender_options sender = IOTOPS_TELEMETRY_SENDER_OPTIONS_INIT;
  iotops_command_invoker_options invoker = IOTOPS_COMMAND_INVOKER_OPTIONS_INIT;
  iotops_mqtt_client *client = iotops_session_client(farm->session);

  sender.topic_pattern = iotops_text_of("line/tele");
  invoker.command_name = iotops_text_of("ask");
  invoker.request_topic_pattern = iotops_text_of("line/ask");
  invoker.response_topic_pattern = iotops_text_of("line/answer");
  return iotops_telemetry_sender_new(client, &sender, &farm->sender, NULL) ==
             0 &&
         iotops_command_invoker_new(client, &invoker, &farm->invoker, NULL) ==
             0;
}

static bool begin(farm *farm) {
  iotops_allocator allocator = {resize, NULL};
  iotops_clock clock = {wall_ms, mono_ms, alarm_at, farm};
  host_options options = HOST_OPTIONS_INIT;
  iotops_error err;

  options.allocator = &allocator;
  options.clock = &clock;
  if (host_new(&options, &farm->host, &err) != 0) {
    farm->host = NULL;
    return false;
  }
  if (!getenv("MODEL_LOG"))
    farm->host->logger.fd = farm->log;
  farm->host->logger.json = false;
  network_init(&farm->network, farm->host->context, &farm->random);
  farm->network.accepted = accepted;
  farm->network.settled = settled;
  farm->network.user = farm;
  if (!make_session(farm, 0, &farm->session) ||
      !make_session(farm, 1, &farm->host->session) || !make_asker(farm))
    return false;
  farm->host->client = iotops_session_client(farm->host->session);
  farm->host->phase = HOST_SERVING;
  farm->host->scripts = script_new(farm->host, farm->path, false);
  return farm->host->scripts != NULL;
}

static void end(farm *farm) {
  if (!farm->host)
    goto done;
  iotops_telemetry_sender_free(farm->sender);
  iotops_command_invoker_free(farm->invoker);
  iotops_context_drain(farm->host->context);
  if (farm->session)
    iotops_session_free(farm->session);
  iotops_context_drain(farm->host->context);
  network_free(&farm->network);
  host_free(farm->host);
done:
  for (uint32_t i = 0; i < farm->count; i++)
    CHECK(!farm->asked[i].farm || farm->asked[i].completed == 1);
  CHECK(farm->completed == farm->sends);
  CHECK(memory.live == 0);
}

/* Everything is well again: the second version must come to serve. */
static void recover(farm *farm) {
  script *script = farm->host->scripts;

  for (int i = 0; i < 4 && script->generation < 2; i++) {
    if (script->generation == 1 || i > 0 || !script->current)
      script_consider(script, SCRIPT_LOOK_FORCED);
    pass(farm, 20000);
    check_generation(farm);
  }
}

static void converse(farm *farm) {
  script *script = farm->host->scripts;

  script_consider(script, SCRIPT_LOOK_CONTENT);
  check_generation(farm);
  pass(farm, 100);
  talk(farm);
  pass(farm, 100);
  write_script(farm, 2);
  script_consider(script, SCRIPT_LOOK_CONTENT);
  check_generation(farm);
  talk(farm);
  pass(farm, 30000);
  check_generation(farm);
}

static void finish(farm *farm) {
  script *script = farm->host->scripts;
  unsigned missing = 0;

  memory.fail_at = 0;
  if (!script->current || !logged(farm, "reloaded"))
    recover(farm);
  /* What it was refused is asked for again when it connects. */
  network_cut(&farm->network.clients[1], 0, true);
  pass(farm, 100000);
  if (farm->ended[0] || farm->ended[1])
    return;
  CHECK(script->current != NULL);
  CHECK(script->reload == NULL);
  ask(farm, true);
  pass(farm, 20000);
  CHECK(farm->asked[farm->count - 1].completed == 1);
  CHECK(farm->network.clients[1].first == NULL);
  for (uint32_t i = 0; i < farm->count; i++)
    if (farm->owed[i] && !farm->seen[i]) {
      missing++;
      if (getenv("MODEL_LOG"))
        fprintf(stderr, "message %u was not handled\n", (unsigned)i);
    }
  /* More of the same are told in one record. */
  CHECK(missing <= logged(farm, " error ") + logged(farm, "dropped a ") ||
        logged(farm, " more messages"));
}

static uint64_t one_history(uint64_t fail_at, uint64_t run) {
  static farm made;
  farm *farm = &made;

  memset(farm, 0, sizeof *farm);
  memory.count = 0;
  memory.fail_at = fail_at;
  memory.run = run;
  model_begin(&farm->random, fail_at);
  farm->now_ms = 1000;
  farm->log = memfd_create("log", 0);
  model_path(farm->path, sizeof farm->path, "starve.lua");
  write_script(farm, 1);
  if (begin(farm)) {
    pass(farm, 5000);
    converse(farm);
    run = memory.count;
    finish(farm);
  } else {
    run = memory.count;
    CHECK(fail_at > 0);
  }
  end(farm);
  if (fail_at == 0)
    for (uint32_t i = 0; i < farm->count; i++)
      CHECK(farm->seen[i] || !farm->owed[i]);
  (void)close(farm->log);
  (void)unlink(farm->path);
  return run;
}

int main(int count, char **words) {
  const char *given = getenv("FAIL_AT"), *in_row = getenv("RUN");
  uint64_t run = in_row ? strtoull(in_row, NULL, 0) : 2, tried = 0;
  uint64_t step = count > 1 ? strtoull(words[1], NULL, 0) : 1;
  uint64_t first, wanted, k;

  json_set_alloc_funcs(take, give);
  if (uv_replace_allocator(take, change, take_zeroed, give) != 0)
    return 1;
  wanted = one_history(0, 0);
  if (given) {
    (void)one_history(strtoull(given, NULL, 0), run);
    return 0;
  }
  first = 1 + (uint64_t)getpid() % step;
  for (k = first; k <= one_history(k, run); k += step, tried++)
    if (getenv("MODEL_VERBOSE"))
      fprintf(stderr, "FAIL_AT=%llu\n", (unsigned long long)k);
  printf("%llu allocations, every %llu. from the %llu. failed\n",
         (unsigned long long)wanted, (unsigned long long)step,
         (unsigned long long)first);
  printf("%llu passed, %d failed\n", (unsigned long long)tried,
         k + step < wanted);
  return k + step < wanted;
}
