/* test_session.c -- connecting, losing the connection and leaving. */
#include "session_owner.h"

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
