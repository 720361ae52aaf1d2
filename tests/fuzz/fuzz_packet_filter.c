/*
** fuzz_packet_filter.c -- a stream cut anywhere gives the packets it is made
** of, whatever it says.
**
** First byte: version and size limit; second: seed of the cuts; then the
** stream, as from the broker and as from libmosquitto.
*/
#include "fuzz.h"

#include "session/packet_filter.h"

enum { STREAM_MAX = 4096 };

/* The naive framing: 0 whole, 1 more needed, else a reason code. */
static int frame(const uint8_t *bytes, size_t size, size_t limit,
                 size_t *whole) {
  size_t length = 0;

  if (size == 0)
    return 1;
  for (size_t i = 1; i <= 4; i++) {
    if (i >= size)
      return 1;
    length += (size_t)(bytes[i] & 127) << (7 * (i - 1));
    if (bytes[i] < 128) {
      if (i > 1 && bytes[i] == 0)
        return PACKET_MALFORMED;
      *whole = 1 + i + length;
      if (*whole > limit)
        return PACKET_TOO_LARGE;
      return *whole > size;
    }
  }
  return PACKET_MALFORMED;
}

static uint32_t seed;

static size_t cut(size_t left) {
  size_t wanted;

  seed = seed * 1664525u + 1013904223u;
  wanted = (seed >> 24) < 128 ? 1 : (seed >> 16) % 64 + 1;
  return wanted < left ? wanted : left;
}

static void look_into(const packet *packet, int version,
                      packet_scratch *scratch) {
  iotops_message message;
  packet_reply reply;

  if (packet->type == PACKET_PUBLISH) {
    if (packet_decode_publish(packet, version, scratch, &message) != 0)
      return;
    FUZZ_CHECK(fuzz_within(message.topic, packet->body, packet->body_size));
    FUZZ_CHECK(fuzz_within(message.payload, packet->body, packet->body_size));
  } else {
    (void)packet_decode_reply(packet, version, scratch, &reply);
  }
}

static void inbound(const uint8_t *bytes, size_t size, int version,
                    size_t limit) {
  packet_scratch scratch = {.context = fuzz_context()};
  size_t given = 0, taken = 0, most = limit ? limit : PACKET_SIZE_MAX;
  packet_filter filter;
  bool refused = false;

  packet_filter_init(&filter, fuzz_context(), version, limit);
  while (given < size && !refused) {
    size_t room, n = cut(size - given);
    uint8_t *space = packet_filter_space(&filter, &room);

    FUZZ_CHECK(space && room > 0);
    if (n > room)
      n = room;
    memcpy(space, bytes + given, n);
    packet_filter_received(&filter, n);
    given += n;
    for (;;) {
      packet packet;
      size_t whole = 0;
      int rc = packet_filter_next(&filter, &packet);
      int wanted = frame(bytes + taken, given - taken, most, &whole);

      if (wanted > 1 || (rc && wanted == 0)) {
        /* What is framed may still be refused for its flags. */
        FUZZ_CHECK(rc != 0);
        FUZZ_CHECK(wanted != PACKET_TOO_LARGE || rc == wanted ||
                   rc == PACKET_MALFORMED);
        refused = true;
        break;
      }
      if (rc) { /* flags that are wrong before the packet is whole */
        FUZZ_CHECK(rc == PACKET_MALFORMED || rc == PACKET_PROTOCOL_ERROR);
        refused = true;
        break;
      }
      if (wanted == 1) {
        FUZZ_CHECK(packet.size == 0);
        break;
      }
      FUZZ_CHECK(packet.size == whole);
      FUZZ_CHECK(packet.type == bytes[taken] >> 4);
      FUZZ_CHECK(memcmp(packet.bytes, bytes + taken, whole) == 0);
      FUZZ_CHECK(packet.body + packet.body_size == packet.bytes + packet.size);
      look_into(&packet, version, &scratch);
      taken += whole;
    }
  }
  packet_scratch_free(&scratch);
  packet_filter_free(&filter);
}

/* What passes when the library writes all at once. */
static size_t passing(const uint8_t *bytes, size_t size, uint8_t *out) {
  size_t at = 0, passed = 0, whole = 0;

  while (frame(bytes + at, size - at, PACKET_SIZE_MAX, &whole) == 0) {
    int type = bytes[at] >> 4;

    if (type != PACKET_PUBACK && type != PACKET_PINGREQ) {
      memcpy(out + passed, bytes + at, whole);
      passed += whole;
    }
    at += whole;
  }
  return passed;
}

static void outbound(const uint8_t *bytes, size_t size, int version) {
  static uint8_t wanted[STREAM_MAX], got[2 * STREAM_MAX];
  size_t given = 0, sent = 0, expected = passing(bytes, size, wanted), at = 0;
  packet_filter filter;
  bool refused = false;

  packet_filter_init(&filter, fuzz_context(), version, 0);
  while (given < size && !refused) {
    size_t room, n = cut(size - given);
    uint8_t *space = packet_filter_library_space(&filter, &room);
    iotops_text pending;

    FUZZ_CHECK(space && room > 0);
    if (n > room)
      n = room;
    memcpy(space, bytes + given, n);
    given += n;
    refused = packet_filter_library_wrote(&filter, n) != 0;
    if (sent < STREAM_MAX / 4 && cut(64) == 1) { /* one of our own between */
      packet_write_puback(packet_filter_begin(&filter), 0xbeef);
      FUZZ_CHECK(packet_filter_end(&filter));
    }
    pending = packet_filter_pending(&filter);
    if (pending.size > 0) {
      n = cut(pending.size);
      FUZZ_CHECK(sent + n <= sizeof got);
      memcpy(got + sent, pending.data, n);
      packet_filter_wrote(&filter, n);
      sent += n;
    }
  }
  if (!refused) {
    iotops_text pending = packet_filter_pending(&filter);

    FUZZ_CHECK(sent + pending.size <= sizeof got);
    if (pending.size > 0)
      memcpy(got + sent, pending.data, pending.size);
    packet_filter_wrote(&filter, pending.size);
    sent += pending.size;
    FUZZ_CHECK(filter.written == sent && filter.queued == sent);
    /* Whole packets: the library's in order, ours between them. */
    for (size_t i = 0, whole = 0; i < sent; i += whole) {
      FUZZ_CHECK(frame(got + i, sent - i, PACKET_SIZE_MAX, &whole) == 0);
      if (whole == 4 && memcmp(got + i, "\x40\2\xbe\xef", 4) == 0)
        continue;
      FUZZ_CHECK(at + whole <= expected);
      FUZZ_CHECK(memcmp(got + i, wanted + at, whole) == 0);
      at += whole;
    }
    FUZZ_CHECK(at == expected);
  }
  packet_filter_free(&filter);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const size_t limits[] = {0, 2, 64, 1000};
  int version;
  size_t limit;

  if (size < 2 || size - 2 > STREAM_MAX / 2)
    return 0;
  version = data[0] & 1 ? 4 : 5;
  limit = limits[data[0] >> 1 & 3];
  seed = data[1];
  inbound(data + 2, size - 2, version, limit);
  seed = data[1];
  outbound(data + 2, size - 2, version);
  return 0;
}
