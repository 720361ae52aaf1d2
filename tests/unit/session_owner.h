/*
** session_owner.h -- a session under test, and what its owner was told.
**
** The broker is memory_broker.h's; the owner counts and keeps whatever the
** session reports, for a test to look at.
*/
#ifndef UNIT_SESSION_OWNER_H
#define UNIT_SESSION_OWNER_H

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

static inline void note(owner *owner, char what) {
  size_t length = strlen(owner->order);

  if (length + 1 < sizeof owner->order)
    owner->order[length] = what;
}

static inline void on_connected(void *user,
                                const iotops_connected_event *event) {
  owner *owner = user;

  owner->connected++;
  owner->session_present = event->session_present;
  owner->epoch = event->epoch;
  note(owner, 'c');
}

static inline void on_disconnected(void *user,
                                   const iotops_disconnected_event *event) {
  owner *owner = user;

  owner->disconnected++;
  owner->will_retry = event->will_retry;
  owner->cause = *event->cause;
  note(owner, 'd');
}

static inline void on_ended(void *user, const iotops_error *err) {
  owner *owner = user;

  owner->ended++;
  owner->end_failed = err != NULL;
  if (err)
    owner->end_error = *err;
  note(owner, 'e');
}

static inline void on_done(void *user, const iotops_mqtt_result *result) {
  owner *owner = user;

  if (result->error) {
    owner->kinds[owner->failed++] = result->error->kind;
    snprintf(owner->last_error, sizeof owner->last_error, "%s",
             result->error->message);
  } else {
    owner->codes[owner->done++] = result->reason_code;
  }
}

static inline void on_message(void *user, const iotops_message *message,
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

static inline owner *begin_on(memory_broker *broker, const setting *settings) {
  owner *owner = calloc(1, sizeof *owner);
  iotops_session_options options = IOTOPS_SESSION_OPTIONS_INIT;
  iotops_transport transport;
  iotops_settings *given;
  iotops_error err;

  owner->broker = broker;
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

static inline owner *begin_with(const setting *settings) {
  return begin_on(broker_new(), settings);
}

static inline owner *begin(void) {
  return begin_with(NULL);
}

static inline void finish(owner *owner) {
  iotops_session_free(owner->session);
  broker_free(owner->broker);
  free(owner);
}

static inline owner *connected_with(const setting *settings) {
  owner *owner = begin_with(settings);

  assert_int_equal(iotops_session_run(owner->session, NULL), 0);
  broker_connack(owner->broker, false);
  assert_int_equal(owner->connected, 1);
  return owner;
}

static inline owner *connected(void) {
  return connected_with(NULL);
}

static inline void drain(owner *owner) {
  iotops_context_drain(owner->broker->context);
}

static inline iotops_operation publish(owner *owner, int qos, const char *topic,
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

static inline iotops_operation subscribe(owner *owner, const char *filter) {
  iotops_subscribe_options options = IOTOPS_SUBSCRIBE_OPTIONS_INIT;
  iotops_operation op;
  iotops_error err;

  if (iotops_mqtt_subscribe(owner->client, iotops_text_of(filter), &options,
                            on_done, owner, &op, &err))
    fail_msg("%s", err.message);
  return op;
}

static inline iotops_receiver *receive(owner *owner, const char *filter) {
  iotops_receiver *receiver;
  iotops_error err;

  if (iotops_mqtt_add_receiver(owner->client, iotops_text_of(filter),
                               on_message, owner, &receiver, &err))
    fail_msg("%s", err.message);
  return receiver;
}

static inline void puback(owner *owner, uint16_t id) {
  BROKER_SEND(owner->broker, 0x40, 2, (uint8_t)(id >> 8), (uint8_t)id);
  drain(owner);
}

static inline void suback(owner *owner, uint16_t id, uint8_t code) {
  BROKER_SEND(owner->broker, 0x90, 4, (uint8_t)(id >> 8), (uint8_t)id, 0, code);
  drain(owner);
}

static inline void unsuback(owner *owner, uint16_t id, uint8_t code) {
  BROKER_SEND(owner->broker, 0xb0, 4, (uint8_t)(id >> 8), (uint8_t)id, 0, code);
  drain(owner);
}

static inline void expect_puback(owner *owner, uint16_t id) {
  assert_int_equal(broker_expect(owner->broker, 4)->id, id);
}

/* The stream breaks, and the next one comes up. */
static inline void come_back(owner *owner, bool present) {
  broker_end(owner->broker);
  drain(owner);
  broker_pass(owner->broker, 1000);
  broker_connack(owner->broker, present);
}

#endif
