/* test_session_receive.c -- deliveries, acknowledgements, subscriptions. */
#include "session_owner.h"

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

static void a_broker_may_be_suffered_to_exceed_receive_max(void **state) {
  static const setting settings[] = {
      {"receive_max", "2"}, {"max_unacked", "3"}, {0}};
  owner *owner = connected_with(settings);

  (void)state;
  receive(owner, "a");
  for (uint16_t id = 1; id <= 3; id++)
    broker_publish(owner->broker, "a", 1, false, id, "x");
  drain(owner);
  assert_int_equal(owner->received, 3);
  broker_publish(owner->broker, "a", 1, false, 4, "x");
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pubacks_leave_in_the_order_of_receipt),
      cmocka_unit_test(acknowledgements_and_answers_of_one_event_are_one_write),
      cmocka_unit_test(a_message_is_acknowledged_after_its_last_receiver),
      cmocka_unit_test(a_message_for_nobody_is_acknowledged_in_its_turn),
      cmocka_unit_test(a_late_ack_of_an_old_connection_is_dropped),
      cmocka_unit_test(a_redelivery_of_a_pending_packet_is_ignored),
      cmocka_unit_test(more_than_receive_max_is_refused),
      cmocka_unit_test(a_broker_may_be_suffered_to_exceed_receive_max),
      cmocka_unit_test(hostile_packets_are_refused_with_their_code),
      cmocka_unit_test(a_stream_cut_at_any_byte_delivers_the_same),
      cmocka_unit_test(reading_stops_while_too_much_is_held),
      cmocka_unit_test(a_flood_leaves_turns_to_the_loop),
      cmocka_unit_test(equal_subscriptions_are_one_on_the_wire),
      cmocka_unit_test(a_refused_subscription_owns_nothing),
      cmocka_unit_test(a_subscribe_without_answer_is_sent_again),
      cmocka_unit_test(identifiers_keep_overlapping_filters_apart),
      cmocka_unit_test(a_cancelled_subscription_is_taken_back_once_granted),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
