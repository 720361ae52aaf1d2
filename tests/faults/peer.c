/*
** peer.c -- one real session, told what to do a line at a time.
**
** Reads commands from standard input, writes what happens as lines on
** standard output and the log on standard error.  A test drives it from
** outside, so that it may also be killed, frozen and started again.  Words
** are separated by single spaces; the end of the input ends the program
** without a word to the broker.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "iotops/session.h"

enum { MAX_WORDS = 40, MAX_LINE = 1 << 16, MAX_HELD = 1 << 16 };

typedef struct operation operation;
struct operation {
  char tag[64];
  iotops_operation id;
  operation *next; /* owned by the list; kept to the end */
};

typedef struct receiver receiver;
struct receiver {
  char name[64];
  bool manual;
  iotops_receiver *handle;
  receiver *next; /* owned */
};

/* Publishes numbers one after the other. */
typedef struct stream {
  iotops_timer timer;
  char topic[128];
  uint64_t next, pace_ms;
  unsigned window, in_flight;
} stream;

/* The policy that was asked for. */
typedef struct policy {
  enum { POLICY_DEFAULT, POLICY_DELAY, POLICY_GIVE_UP, POLICY_FRESH } kind;
  int64_t value;
  uint32_t since; /* failures since the last connection */
} policy;

static iotops_context *context;
static iotops_settings *settings;
static iotops_session *session;
static iotops_mqtt_client *client;
static operation *operations;
static receiver *receivers;
static iotops_ack held[MAX_HELD];
static unsigned held_count;
static policy how;
static stream numbers;
static uv_pipe_t input;
static char line[MAX_LINE];
static size_t line_size;

/* ------------------------------------------------------------- events -- */

static void on_log(void *user, const iotops_log_record *record) {
  (void)user;
  fprintf(stderr, "%s: %.*s", iotops_log_level_name(record->level),
          (int)record->message.size, record->message.data);
  for (size_t i = 0; i < record->field_count; i++)
    fprintf(stderr, " %s=%.*s", record->fields[i].name,
            (int)record->fields[i].value.size, record->fields[i].value.data);
  fputc('\n', stderr);
}

static void on_connected(void *user, const iotops_connected_event *event) {
  (void)user;
  how.since = 0;
  printf("connected %d %d %u\n", event->reason_code, event->session_present,
         (unsigned)event->epoch);
}

static void on_disconnected(void *user,
                            const iotops_disconnected_event *event) {
  (void)user;
  printf("disconnected %d %d %s\n", event->cause->reason_code,
         event->will_retry, event->cause->message);
}

static void on_ended(void *user, const iotops_error *err) {
  (void)user;
  if (err)
    printf("ended %d %s\n", err->reason_code, err->message);
  else
    puts("ended ok");
}

static int64_t on_question(void *user, iotops_context *asking,
                           const iotops_reconnect_question *question) {
  iotops_reconnect_question fresh = *question;

  (void)user;
  printf("asked %u %d\n", (unsigned)question->failures, question->fatal);
  switch (how.kind) {
  case POLICY_DELAY:
    return question->fatal ? -1 : how.value;
  case POLICY_GIVE_UP:
    return (int64_t)question->failures >= how.value ? -1 : 20;
  case POLICY_FRESH: /* as if each connection had lived long enough */
    fresh.failures = how.since++;
    return iotops_reconnect_backoff(NULL, asking, &fresh);
  default:
    return iotops_reconnect_backoff(NULL, asking, question);
  }
}

static void on_done(void *user, const iotops_mqtt_result *result) {
  const operation *operation = user;

  if (result->error)
    printf("failed %s %s: %s\n", operation->tag,
           iotops_error_kind_name(result->error->kind), result->error->message);
  else
    printf("done %s %d\n", operation->tag, result->reason_code);
}

static void on_message(void *user, const iotops_message *message,
                       iotops_ack ack) {
  const receiver *receiver = user;
  unsigned number = held_count++ % MAX_HELD;

  held[number] = ack;
  printf("message %s %u %.*s %d %.*s\n", receiver->name, number,
         (int)message->topic.size, message->topic.data, message->dup,
         (int)(message->payload.size < 200 ? message->payload.size : 200),
         message->payload.data);
  if (!receiver->manual)
    iotops_mqtt_settle(client, ack);
}

/* ------------------------------------------------------------ numbers -- */

static void on_number(void *user, const iotops_mqtt_result *result) {
  uint64_t number = (uint64_t)(uintptr_t)user;

  numbers.in_flight--;
  if (result->error)
    printf("unsent %llu %s\n", (unsigned long long)number,
           result->error->message);
  else if (result->reason_code < 0x80)
    printf("sent %llu\n", (unsigned long long)number);
}

static void send_numbers(iotops_timer *timer) {
  iotops_message message = IOTOPS_MESSAGE_INIT;
  char text[24];

  message.topic = iotops_text_of(numbers.topic);
  message.qos = 1;
  if (numbers.in_flight < numbers.window) {
    snprintf(text, sizeof text, "%llu", (unsigned long long)numbers.next);
    message.payload = iotops_text_of(text);
    if (iotops_mqtt_publish(client, &message, on_number,
                            (void *)(uintptr_t)numbers.next, NULL, NULL) == 0) {
      numbers.next++;
      numbers.in_flight++;
    }
  }
  if (iotops_session_get_state(session) != IOTOPS_SESSION_ENDED)
    iotops_timer_start(context, timer, numbers.pace_ms);
}

/* ----------------------------------------------------------- commands -- */

static void refused(const char *what, const iotops_error *err) {
  printf("refused %s %s %s: %s\n", what,
         err->property_name[0] ? err->property_name : "-",
         iotops_error_kind_name(err->kind), err->message);
}

static operation *operation_new(const char *tag) {
  operation *made = calloc(1, sizeof *made);

  snprintf(made->tag, sizeof made->tag, "%s", tag);
  made->next = operations;
  operations = made;
  return made;
}

static void make_session(void) {
  iotops_session_options options = IOTOPS_SESSION_OPTIONS_INIT;
  iotops_error err;

  options.settings = settings;
  options.reconnect = on_question;
  options.connected = on_connected;
  options.disconnected = on_disconnected;
  options.ended = on_ended;
  if (iotops_session_new(context, &options, &session, &err) != 0) {
    refused("new", &err);
    return;
  }
  client = iotops_session_client(session);
  puts("made");
}

/* publish TAG QOS RETAIN TOPIC PAYLOAD [NAME VALUE]... */
static void publish(char **words, int count) {
  iotops_message message = IOTOPS_MESSAGE_INIT;
  iotops_user_property properties[MAX_WORDS / 2];
  operation *operation = operation_new(words[1]);
  iotops_error err;
  char *filler = NULL;

  message.qos = (uint8_t)atoi(words[2]);
  message.retain = atoi(words[3]) != 0;
  message.topic = iotops_text_of(words[4]);
  message.payload = iotops_text_of(words[5]);
  if (words[5][0] == '*') { /* so many bytes */
    message.payload.size = (size_t)atol(words[5] + 1);
    message.payload.data = filler = calloc(1, message.payload.size + 1);
  }
  message.user_properties = properties;
  for (int i = 6; i + 1 < count; i += 2) {
    properties[message.user_property_count].name = iotops_text_of(words[i]);
    properties[message.user_property_count++].value =
        iotops_text_of(words[i + 1]);
  }
  if (iotops_mqtt_publish(client, &message, on_done, operation, &operation->id,
                          &err) != 0)
    refused(operation->tag, &err);
  free(filler);
}

/* subscribe TAG FILTER QOS; unsubscribe TAG FILTER */
static void subscribe(char **words, int count) {
  iotops_subscribe_options options = IOTOPS_SUBSCRIBE_OPTIONS_INIT;
  operation *operation = operation_new(words[1]);
  iotops_error err;
  int rc;

  if (count > 3)
    options.qos = (uint8_t)atoi(words[3]);
  if (words[0][0] == 's')
    rc = iotops_mqtt_subscribe(client, iotops_text_of(words[2]), &options,
                               on_done, operation, &operation->id, &err);
  else
    rc = iotops_mqtt_unsubscribe(client, iotops_text_of(words[2]), on_done,
                                 operation, &operation->id, &err);
  if (rc != 0)
    refused(operation->tag, &err);
}

/* receive NAME FILTER auto|manual */
static void receive(char **words) {
  receiver *made = calloc(1, sizeof *made);
  iotops_error err;

  snprintf(made->name, sizeof made->name, "%s", words[1]);
  made->manual = strcmp(words[3], "manual") == 0;
  made->next = receivers;
  receivers = made;
  if (iotops_mqtt_add_receiver(client, iotops_text_of(words[2]), on_message,
                               made, &made->handle, &err) != 0)
    refused(words[1], &err);
}

static void cancel(const char *tag) {
  for (operation *at = operations; at; at = at->next)
    if (strcmp(at->tag, tag) == 0)
      iotops_mqtt_cancel(client, at->id);
}

static void print_metrics(void) {
  iotops_session_metrics m;

  iotops_session_get_metrics(session, &m);
  printf("metrics connects=%llu failed_attempts=%llu disconnects=%llu "
         "reauths_ok=%llu reauths_failed=%llu unacked=%llu acks_sent=%llu "
         "acks_dropped=%llu unmatched=%llu duplicates=%llu in_flight=%llu\n",
         (unsigned long long)m.connects, (unsigned long long)m.failed_attempts,
         (unsigned long long)m.disconnects, (unsigned long long)m.reauths_ok,
         (unsigned long long)m.reauths_failed, (unsigned long long)m.unacked,
         (unsigned long long)m.acks_sent, (unsigned long long)m.acks_dropped,
         (unsigned long long)m.unmatched, (unsigned long long)m.duplicates,
         (unsigned long long)m.publishes_in_flight);
}

static void set_policy(char **words, int count) {
  static const char *const names[] = {"default", "delay", "give_up", "fresh"};

  for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(words[1], names[i]) == 0)
      how.kind = i;
  how.value = count > 2 ? atol(words[2]) : 0;
}

static void stream_numbers(char **words) {
  snprintf(numbers.topic, sizeof numbers.topic, "%s", words[1]);
  numbers.next = strtoull(words[2], NULL, 10);
  numbers.pace_ms = strtoull(words[3], NULL, 10);
  numbers.window = (unsigned)atoi(words[4]);
  numbers.timer.fire = send_numbers;
  iotops_timer_start(context, &numbers.timer, 0);
}

static void obey(char *text) {
  char *words[MAX_WORDS + 1] = {NULL}, *rest = NULL;
  iotops_exit_options drain = IOTOPS_EXIT_OPTIONS_INIT;
  iotops_error err;
  int count = 0;

  for (char *word = strtok_r(text, " ", &rest); word && count < MAX_WORDS;
       word = strtok_r(NULL, " ", &rest))
    words[count++] = word;
  if (count == 0)
    return;
#define IS(name, least) (strcmp(words[0], name) == 0 && count > (least))
  if (IS("set", 2)) {
    if (iotops_settings_set(settings, words[1], iotops_text_of(words[2]), &err))
      refused("set", &err);
  } else if (IS("property", 2)) {
    if (iotops_settings_add_user_property(settings, iotops_text_of(words[1]),
                                          iotops_text_of(words[2]), &err))
      refused("property", &err);
  } else if (IS("policy", 1)) {
    set_policy(words, count);
  } else if (IS("new", 0)) {
    make_session();
  } else if (IS("run", 0)) {
    if (iotops_session_run(session, &err) != 0)
      refused("run", &err);
  } else if (IS("publish", 5)) {
    publish(words, count);
  } else if (IS("subscribe", 2) || IS("unsubscribe", 2)) {
    subscribe(words, count);
  } else if (IS("receive", 3)) {
    receive(words);
  } else if (IS("cancel", 1)) {
    cancel(words[1]);
  } else if (IS("settle", 1)) {
    printf("settled %s %d\n", words[1],
           iotops_mqtt_settle(client, held[atoi(words[1]) % MAX_HELD]));
  } else if (IS("stream", 4)) {
    stream_numbers(words);
  } else if (IS("stop", 0)) {
    numbers.window = 0;
  } else if (IS("exit", 0)) {
    drain.drain_ms = count > 1 ? strtoull(words[1], NULL, 10) : 0;
    if (iotops_session_exit(session, &drain, &err) != 0)
      refused("exit", &err);
  } else if (IS("force_exit", 0)) {
    printf("forced %d\n", iotops_session_force_exit(session));
  } else if (IS("detach", 0)) {
    iotops_session_detach(session, NULL);
  } else if (IS("metrics", 0)) {
    print_metrics();
  } else {
    printf("unknown %s\n", words[0]);
  }
#undef IS
}

/* --------------------------------------------------------------- life -- */

static void on_space(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
  (void)handle;
  (void)suggested;
  buffer->base = line + line_size;
  buffer->len = MAX_LINE - 1 - line_size;
}

static void on_input(uv_stream_t *handle, ssize_t size,
                     const uv_buf_t *buffer) {
  char *start = line, *end;

  (void)buffer;
  if (size < 0) {
    uv_close((uv_handle_t *)handle, NULL);
    iotops_context_stop(context);
    return;
  }
  line_size += (size_t)size;
  line[line_size] = '\0';
  while ((end = strchr(start, '\n')) != NULL) {
    *end = '\0';
    obey(start);
    start = end + 1;
  }
  line_size = strlen(start);
  memmove(line, start, line_size + 1);
}

int main(void) {
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  const char *level = getenv("PEER_LOG");
  int wanted = iotops_log_level_from(iotops_text_of(level ? level : "debug"));

  setvbuf(stdout, NULL, _IOLBF, 0);
  options.log = on_log;
  options.log_level = wanted < 0 ? IOTOPS_LOG_DEBUG : (iotops_log_level)wanted;
  if (iotops_context_new(&options, &context, NULL) != 0)
    return 2;
  settings = iotops_settings_new(context);
  uv_pipe_init(iotops_context_loop(context), &input, 0);
  uv_pipe_open(&input, STDIN_FILENO);
  uv_read_start((uv_stream_t *)&input, on_space, on_input);
  iotops_context_run(context);
  iotops_timer_stop(context, &numbers.timer);
  if (session)
    iotops_session_free(session);
  iotops_context_drain(context);
  for (receiver *next; receivers; receivers = next) {
    next = receivers->next;
    free(receivers);
  }
  for (operation *next; operations; operations = next) {
    next = operations->next;
    free(operations);
  }
  iotops_settings_free(settings);
  iotops_context_free(context);
  return 0;
}
