/*
** fuzz_properties.c -- property sections and packets that are decoded stay
** within what was received.
**
** First byte: the packet's type and the version; the rest: its body, read as
** a property section too.
*/
#include "fuzz.h"

#include "protocol/text_check.h"
#include "session/packet.h"

static void sections(packet_type type, const uint8_t *body, size_t size) {
  const uint8_t *at = body;
  property_reader reader;
  property property;
  uint64_t seen = 0;
  size_t count = 0;

  if (property_open(&reader, type, &at, body + size) != 0)
    return;
  FUZZ_CHECK(at > body && at <= body + size);
  while (property_next(&reader, &property) == 0) {
    FUZZ_CHECK(++count <= size / 2);
    FUZZ_CHECK(property.id <= PROPERTY_SHARED_AVAILABLE);
    if (property.id != PROPERTY_USER &&
        property.id != PROPERTY_SUBSCRIPTION_ID) {
      FUZZ_CHECK((seen >> property.id & 1) == 0);
      seen |= UINT64_C(1) << property.id;
    }
    if (property.id == PROPERTY_USER) {
      FUZZ_CHECK(fuzz_within(property.text, body, size));
      FUZZ_CHECK(fuzz_within(property.value, body, size));
      FUZZ_CHECK(packet_utf8_valid(property.text));
      FUZZ_CHECK(packet_utf8_valid(property.value));
    }
  }
}

static void reply_within(const packet_reply *reply, const uint8_t *body,
                         size_t size) {
  FUZZ_CHECK(fuzz_within(reply->reason_string, body, size));
  FUZZ_CHECK(fuzz_within(reply->server_reference, body, size));
  FUZZ_CHECK(fuzz_within(reply->assigned_client_id, body, size));
  FUZZ_CHECK(fuzz_within(reply->auth_method, body, size));
  FUZZ_CHECK(fuzz_within(reply->auth_data, body, size));
  for (size_t i = 0; i < reply->user_property_count; i++) {
    FUZZ_CHECK(fuzz_within(reply->user_properties[i].name, body, size));
    FUZZ_CHECK(fuzz_within(reply->user_properties[i].value, body, size));
  }
  if (reply->code_count > 0)
    FUZZ_CHECK(reply->codes >= body &&
               reply->codes + reply->code_count <= body + size);
}

static void message_within(const iotops_message *message, const uint8_t *body,
                           size_t size) {
  FUZZ_CHECK(fuzz_within(message->topic, body, size));
  FUZZ_CHECK(fuzz_within(message->payload, body, size));
  FUZZ_CHECK(fuzz_within(message->content_type, body, size));
  FUZZ_CHECK(fuzz_within(message->response_topic, body, size));
  FUZZ_CHECK(fuzz_within(message->correlation_data, body, size));
  FUZZ_CHECK(packet_utf8_valid(message->topic));
  for (size_t i = 0; i < message->user_property_count; i++) {
    FUZZ_CHECK(fuzz_within(message->user_properties[i].name, body, size));
    FUZZ_CHECK(fuzz_within(message->user_properties[i].value, body, size));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  packet_scratch scratch = {.context = fuzz_context()};
  packet packet = {0};
  packet_reply reply;
  iotops_message message;
  int version;

  if (size < 2)
    return 0;
  packet.type = data[0] >> 4 ? data[0] >> 4 : PACKET_PUBLISH;
  packet.flags = packet.type == PACKET_PUBLISH ? data[0] & 15 : 0;
  version = data[1] & 1 ? 4 : 5;
  packet.bytes = packet.body = data + 2;
  packet.size = packet.body_size = size - 2;
  sections(packet.type, packet.body, packet.body_size);
  if (packet_decode_reply(&packet, version, &scratch, &reply) == 0)
    reply_within(&reply, packet.body, packet.body_size);
  if (packet.type == PACKET_PUBLISH &&
      packet_decode_publish(&packet, version, &scratch, &message) == 0)
    message_within(&message, packet.body, packet.body_size);

  /* Two readers of UTF-8 agree. */
  {
    iotops_text text = {(const char *)packet.body, packet.body_size};

    FUZZ_CHECK(packet_utf8_valid(text) ==
               (text_is_utf8(text) &&
                (text.size == 0 || !memchr(text.data, 0, text.size))));
  }
  packet_scratch_free(&scratch);
  return 0;
}
