/* test_session.c -- a session against a broker that a test plays. */
#include "memory_broker.h"

#include "session/session_fields.h"

/* What the owner of the session was told. */
typedef struct owner {
  memory_broker *broker;
  iotops_session *session;
  iotops_mqtt_client *client;
  unsigned connected, disconnected, ended;
  bool session_present, will_retry, end_failed;
  uint32_t epoch;
  iotops_error cause, end_error;
  char order[64]; /* c, d, e as they came */

  unsigned done, failed;
  uint8_t codes[256];
  iotops_error_kind kinds[256];
  char last_error[IOTOPS_ERROR_MESSAGE_SIZE];

  unsigned received;
  iotops_ack acks[128];
  char payloads[128][64];
  bool settle; /* at once */
  unsigned writable;
} owner;

static void note(owner *owner, char what) {
  size_t length = strlen(owner->order);

  if (length + 1 < sizeof owner->order)
    owner->order[length] = what;
}

static void on_connected(void *user, const iotops_connected_event *event) {
  owner *owner = user;

  owner->connected++;
  owner->session_present = event->session_present;
  owner->epoch = event->epoch;
  note(owner, 'c');
}

static void on_disconnected(void *user,
                            const iotops_disconnected_event *event) {
  owner *owner = user;

  owner->disconnected++;
  owner->will_retry = event->will_retry;
  owner->cause = *event->cause;
  note(owner, 'd');
}

static void on_ended(void *user, const iotops_error *err) {
  owner *owner = user;

  owner->ended++;
  owner->end_failed = err != NULL;
  if (err)
    owner->end_error = *err;
  note(owner, 'e');
}

static void on_done(void *user, const iotops_mqtt_result *result) {
  owner *owner = user;

  if (result->error) {
    owner->kinds[owner->failed++] = result->error->kind;
    snprintf(owner->last_error, sizeof owner->last_error, "%s",
             result->error->message);
  } else {
    owner->codes[owner->done++] = result->reason_code;
  }
}

static void on_message(void *user, const iotops_message *message,
                       iotops_ack ack) {
  owner *owner = user;

  snprintf(owner->payloads[owner->received], sizeof owner->payloads[0], "%.*s",
           (int)message->payload.size, message->payload.data);
  owner->acks[owner->received++] = ack;
  if (owner->settle)
    iotops_mqtt_settle(owner->client, ack);
}

typedef struct setting {
  const char *name, *value;
} setting;

static owner *begin_with(const setting *settings) {
  owner *owner = calloc(1, sizeof *owner);
  iotops_session_options options = IOTOPS_SESSION_OPTIONS_INIT;
  iotops_transport transport;
  iotops_settings *given;
  iotops_error err;

  owner->broker = broker_new();
  given = iotops_settings_new(owner->broker->context);
  assert_int_equal(
      iotops_settings_set(given, "hostname", iotops_text_of("test"), &err), 0);
  assert_int_equal(
      iotops_settings_set(given, "client_id", iotops_text_of("me"), &err), 0);
  assert_int_equal(
      iotops_settings_set(given, "use_tls", iotops_text_of("false"), &err), 0);
  for (; settings && settings->name; settings++)
    if (iotops_settings_set(given, settings->name,
                            iotops_text_of(settings->value), &err) != 0)
      fail_msg("%s", err.message);
  transport = (iotops_transport){.open = broker_open, .user = owner->broker};
  options.settings = given;
  options.transport = &transport;
  options.connected = on_connected;
  options.disconnected = on_disconnected;
  options.ended = on_ended;
  options.user = owner;
  if (iotops_session_new(owner->broker->context, &options, &owner->session,
                         &err) != 0)
    fail_msg("%s", err.message);
  iotops_settings_free(given);
  owner->client = iotops_session_client(owner->session);
  return owner;
}

static owner *begin(void) {
  return begin_with(NULL);
}

static void finish(owner *owner) {
  iotops_session_free(owner->session);
  broker_free(owner->broker);
  free(owner);
}

static owner *connected_with(const setting *settings) {
  owner *owner = begin_with(settings);

  assert_int_equal(iotops_session_run(owner->session, NULL), 0);
  broker_connack(owner->broker, false);
  assert_int_equal(owner->connected, 1);
  return owner;
}

static owner *connected(void) {
  return connected_with(NULL);
}

static void drain(owner *owner) {
  iotops_context_drain(owner->broker->context);
}

static iotops_operation publish(owner *owner, int qos, const char *topic,
                                const char *payload) {
  iotops_message message = IOTOPS_MESSAGE_INIT;
  iotops_operation op = 0;
  iotops_error err;

  message.topic = iotops_text_of(topic);
  message.payload = iotops_text_of(payload);
  message.qos = (uint8_t)qos;
  if (iotops_mqtt_publish(owner->client, &message, on_done, owner, &op, &err))
    fail_msg("%s", err.message);
  return op;
}

static iotops_operation subscribe(owner *owner, const char *filter) {
  iotops_subscribe_options options = IOTOPS_SUBSCRIBE_OPTIONS_INIT;
  iotops_operation op;
  iotops_error err;

  if (iotops_mqtt_subscribe(owner->client, iotops_text_of(filter), &options,
                            on_done, owner, &op, &err))
    fail_msg("%s", err.message);
  return op;
}

static iotops_receiver *receive(owner *owner, const char *filter) {
  iotops_receiver *receiver;
  iotops_error err;

  if (iotops_mqtt_add_receiver(owner->client, iotops_text_of(filter),
                               on_message, owner, &receiver, &err))
    fail_msg("%s", err.message);
  return receiver;
}

static void puback(owner *owner, uint16_t id) {
  BROKER_SEND(owner->broker, 0x40, 2, (uint8_t)(id >> 8), (uint8_t)id);
  drain(owner);
}

static void suback(owner *owner, uint16_t id, uint8_t code) {
  BROKER_SEND(owner->broker, 0x90, 4, (uint8_t)(id >> 8), (uint8_t)id, 0, code);
  drain(owner);
}

static void unsuback(owner *owner, uint16_t id, uint8_t code) {
  BROKER_SEND(owner->broker, 0xb0, 4, (uint8_t)(id >> 8), (uint8_t)id, 0, code);
  drain(owner);
}

static void expect_puback(owner *owner, uint16_t id) {
  assert_int_equal(broker_expect(owner->broker, 4)->id, id);
}

/* The stream breaks, and the next one comes up. */
static void come_back(owner *owner, bool present) {
  broker_end(owner->broker);
  drain(owner);
  broker_pass(owner->broker, 1000);
  broker_connack(owner->broker, present);
}

/* ----------------------------------------------------------- connect -- */

static void the_connect_packet_is_byte_exact(void **state) {
  static const uint8_t wanted[] = {
      0x10, 49,  0,   4,    'M',  'Q',  'T', 'T', 5,   0,   0,   60,  34,
      0x11, 0,   0,   0x0e, 0x10, 0x26, 0,   14,  'm', 'e', 't', 'r', 'i',
      'c',  'c', 'a', 't',  'e',  'g',  'o', 'r', 'y', 0,   10,  'a', 'i',
      'o',  's', 'd', 'k',  '-',  'l',  'u', 'a', 0,   2,   'm', 'e'};
  owner *owner = begin();
  const broker_packet *packet;

  (void)state;
  assert_int_equal(iotops_session_run(owner->session, NULL), 0);
  packet = broker_expect(owner->broker, 1);
  assert_int_equal(packet->size, sizeof wanted);
  assert_memory_equal(packet->bytes, wanted, sizeof wanted);
  finish(owner);
}

static void
clean_start_is_asked_for_only_until_the_first_connack(void **state) {
  static const setting settings[] = {{"clean_start", "true"}, {0}};
  owner *owner = begin_with(settings);

  (void)state;
  iotops_session_run(owner->session, NULL);
  assert_int_equal(broker_expect(owner->broker, 1)->bytes[9], 2);
  broker_end(owner->broker);
  broker_pass(owner->broker, 1000);
  assert_int_equal(broker_expect(owner->broker, 1)->bytes[9], 2);
  BROKER_SEND(owner->broker, 0x20, 3, 0, 0, 0);
  drain(owner);
  broker_end(owner->broker);
  broker_pass(owner->broker, 1000);
  assert_int_equal(broker_expect(owner->broker, 1)->bytes[9], 0);
  finish(owner);
}

static void a_session_runs_once(void **state) {
  owner *owner = begin();
  iotops_error err;

  (void)state;
  assert_int_equal(iotops_session_run(owner->session, &err), 0);
  assert_int_equal(iotops_session_run(owner->session, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
  finish(owner);
}

static void fatal_connack_codes_end_the_session_at_once(void **state) {
  static const uint8_t codes[] = {0x81, 0x82, 0x83, 0x84, 0x85, 0x86,
                                  0x87, 0x8a, 0x8c, 0x90, 0x95, 0x99,
                                  0x9a, 0x9b, 0x9c, 0x9d};

  (void)state;
  for (size_t i = 0; i < sizeof codes; i++) {
    owner *owner = begin();

    iotops_session_run(owner->session, NULL);
    broker_expect(owner->broker, 1);
    BROKER_SEND(owner->broker, 0x20, 3, 0, codes[i], 0);
    broker_pass(owner->broker, 100000);
    assert_int_equal(owner->broker->opens, 1);
    assert_string_equal(owner->order, "e");
    assert_true(owner->end_failed);
    assert_int_equal(owner->end_error.reason_code, codes[i]);
    assert_int_equal(owner->end_error.kind, IOTOPS_MQTT_ERROR);
    finish(owner);
  }
}

static void transient_connack_codes_are_tried_again(void **state) {
  static const uint8_t codes[] = {0x80, 0x88, 0x89, 0x97, 0x9f, 0xfe};

  (void)state;
  for (size_t i = 0; i < sizeof codes; i++) {
    owner *owner = begin();

    iotops_session_run(owner->session, NULL);
    broker_expect(owner->broker, 1);
    BROKER_SEND(owner->broker, 0x20, 3, 0, codes[i], 0);
    broker_pass(owner->broker, 229);
    assert_int_equal(owner->broker->opens, 1);
    broker_pass(owner->broker, 30);
    assert_int_equal(owner->broker->opens, 2);
    broker_connack(owner->broker, false);
    assert_string_equal(owner->order, "c");
    finish(owner);
  }
}

static void an_attempt_that_hangs_is_given_up(void **state) {
  owner *owner = begin();

  (void)state;
  owner->broker->refuse_open = true;
  iotops_session_run(owner->session, NULL);
  broker_pass(owner->broker, 29999);
  assert_int_equal(owner->broker->opens, 1);
  assert_int_equal(owner->broker->closes, 0);
  broker_pass(owner->broker, 300);
  assert_int_equal(owner->broker->closes, 1);
  assert_int_equal(owner->broker->opens, 2);
  finish(owner);
}

static void a_packet_before_connack_is_a_protocol_error(void **state) {
  owner *owner = begin();

  (void)state;
  iotops_session_run(owner->session, NULL);
  broker_expect(owner->broker, 1);
  broker_publish(owner->broker, "a", 0, false, 0, "x");
  assert_int_equal(broker_expect(owner->broker, 14)->bytes[2], 0x82);
  assert_true(owner->broker->graceful);
  assert_int_equal(iotops_session_get_state(owner->session),
                   IOTOPS_SESSION_WAITING);
  finish(owner);
}

/* ---------------------------------------------------------- sending -- */

static void a_publish_ends_with_the_code_of_its_puback(void **state) {
  owner *owner = connected();
  const broker_packet *packet;

  (void)state;
  publish(owner, 1, "a/b", "hello");
  assert_int_equal(owner->done, 0);
  packet = broker_expect(owner->broker, 3);
  assert_int_equal(packet->flags, 2);
  assert_int_equal(owner->done, 0);
  BROKER_SEND(owner->broker, 0x40, 4, (uint8_t)(packet->id >> 8),
              (uint8_t)packet->id, 0x97, 0);
  drain(owner);
  assert_int_equal(owner->done, 1);
  assert_int_equal(owner->codes[0], 0x97);
  finish(owner);
}

static void qos0_ends_when_the_transport_has_it(void **state) {
  owner *owner = connected();

  (void)state;
  owner->broker->accept = 3;
  publish(owner, 0, "a/b", "hello");
  drain(owner);
  assert_int_equal(owner->done, 0);
  broker_accept_more(owner->broker, SIZE_MAX);
  drain(owner);
  assert_int_equal(owner->done, 1);
  assert_int_equal(broker_expect(owner->broker, 3)->flags, 0);
  finish(owner);
}

static void a_stalled_stream_goes_on_with_all_that_waits(void **state) {
  static char payload[100001];
  owner *owner = connected();

  (void)state;
  memset(payload, 'x', sizeof payload - 1);
  owner->broker->accept = 1000;
  for (int i = 0; i < 8; i++)
    publish(owner, i % 2, "a", payload);
  drain(owner);
  broker_expect_nothing(owner->broker);
  assert_int_equal(owner->done, 0);
  broker_accept_more(owner->broker, SIZE_MAX);
  for (int i = 0; i < 8; i++)
    broker_expect(owner->broker, 3);
  assert_int_equal(owner->done, 4);
  finish(owner);
}

static void qos0_that_was_not_written_is_sent_after_the_outage(void **state) {
  owner *owner = connected();

  (void)state;
  owner->broker->accept = 3;
  publish(owner, 0, "a", "one");
  publish(owner, 0, "a", "two");
  drain(owner);
  come_back(owner, true);
  assert_int_equal(owner->done, 2);
  assert_memory_equal(broker_expect(owner->broker, 3)->bytes + 6, "one", 3);
  assert_memory_equal(broker_expect(owner->broker, 3)->bytes + 6, "two", 3);
  broker_expect_nothing(owner->broker);
  finish(owner);
}

static void what_was_asked_before_the_start_is_sent_in_order(void **state) {
  owner *owner = begin();

  (void)state;
  publish(owner, 1, "a", "1");
  publish(owner, 1, "a", "2");
  publish(owner, 0, "a", "0");
  subscribe(owner, "s");
  iotops_session_run(owner->session, NULL);
  broker_connack(owner->broker, false);
  broker_expect(owner->broker, 8);
  assert_int_equal(broker_expect(owner->broker, 3)->bytes[6], '0' + 0);
  assert_int_equal(broker_expect(owner->broker, 3)->bytes[8], '1');
  assert_int_equal(broker_expect(owner->broker, 3)->bytes[8], '2');
  broker_expect_nothing(owner->broker);
  assert_int_equal(owner->broker->writes, 2); /* CONNECT, and all the rest */
  finish(owner);
}

static void
unacknowledged_publishes_are_replayed_before_queued_ones(void **state) {
  owner *owner = connected();
  uint16_t first, second;
  const broker_packet *packet;

  (void)state;
  publish(owner, 1, "a", "1");
  publish(owner, 1, "a", "2");
  first = broker_expect(owner->broker, 3)->id;
  second = broker_expect(owner->broker, 3)->id;
  broker_end(owner->broker);
  drain(owner);
  publish(owner, 1, "a", "3");
  broker_pass(owner->broker, 1000);
  broker_connack(owner->broker, true);
  packet = broker_expect(owner->broker, 3);
  assert_int_equal(packet->flags, 10);
  assert_int_equal(packet->id, first);
  packet = broker_expect(owner->broker, 3);
  assert_int_equal(packet->flags, 10);
  assert_int_equal(packet->id, second);
  packet = broker_expect(owner->broker, 3);
  assert_int_equal(packet->flags, 2);
  assert_int_equal(packet->bytes[8], '3');
  puback(owner, first);
  puback(owner, second);
  puback(owner, packet->id);
  assert_int_equal(owner->done, 3);
  assert_int_equal(owner->failed, 0);
  assert_string_equal(owner->order, "cdc");
  finish(owner);
}

static void the_window_of_the_broker_is_kept(void **state) {
  owner *owner = begin();
  uint16_t id;

  (void)state;
  iotops_session_run(owner->session, NULL);
  broker_expect(owner->broker, 1);
  BROKER_SEND(owner->broker, 0x20, 6, 0, 0, 3, 0x21, 0, 2);
  for (int i = 0; i < 4; i++)
    publish(owner, 1, "a", "x");
  id = broker_expect(owner->broker, 3)->id;
  broker_expect(owner->broker, 3);
  broker_expect_nothing(owner->broker);
  puback(owner, id);
  broker_expect(owner->broker, 3);
  broker_expect_nothing(owner->broker);
  /* It shrinks and grows with the connections, for replays too. */
  broker_end(owner->broker);
  broker_pass(owner->broker, 1000);
  broker_expect(owner->broker, 1);
  BROKER_SEND(owner->broker, 0x20, 6, 1, 0, 3, 0x21, 0, 1);
  id = broker_expect(owner->broker, 3)->id;
  broker_expect_nothing(owner->broker);
  puback(owner, id);
  id = broker_expect(owner->broker, 3)->id;
  broker_expect_nothing(owner->broker);
  broker_end(owner->broker);
  broker_pass(owner->broker, 1000);
  broker_connack(owner->broker, true);
  assert_int_equal(broker_expect(owner->broker, 3)->id, id);
  broker_expect(owner->broker, 3);
  broker_expect_nothing(owner->broker);
  finish(owner);
}

static void a_packet_id_in_flight_is_never_given_out_again(void **state) {
  owner *owner = connected();
  iotops_message message = IOTOPS_MESSAGE_INIT;
  uint16_t stuck, last;

  (void)state;
  publish(owner, 1, "a", "stuck");
  stuck = broker_expect(owner->broker, 3)->id;
  message.topic = iotops_text_of("a");
  for (int i = 0; i < 65533; i++) { /* QoS 0 takes numbers too */
    assert_int_equal(
        iotops_mqtt_publish(owner->client, &message, NULL, NULL, NULL, NULL),
        0);
    if (i % 100 == 99) {
      drain(owner);
      owner->broker->taken = owner->broker->packet_count = 0;
    }
  }
  drain(owner);
  owner->broker->taken = owner->broker->packet_count = 0;
  publish(owner, 1, "a", "x");
  last = broker_expect(owner->broker, 3)->id;
  assert_int_equal((uint16_t)(last + 1) ? last + 1 : 1, stuck);
  publish(owner, 1, "a", "y");
  broker_expect_nothing(owner->broker);
  puback(owner, stuck);
  assert_int_equal(broker_expect(owner->broker, 3)->id, stuck);
  finish(owner);
}

static void arguments_are_checked_before_queueing(void **state) {
  owner *owner = connected();
  iotops_message message = IOTOPS_MESSAGE_INIT;
  iotops_subscribe_options options = IOTOPS_SUBSCRIBE_OPTIONS_INIT;
  iotops_error err;

  (void)state;
  message.topic = iotops_text_of("a");
  message.qos = 2;
  assert_int_equal(
      iotops_mqtt_publish(owner->client, &message, on_done, owner, NULL, &err),
      -1);
  assert_string_equal(err.message, "invalid or unsupported QoS");
  assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_true(err.is_shallow);
  message.qos = 1;
  message.format_indicator = 2;
  assert_int_equal(
      iotops_mqtt_publish(owner->client, &message, on_done, owner, NULL, &err),
      -1);
  assert_string_equal(err.message, "invalid payload format indicator");
  message.format_indicator = 1;
  message.topic = iotops_text_of("a/#");
  assert_int_equal(
      iotops_mqtt_publish(owner->client, &message, on_done, owner, NULL, &err),
      -1);
  assert_string_equal(err.message, "invalid topic name \"a/#\"");
  message.topic = iotops_text_of("a");
  message.content_type = iotops_text_of("\xff");
  assert_int_equal(
      iotops_mqtt_publish(owner->client, &message, on_done, owner, NULL, &err),
      -1);
  assert_string_equal(err.message, "invalid content type");
  options.no_local = true;
  assert_int_equal(iotops_mqtt_subscribe(owner->client,
                                         iotops_text_of("$share/g/a"), &options,
                                         on_done, owner, NULL, &err),
                   -1);
  assert_string_equal(err.message,
                      "no-local cannot be used with a shared subscription");
  broker_expect_nothing(owner->broker);
  finish(owner);
}

static void a_packet_beyond_the_brokers_maximum_is_never_sent(void **state) {
  owner *owner = begin();
  iotops_message message = IOTOPS_MESSAGE_INIT;
  iotops_error err;

  (void)state;
  publish(owner, 1, "a", "a payload of more than twenty bytes");
  iotops_session_run(owner->session, NULL);
  broker_expect(owner->broker, 1);
  BROKER_SEND(owner->broker, 0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 20);
  drain(owner);
  assert_int_equal(owner->failed, 1);
  assert_string_equal(owner->last_error,
                      "packet of 43 bytes exceeds the broker's maximum of 20");
  message.topic = iotops_text_of("a");
  message.payload = iotops_text_of("012345678901234");
  assert_int_equal(
      iotops_mqtt_publish(owner->client, &message, on_done, owner, NULL, &err),
      -1);
  message.payload.size = 14;
  assert_int_equal(
      iotops_mqtt_publish(owner->client, &message, on_done, owner, NULL, &err),
      0);
  broker_expect(owner->broker, 3);
  finish(owner);
}

static void on_writable(iotops_mqtt_observer *observer) {
  ((owner *)observer->user)->writable++;
}

static void a_full_queue_refuses_and_tells_when_there_is_room(void **state) {
  static const setting settings[] = {{"publish_queue_qos1", "2"}, {0}};
  owner *owner = begin_with(settings);
  iotops_mqtt_observer observer = {.writable = on_writable, .user = owner};
  iotops_message message = IOTOPS_MESSAGE_INIT;
  iotops_error err;

  (void)state;
  iotops_mqtt_observe(owner->client, &observer);
  publish(owner, 1, "a", "1");
  publish(owner, 1, "a", "2");
  message.topic = iotops_text_of("a");
  message.qos = 1;
  assert_int_equal(
      iotops_mqtt_publish(owner->client, &message, on_done, owner, NULL, &err),
      -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
  assert_string_equal(err.property_name, "publish_queue_qos1");
  publish(owner, 0, "a", "0"); /* a queue of its own */
  assert_int_equal(owner->writable, 0);
  iotops_session_run(owner->session, NULL);
  broker_connack(owner->broker, false);
  assert_int_equal(owner->writable, 1);
  /* While connected, what is handed on in time makes room by itself. */
  for (int i = 0; i < 50; i++)
    publish(owner, 1, "a", "x");
  drain(owner);
  assert_int_equal(owner->writable, 1);
  finish(owner);
}

static void a_full_queue_drops_the_oldest_or_the_newest(void **state) {
  static const setting modes[2][3] = {
      {{"publish_queue_qos1", "1"}, {"publish_queue_full", "drop_oldest"}, {0}},
      {{"publish_queue_qos1", "1"}, {"publish_queue_full", "drop_newest"}, {0}},
  };

  (void)state;
  for (int mode = 0; mode < 2; mode++) {
    owner *owner = begin_with(modes[mode]);

    publish(owner, 1, "a", "1");
    publish(owner, 1, "a", "2");
    assert_int_equal(owner->failed, 0);
    drain(owner);
    assert_int_equal(owner->failed, 1);
    assert_int_equal(owner->kinds[0], IOTOPS_MQTT_ERROR);
    iotops_session_run(owner->session, NULL);
    broker_connack(owner->broker, false);
    assert_int_equal(broker_expect(owner->broker, 3)->bytes[8],
                     mode == 0 ? '2' : '1');
    finish(owner);
  }
}

static void cancelling_a_queued_publish_sends_nothing(void **state) {
  owner *owner = begin();
  iotops_operation op = publish(owner, 1, "a", "1");

  (void)state;
  iotops_mqtt_cancel(owner->client, op);
  assert_int_equal(owner->failed, 0);
  drain(owner);
  assert_int_equal(owner->failed, 1);
  assert_int_equal(owner->kinds[0], IOTOPS_CANCELLATION);
  iotops_mqtt_cancel(owner->client, op);
  iotops_session_run(owner->session, NULL);
  broker_connack(owner->broker, false);
  broker_expect_nothing(owner->broker);
  assert_int_equal(owner->failed, 1);
  finish(owner);
}

static void cancelling_in_flight_swallows_the_answer(void **state) {
  owner *owner = connected();
  iotops_operation op = publish(owner, 1, "a", "1");
  uint16_t id = broker_expect(owner->broker, 3)->id;

  (void)state;
  iotops_mqtt_cancel(owner->client, op);
  drain(owner);
  assert_int_equal(owner->failed, 1);
  come_back(owner, true);
  assert_int_equal(broker_expect(owner->broker, 3)->id, id);
  puback(owner, id);
  assert_int_equal(owner->failed, 1);
  assert_int_equal(owner->done, 0);
  finish(owner);
}

/* --------------------------------------------------------- receiving -- */

static void pubacks_leave_in_the_order_of_receipt(void **state) {
  owner *owner = connected();

  (void)state;
  receive(owner, "a");
  for (uint16_t id = 1; id <= 3; id++)
    broker_publish(owner->broker, "a", 1, false, id, "x");
  drain(owner);
  assert_int_equal(owner->received, 3);
  iotops_mqtt_settle(owner->client, owner->acks[2]);
  iotops_mqtt_settle(owner->client, owner->acks[1]);
  broker_expect_nothing(owner->broker);
  iotops_mqtt_settle(owner->client, owner->acks[0]);
  expect_puback(owner, 1);
  expect_puback(owner, 2);
  expect_puback(owner, 3);
  broker_expect_nothing(owner->broker);
  finish(owner);
}

static void
acknowledgements_and_answers_of_one_event_are_one_write(void **state) {
  owner *owner = connected();
  unsigned writes;

  (void)state;
  owner->settle = true;
  receive(owner, "a");
  publish(owner, 1, "b", "x");
  drain(owner);
  writes = owner->broker->writes;
  for (uint16_t id = 1; id <= 50; id++)
    broker_publish(owner->broker, "a", 1, false, id, "x");
  drain(owner);
  assert_int_equal(owner->broker->writes, writes + 1);
  finish(owner);
}

static void a_message_is_acknowledged_after_its_last_receiver(void **state) {
  owner *owner = connected();

  (void)state;
  receive(owner, "a");
  receive(owner, "+");
  receive(owner, "#");
  broker_publish(owner->broker, "a", 1, false, 7, "x");
  drain(owner);
  assert_int_equal(owner->received, 3);
  assert_true(iotops_mqtt_settle(owner->client, owner->acks[0]));
  assert_false(iotops_mqtt_settle(owner->client, owner->acks[0]));
  assert_true(iotops_mqtt_settle(owner->client, owner->acks[2]));
  broker_expect_nothing(owner->broker);
  assert_true(iotops_mqtt_settle(owner->client, owner->acks[1]));
  expect_puback(owner, 7);
  finish(owner);
}

static void a_message_for_nobody_is_acknowledged_in_its_turn(void **state) {
  owner *owner = connected();
  iotops_session_metrics metrics;

  (void)state;
  receive(owner, "a");
  broker_publish(owner->broker, "a", 1, false, 1, "x");
  broker_publish(owner->broker, "b", 1, false, 2, "x");
  broker_publish(owner->broker, "b", 0, false, 0, "x");
  broker_expect_nothing(owner->broker);
  iotops_mqtt_settle(owner->client, owner->acks[0]);
  expect_puback(owner, 1);
  expect_puback(owner, 2);
  broker_expect_nothing(owner->broker);
  iotops_session_get_metrics(owner->session, &metrics);
  assert_int_equal(metrics.unmatched, 2);
  finish(owner);
}

static void a_late_ack_of_an_old_connection_is_dropped(void **state) {
  owner *owner = connected();

  (void)state;
  receive(owner, "a");
  broker_publish(owner->broker, "a", 1, false, 1, "x");
  drain(owner);
  come_back(owner, true);
  assert_int_equal(owner->epoch, 2);
  broker_publish(owner->broker, "a", 1, true, 1, "x");
  drain(owner);
  assert_int_equal(owner->received, 2);
  assert_false(iotops_mqtt_settle(owner->client, owner->acks[0]));
  broker_expect_nothing(owner->broker);
  assert_true(iotops_mqtt_settle(owner->client, owner->acks[1]));
  expect_puback(owner, 1);
  broker_expect_nothing(owner->broker);
  finish(owner);
}

static void a_redelivery_of_a_pending_packet_is_ignored(void **state) {
  owner *owner = connected();

  (void)state;
  receive(owner, "a");
  broker_publish(owner->broker, "a", 1, false, 1, "x");
  broker_publish(owner->broker, "a", 1, true, 1, "x");
  drain(owner);
  assert_int_equal(owner->received, 1);
  broker_publish(owner->broker, "a", 1, false, 1, "x");
  assert_int_equal(broker_expect(owner->broker, 14)->bytes[2], 0x82);
  finish(owner);
}

static void more_than_receive_max_is_refused(void **state) {
  static const setting settings[] = {{"receive_max", "2"}, {0}};
  owner *owner = connected_with(settings);

  (void)state;
  receive(owner, "a");
  broker_publish(owner->broker, "a", 1, false, 1, "x");
  broker_publish(owner->broker, "a", 1, false, 2, "x");
  broker_publish(owner->broker, "a", 1, false, 3, "x");
  assert_int_equal(broker_expect(owner->broker, 14)->bytes[2], 0x93);
  finish(owner);
}

static void hostile_packets_are_refused_with_their_code(void **state) {
  static const struct {
    uint8_t bytes[16];
    size_t size;
    uint8_t code;
  } cases[] = {
      {{0x30, 0xff, 0xff, 0xff, 0x7f}, 5, 0x95},      /* 256 MiB announced */
      {{0x30, 0xff, 0xff, 0xff, 0xff}, 5, 0x81},      /* no end of the length */
      {{0x34, 6, 0, 1, 'a', 0, 1, 0}, 8, 0x9b},       /* QoS 2 */
      {{0x36, 6, 0, 1, 'a', 0, 1, 0}, 8, 0x81},       /* QoS 3 */
      {{0x30, 7, 0, 1, 'a', 3, 0x23, 0, 1}, 9, 0x82}, /* topic alias */
      {{0x30, 4, 0, 1, '#', 0}, 6, 0x81},
      {{0x30, 4, 0, 1, 0xff, 0}, 6, 0x81},
      {{0x82, 2, 0, 1}, 4, 0x82}, /* SUBSCRIBE to a client */
      {{0xf0, 2, 0x19, 0}, 4, 0x82},
      {{0xf0, 2, 0x18, 0}, 4, 0x82},
  };
  static const setting settings[] = {{"receive_packet_size_max", "1000"}, {0}};

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    owner *owner = connected_with(settings);

    broker_send(owner->broker, cases[i].bytes, cases[i].size);
    assert_int_equal(broker_expect(owner->broker, 14)->bytes[2], cases[i].code);
    assert_true(owner->will_retry);
    broker_pass(owner->broker, 1000);
    assert_int_equal(owner->broker->opens, 2);
    finish(owner);
  }
}

static void a_stream_cut_at_any_byte_delivers_the_same(void **state) {
  static const uint8_t bytes[] = {0x32, 9, 0, 1, 'a', 0, 1, 0, 'o', 'n', 'e',
                                  0x32, 9, 0, 1, 'a', 0, 2, 0, 't', 'w', 'o'};

  (void)state;
  for (size_t cut = 1; cut < sizeof bytes; cut++) {
    owner *owner = connected();

    owner->settle = true;
    receive(owner, "a");
    broker_send(owner->broker, bytes, cut);
    drain(owner);
    broker_send(owner->broker, bytes + cut, sizeof bytes - cut);
    drain(owner);
    assert_int_equal(owner->received, 2);
    assert_string_equal(owner->payloads[0], "one");
    assert_string_equal(owner->payloads[1], "two");
    expect_puback(owner, 1);
    expect_puback(owner, 2);
    finish(owner);
  }
}

static void reading_stops_while_too_much_is_held(void **state) {
  static const setting settings[] = {{"max_held_bytes", "20"}, {0}};
  owner *owner = connected_with(settings);

  (void)state;
  receive(owner, "a");
  for (uint16_t id = 1; id <= 6; id++)
    broker_publish(owner->broker, "a", 1, false, id, "12345");
  drain(owner);
  assert_int_equal(owner->received, 2);
  assert_true(owner->broker->paused);
  broker_pass(owner->broker, 100000); /* pings go on; no loss */
  assert_int_equal(owner->disconnected, 0);
  iotops_mqtt_settle(owner->client, owner->acks[0]);
  broker_pass(owner->broker, 1);
  assert_int_equal(owner->received, 3);
  for (unsigned i = 1; i < 6; i++) {
    iotops_mqtt_settle(owner->client, owner->acks[i]);
    broker_pass(owner->broker, 1);
  }
  assert_int_equal(owner->received, 6);
  assert_false(owner->broker->paused);
  finish(owner);
}

static void a_flood_leaves_turns_to_the_loop(void **state) {
  owner *owner = connected();

  (void)state;
  for (int i = 0; i < 2500; i++)
    broker_publish(owner->broker, "a", 0, false, 0, "x");
  drain(owner);
  assert_int_equal(owner->session->metrics.received, 1000);
  broker_pass(owner->broker, 0);
  assert_int_equal(owner->session->metrics.received, 2500);
  finish(owner);
}

/* ------------------------------------------------------ subscriptions -- */

static void equal_subscriptions_are_one_on_the_wire(void **state) {
  owner *owner = connected();
  uint16_t id;
  iotops_error err;

  (void)state;
  subscribe(owner, "a/#");
  subscribe(owner, "a/#");
  id = broker_expect(owner->broker, 8)->id;
  broker_expect_nothing(owner->broker);
  suback(owner, id, 1);
  assert_int_equal(owner->done, 2);
  subscribe(owner, "a/#");
  assert_int_equal(owner->done, 2);
  drain(owner);
  assert_int_equal(owner->done, 3);
  assert_int_equal(owner->codes[2], 1);
  for (unsigned i = 0; i < 2; i++) {
    assert_int_equal(iotops_mqtt_unsubscribe(owner->client,
                                             iotops_text_of("a/#"), on_done,
                                             owner, NULL, &err),
                     0);
    drain(owner);
    assert_int_equal(owner->done, 4 + i);
    broker_expect_nothing(owner->broker);
  }
  assert_int_equal(iotops_mqtt_unsubscribe(owner->client, iotops_text_of("a/#"),
                                           on_done, owner, NULL, &err),
                   0);
  id = broker_expect(owner->broker, 10)->id;
  unsuback(owner, id, 0x11);
  assert_int_equal(owner->done, 6);
  assert_int_equal(owner->codes[5], 0x11);
  finish(owner);
}

static void a_refused_subscription_owns_nothing(void **state) {
  owner *owner = connected();
  uint16_t id;

  (void)state;
  subscribe(owner, "a");
  subscribe(owner, "a");
  id = broker_expect(owner->broker, 8)->id;
  suback(owner, id, 0x87);
  assert_int_equal(owner->done, 2);
  assert_int_equal(owner->codes[0], 0x87);
  assert_int_equal(owner->codes[1], 0x87);
  subscribe(owner, "a"); /* asks the broker again */
  broker_expect(owner->broker, 8);
  finish(owner);
}

static void a_subscribe_without_answer_is_sent_again(void **state) {
  owner *owner = connected();
  uint16_t id;

  (void)state;
  subscribe(owner, "a");
  broker_expect(owner->broker, 8);
  come_back(owner, true);
  id = broker_expect(owner->broker, 8)->id;
  suback(owner, id, 1);
  assert_int_equal(owner->done, 1);
  broker_expect_nothing(owner->broker);
  finish(owner);
}

/* The Subscription Identifier of a SUBSCRIBE packet; 0: none. */
static uint32_t subscription_id_of(const broker_packet *packet) {
  const uint8_t *at = packet->bytes + 5;
  uint32_t id = 0;

  if (packet->bytes[4] == 0)
    return 0;
  assert_int_equal(*at++, 0x0b);
  for (int shift = 0;; shift += 7) {
    id |= (uint32_t)(*at & 127) << shift;
    if (!(*at++ & 128))
      return id;
  }
}

static void send_with_id(owner *owner, const char *topic, uint32_t id) {
  uint8_t bytes[64] = {0x30}, properties[8] = {0x0b};
  size_t topic_size = strlen(topic), count = 1, at = 2;

  do {
    properties[count++] = (uint8_t)((id & 127) | (id > 127 ? 128 : 0));
    id >>= 7;
  } while (id > 0);
  bytes[at++] = 0;
  bytes[at++] = (uint8_t)topic_size;
  memcpy(bytes + at, topic, topic_size);
  at += topic_size;
  bytes[at++] = (uint8_t)count;
  memcpy(bytes + at, properties, count);
  at += count;
  bytes[1] = (uint8_t)(at - 2);
  broker_send(owner->broker, bytes, at);
  drain(owner);
}

static void identifiers_keep_overlapping_filters_apart(void **state) {
  owner *owner = connected();
  uint32_t all, one;

  (void)state;
  receive(owner, "a/#");
  receive(owner, "a/+");
  subscribe(owner, "a/#");
  subscribe(owner, "a/+");
  all = subscription_id_of(broker_expect(owner->broker, 8));
  one = subscription_id_of(broker_expect(owner->broker, 8));
  assert_true(all != 0 && one != 0 && all != one);
  send_with_id(owner, "a/b", all);
  assert_int_equal(owner->received, 1);
  send_with_id(owner, "a/b", one);
  assert_int_equal(owner->received, 2);
  /* Of a foreign identifier nothing is known: by topic. */
  send_with_id(owner, "a/b", one == 5 || all == 5 ? 6 : 5);
  assert_int_equal(owner->received, 4);
  /* An identifier whose filter cannot be meant counts as foreign. */
  receive(owner, "z");
  send_with_id(owner, "z", one);
  assert_int_equal(owner->received, 5);
  finish(owner);
}

static void a_cancelled_subscription_is_taken_back_once_granted(void **state) {
  owner *owner = connected();
  iotops_operation op = subscribe(owner, "a");
  uint16_t id = broker_expect(owner->broker, 8)->id;

  (void)state;
  iotops_mqtt_cancel(owner->client, op);
  drain(owner);
  assert_int_equal(owner->failed, 1);
  suback(owner, id, 1);
  id = broker_expect(owner->broker, 10)->id;
  unsuback(owner, id, 0);
  assert_int_equal(owner->done, 0);
  finish(owner);
}

/* ------------------------------------------------------------- losing -- */

static void transient_disconnects_are_survived(void **state) {
  static const uint8_t codes[] = {0x00, 0x04, 0x80, 0x83, 0x89, 0x8b, 0x8d,
                                  0x93, 0x96, 0x97, 0x98, 0x9c, 0x9f, 0xa0};

  (void)state;
  for (size_t i = 0; i < sizeof codes; i++) {
    owner *owner = connected();

    BROKER_SEND(owner->broker, 0xe0, 1, codes[i]);
    drain(owner);
    assert_int_equal(owner->cause.reason_code, codes[i]);
    assert_true(owner->will_retry);
    broker_pass(owner->broker, 1000);
    broker_connack(owner->broker, true);
    assert_string_equal(owner->order, "cdc");
    finish(owner);
  }
}

static void fatal_disconnects_end_the_session(void **state) {
  static const uint8_t codes[] = {0x81, 0x82, 0x87, 0x8c, 0x8e, 0x8f,
                                  0x90, 0x94, 0x95, 0x99, 0x9a, 0x9b,
                                  0x9d, 0x9e, 0xa1, 0xa2};

  (void)state;
  for (size_t i = 0; i < sizeof codes; i++) {
    owner *owner = connected();

    publish(owner, 1, "a", "x");
    drain(owner);
    BROKER_SEND(owner->broker, 0xe0, 1, codes[i]);
    broker_pass(owner->broker, 100000);
    assert_int_equal(owner->broker->opens, 1);
    assert_string_equal(owner->order, "cde");
    assert_false(owner->will_retry);
    assert_int_equal(owner->end_error.reason_code, codes[i]);
    assert_int_equal(owner->failed, 1);
    finish(owner);
  }
}

static void a_session_that_the_broker_lost_ends(void **state) {
  owner *owner = connected();
  const broker_packet *packet;
  static const uint8_t farewell[] = {0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0};

  (void)state;
  publish(owner, 1, "a", "x");
  broker_expect(owner->broker, 3);
  broker_end(owner->broker);
  drain(owner);
  publish(owner, 1, "a", "y");
  broker_pass(owner->broker, 1000);
  broker_connack(owner->broker, false);
  packet = broker_expect(owner->broker, 14);
  assert_int_equal(packet->size, sizeof farewell);
  assert_memory_equal(packet->bytes, farewell, sizeof farewell);
  broker_expect_nothing(owner->broker);
  assert_string_equal(owner->order, "cde");
  assert_int_equal(owner->failed, 2);
  assert_non_null(strstr(owner->last_error, "session lost"));
  finish(owner);
}

static void connections_that_drop_at_once_meet_growing_delays(void **state) {
  owner *owner = connected();

  (void)state;
  for (int i = 1; i <= 5; i++) {
    uint64_t nominal = (uint64_t)128 << i;

    broker_end(owner->broker);
    drain(owner);
    broker_pass(owner->broker, nominal * 9 / 10 - 1);
    assert_int_equal(owner->broker->opens, i);
    broker_pass(owner->broker, nominal / 10 + 2);
    assert_int_equal(owner->broker->opens, i + 1);
    broker_connack(owner->broker, true);
  }
  /* One that has lived is followed at once. */
  broker_pass(owner->broker, 10000);
  broker_end(owner->broker);
  drain(owner);
  assert_int_equal(owner->broker->opens, 7);
  finish(owner);
}

static void a_silent_peer_is_lost_after_interval_and_timeout(void **state) {
  owner *owner = connected();

  (void)state;
  broker_pass(owner->broker, 59999);
  broker_expect_nothing(owner->broker);
  broker_pass(owner->broker, 1);
  broker_expect(owner->broker, 12);
  BROKER_SEND(owner->broker, 0xd0, 0);
  broker_pass(owner->broker, 60000);
  broker_expect(owner->broker, 12);
  broker_pass(owner->broker, 9999);
  assert_int_equal(owner->disconnected, 0);
  broker_pass(owner->broker, 2);
  assert_int_equal(owner->disconnected, 1);
  assert_non_null(strstr(owner->cause.message, "ping timeout"));
  assert_int_equal(owner->broker->opens, 2);
  finish(owner);
}

static void the_server_may_set_another_keep_alive_or_none(void **state) {
  owner *owner = begin();

  (void)state;
  iotops_session_run(owner->session, NULL);
  broker_expect(owner->broker, 1);
  BROKER_SEND(owner->broker, 0x20, 6, 0, 0, 3, 0x13, 0, 5);
  broker_pass(owner->broker, 5000);
  broker_expect(owner->broker, 12);
  broker_end(owner->broker);
  broker_pass(owner->broker, 1000);
  broker_expect(owner->broker, 1);
  BROKER_SEND(owner->broker, 0x20, 6, 1, 0, 3, 0x13, 0, 0);
  broker_pass(owner->broker, 1000000);
  broker_expect_nothing(owner->broker);
  finish(owner);
}

/* ------------------------------------------------------------- leaving -- */

static void exit_ends_the_brokers_session(void **state) {
  static const uint8_t wanted[] = {0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0};
  owner *owner = connected();
  const broker_packet *packet;
  iotops_error err;

  (void)state;
  assert_int_equal(iotops_session_exit(owner->session, NULL, &err), 0);
  assert_string_equal(owner->order, "c");
  packet = broker_expect(owner->broker, 14);
  assert_int_equal(packet->size, sizeof wanted);
  assert_memory_equal(packet->bytes, wanted, sizeof wanted);
  assert_string_equal(owner->order, "cde");
  assert_false(owner->end_failed);
  assert_true(owner->broker->graceful);
  broker_pass(owner->broker, 1000000);
  assert_int_equal(owner->broker->opens, 1);
  assert_int_equal(iotops_session_exit(owner->session, NULL, &err), -1);
  assert_non_null(strstr(err.message, "detached"));
  finish(owner);
}

static void exit_fails_while_the_broker_is_not_there(void **state) {
  owner *owner = begin();
  iotops_error err;

  (void)state;
  iotops_session_run(owner->session, NULL);
  assert_int_equal(iotops_session_exit(owner->session, NULL, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
  broker_connack(owner->broker, false);
  assert_int_equal(owner->connected, 1);
  finish(owner);
}

static void force_exit_ends_without_a_packet_when_not_connected(void **state) {
  owner *owner = begin();

  (void)state;
  iotops_session_run(owner->session, NULL);
  publish(owner, 1, "a", "x");
  drain(owner);
  broker_expect(owner->broker, 1);
  assert_false(iotops_session_force_exit(owner->session));
  assert_int_equal(owner->ended, 0);
  drain(owner);
  assert_int_equal(owner->ended, 1);
  assert_int_equal(owner->end_error.kind, IOTOPS_CANCELLATION);
  assert_int_equal(owner->failed, 1);
  broker_expect_nothing(owner->broker);
  assert_null(owner->broker->stream);
  finish(owner);
}

static void detach_waits_for_handlers_and_flushes_their_acks(void **state) {
  owner *owner = connected();
  iotops_exit_options options = IOTOPS_EXIT_OPTIONS_INIT;
  const broker_packet *packet;
  uint16_t id;

  (void)state;
  options.drain_ms = 5000;
  receive(owner, "a");
  broker_publish(owner->broker, "a", 1, false, 1, "x");
  drain(owner);
  iotops_session_detach(owner->session, &options);
  broker_publish(owner->broker, "a", 1, false, 2, "y");
  broker_expect_nothing(owner->broker);
  assert_int_equal(owner->received, 1); /* nothing new is begun */
  publish(owner, 1, "b", "answer");     /* what handlers send still goes */
  id = broker_expect(owner->broker, 3)->id;
  iotops_mqtt_settle(owner->client, owner->acks[0]);
  expect_puback(owner, 1);
  broker_expect_nothing(owner->broker);
  puback(owner, id);
  packet = broker_expect(owner->broker, 14);
  assert_int_equal(packet->size, 2);
  assert_string_equal(owner->order, "cde");
  assert_false(owner->end_failed);
  finish(owner);
}

static void a_drain_has_an_end(void **state) {
  owner *owner = connected();
  iotops_exit_options options = IOTOPS_EXIT_OPTIONS_INIT;

  (void)state;
  options.drain_ms = 5000;
  receive(owner, "a");
  broker_publish(owner->broker, "a", 1, false, 1, "x");
  drain(owner);
  iotops_session_detach(owner->session, &options);
  broker_pass(owner->broker, 4999);
  broker_expect_nothing(owner->broker);
  broker_pass(owner->broker, 2);
  broker_expect(owner->broker, 14);
  assert_int_equal(owner->ended, 1);
  assert_false(iotops_mqtt_settle(owner->client, owner->acks[0]));
  finish(owner);
}

static void a_disconnect_that_cannot_leave_is_given_up(void **state) {
  owner *owner = connected();

  (void)state;
  owner->broker->accept = 0;
  assert_true(iotops_session_force_exit(owner->session));
  broker_pass(owner->broker, 999);
  assert_int_equal(owner->ended, 0);
  broker_pass(owner->broker, 2);
  assert_int_equal(owner->ended, 1);
  finish(owner);
}

static void nothing_may_be_asked_after_the_end(void **state) {
  owner *owner = connected();
  iotops_message message = IOTOPS_MESSAGE_INIT;
  iotops_error err;

  (void)state;
  iotops_session_force_exit(owner->session);
  drain(owner);
  message.topic = iotops_text_of("a");
  assert_int_equal(
      iotops_mqtt_publish(owner->client, &message, on_done, owner, NULL, &err),
      -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_STATE);
  finish(owner);
}

static void freeing_completes_what_is_pending(void **state) {
  owner *owner = connected();
  memory_broker *broker = owner->broker;

  (void)state;
  publish(owner, 1, "a", "1");
  drain(owner);
  publish(owner, 1, "a", "2");
  subscribe(owner, "b");
  iotops_session_free(owner->session);
  assert_int_equal(owner->failed, 0);
  broker_free(broker);
  assert_int_equal(owner->failed, 3);
  assert_int_equal(owner->kinds[0], IOTOPS_CANCELLATION);
  assert_string_equal(owner->order, "c");
  free(owner);
}

static void free_in_handler(void *user, const iotops_message *message,
                            iotops_ack ack) {
  owner *owner = user;

  (void)ack;
  iotops_session_free(owner->session);
  assert_memory_equal(message->payload.data, "x", 1);
  owner->received++;
}

static void a_session_may_be_freed_by_its_handler(void **state) {
  owner *owner = connected();
  iotops_receiver *receiver;
  memory_broker *broker = owner->broker;

  (void)state;
  assert_int_equal(iotops_mqtt_add_receiver(owner->client, iotops_text_of("a"),
                                            free_in_handler, owner, &receiver,
                                            NULL),
                   0);
  broker_publish(broker, "a", 1, false, 1, "x");
  broker_publish(broker, "a", 1, false, 2, "x");
  iotops_context_drain(broker->context);
  assert_int_equal(owner->received, 1);
  broker_free(broker);
  free(owner);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_connect_packet_is_byte_exact),
      cmocka_unit_test(clean_start_is_asked_for_only_until_the_first_connack),
      cmocka_unit_test(a_session_runs_once),
      cmocka_unit_test(fatal_connack_codes_end_the_session_at_once),
      cmocka_unit_test(transient_connack_codes_are_tried_again),
      cmocka_unit_test(an_attempt_that_hangs_is_given_up),
      cmocka_unit_test(a_packet_before_connack_is_a_protocol_error),
      cmocka_unit_test(a_publish_ends_with_the_code_of_its_puback),
      cmocka_unit_test(qos0_ends_when_the_transport_has_it),
      cmocka_unit_test(a_stalled_stream_goes_on_with_all_that_waits),
      cmocka_unit_test(qos0_that_was_not_written_is_sent_after_the_outage),
      cmocka_unit_test(what_was_asked_before_the_start_is_sent_in_order),
      cmocka_unit_test(
          unacknowledged_publishes_are_replayed_before_queued_ones),
      cmocka_unit_test(the_window_of_the_broker_is_kept),
      cmocka_unit_test(a_packet_id_in_flight_is_never_given_out_again),
      cmocka_unit_test(arguments_are_checked_before_queueing),
      cmocka_unit_test(a_packet_beyond_the_brokers_maximum_is_never_sent),
      cmocka_unit_test(a_full_queue_refuses_and_tells_when_there_is_room),
      cmocka_unit_test(a_full_queue_drops_the_oldest_or_the_newest),
      cmocka_unit_test(cancelling_a_queued_publish_sends_nothing),
      cmocka_unit_test(cancelling_in_flight_swallows_the_answer),
      cmocka_unit_test(pubacks_leave_in_the_order_of_receipt),
      cmocka_unit_test(acknowledgements_and_answers_of_one_event_are_one_write),
      cmocka_unit_test(a_message_is_acknowledged_after_its_last_receiver),
      cmocka_unit_test(a_message_for_nobody_is_acknowledged_in_its_turn),
      cmocka_unit_test(a_late_ack_of_an_old_connection_is_dropped),
      cmocka_unit_test(a_redelivery_of_a_pending_packet_is_ignored),
      cmocka_unit_test(more_than_receive_max_is_refused),
      cmocka_unit_test(hostile_packets_are_refused_with_their_code),
      cmocka_unit_test(a_stream_cut_at_any_byte_delivers_the_same),
      cmocka_unit_test(reading_stops_while_too_much_is_held),
      cmocka_unit_test(a_flood_leaves_turns_to_the_loop),
      cmocka_unit_test(equal_subscriptions_are_one_on_the_wire),
      cmocka_unit_test(a_refused_subscription_owns_nothing),
      cmocka_unit_test(a_subscribe_without_answer_is_sent_again),
      cmocka_unit_test(identifiers_keep_overlapping_filters_apart),
      cmocka_unit_test(a_cancelled_subscription_is_taken_back_once_granted),
      cmocka_unit_test(transient_disconnects_are_survived),
      cmocka_unit_test(fatal_disconnects_end_the_session),
      cmocka_unit_test(a_session_that_the_broker_lost_ends),
      cmocka_unit_test(connections_that_drop_at_once_meet_growing_delays),
      cmocka_unit_test(a_silent_peer_is_lost_after_interval_and_timeout),
      cmocka_unit_test(the_server_may_set_another_keep_alive_or_none),
      cmocka_unit_test(exit_ends_the_brokers_session),
      cmocka_unit_test(exit_fails_while_the_broker_is_not_there),
      cmocka_unit_test(force_exit_ends_without_a_packet_when_not_connected),
      cmocka_unit_test(detach_waits_for_handlers_and_flushes_their_acks),
      cmocka_unit_test(a_drain_has_an_end),
      cmocka_unit_test(a_disconnect_that_cannot_leave_is_given_up),
      cmocka_unit_test(nothing_may_be_asked_after_the_end),
      cmocka_unit_test(freeing_completes_what_is_pending),
      cmocka_unit_test(a_session_may_be_freed_by_its_handler),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
