/*
** bare.c -- what libmosquitto alone does, as the measure of our own figures.
**
**   bare receive PORT COUNT TOPIC          COUNT messages, from first to last
**   bare send PORT COUNT TOPIC WINDOW      COUNT messages, WINDOW in flight
**   bare pace PORT COUNT TOPIC RATE        RATE messages a second until
*SIGTERM,
**                                          each with the time it was sent at
**   bare pong PORT COUNT TOPIC             answers what ping asks
**   bare ping PORT COUNT TOPIC             COUNT round trips, one at a time
**
** Everything is MQTT v5, QoS 1, 64 bytes of JSON.  With NODELAY=1 in the
** environment its socket has TCP_NODELAY, which libmosquitto leaves off.
** Prints "ready" when subscribed and one line of figures: seconds, or p50 and
** p99 microseconds.
*/
#include <mosquitto.h>
#include <mqtt_protocol.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { PAYLOAD_SIZE = 64, KEEP_ALIVE_S = 60 };

typedef struct bench {
  struct mosquitto *client;
  const char *topic;
  long count;
  long sent, acked, received;
  double first, last; /* seconds, of what was received */
  bool ready;
  char answer_topic[128];
  char payload[PAYLOAD_SIZE + 1];
} bench;

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static void check(int result, const char *what) {
  if (result == MOSQ_ERR_SUCCESS)
    return;
  fprintf(stderr, "bare: %s: %s\n", what, mosquitto_strerror(result));
  exit(1);
}

static void on_subscribe(struct mosquitto *client, void *user, int id,
                         int count, const int *granted) {
  (void)client, (void)id, (void)count, (void)granted;
  ((bench *)user)->ready = true;
}

static void on_publish(struct mosquitto *client, void *user, int id) {
  (void)client, (void)id;
  ((bench *)user)->acked++;
}

static void on_message(struct mosquitto *client, void *user,
                       const struct mosquitto_message *message,
                       const mosquitto_property *properties) {
  bench *b = user;
  (void)client, (void)message, (void)properties;
  b->last = now();
  if (b->received++ == 0)
    b->first = b->last;
}

/* Answers where the request says, with the request's correlation data. */
static void on_request(struct mosquitto *client, void *user,
                       const struct mosquitto_message *message,
                       const mosquitto_property *properties) {
  bench *b = user;
  mosquitto_property *answer = NULL;
  char *topic = NULL;
  void *correlation = NULL;
  uint16_t size = 0;
  mosquitto_property_read_string(properties, MQTT_PROP_RESPONSE_TOPIC, &topic,
                                 false);
  mosquitto_property_read_binary(properties, MQTT_PROP_CORRELATION_DATA,
                                 &correlation, &size, false);
  if (topic != NULL && correlation != NULL) {
    check(mosquitto_property_add_binary(&answer, MQTT_PROP_CORRELATION_DATA,
                                        correlation, size),
          "property");
    check(mosquitto_publish_v5(client, NULL, topic, message->payloadlen,
                               message->payload, 1, false, answer),
          "publish");
    b->received++;
  }
  mosquitto_property_free_all(&answer);
  free(topic);
  free(correlation);
}

static void loop(bench *b) {
  check(mosquitto_loop(b->client, 1000, 1), "loop");
}

static void publish(bench *b, const mosquitto_property *properties) {
  check(mosquitto_publish_v5(b->client, NULL, b->topic, PAYLOAD_SIZE,
                             b->payload, 1, false, properties),
        "publish");
  b->sent++;
}

static void subscribe(bench *b, const char *topic) {
  check(mosquitto_subscribe(b->client, NULL, topic, 1), "subscribe");
  while (!b->ready)
    loop(b);
  puts("ready");
  fflush(stdout);
}

static void receive(bench *b) {
  mosquitto_message_v5_callback_set(b->client, on_message);
  subscribe(b, b->topic);
  while (b->received < b->count)
    loop(b);
  printf("%.6f seconds\n", b->last - b->first);
}

static void send_all(bench *b, long window) {
  double started = now();
  while (b->acked < b->count) {
    while (b->sent < b->count && b->sent - b->acked < window)
      publish(b, NULL);
    loop(b);
  }
  printf("%.6f seconds\n", now() - started);
}

static volatile sig_atomic_t stopped;

static void stop(int signal) {
  (void)signal;
  stopped = 1;
}

/* What is due by the clock, so that a busy machine gets the same rate. */
static void pace(bench *b, double rate) {
  const struct timespec pause = {.tv_nsec = 50000};
  double started = now();
  prctl(PR_SET_TIMERSLACK, 1000UL);
  signal(SIGTERM, stop);
  while (!stopped) {
    while ((double)b->sent < (now() - started) * rate) {
      char text[PAYLOAD_SIZE + 1];
      snprintf(text, sizeof text, "{\"sent\":%.0f,\"sequence\":%ld}",
               now() * 1e9, b->sent);
      snprintf(b->payload, sizeof b->payload, "%-64s", text);
      publish(b, NULL);
    }
    nanosleep(&pause, NULL);
    check(mosquitto_loop(b->client, 0, 1), "loop");
  }
  while (b->acked < b->sent)
    loop(b);
}

static void pong(bench *b) {
  mosquitto_message_v5_callback_set(b->client, on_request);
  subscribe(b, b->topic);
  while (b->received < b->count || b->acked < b->count)
    loop(b);
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void ping(bench *b) {
  double *took = calloc((size_t)b->count, sizeof *took);
  mosquitto_property *properties = NULL;
  if (took == NULL)
    exit(1);
  snprintf(b->answer_topic, sizeof b->answer_topic, "%s/answer/%d", b->topic,
           (int)getpid());
  mosquitto_message_v5_callback_set(b->client, on_message);
  subscribe(b, b->answer_topic);
  check(mosquitto_property_add_string(&properties, MQTT_PROP_RESPONSE_TOPIC,
                                      b->answer_topic),
        "property");
  check(mosquitto_property_add_binary(&properties, MQTT_PROP_CORRELATION_DATA,
                                      "0123456789abcdef", 16),
        "property");
  for (long i = 0; i < b->count; i++) {
    double started = now();
    publish(b, properties);
    while (b->received <= i)
      loop(b);
    took[i] = now() - started;
  }
  qsort(took, (size_t)b->count, sizeof *took, ascending);
  printf("%.1f p50 %.1f p99\n", took[b->count / 2] * 1e6,
         took[b->count * 99 / 100] * 1e6);
  mosquitto_property_free_all(&properties);
  free(took);
}

static void connect_to(bench *b, int port) {
  mosquitto_lib_init();
  b->client = mosquitto_new(NULL, true, b);
  if (b->client == NULL)
    exit(1);
  mosquitto_int_option(b->client, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
  if (getenv("NODELAY") != NULL)
    mosquitto_int_option(b->client, MOSQ_OPT_TCP_NODELAY, 1);
  /* Its own window must not be the narrower one. */
  mosquitto_max_inflight_messages_set(b->client, 0);
  mosquitto_subscribe_callback_set(b->client, on_subscribe);
  mosquitto_publish_callback_set(b->client, on_publish);
  check(mosquitto_connect(b->client, "127.0.0.1", port, KEEP_ALIVE_S),
        "connect");
}

int main(int argc, char **argv) {
  bench b = {0};
  if (argc < 5) {
    fputs("usage: bare receive|send|pace|pong|ping PORT COUNT TOPIC "
          "[WINDOW|RATE]\n",
          stderr);
    return 2;
  }
  b.count = strtol(argv[3], NULL, 10);
  b.topic = argv[4];
  snprintf(b.payload, sizeof b.payload, "%-64s",
           "{\"celsius\":21.53,\"sensor\":\"line1-oven-3\",\"sequence\":1}");
  connect_to(&b, (int)strtol(argv[2], NULL, 10));
  if (strcmp(argv[1], "receive") == 0)
    receive(&b);
  else if (strcmp(argv[1], "send") == 0)
    send_all(&b, argc > 5 ? strtol(argv[5], NULL, 10) : 100);
  else if (strcmp(argv[1], "pace") == 0)
    pace(&b, argc > 5 ? strtod(argv[5], NULL) : 1000);
  else if (strcmp(argv[1], "pong") == 0)
    pong(&b);
  else if (strcmp(argv[1], "ping") == 0)
    ping(&b);
  mosquitto_disconnect(b.client);
  mosquitto_destroy(b.client);
  mosquitto_lib_cleanup();
  return 0;
}
