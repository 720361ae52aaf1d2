/*
** stub_broker.c -- level 2: a broker of one client, over an in-memory
** transport (see stub.h).
**
** Answers what it is sent and sends nothing unasked: no redelivery, no
** subscription identifiers, no limits but a Receive Maximum.  The session
** under test is the product's own.
*/
#include <stdlib.h>
#include <string.h>

#include "iotops/session.h"
#include "memory_stream.h"
#include "mqtt_codec.h"
#include "stub.h"

enum {
  RECEIVE_MAX = 1000,
  MAX_QUIET_TURNS = 2, /* loop turns without a packet that count as idle */
  MAX_TURNS = 10000
};

/* Longer than a connection must have lived to be reconnected at once. */
static const uint64_t settling_ms = 11000;

typedef struct stub_broker {
  metl_stub stub;
  metl_wire wire;
  iotops_session *session; /* owned */
  metl_bytes received;     /* not a whole packet yet */
  bool connected;          /* CONNACK has been sent */
  bool ended;              /* the session has said so */
  bool malformed, out_of_order;
  iotops_message **outbox; /* owned, each too; held while not connected */
  size_t outbox_count;
  metl_bytes unacked;   /* packet ids (two bytes) of messages to the client */
  metl_bytes withheld;  /* packet ids of its publishes left unanswered */
  char **subscriptions; /* owned, each too */
  size_t subscription_count;
} stub_broker;

/* ------------------------------------------------ lists of packet ids -- */

static void add_id(metl_bytes *ids, uint16_t id) {
  metl_bytes_add(ids, &id, sizeof id);
}

static bool drop_id(metl_bytes *ids, uint16_t id) {
  for (size_t at = 0; at < ids->size; at += sizeof id) {
    if (memcmp(ids->data + at, &id, sizeof id) == 0) {
      memmove(ids->data + at, ids->data + at + sizeof id,
              ids->size - at - sizeof id);
      ids->size -= sizeof id;
      return true;
    }
  }
  return false;
}

/* ------------------------------------------------------------ packets -- */

static uint64_t now(const stub_broker *broker) {
  return iotops_mono_ms(broker->stub.context);
}

static void transmit(stub_broker *broker, metl_bytes *packet) {
  metl_wire_send(&broker->wire, packet->data, packet->size);
  metl_bytes_free(packet);
}

static void send_answer(stub_broker *broker, uint8_t type, const char *name,
                        uint16_t packet_id, uint8_t reason_code) {
  metl_bytes packet = {0};
  mqtt_write_answer(&packet, type, packet_id, reason_code);
  metl_packet *entry =
      metl_log_add(&broker->stub.log, METL_ANSWER, false, name, now(broker));
  entry->packet_id = packet_id;
  entry->reason_code = reason_code;
  transmit(broker, &packet);
}

static void send_message(stub_broker *broker, const iotops_message *message) {
  metl_bytes packet = {0};
  mqtt_write_publish(&packet, message);
  metl_log_publish(&broker->stub.log, false, message, now(broker));
  if (message->qos > 0) {
    drop_id(&broker->unacked, message->packet_id);
    add_id(&broker->unacked, message->packet_id);
  }
  transmit(broker, &packet);
}

static void flush_outbox(stub_broker *broker) {
  for (size_t i = 0; i < broker->outbox_count; i++) {
    send_message(broker, broker->outbox[i]);
    free(broker->outbox[i]);
  }
  broker->outbox_count = 0;
}

static void on_connect(stub_broker *broker, mqtt_reader content) {
  metl_bytes packet = {0};
  iotops_text protocol = mqtt_read_text(&content);
  uint8_t version = mqtt_read_byte(&content);
  bool clean_start = mqtt_read_byte(&content) & 2;
  mqtt_read_u16(&content); /* keep-alive: any */
  mqtt_read_section(&content, mqtt_read_varint(&content));
  iotops_text client_id = mqtt_read_text(&content);
  if (!iotops_text_equal(protocol, iotops_text_of("MQTT")) || version != 5 ||
      content.bad || clean_start ||
      !iotops_text_equal(client_id, iotops_text_of(broker->stub.client_id))) {
    broker->malformed = true;
    return;
  }
  metl_log_add(&broker->stub.log, METL_CONNECT, true, "CONNECT", now(broker));
  mqtt_write_connack(&packet, true, RECEIVE_MAX);
  metl_log_add(&broker->stub.log, METL_ANSWER, false, "CONNACK", now(broker));
  transmit(broker, &packet);
  broker->connected = true;
  flush_outbox(broker);
}

static void on_publish(stub_broker *broker, uint8_t header,
                       mqtt_reader content) {
  iotops_user_property properties[MQTT_MAX_PROPERTIES];
  iotops_message message;
  if (!mqtt_read_publish(header, content, properties, &message)) {
    broker->malformed = true;
    return;
  }
  metl_log_publish(&broker->stub.log, true, &message, now(broker));
  metl_push_ack said = metl_push_acks_take(&broker->stub.publish_acks);
  if (message.qos == 0) {
    return;
  }
  if (said == METL_DROP) {
    add_id(&broker->withheld, message.packet_id);
    return;
  }
  send_answer(broker, MQTT_PUBACK, "PUBACK", message.packet_id,
              said == METL_FAIL ? 0x80 : 0);
}

static void on_puback(stub_broker *broker, mqtt_reader content) {
  metl_packet *entry =
      metl_log_add(&broker->stub.log, METL_PUBACK, true, "PUBACK", now(broker));
  entry->packet_id = mqtt_read_u16(&content);
  entry->reason_code = mqtt_more(&content) ? mqtt_read_byte(&content) : -1;
  uint16_t oldest = 0;
  if (broker->unacked.size > 0) {
    memcpy(&oldest, broker->unacked.data, sizeof oldest);
  }
  broker->out_of_order |= oldest != entry->packet_id;
  /* One that was not asked for, or a second one, breaks the protocol. */
  broker->malformed |= !drop_id(&broker->unacked, entry->packet_id);
}

static size_t find_subscription(const stub_broker *broker, iotops_text filter) {
  size_t i = 0;
  while (i < broker->subscription_count &&
         !iotops_text_equal(iotops_text_of(broker->subscriptions[i]), filter)) {
    i++;
  }
  return i;
}

static void grant(stub_broker *broker, iotops_text filter) {
  if (find_subscription(broker, filter) < broker->subscription_count) {
    return;
  }
  char *copy = metl_resize(NULL, filter.size + 1);
  memcpy(copy, filter.data, filter.size);
  copy[filter.size] = '\0';
  broker->subscriptions =
      metl_resize(broker->subscriptions, (broker->subscription_count + 1) *
                                             sizeof *broker->subscriptions);
  broker->subscriptions[broker->subscription_count++] = copy;
}

static void revoke(stub_broker *broker, iotops_text filter) {
  size_t i = find_subscription(broker, filter);
  if (i < broker->subscription_count) {
    free(broker->subscriptions[i]);
    broker->subscriptions[i] =
        broker->subscriptions[--broker->subscription_count];
  }
}

/* SUBSCRIBE and UNSUBSCRIBE; the client sends one filter in each. */
static void on_control(stub_broker *broker, mqtt_reader content,
                       bool subscribing) {
  uint16_t packet_id = mqtt_read_u16(&content);
  mqtt_read_section(&content, mqtt_read_varint(&content));
  iotops_text filter = mqtt_read_text(&content);
  uint8_t options = subscribing ? mqtt_read_byte(&content) : 0;
  /* protocol.md S3: QoS 1 and nothing else */
  if (content.bad || mqtt_more(&content) || filter.size == 0 ||
      (subscribing && options != 1)) {
    broker->malformed = true;
    return;
  }
  metl_packet *entry = metl_log_filter(
      &broker->stub.log, subscribing ? METL_SUBSCRIBE : METL_UNSUBSCRIBE,
      filter, now(broker));
  entry->packet_id = packet_id;
  metl_push_ack said =
      metl_push_acks_take(subscribing ? &broker->stub.subscribe_acks
                                      : &broker->stub.unsubscribe_acks);
  if (said == METL_DROP) {
    return;
  }
  uint8_t reason_code = options & 3;
  if (said == METL_FAIL) {
    reason_code = 0x80;
  } else if (subscribing) {
    grant(broker, filter);
  } else {
    revoke(broker, filter);
  }
  send_answer(broker, subscribing ? MQTT_SUBACK : MQTT_UNSUBACK,
              subscribing ? "SUBACK" : "UNSUBACK", packet_id, reason_code);
}

static void on_packet(stub_broker *broker, uint8_t header,
                      mqtt_reader content) {
  metl_bytes packet = {0};
  switch (header >> 4) {
  case MQTT_CONNECT:
    on_connect(broker, content);
    break;
  case MQTT_PUBLISH:
    on_publish(broker, header, content);
    break;
  case MQTT_PUBACK:
    on_puback(broker, content);
    break;
  case MQTT_SUBSCRIBE:
    on_control(broker, content, true);
    break;
  case MQTT_UNSUBSCRIBE:
    on_control(broker, content, false);
    break;
  case MQTT_PINGREQ:
    metl_log_add(&broker->stub.log, METL_OTHER, true, "PINGREQ", now(broker));
    mqtt_write_pingresp(&packet);
    transmit(broker, &packet);
    break;
  case MQTT_DISCONNECT:
    metl_log_add(&broker->stub.log, METL_DISCONNECT, true, "DISCONNECT",
                 now(broker))
        ->reason_code = mqtt_more(&content) ? content.at[0] : 0;
    metl_wire_end(&broker->wire, SIZE_MAX);
    break;
  default:
    broker->malformed = true;
  }
}

/* ----------------------------------------------------------- the wire -- */

static void connection_over(stub_broker *broker) {
  broker->connected = false;
  broker->received.size = 0;
  broker->unacked.size = 0;
  broker->withheld.size = 0;
}

static void opened(void *user) {
  connection_over(user);
}

static void closed(void *user) {
  connection_over(user);
}

static void written(void *user, const uint8_t *bytes, size_t size) {
  stub_broker *broker = user;
  uint8_t header;
  mqtt_reader content;
  size_t whole;
  metl_bytes_add(&broker->received, bytes, size);
  while (!broker->malformed &&
         (whole = mqtt_next_packet(&broker->received, &header, &content))) {
    on_packet(broker, header, content);
    metl_bytes_drop(&broker->received, whole);
  }
}

static void on_ended(void *user, const iotops_error *err) {
  stub_broker *broker = user;
  (void)err;
  broker->ended = true;
}

/* ----------------------------------------------------------- the stub -- */

static iotops_mqtt_client *get_client(metl_stub *stub) {
  return iotops_session_client(((stub_broker *)stub)->session);
}

/*
** The session's own stream is in memory, its engine's is a loopback socket:
** the loop has to turn until nothing comes out any more.
*/
static void drain(metl_stub *stub) {
  const stub_broker *broker = (stub_broker *)stub;
  int quiet = 0;
  for (int turn = 0; turn < MAX_TURNS && quiet < MAX_QUIET_TURNS; turn++) {
    size_t before = stub->log.count + broker->wire.moved;
    iotops_context_drain(stub->context);
    iotops_context_run_once(stub->context, false);
    iotops_context_drain(stub->context);
    bool moved = stub->log.count + broker->wire.moved != before;
    quiet = moved ? 0 : quiet + 1;
  }
}

static int connect_broker(metl_stub *stub, iotops_error *err) {
  stub_broker *broker = (stub_broker *)stub;
  if (iotops_session_run(broker->session, err) != 0) {
    return -1;
  }
  drain(stub);
  if (!broker->connected) {
    return iotops_error_set(err, IOTOPS_MQTT_ERROR,
                            "the session does not connect to the stub");
  }
  if (!stub->clock->real) {
    metl_clock_advance(stub->clock, stub->context,
                       stub->clock->now_ms + settling_ms);
  }
  return 0;
}

static void deliver(metl_stub *stub, const iotops_message *message) {
  stub_broker *broker = (stub_broker *)stub;
  if (broker->connected) {
    send_message(broker, message);
    return;
  }
  broker->outbox = metl_resize(broker->outbox, (broker->outbox_count + 1) *
                                                   sizeof *broker->outbox);
  broker->outbox[broker->outbox_count++] = metl_message_copy(message);
}

static void disconnect(metl_stub *stub, bool say, size_t most) {
  static const uint8_t shutting_down[] = {MQTT_DISCONNECT << 4, 2, 0x8b, 0};
  stub_broker *broker = (stub_broker *)stub;
  if (say) {
    metl_wire_send(&broker->wire, shutting_down, sizeof shutting_down);
  }
  metl_log_add(&stub->log, METL_DISCONNECT, false, "the connection ends",
               now(broker));
  metl_wire_end(&broker->wire, most);
  connection_over(broker);
}

static void throttle(metl_stub *stub, size_t in, size_t out) {
  stub_broker *broker = (stub_broker *)stub;
  broker->wire.read_limit = in;
  broker->wire.write_limit = out;
}

static void relent(metl_stub *stub) {
  stub_broker *broker = (stub_broker *)stub;
  while (broker->withheld.size > 0) {
    uint16_t id;
    memcpy(&id, broker->withheld.data, sizeof id);
    drop_id(&broker->withheld, id);
    send_answer(broker, MQTT_PUBACK, "PUBACK", id, 0);
  }
}

static void leftovers(metl_stub *stub, metl_bytes *report) {
  stub_broker *broker = (stub_broker *)stub;
  iotops_session_metrics metrics;
  iotops_session_get_metrics(broker->session, &metrics);
  if (broker->malformed) {
    metl_report(report, "the client sent a packet that breaks the protocol");
  }
  if (broker->out_of_order) {
    metl_report(report, "the client acknowledged out of order");
  }
  if (metrics.publishes_queued + metrics.publishes_in_flight > 0) {
    metl_report(
        report, "publishes have not completed: %u",
        (unsigned)(metrics.publishes_queued + metrics.publishes_in_flight));
  }
  for (size_t i = 0; i < broker->subscription_count; i++) {
    metl_report(report, "a subscription is left: %s", broker->subscriptions[i]);
  }
  for (size_t at = 0; at < broker->unacked.size; at += 2) {
    uint16_t id;
    memcpy(&id, broker->unacked.data + at, sizeof id);
    metl_report(report, "a message is not acknowledged: packet %u",
                (unsigned)id);
  }
}

static void free_broker(metl_stub *stub, metl_bytes *report) {
  stub_broker *broker = (stub_broker *)stub;
  if (broker->session) {
    iotops_session_force_exit(broker->session);
    drain(stub);
    if (!broker->ended) {
      metl_report(report, "the session has not ended after its exit");
    }
    iotops_session_free(broker->session);
    drain(stub);
  }
  if (broker->wire.stream) {
    metl_report(report, "the stream is still open");
  }
  for (size_t i = 0; i < broker->outbox_count; i++) {
    free(broker->outbox[i]);
  }
  for (size_t i = 0; i < broker->subscription_count; i++) {
    free(broker->subscriptions[i]);
  }
  free(broker->outbox);
  free(broker->subscriptions);
  metl_bytes_free(&broker->received);
  metl_bytes_free(&broker->unacked);
  metl_bytes_free(&broker->withheld);
  metl_stub_release(stub);
  free(broker);
}

static int make_session(stub_broker *broker, iotops_error *err) {
  int result = -1;
  iotops_transport transport = metl_wire_transport(&broker->wire);
  iotops_settings *settings = iotops_settings_new(broker->stub.context);
  if (!settings) {
    iotops_error_memory(err);
    goto done;
  }
  if (iotops_settings_set(settings, "hostname", iotops_text_of("stub"), err) ||
      iotops_settings_set(settings, "use_tls", iotops_text_of("false"), err) ||
      iotops_settings_set(settings, "client_id",
                          iotops_text_of(broker->stub.client_id), err)) {
    goto done;
  }
  iotops_session_options options = IOTOPS_SESSION_OPTIONS_INIT;
  options.settings = settings;
  options.transport = &transport;
  options.ended = on_ended;
  options.user = broker;
  result =
      iotops_session_new(broker->stub.context, &options, &broker->session, err);
done:
  iotops_settings_free(settings);
  return result;
}

metl_stub *metl_stub_broker_new(iotops_context *context, metl_clock *clock,
                                const char *client_id, iotops_error *err) {
  static const metl_stub_ops ops = {.client = get_client,
                                    .connect = connect_broker,
                                    .drain = drain,
                                    .deliver = deliver,
                                    .disconnect = disconnect,
                                    .throttle = throttle,
                                    .relent = relent,
                                    .leftovers = leftovers,
                                    .free = free_broker};
  metl_bytes unused = {0};
  stub_broker *broker = metl_resize(NULL, sizeof *broker);
  *broker = (stub_broker){.wire = {.opened = opened,
                                   .written = written,
                                   .closed = closed,
                                   .user = broker}};
  metl_stub_init(&broker->stub, &ops, context, clock, client_id);
  if (make_session(broker, err) != 0) {
    free_broker(&broker->stub, &unused);
    metl_bytes_free(&unused);
    return NULL;
  }
  return &broker->stub;
}
