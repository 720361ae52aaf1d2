/* test_session_send.c -- what a session sends, and when it ends. */
#include "session_owner.h"

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

static void a_puback_right_before_the_end_is_not_forgotten(void **state) {
  owner *owner = connected();
  uint16_t id;

  (void)state;
  publish(owner, 1, "a", "1");
  id = broker_expect(owner->broker, 3)->id;
  BROKER_SEND(owner->broker, 0x40, 2, (uint8_t)(id >> 8), (uint8_t)id);
  broker_end(owner->broker); /* in the same turn */
  drain(owner);
  assert_int_equal(owner->done, 1);
  broker_pass(owner->broker, 1000);
  broker_expect(owner->broker, 1);
  BROKER_SEND(owner->broker, 0x20, 6, 1, 0, 3, 0x21, 0, 1);
  broker_expect_nothing(owner->broker);
  publish(owner, 1, "a", "2");
  assert_int_equal(broker_expect(owner->broker, 3)->flags, 2);
  finish(owner);
}

static void a_replay_is_marked_also_when_the_window_has_shrunk(void **state) {
  owner *owner = connected();
  uint16_t ids[3];

  (void)state;
  for (int i = 0; i < 3; i++)
    publish(owner, 1, "a", "1");
  for (int i = 0; i < 3; i++) {
    const broker_packet *packet = broker_expect(owner->broker, 3);

    assert_int_equal(packet->flags, 2);
    ids[i] = packet->id;
  }
  broker_end(owner->broker);
  drain(owner);
  broker_pass(owner->broker, 1000);
  broker_expect(owner->broker, 1);
  BROKER_SEND(owner->broker, 0x20, 6, 1, 0, 3, 0x21, 0, 1);
  drain(owner);
  for (int i = 0; i < 3; i++) {
    const broker_packet *packet = broker_expect(owner->broker, 3);

    assert_int_equal(packet->flags, 2 | 8);
    assert_int_equal(packet->id, ids[i]);
    broker_expect_nothing(owner->broker);
    puback(owner, packet->id);
  }
  publish(owner, 1, "a", "3");
  assert_int_equal(broker_expect(owner->broker, 3)->flags, 2);
  finish(owner);
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

int main(void) {
  const struct CMUnitTest tests[] = {
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
      cmocka_unit_test(a_puback_right_before_the_end_is_not_forgotten),
      cmocka_unit_test(a_replay_is_marked_also_when_the_window_has_shrunk),
      cmocka_unit_test(cancelling_a_queued_publish_sends_nothing),
      cmocka_unit_test(cancelling_in_flight_swallows_the_answer),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
