/*
** library_memory.c -- libraries whose memory runs short: the k-th allocation
** of libmosquitto, OpenSSL, libuv or jansson fails, each in a process of its
** own; and so those of the context while it works over real sockets.
**
** library_memory [MOST]: of each library at most MOST of its allocations, from
** a random one on, evenly spread; without it every one.  Connect, subscribe,
** publish, receive, reconnect, leave; over TLS too; decode and encode JSON.
**
** What is asked: no crash in our code, no hang, no leak of the context's, each
** operation completes once, and a wrong answer never.  An error, or a session
** that ends with one, is fine.  A library may crash by itself, in the places
** below, where nothing that calls it could help.
*/
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "embed.h"
#include "fail_library.h"
#include "iotops/session.h"
#include "little_broker.h"

enum { SECONDS = 8, FAILURES = 12, OPERATIONS = 8, KNOWN_WRONG = 77 };

static struct {
  const char *where, *why;
  bool told;
} known_crashes[] = {
    {"libuv.so", "it calls abort() when its table of watchers cannot grow", 0},
    {"libjansson.so", "it asserts to hold a byte that it had no memory for", 0},
};

static struct {
  const char *folder;
  little_broker broker;
  char certificate[600];
  fail_report *report;
  bool nothing_fails;
  uint64_t fail_at, fail_run; /* of the context's own; 0: none */
} stage;

/* ------------------------------------------------------------- session -- */

typedef struct operation {
  struct talk *talk;
  bool accepted;
  unsigned completed;
} operation;

typedef struct talk {
  iotops_context *context;
  iotops_session *session;
  operation operations[OPERATIONS];
  size_t count;
  unsigned waiting; /* operations that have not completed */
  unsigned connects, succeeded, received, live;
  bool begun, leaving, ended, failed;
} talk;

static void *resize(void *user, void *block, size_t size) {
  talk *talk = user;
  void *made;

  if (size == 0) {
    talk->live -= block != NULL;
    free(block);
    return NULL;
  }
  if (stage.fail_at > 0) {
    uint64_t number = ++stage.report->count;

    if (number >= stage.fail_at && number < stage.fail_at + stage.fail_run)
      return NULL;
  }
  made = realloc(block, size);
  talk->live += made && !block;
  return made;
}

static void completed(void *user, const iotops_mqtt_result *result) {
  operation *operation = user;

  operation->completed++;
  operation->talk->waiting--;
  operation->talk->succeeded += !result->error && result->reason_code < 0x80;
}

static operation *next_operation(talk *talk) {
  operation *operation = &talk->operations[talk->count++];

  operation->talk = talk;
  return operation;
}

static void accept_operation(operation *operation, int result) {
  operation->accepted = result == 0;
  operation->talk->waiting += result == 0;
}

static void publish(talk *talk, const char *payload) {
  operation *operation = next_operation(talk);
  iotops_message message = {.topic = iotops_text_of("t"), .qos = 1};

  message.payload = iotops_text_of(payload);
  accept_operation(operation, iotops_mqtt_publish(
                                  iotops_session_client(talk->session),
                                  &message, completed, operation, NULL, NULL));
}

static void received(void *user, const iotops_message *message,
                     iotops_ack ack) {
  talk *talk = user;

  (void)message;
  talk->received++;
  (void)iotops_mqtt_settle(iotops_session_client(talk->session), ack);
}

static void on_connected(void *user, const iotops_connected_event *event) {
  (void)event;
  ((talk *)user)->connects++;
}

static void on_ended(void *user, const iotops_error *err) {
  ((talk *)user)->ended = true;
  ((talk *)user)->failed = err != NULL;
}

static int64_t soon(void *user, iotops_context *context,
                    const iotops_reconnect_question *question) {
  (void)user;
  (void)context;
  return question->fatal || question->failures > FAILURES ? -1 : 1;
}

static int complain(const char *what) {
  fprintf(stderr, "    %s\n", what);
  return 1;
}

static bool start(talk *talk, bool tls, uint64_t number) {
  iotops_session_options options = IOTOPS_SESSION_OPTIONS_INIT;
  iotops_settings *settings = iotops_settings_new(talk->context);
  char port[8], id[16];
  const char *const pairs[][2] = {
      {"hostname", "localhost"},
      {"tcp_port", port},
      {"client_id", id},
      {"connection_timeout", "2"},
      {"use_tls", tls ? "true" : "false"},
      {"ca_file", tls ? stage.certificate : NULL},
  };
  bool made = settings != NULL;

  (void)snprintf(port, sizeof port, "%d",
                 tls ? stage.broker.tls_port : stage.broker.port);
  (void)snprintf(id, sizeof id, "k%llu", (unsigned long long)number);
  for (size_t i = 0; made && i < sizeof pairs / sizeof *pairs; i++)
    if (pairs[i][1])
      made = iotops_settings_set(settings, pairs[i][0],
                                 iotops_text_of(pairs[i][1]), NULL) == 0;
  options.settings = settings;
  options.reconnect = soon;
  options.connected = on_connected;
  options.ended = on_ended;
  options.user = talk;
  made = made &&
         iotops_session_new(talk->context, &options, &talk->session, NULL) == 0;
  iotops_settings_free(settings);
  return made && iotops_session_run(talk->session, NULL) == 0;
}

/* What is to be done next, looked at after each turn of the loop. */
static void go_on(talk *talk) {
  iotops_mqtt_client *client = iotops_session_client(talk->session);
  iotops_subscribe_options options = IOTOPS_SUBSCRIBE_OPTIONS_INIT;
  iotops_receiver *receiver;

  if (!talk->begun && talk->connects > 0) {
    operation *operation = next_operation(talk);

    talk->begun = true;
    (void)iotops_mqtt_add_receiver(client, iotops_text_of("t"), received, talk,
                                   &receiver, NULL);
    accept_operation(
        operation, iotops_mqtt_subscribe(client, iotops_text_of("t"), &options,
                                         completed, operation, NULL, NULL));
    publish(talk, "one");
    publish(talk, "cut, and send it again");
    publish(talk, "three");
  } else if (talk->begun && talk->waiting == 0 && !talk->leaving &&
             iotops_mqtt_is_connected(client)) {
    talk->leaving = iotops_session_exit(talk->session, NULL, NULL) == 0;
  }
}

static void print_log(void *user, const iotops_log_record *record) {
  (void)user;
  fprintf(stderr, "%s: %.*s\n", iotops_log_level_name(record->level),
          (int)record->message.size, record->message.data);
}

static int talk_to_broker(bool tls, uint64_t number) {
  static talk made;
  talk *talk = &made;
  iotops_allocator allocator = {resize, talk};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  time_t until = time(NULL) + SECONDS / 2;
  bool hangs = false;

  options.allocator = &allocator;
  if (getenv("MODEL_LOG")) {
    options.log = print_log;
    options.log_level = IOTOPS_LOG_DEBUG;
  }
  if (iotops_context_new(&options, &talk->context, NULL) != 0)
    return talk->live == 0 ? 0 : complain("a context that was not made leaks");
  if (start(talk, tls, number))
    while (!talk->ended && !hangs) {
      iotops_context_run_once(talk->context, true);
      go_on(talk);
      hangs = time(NULL) > until;
    }
  if (talk->session)
    iotops_session_free(talk->session);
  for (int i = 0; i < 5; i++)
    iotops_context_run_once(talk->context, false);
  iotops_context_free(talk->context);
  if (hangs)
    return complain("it neither gets on nor ends");
  for (size_t i = 0; i < talk->count; i++)
    if (talk->operations[i].completed != talk->operations[i].accepted)
      return complain("an operation did not complete exactly once");
  if (talk->live != 0)
    return complain("memory of the context is not given back");
  if (stage.nothing_fails && (talk->failed || talk->succeeded != 4 ||
                              talk->connects != 2 || talk->received < 3))
    return complain("it does not work even when nothing fails");
  return 0;
}

static int over_tcp(uint64_t number) {
  return talk_to_broker(false, number);
}

static int over_tls(uint64_t number) {
  return talk_to_broker(true, number);
}

/* ----------------------------------------------------------------- JSON -- */

static const char json_chunk[] =
    "local core = require 'iotops.core'\n"
    "local text = '{\"a\":[1,2.5,\"\\\\u263a\",null,true,[]],\"b\":'..\n"
    "  '9007199254740993}'\n"
    "local function same(value)\n"
    "  return #value.a == 6 and value.a[1] == 1 and value.a[2] == 2.5 and\n"
    "    value.a[3] == '\\u{263a}' and value.b == 9007199254740993\n"
    "end\n"
    "local known = false\n"
    "for _ = 1, 3 do\n"
    "  local ok, value, err = pcall(core.json_decode, text)\n"
    "  if not ok then\n"
    "    assert(tostring(value):find('not enough memory', 1, true), value)\n"
    "  else\n"
    "    assert(value, err)\n"
    "    known = known or value.b == 900719925474099\n"
    "    assert(known or same(value))\n"
    "    local written = assert(core.json_encode(value))\n"
    "    ok, value = pcall(core.json_decode, written)\n"
    "    assert(not ok or known or same(value))\n"
    "  end\n"
    "end\n"
    "return known\n";

static const char *mounted(void *user, const char *name) {
  (void)user;
  if (strcmp(name, "CONNECTOR_CONFIGURATION_MOUNT_PATH") == 0)
    return stage.folder;
  return strcmp(name, "CONNECTOR_ID") == 0 ? "me" : NULL;
}

static int read_settings(void) {
  iotops_context *context;
  iotops_settings *settings;
  iotops_error err;
  int result = 0;

  if (iotops_context_new(NULL, &context, NULL) != 0)
    return 0;
  settings = iotops_settings_new(context);
  if (iotops_settings_from_files(settings, mounted, NULL, &err) == 0 &&
      !iotops_text_equal(iotops_settings_get(settings, "hostname"),
                         iotops_text_of("aio-broker")))
    result = complain("settings are not what the file says");
  iotops_settings_free(settings);
  iotops_context_free(context);
  return result;
}

/*
** jansson 2.14 leaves out a byte of a number or text that its buffer has no
** memory to grow for, and says nothing: nothing that calls it could tell.
*/
static int with_json(uint64_t number) {
  lua_State *L = luaL_newstate();
  int result = 0;

  (void)number;
  luaL_openlibs(L);
  luaL_requiref(L, "iotops.core", luaopen_iotops_core, 0);
  if (luaL_dostring(L, json_chunk) != LUA_OK)
    result = complain(lua_tostring(L, -1));
  else if (lua_toboolean(L, -1))
    result = KNOWN_WRONG;
  lua_close(L);
  return result ? result : read_settings();
}

/* ---------------------------------------------------------------- trials -- */

/* Not a library: what the session and its transport take by themselves. */
#define CONTEXT "the context's allocator"

typedef struct trial {
  const char *name, *library;
  int (*run)(uint64_t number);
} trial;

static const trial trials[] = {
    {"TCP", CONTEXT, over_tcp},         {"TLS", CONTEXT, over_tls},
    {"TCP", "libuv.", over_tcp},        {"TCP", "libmosquitto.", over_tcp},
    {"TLS", "libssl.", over_tls},       {"TLS", "libcrypto.", over_tls},
    {"JSON", "libjansson.", with_json},
};

static uint64_t passed, failed, crashes, wrong;

/* How one child ended; true: as it may. */
static bool judge(const trial *trial, uint64_t k, int status) {
  const fail_report *report = stage.report;

  if (report->signal == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return true;
  if (report->signal == 0 && WIFEXITED(status) &&
      WEXITSTATUS(status) == KNOWN_WRONG) {
    if (wrong++ == 0)
      printf("%s leaves a byte out that it has no memory for, as it is known "
             "to\n",
             trial->library);
    return true;
  }
  if (report->signal == SIGALRM) {
    printf("%s, %s: allocation %llu: hangs in %s\n", trial->name,
           trial->library, (unsigned long long)k, report->where);
    return false;
  }
  if (report->signal != 0 && !report->ours)
    for (size_t i = 0; i < sizeof known_crashes / sizeof *known_crashes; i++)
      if (strncmp(report->where, known_crashes[i].where,
                  strlen(known_crashes[i].where)) == 0) {
        crashes++;
        if (!known_crashes[i].told)
          printf("%s ends the process, as is known: %s\n", report->where,
                 known_crashes[i].why);
        known_crashes[i].told = true;
        return true;
      }
  if (report->signal != 0)
    printf("%s, %s: allocation %llu: signal %d in %s\n", trial->name,
           trial->library, (unsigned long long)k, report->signal,
           report->where);
  else
    printf("%s, %s: allocation %llu: see above\n", trial->name, trial->library,
           (unsigned long long)k);
  return false;
}

/* How many allocations the library asked for. */
static uint64_t one_child(const trial *trial, uint64_t k, uint64_t run) {
  int status = 0;
  pid_t child;

  memset(stage.report, 0, sizeof *stage.report);
  (void)fflush(stdout);
  child = fork();
  if (child == 0) {
    int result;

    (void)alarm(SECONDS);
    if (strcmp(trial->library, CONTEXT) == 0) {
      stage.fail_at = k > 0 ? k : UINT64_MAX - 1;
      stage.fail_run = run;
    }
    fail_library_begin(trial->library, k, run, stage.report);
    stage.nothing_fails = k == 0;
    result = trial->run((uint64_t)getpid());
    _exit(result);
  }
  if (child < 0 || waitpid(child, &status, 0) != child)
    abort();
  if (judge(trial, k, status))
    passed++;
  else
    failed++;
  return stage.report->count;
}

static void try_all(const trial *trial, uint64_t most) {
  uint64_t count = one_child(trial, 0, 0);
  uint64_t step = most && count > most ? (count + most - 1) / most : 1;
  uint64_t first = 1 + (uint64_t)getpid() % step, tried = 0;

  for (uint64_t k = first; k <= count; k += step, tried++)
    (void)one_child(trial, k, 1 + tried % 2);
  printf("%s: %s asks for %llu allocations, %llu failed from %llu on\n",
         trial->name, trial->library, (unsigned long long)count,
         (unsigned long long)tried, (unsigned long long)first);
  if (count == 0)
    failed++; /* it was not the library that was looked at */
}

/* Whether a crash of ours is seen to be ours. */
static int crash(uint64_t number) {
  volatile char *nowhere = (char *)(uintptr_t)number;

  *nowhere = 1; /* NOLINT(clang-analyzer-core.NullDereference) */
  return 0;
}

static void try_crash(void) {
  static const trial planted = {"planted", "libcrypto.", crash};

  (void)one_child(&planted, 0, 0);
  if (stage.report->signal != SIGSEGV || !stage.report->ours || failed != 1)
    abort();
  failed = 0;
}

static bool write_file(const char *name, const char *text) {
  char path[1024];
  FILE *file;

  (void)snprintf(path, sizeof path, "%s/%s", stage.folder, name);
  file = fopen(path, "w");
  return file && fputs(text, file) >= 0 && fclose(file) == 0;
}

static bool prepare(char *folder) {
  char command[2048], key[600];

  stage.folder = mkdtemp(folder);
  stage.report = mmap(NULL, sizeof *stage.report, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (!stage.folder || stage.report == MAP_FAILED)
    return false;
  (void)snprintf(stage.certificate, sizeof stage.certificate, "%s/ca.pem",
                 folder);
  (void)snprintf(key, sizeof key, "%s/key.pem", folder);
  (void)snprintf(command, sizeof command,
                 "openssl req -x509 -newkey ec -pkeyopt "
                 "ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
                 "/CN=localhost -addext subjectAltName=DNS:localhost "
                 "-keyout %s -out %s 2>/dev/null",
                 key, stage.certificate);
  return system(command) == 0 && /* NOLINT(cert-env33-c) */
         write_file("MQTT_CONNECTION_CONFIGURATION",
                    "{\"host\":\"aio-broker:18883\",\"tls\":{\"mode\":"
                    "\"Disabled\"},\"protocol\":\"mqtt\"}") &&
         little_broker_start(&stage.broker, stage.certificate, key);
}

int main(int count, char **words) {
  const char *temporary = getenv("TMPDIR");
  char folder[512], command[600];
  uint64_t most = count > 1 ? strtoull(words[1], NULL, 0) : 0;
  const char *given = getenv("FAIL_AT"), *name = getenv("LIBRARY");

  (void)snprintf(folder, sizeof folder, "%s/iotops-memory-XXXXXX",
                 temporary ? temporary : "/tmp");
  if (!prepare(folder))
    return complain("cannot prepare the stage");
  fail_library_init();
  try_crash();
  for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
    if (name && strstr(trials[i].library, name) == NULL)
      continue;
    if (given)
      (void)one_child(&trials[i], strtoull(given, NULL, 0), 1);
    else
      try_all(&trials[i], most);
  }
  little_broker_stop(&stage.broker);
  (void)snprintf(command, sizeof command, "rm -r %s", folder);
  (void)!system(command); /* NOLINT(cert-env33-c) */
  if (crashes > 0)
    printf("%llu times a library ended the process by itself, as it is known "
           "to\n",
           (unsigned long long)crashes);
  printf("%llu passed, %llu failed\n", (unsigned long long)passed,
         (unsigned long long)failed);
  return failed > 0;
}
