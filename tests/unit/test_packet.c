/* test_packet.c -- framing, properties, decoders and encoders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/packet_write.h"

static iotops_context *context;
static packet_scratch scratch;

static int make_context(void **state) {
  int rc = iotops_context_new(NULL, &context, NULL);

  (void)state;
  scratch.context = context;
  return rc;
}

static int free_context(void **state) {
  (void)state;
  packet_scratch_free(&scratch);
  iotops_context_free(context);
  return 0;
}

#define BYTES(...)                                                             \
  (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static int frame(const uint8_t *bytes, size_t size, size_t limit,
                 packet *packet) {
  size_t need;

  return packet_frame(bytes, size, limit, packet, &need);
}

static int reply_of(int version, packet_reply *reply, const uint8_t *bytes,
                    size_t size) {
  packet packet;
  int rc = frame(bytes, size, PACKET_SIZE_MAX, &packet);

  if (rc)
    return rc;
  assert_int_equal(packet.size, size);
  return packet_decode_reply(&packet, version, &scratch, reply);
}

static int publish_of(int version, iotops_message *message,
                      const uint8_t *bytes, size_t size) {
  packet packet;
  int rc = frame(bytes, size, PACKET_SIZE_MAX, &packet);

  if (rc)
    return rc;
  assert_int_equal(packet.size, size);
  return packet_decode_publish(&packet, version, &scratch, message);
}

static void a_packet_is_framed_when_its_last_byte_is_there(void **state) {
  static const uint8_t bytes[] = {0x40, 2, 0, 1, 0x40};
  packet packet;

  (void)state;
  for (size_t size = 0; size < 4; size++) {
    assert_int_equal(frame(bytes, size, 100, &packet), 0);
    assert_int_equal(packet.size, 0);
  }
  assert_int_equal(frame(bytes, 5, 100, &packet), 0);
  assert_int_equal(packet.size, 4);
  assert_int_equal(packet.type, PACKET_PUBACK);
  assert_int_equal(packet.body_size, 2);
}

static void sizes_are_judged_from_the_header_alone(void **state) {
  packet packet;

  (void)state;
  assert_int_equal(frame(BYTES(0x30, 0xff, 0xff, 0xff, 0x7f), 1000, &packet),
                   PACKET_TOO_LARGE);
  assert_int_equal(frame(BYTES(0x30, 99), 100, &packet), PACKET_TOO_LARGE);
  assert_int_equal(frame(BYTES(0x30, 98), 100, &packet), 0);
  assert_int_equal(frame(BYTES(0x30, 0x80, 0x80, 0x80, 0x80), 1000, &packet),
                   PACKET_MALFORMED);
  assert_int_equal(frame(BYTES(0x30, 0x80, 0x00), 1000, &packet),
                   PACKET_MALFORMED);
}

static void reserved_types_and_flags_are_malformed(void **state) {
  packet packet;

  (void)state;
  assert_int_equal(frame(BYTES(0x00, 0), 100, &packet), PACKET_MALFORMED);
  assert_int_equal(frame(BYTES(0x21, 0), 100, &packet), PACKET_MALFORMED);
  assert_int_equal(frame(BYTES(0x4f, 0), 100, &packet), PACKET_MALFORMED);
  assert_int_equal(frame(BYTES(0x60, 0), 100, &packet), PACKET_MALFORMED);
  assert_int_equal(frame(BYTES(0x62, 0), 100, &packet), 0);
}

static void utf8_is_checked_to_the_letter(void **state) {
  static const struct {
    const char *text;
    size_t size;
    bool valid;
  } cases[] = {
      {"", 0, true},
      {"plain ascii, long enough for words", 34, true},
      {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, true},
      {"eight ch\0r", 10, false},
      {"12345678\0", 9, false},
      {"1234\0", 5, false},
      {"\xc0\x80", 2, false},         /* overlong NUL */
      {"\xe0\x80\xaf", 3, false},     /* overlong slash */
      {"\xed\xa0\x80", 3, false},     /* surrogate */
      {"\xf4\x90\x80\x80", 4, false}, /* beyond U+10FFFF */
      {"\xe2\x82", 2, false},         /* cut */
      {"\x80", 1, false},
      {"\xff", 1, false},
  };

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(
        packet_utf8_valid((iotops_text){cases[i].text, cases[i].size}),
        cases[i].valid);
}

static void connack_properties_are_read_and_defaulted(void **state) {
  packet_reply reply;

  (void)state;
  assert_int_equal(reply_of(5, &reply, BYTES(0x20, 3, 1, 0, 0)), 0);
  assert_true(reply.session_present);
  assert_int_equal(reply.receive_max, 65535);
  assert_int_equal(reply.maximum_qos, 2);
  assert_true(reply.retain_available && reply.wildcard_available &&
              reply.shared_available && reply.subscription_id_available);
  assert_int_equal(
      reply_of(5, &reply,
               BYTES(0x20, 24, 0, 0, 21, 0x21, 0, 9, 0x24, 1, 0x25, 0, 0x27, 0,
                     1, 0, 0, 0x28, 0, 0x29, 0, 0x2a, 0, 0x13, 0, 30)),
      0);
  assert_int_equal(reply.receive_max, 9);
  assert_int_equal(reply.maximum_qos, 1);
  assert_int_equal(reply.packet_size_max, 65536);
  assert_int_equal(reply.server_keep_alive_s, 30);
  assert_true(packet_has(&reply, PROPERTY_SERVER_KEEP_ALIVE));
  assert_false(packet_has(&reply, PROPERTY_SESSION_EXPIRY));
  assert_false(reply.retain_available || reply.wildcard_available ||
               reply.shared_available || reply.subscription_id_available);
}

static void properties_are_held_to_their_rules(void **state) {
  packet_reply reply;

  (void)state;
  /* twice */
  assert_int_equal(
      reply_of(5, &reply, BYTES(0x20, 9, 0, 0, 6, 0x21, 0, 1, 0x21, 0, 1)),
      PACKET_PROTOCOL_ERROR);
  /* zero where it must not be */
  assert_int_equal(reply_of(5, &reply, BYTES(0x20, 6, 0, 0, 3, 0x21, 0, 0)),
                   PACKET_PROTOCOL_ERROR);
  /* neither 0 nor 1 */
  assert_int_equal(reply_of(5, &reply, BYTES(0x20, 5, 0, 0, 2, 0x25, 2)),
                   PACKET_PROTOCOL_ERROR);
  /* a topic alias in CONNACK */
  assert_int_equal(reply_of(5, &reply, BYTES(0x20, 6, 0, 0, 3, 0x23, 0, 1)),
                   PACKET_MALFORMED);
  /* unknown */
  assert_int_equal(reply_of(5, &reply, BYTES(0x20, 5, 0, 0, 2, 0x7f, 2)),
                   PACKET_MALFORMED);
  /* longer than the section, and than the packet */
  assert_int_equal(reply_of(5, &reply, BYTES(0x20, 6, 0, 0, 2, 0x21, 0, 1)),
                   PACKET_MALFORMED);
  assert_int_equal(reply_of(5, &reply, BYTES(0x20, 3, 0, 0, 9)),
                   PACKET_MALFORMED);
  /* a refusal cannot have a session */
  assert_int_equal(reply_of(5, &reply, BYTES(0x20, 3, 1, 0x87, 0)),
                   PACKET_PROTOCOL_ERROR);
}

static void short_forms_mean_success(void **state) {
  packet_reply reply;

  (void)state;
  assert_int_equal(reply_of(5, &reply, BYTES(0x40, 2, 1, 2)), 0);
  assert_int_equal(reply.packet_id, 0x102);
  assert_int_equal(reply.reason_code, 0);
  assert_int_equal(reply_of(5, &reply, BYTES(0x40, 3, 1, 2, 0x10)), 0);
  assert_int_equal(reply.reason_code, 0x10);
  assert_int_equal(reply_of(5, &reply, BYTES(0xe0, 0)), 0);
  assert_int_equal(reply_of(5, &reply, BYTES(0xf0, 0)), 0);
  assert_int_equal(reply_of(5, &reply, BYTES(0xe0, 1, 0x8e)), 0);
  assert_int_equal(reply.reason_code, 0x8e);
  assert_int_equal(reply_of(5, &reply, BYTES(0x40, 2, 0, 0)),
                   PACKET_PROTOCOL_ERROR);
  assert_int_equal(reply_of(5, &reply, BYTES(0x40, 1, 0)), PACKET_MALFORMED);
}

static void answers_carry_codes_strings_and_pairs(void **state) {
  packet_reply reply;

  (void)state;
  assert_int_equal(reply_of(5, &reply,
                            BYTES(0x90, 15, 0, 7, 11, 0x1f, 0, 1, 'r', 0x26, 0,
                                  1, 'k', 0, 0, 0x87, 1)),
                   PACKET_MALFORMED);
  assert_int_equal(reply_of(5, &reply,
                            BYTES(0x90, 14, 0, 7, 10, 0x1f, 0, 1, 'r', 0x26, 0,
                                  1, 'k', 0, 0, 0x87)),
                   0);
  assert_int_equal(reply.packet_id, 7);
  assert_int_equal(reply.code_count, 1);
  assert_int_equal(reply.codes[0], 0x87);
  assert_memory_equal(reply.reason_string.data, "r", 1);
  assert_int_equal(reply.user_property_count, 1);
  assert_int_equal(reply.user_properties[0].value.size, 0);
  assert_non_null(reply.user_properties[0].value.data);
  assert_int_equal(reply_of(5, &reply, BYTES(0xb0, 3, 0, 7, 0)),
                   PACKET_PROTOCOL_ERROR);
}

static void version_311_is_understood(void **state) {
  packet_reply reply;
  iotops_message message;

  (void)state;
  assert_int_equal(reply_of(4, &reply, BYTES(0x20, 2, 1, 0)), 0);
  assert_int_equal(reply_of(4, &reply, BYTES(0x90, 3, 0, 1, 0x80)), 0);
  assert_int_equal(reply.codes[0], 0x80);
  assert_int_equal(reply_of(4, &reply, BYTES(0xb0, 2, 0, 1)), 0);
  assert_int_equal(reply.code_count, 0);
  assert_int_equal(reply_of(4, &reply, BYTES(0x40, 2, 0, 1)), 0);
  assert_int_equal(reply_of(4, &reply, BYTES(0xe0, 0)), PACKET_PROTOCOL_ERROR);
  assert_int_equal(
      publish_of(4, &message, BYTES(0x32, 7, 0, 1, 'a', 0, 9, 'h', 'i')), 0);
  assert_int_equal(message.packet_id, 9);
  assert_int_equal(message.payload.size, 2);
}

static void a_publish_is_a_view_of_everything_it_says(void **state) {
  static const uint8_t bytes[] = {
      0x3b, 47, 0,   3,    'a',  '/',  'b',  0x12, 0x34, 38,   1, 1,   2,
      0,    0,  1,   0,    3,    0,    1,    'c',  8,    0,    1, 'r', 9,
      0,    2,  0,   0xff, 0x0b, 0xff, 0x7f, 0x0b, 5,    0x26, 0, 1,   'n',
      0,    1,  'v', 0x26, 0,    1,    'n',  0,    0,    'p'};
  iotops_message message;

  (void)state;
  assert_int_equal(publish_of(5, &message, bytes, sizeof bytes), 0);
  assert_memory_equal(message.topic.data, "a/b", 3);
  assert_int_equal(message.qos, 1);
  assert_true(message.dup && message.retain);
  assert_int_equal(message.packet_id, 0x1234);
  assert_int_equal(message.format_indicator, 1);
  assert_true(message.has_expiry);
  assert_int_equal(message.expiry_s, 256);
  assert_memory_equal(message.content_type.data, "c", 1);
  assert_memory_equal(message.response_topic.data, "r", 1);
  assert_int_equal(message.correlation_data.size, 2);
  assert_int_equal(message.subscription_id_count, 2);
  assert_int_equal(message.subscription_ids[0], 16383);
  assert_int_equal(message.subscription_ids[1], 5);
  assert_int_equal(message.user_property_count, 2);
  assert_memory_equal(message.payload.data, "p", 1);
  assert_true((const uint8_t *)message.payload.data == bytes + 48);
}

static void publishes_that_lie_are_refused(void **state) {
  iotops_message message;

  (void)state;
  assert_int_equal(publish_of(5, &message, BYTES(0x30, 3, 0, 0, 0)),
                   PACKET_PROTOCOL_ERROR); /* empty topic */
  assert_int_equal(publish_of(5, &message, BYTES(0x30, 4, 0, 9, 'a', 0)),
                   PACKET_MALFORMED);
  assert_int_equal(publish_of(5, &message, BYTES(0x38, 4, 0, 1, 'a', 0)),
                   PACKET_MALFORMED); /* DUP with QoS 0 */
  assert_int_equal(publish_of(5, &message, BYTES(0x32, 6, 0, 1, 'a', 0, 0, 0)),
                   PACKET_PROTOCOL_ERROR); /* packet id 0 */
  assert_int_equal(publish_of(5, &message, BYTES(0x32, 4, 0, 1, 'a', 1)),
                   PACKET_MALFORMED); /* no packet id */
  assert_int_equal(
      publish_of(5, &message, BYTES(0x30, 6, 0, 1, 'a', 2, 0x0b, 0)),
      PACKET_PROTOCOL_ERROR); /* subscription identifier 0 */
  assert_int_equal(
      publish_of(5, &message, BYTES(0x30, 7, 0, 1, 'a', 3, 0x21, 0, 1)),
      PACKET_MALFORMED); /* not a property of PUBLISH */
}

/* Nothing may read past the end, whatever the bytes: for the sanitizers. */
static void random_bytes_are_survived(void **state) {
  uint32_t seed = 4711;

  (void)state;
  for (int i = 0; i < 200000; i++) {
    size_t size, need;
    uint8_t *bytes;
    packet packet;

    seed = seed * 1664525u + 1013904223u;
    size = 2 + (seed >> 8) % 40;
    bytes = malloc(size);
    for (size_t j = 0; j < size; j++) {
      seed = seed * 1664525u + 1013904223u;
      bytes[j] = (uint8_t)(seed >> ((seed >> 28) & 1 ? 16 : 27));
    }
    bytes[0] = (uint8_t)((2 + (seed >> 9) % 14) << 4);
    bytes[1] = (uint8_t)(size - 2);
    if (packet_frame(bytes, size, 100, &packet, &need) == 0 &&
        packet.size > 0) {
      iotops_message message;
      packet_reply reply;

      packet_decode_publish(&packet, 5, &scratch, &message);
      packet_decode_reply(&packet, 5, &scratch, &reply);
    }
    free(bytes);
  }
}

/* ---------------------------------------------------------- encoders -- */

static void expect_bytes(packet_buffer *buffer, const uint8_t *bytes,
                         size_t size) {
  assert_int_equal(buffer->end - buffer->start, size);
  assert_memory_equal(buffer->bytes + buffer->start, bytes, size);
  packet_buffer_clear(buffer);
}

static void small_packets_are_byte_exact(void **state) {
  packet_buffer buffer = {.context = context};

  (void)state;
  assert_true(packet_write_puback(&buffer, 0x1234));
  expect_bytes(&buffer, BYTES(0x40, 2, 0x12, 0x34));
  assert_true(packet_write_pingreq(&buffer));
  expect_bytes(&buffer, BYTES(0xc0, 0));
  assert_true(packet_write_disconnect(&buffer, 5, 0, -1));
  expect_bytes(&buffer, BYTES(0xe0, 0));
  assert_true(packet_write_disconnect(&buffer, 5, 0x82, -1));
  expect_bytes(&buffer, BYTES(0xe0, 1, 0x82));
  assert_true(packet_write_disconnect(&buffer, 5, 0, 0));
  expect_bytes(&buffer, BYTES(0xe0, 7, 0, 5, 0x11, 0, 0, 0, 0));
  assert_true(packet_write_disconnect(&buffer, 4, 0, 0));
  expect_bytes(&buffer, BYTES(0xe0, 0));
  assert_true(packet_write_auth(&buffer, 0x19, iotops_text_of("K8S-SAT"),
                                iotops_text_of("tk")));
  expect_bytes(&buffer, BYTES(0xf0, 17, 0x19, 15, 0x15, 0, 7, 'K', '8', 'S',
                              '-', 'S', 'A', 'T', 0x16, 0, 2, 't', 'k'));
  packet_buffer_free(&buffer);
}

static void connect_says_everything_in_order(void **state) {
  packet_buffer buffer = {.context = context};
  iotops_user_property pair = {iotops_text_of("k"), iotops_text_of("")};
  iotops_message will = IOTOPS_MESSAGE_INIT;
  packet_connect connect = {.version = 5,
                            .client_id = iotops_text_of("id"),
                            .clean_start = true,
                            .keep_alive_s = 258,
                            .has_session_expiry = true,
                            .session_expiry_s = 1,
                            .receive_max = 10,
                            .packet_size_max = 4096,
                            .user_properties = &pair,
                            .user_property_count = 1,
                            .auth_method = iotops_text_of("K8S-SAT"),
                            .auth_data = iotops_text_of("t"),
                            .username = iotops_text_of("u"),
                            .password = iotops_text_of("p"),
                            .will = &will,
                            .will_delay_s = 3};

  (void)state;
  will.topic = iotops_text_of("w");
  will.payload = iotops_text_of("x");
  will.qos = 1;
  will.retain = true;
  assert_true(packet_write_connect(&buffer, &connect));
  expect_bytes(&buffer,
               BYTES(0x10, 66, 0, 4, 'M', 'Q', 'T', 'T', 5, 0xee, 1, 2, 33,
                     0x11, 0, 0, 0, 1, 0x21, 0, 10, 0x27, 0, 0, 16, 0, 0x26, 0,
                     1, 'k', 0, 0, 0x15, 0, 7, 'K', '8', 'S', '-', 'S', 'A',
                     'T', 0x16, 0, 1, 't', 0, 2, 'i', 'd', 5, 0x18, 0, 0, 0, 3,
                     0, 1, 'w', 0, 1, 'x', 0, 1, 'u', 0, 1, 'p'));
  packet_buffer_free(&buffer);
}

static void a_text_that_is_too_long_writes_nothing(void **state) {
  static char text[65536];
  packet_buffer buffer = {.context = context};
  packet_connect connect = {.version = 5, .receive_max = 65535};

  (void)state;
  memset(text, 'a', sizeof text);
  connect.client_id = (iotops_text){text, 65536};
  assert_false(packet_write_connect(&buffer, &connect));
  assert_int_equal(buffer.end, 0);
  connect.client_id.size = 65535;
  assert_true(packet_write_connect(&buffer, &connect));
  packet_buffer_free(&buffer);
}

static void the_size_of_a_publish_is_known_before(void **state) {
  static const char payload[20000];
  iotops_user_property pair = {iotops_text_of("k"), iotops_text_of("v")};
  iotops_message message = IOTOPS_MESSAGE_INIT;

  (void)state;
  message.topic = iotops_text_of("a");
  assert_int_equal(packet_publish_size(&message, 5), 6);
  assert_int_equal(packet_publish_size(&message, 4), 5);
  message.qos = 1;
  message.user_properties = &pair;
  message.user_property_count = 1;
  message.has_expiry = true;
  message.format_indicator = 0;
  assert_int_equal(packet_publish_size(&message, 5), 8 + 7 + 5 + 2);
  message.payload = (iotops_text){payload, sizeof payload};
  assert_int_equal(packet_publish_size(&message, 5), 22 + 2 + 20000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_packet_is_framed_when_its_last_byte_is_there),
      cmocka_unit_test(sizes_are_judged_from_the_header_alone),
      cmocka_unit_test(reserved_types_and_flags_are_malformed),
      cmocka_unit_test(utf8_is_checked_to_the_letter),
      cmocka_unit_test(connack_properties_are_read_and_defaulted),
      cmocka_unit_test(properties_are_held_to_their_rules),
      cmocka_unit_test(short_forms_mean_success),
      cmocka_unit_test(answers_carry_codes_strings_and_pairs),
      cmocka_unit_test(version_311_is_understood),
      cmocka_unit_test(a_publish_is_a_view_of_everything_it_says),
      cmocka_unit_test(publishes_that_lie_are_refused),
      cmocka_unit_test(random_bytes_are_survived),
      cmocka_unit_test(small_packets_are_byte_exact),
      cmocka_unit_test(connect_says_everything_in_order),
      cmocka_unit_test(a_text_that_is_too_long_writes_nothing),
      cmocka_unit_test(the_size_of_a_publish_is_known_before),
  };

  return cmocka_run_group_tests(tests, make_context, free_context);
}
