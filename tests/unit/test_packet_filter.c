/* test_packet_filter.c -- streams cut anywhere, both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/packet_filter.h"

static iotops_context *context;

static int make_context(void **state) {
  (void)state;
  return iotops_context_new(NULL, &context, NULL);
}

static int free_context(void **state) {
  (void)state;
  iotops_context_free(context);
  return 0;
}

static void receive(packet_filter *filter, const uint8_t *bytes, size_t size) {
  size_t room;
  uint8_t *space = packet_filter_space(filter, &room);

  assert_non_null(space);
  assert_true(room >= size);
  memcpy(space, bytes, size);
  packet_filter_received(filter, size);
}

static void library_writes(packet_filter *filter, const uint8_t *bytes,
                           size_t size) {
  size_t room;
  uint8_t *space = packet_filter_library_space(filter, &room);

  assert_non_null(space);
  assert_true(room >= size);
  memcpy(space, bytes, size);
  assert_int_equal(packet_filter_library_wrote(filter, size), 0);
}

static void expect_pending(packet_filter *filter, const uint8_t *bytes,
                           size_t size) {
  iotops_text pending = packet_filter_pending(filter);

  assert_int_equal(pending.size, size);
  assert_memory_equal(pending.data, bytes, size);
}

/* PUBACK 1, PINGRESP, PUBACK 2 with a reason. */
static const uint8_t inbound[] = {0x40, 2, 0, 1, 0xd0, 0, 0x40, 3, 0, 2, 0x10};

static void inbound_packets_survive_every_cut(void **state) {
  (void)state;
  for (size_t cut = 0; cut <= sizeof inbound; cut++)
    for (size_t second = cut; second <= sizeof inbound; second++) {
      static const packet_type types[] = {PACKET_PUBACK, PACKET_PINGRESP,
                                          PACKET_PUBACK};
      size_t cuts[] = {0, cut, second, sizeof inbound}, seen = 0;
      packet_filter filter;
      packet packet;

      packet_filter_init(&filter, context, 5, 0);
      for (int i = 0; i < 3; i++) {
        receive(&filter, inbound + cuts[i], cuts[i + 1] - cuts[i]);
        while (packet_filter_next(&filter, &packet) == 0 && packet.size > 0)
          assert_int_equal(packet.type, types[seen++]);
      }
      assert_int_equal(seen, 3);
      assert_int_equal(filter.bytes_in, sizeof inbound);
      packet_filter_free(&filter);
    }
}

static void a_claimed_size_allocates_nothing(void **state) {
  static const uint8_t huge[] = {0x30, 0xff, 0xff, 0xff, 0x7f};
  packet_filter filter;
  packet packet;
  size_t before;

  (void)state;
  packet_filter_init(&filter, context, 5, 0);
  receive(&filter, huge, sizeof huge);
  before = filter.in.capacity;
  assert_int_equal(packet_filter_next(&filter, &packet), 0);
  assert_int_equal(packet.size, 0);
  for (int i = 0; i < 100; i++)
    receive(&filter, huge, sizeof huge);
  assert_int_equal(filter.in.capacity, before);
  packet_filter_free(&filter);
  packet_filter_init(&filter, context, 5, 1000);
  receive(&filter, huge, sizeof huge);
  assert_int_equal(packet_filter_next(&filter, &packet), PACKET_TOO_LARGE);
  packet_filter_free(&filter);
}

static void a_large_packet_is_gathered_whole(void **state) {
  static uint8_t body[300000];
  packet_filter filter;
  packet packet;
  const uint8_t header[] = {0x30, 0xe0, 0xa7, 0x12};
  size_t sent = 0;

  (void)state;
  for (size_t i = 0; i < sizeof body; i++)
    body[i] = (uint8_t)(i * 31);
  packet_filter_init(&filter, context, 5, 0);
  receive(&filter, header, sizeof header);
  while (sent < sizeof body) {
    size_t room, n = sizeof body - sent;
    uint8_t *space;

    assert_int_equal(packet_filter_next(&filter, &packet), 0);
    assert_int_equal(packet.size, 0);
    space = packet_filter_space(&filter, &room);
    if (n > room)
      n = room;
    memcpy(space, body + sent, n);
    packet_filter_received(&filter, n);
    sent += n;
  }
  assert_int_equal(packet_filter_next(&filter, &packet), 0);
  assert_int_equal(packet.body_size, sizeof body);
  assert_memory_equal(packet.body, body, sizeof body);
  packet_filter_free(&filter);
}

static unsigned outgoing_seen;
static uint64_t outgoing_end;

static bool see_outgoing(void *user, const packet *packet, uint64_t end) {
  (void)user;
  assert_int_equal(packet->type, PACKET_PUBLISH);
  outgoing_seen++;
  outgoing_end = end;
  return false;
}

/* PUBLISH, PUBACK, PUBLISH of libmosquitto: its PUBACK is dropped. */
static void the_librarys_pubacks_are_dropped_at_every_cut(void **state) {
  static const uint8_t bytes[] = {0x30, 4, 0,    1, 'a', 0, 0x40, 2,
                                  0,    9, 0x30, 4, 0,   1, 'b',  0};
  static const uint8_t wanted[] = {0x30, 4, 0, 1, 'a', 0,
                                   0x30, 4, 0, 1, 'b', 0};

  (void)state;
  for (size_t cut = 0; cut <= sizeof bytes; cut++) {
    packet_filter filter;

    packet_filter_init(&filter, context, 5, 0);
    filter.outgoing = see_outgoing;
    outgoing_seen = 0;
    library_writes(&filter, bytes, cut);
    library_writes(&filter, bytes + cut, sizeof bytes - cut);
    expect_pending(&filter, wanted, sizeof wanted);
    assert_int_equal(outgoing_seen, 2);
    assert_int_equal(outgoing_end, sizeof wanted);
    packet_filter_free(&filter);
  }
}

static void our_packets_go_between_whole_ones_at_every_cut(void **state) {
  static const uint8_t bytes[] = {0x30, 4, 0, 1,   'a', 0,  0x30,
                                  5,    0, 1, 'b', 0,   'x'};

  (void)state;
  for (size_t cut = 0; cut <= sizeof bytes; cut++) {
    packet_filter filter;
    size_t whole = cut < 6 ? 0 : cut < sizeof bytes ? 6 : sizeof bytes;
    uint8_t wanted[sizeof bytes + 6];

    packet_filter_init(&filter, context, 5, 0);
    library_writes(&filter, bytes, cut);
    assert_int_equal(packet_filter_pending(&filter).size, whole);
    packet_write_puback(packet_filter_begin(&filter), 7);
    assert_true(packet_filter_end(&filter));
    packet_write_pingreq(packet_filter_begin(&filter));
    assert_true(packet_filter_end(&filter));
    assert_int_equal(packet_filter_pending(&filter).size, whole + 6);
    library_writes(&filter, bytes + cut, sizeof bytes - cut);
    memcpy(wanted, bytes, whole);
    memcpy(wanted + whole, (uint8_t[]){0x40, 2, 0, 7, 0xc0, 0}, 6);
    memcpy(wanted + whole + 6, bytes + whole, sizeof bytes - whole);
    expect_pending(&filter, wanted, sizeof wanted);
    packet_filter_free(&filter);
  }
}

static void the_librarys_connect_becomes_ours_at_every_cut(void **state) {
  static const uint8_t theirs[] = {0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 5,
                                   0,    0,  0, 0, 0,   3,   'a', 'b', 'c'};
  static const uint8_t ours[] = {0x10, 15, 0,  4, 'M', 'Q', 'T', 'T', 5,
                                 2,    0,  60, 0, 0,   2,   'm', 'e'};
  packet_connect connect = {.version = 5,
                            .client_id = iotops_text_of("me"),
                            .clean_start = true,
                            .keep_alive_s = 60,
                            .receive_max = 65535};

  (void)state;
  for (size_t cut = 0; cut <= sizeof theirs; cut++) {
    packet_filter filter;

    packet_filter_init(&filter, context, 5, 0);
    filter.connect = &connect;
    library_writes(&filter, theirs, cut);
    library_writes(&filter, theirs + cut, sizeof theirs - cut);
    expect_pending(&filter, ours, sizeof ours);
    assert_int_equal(filter.queued, sizeof ours);
    packet_filter_free(&filter);
  }
}

static void what_was_written_is_counted_and_forgotten(void **state) {
  packet_filter filter;

  (void)state;
  packet_filter_init(&filter, context, 5, 0);
  packet_write_puback(packet_filter_begin(&filter), 1);
  packet_filter_end(&filter);
  packet_filter_wrote(&filter, 3);
  expect_pending(&filter, (const uint8_t[]){1}, 1);
  packet_write_puback(packet_filter_begin(&filter), 2);
  packet_filter_end(&filter);
  packet_filter_wrote(&filter, 5);
  assert_int_equal(packet_filter_pending(&filter).size, 0);
  assert_int_equal(filter.written, 8);
  assert_int_equal(filter.queued, 8);
  packet_write_puback(packet_filter_begin(&filter), 3);
  packet_filter_end(&filter);
  packet_filter_reset(&filter);
  assert_int_equal(packet_filter_pending(&filter).size, 0);
  assert_int_equal(filter.queued, filter.written);
  assert_false(packet_filter_end((packet_filter_begin(&filter), &filter)));
  packet_filter_free(&filter);
}

static void the_library_is_told_in_its_own_version(void **state) {
  static const uint8_t five[] = {0x20, 6, 1, 0, 3, 0x21, 1, 2};
  static const uint8_t four[] = {0x20, 2, 1, 0};

  (void)state;
  for (int version = 4; version <= 5; version++) {
    packet_filter filter;

    packet_filter_init(&filter, context, version, 0);
    assert_true(packet_filter_tell_connack(&filter, true, 258));
    assert_int_equal(filter.library.end, version == 5 ? 8 : 4);
    assert_memory_equal(filter.library.bytes, version == 5 ? five : four,
                        filter.library.end);
    packet_filter_free(&filter);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(inbound_packets_survive_every_cut),
      cmocka_unit_test(a_claimed_size_allocates_nothing),
      cmocka_unit_test(a_large_packet_is_gathered_whole),
      cmocka_unit_test(the_librarys_pubacks_are_dropped_at_every_cut),
      cmocka_unit_test(our_packets_go_between_whole_ones_at_every_cut),
      cmocka_unit_test(the_librarys_connect_becomes_ours_at_every_cut),
      cmocka_unit_test(what_was_written_is_counted_and_forgotten),
      cmocka_unit_test(the_library_is_told_in_its_own_version),
  };

  return cmocka_run_group_tests(tests, make_context, free_context);
}
