/*
** memory_broker.h -- the broker's end of a session, played by a test.
**
** A transport whose streams end in the test: what the session writes is cut
** into packets and kept in order, what the test sends is read when the context
** is drained.  Time is virtual and moves only when the test says so.
*/
#ifndef UNIT_MEMORY_BROKER_H
#define UNIT_MEMORY_BROKER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/session.h"

enum { BROKER_PACKETS = 4096, BROKER_BYTES = 1 << 20 };

/* A packet that the session wrote. */
typedef struct broker_packet {
  uint8_t type, flags;
  uint16_t id; /* of those that have one */
  size_t size;
  uint8_t bytes[512]; /* as much as fits */
} broker_packet;

typedef struct memory_broker memory_broker;

typedef struct memory_stream {
  iotops_stream base;
  memory_broker *broker;
  iotops_task opened, readable, writable;
} memory_stream;

struct memory_broker {
  iotops_context *context;
  uint64_t now_ms;
  iotops_stream_events events;
  memory_stream *stream; /* NULL: none open */
  uint8_t *to_session;
  size_t to_start, to_end;
  bool end_after; /* the stream ends when all was read */
  uint8_t *from_session;
  size_t from_size;
  size_t accept; /* bytes that writes still take; SIZE_MAX: all */
  unsigned opens, closes, writes;
  bool refuse_open; /* streams never come up */
  bool paused;
  bool graceful; /* how the last one was closed */
  broker_packet packets[BROKER_PACKETS];
  size_t packet_count, taken;
  iotops_error error;
};

/* ------------------------------------------------------------- stream -- */

static inline void broker_cut(memory_broker *broker) {
  size_t at = 0;

  while (broker->from_size - at >= 2) {
    const uint8_t *bytes = broker->from_session + at;
    size_t length = 0, header = 1;
    int shift = 0;
    broker_packet *packet;

    do {
      if (at + header >= broker->from_size)
        goto done;
      length |= (size_t)(bytes[header] & 127) << shift;
      shift += 7;
    } while (bytes[header++] & 128);
    if (broker->from_size - at < header + length)
      break;
    assert_true(broker->packet_count < BROKER_PACKETS);
    packet = &broker->packets[broker->packet_count++];
    packet->type = bytes[0] >> 4;
    packet->flags = bytes[0] & 15;
    packet->size = header + length;
    memcpy(packet->bytes, bytes,
           packet->size < sizeof packet->bytes ? packet->size
                                               : sizeof packet->bytes);
    packet->id = 0;
    if (packet->type == 3 && (packet->flags & 6)) {
      size_t topic = (size_t)bytes[header] << 8 | bytes[header + 1];

      packet->id = (uint16_t)(bytes[header + 2 + topic] << 8 |
                              bytes[header + 3 + topic]);
    } else if (packet->type == 4 || packet->type == 8 || packet->type == 10) {
      packet->id = (uint16_t)(bytes[header] << 8 | bytes[header + 1]);
    }
    at += header + length;
  }
done:
  memmove(broker->from_session, broker->from_session + at,
          broker->from_size - at);
  broker->from_size -= at;
}

static inline ptrdiff_t broker_read(iotops_stream *base, void *bytes,
                                    size_t size) {
  memory_broker *broker = ((memory_stream *)base)->broker;
  size_t left = broker->to_end - broker->to_start;

  if (left == 0)
    return broker->end_after ? IOTOPS_STREAM_END : IOTOPS_STREAM_AGAIN;
  if (size > left)
    size = left;
  memcpy(bytes, broker->to_session + broker->to_start, size);
  broker->to_start += size;
  return (ptrdiff_t)size;
}

static inline ptrdiff_t broker_write(iotops_stream *base, const void *bytes,
                                     size_t size) {
  memory_broker *broker = ((memory_stream *)base)->broker;

  if (size > broker->accept)
    size = broker->accept;
  if (broker->accept != SIZE_MAX)
    broker->accept -= size;
  if (size > 0)
    broker->writes++;
  assert_true(broker->from_size + size <= BROKER_BYTES);
  memcpy(broker->from_session + broker->from_size, bytes, size);
  broker->from_size += size;
  broker_cut(broker);
  return (ptrdiff_t)size;
}

static inline void broker_pause(iotops_stream *base, bool paused) {
  memory_stream *stream = (memory_stream *)base;

  stream->broker->paused = paused;
  if (!paused)
    iotops_task_soon(stream->broker->context, &stream->readable);
}

static inline const iotops_error *broker_error(iotops_stream *base) {
  return &((memory_stream *)base)->broker->error;
}

static inline void broker_closed(iotops_stream *base, bool graceful) {
  memory_stream *stream = (memory_stream *)base;
  memory_broker *broker = stream->broker;

  broker->closes++;
  broker->graceful = graceful;
  broker->stream = NULL;
  broker->to_start = broker->to_end = broker->from_size = 0;
  broker->end_after = false;
  iotops_task_cancel(broker->context, &stream->opened);
  iotops_task_cancel(broker->context, &stream->readable);
  iotops_task_cancel(broker->context, &stream->writable);
  free(stream);
}

static inline void broker_tell_opened(iotops_task *task) {
  memory_broker *broker = task->user;

  broker->events.opened(broker->events.user);
}

static inline void broker_tell_readable(iotops_task *task) {
  memory_broker *broker = task->user;

  if (!broker->paused)
    broker->events.readable(broker->events.user);
}

static inline void broker_tell_writable(iotops_task *task) {
  memory_broker *broker = task->user;

  broker->events.writable(broker->events.user);
}

static inline int broker_open(void *user, iotops_context *context,
                              const iotops_settings *settings,
                              const iotops_stream_events *events,
                              iotops_stream **result, iotops_error *err) {
  static const iotops_stream_ops ops = {
      .read = broker_read,
      .write = broker_write,
      .pause = broker_pause,
      .last_error = broker_error,
      .close = broker_closed,
  };
  memory_broker *broker = user;
  memory_stream *stream = calloc(1, sizeof *stream);

  (void)settings;
  (void)err;
  assert_null(broker->stream); /* never two streams of one session */
  stream->base.ops = &ops;
  stream->broker = broker;
  stream->opened.run = broker_tell_opened;
  stream->readable.run = broker_tell_readable;
  stream->writable.run = broker_tell_writable;
  stream->opened.user = stream->readable.user = stream->writable.user = broker;
  broker->events = *events;
  broker->stream = stream;
  broker->opens++;
  broker->paused = false;
  broker->accept = SIZE_MAX;
  if (!broker->refuse_open)
    iotops_task_soon(context, &stream->opened);
  *result = &stream->base;
  return 0;
}

/* --------------------------------------------------------------- time -- */

static inline int64_t broker_wall(void *user) {
  return 1700000000000 + (int64_t)((memory_broker *)user)->now_ms;
}

static inline uint64_t broker_mono(void *user) {
  return ((memory_broker *)user)->now_ms;
}

static inline void broker_alarm(void *user, iotops_context *context,
                                uint64_t due_ms) {
  (void)user;
  (void)context;
  (void)due_ms;
}

/* Runs everything that is due within the next `ms` milliseconds. */
static inline void broker_pass(memory_broker *broker, uint64_t ms) {
  uint64_t until = broker->now_ms + ms;

  for (;;) {
    uint64_t due;

    iotops_context_drain(broker->context);
    due = iotops_context_next_due(broker->context);
    if (due > until)
      break;
    if (due > broker->now_ms)
      broker->now_ms = due;
    iotops_context_ring(broker->context);
  }
  broker->now_ms = until;
}

/* --------------------------------------------------------------- life -- */

static inline void broker_log(void *user, const iotops_log_record *record) {
  (void)user;
  if (getenv("UNIT_LOG"))
    fprintf(stderr, "%s: %.*s\n", iotops_log_level_name(record->level),
            (int)record->message.size, record->message.data);
}

/* `allocator` may be NULL. */
static inline memory_broker *
broker_new_with(const iotops_allocator *allocator) {
  memory_broker *broker = calloc(1, sizeof *broker);
  iotops_clock clock = {broker_wall, broker_mono, broker_alarm, broker};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  iotops_error err;

  broker->to_session = malloc(BROKER_BYTES);
  broker->from_session = malloc(BROKER_BYTES);
  broker->now_ms = 1000;
  options.clock = &clock;
  options.allocator = allocator;
  options.log = broker_log;
  options.log_level = IOTOPS_LOG_DEBUG;
  assert_int_equal(iotops_context_new(&options, &broker->context, &err), 0);
  return broker;
}

static inline memory_broker *broker_new(void) {
  return broker_new_with(NULL);
}

static inline void broker_free(memory_broker *broker) {
  iotops_context_drain(broker->context);
  assert_null(broker->stream);
  iotops_context_free(broker->context);
  free(broker->to_session);
  free(broker->from_session);
  free(broker);
}

/* ------------------------------------------------------------- script -- */

static inline void broker_send(memory_broker *broker, const void *bytes,
                               size_t size) {
  assert_non_null(broker->stream);
  assert_true(broker->to_end + size <= BROKER_BYTES);
  memcpy(broker->to_session + broker->to_end, bytes, size);
  broker->to_end += size;
  iotops_task_soon(broker->context, &broker->stream->readable);
}

#define BROKER_SEND(broker, ...)                                               \
  do {                                                                         \
    const uint8_t sent_[] = {__VA_ARGS__};                                     \
    broker_send(broker, sent_, sizeof sent_);                                  \
  } while (0)

/* The stream ends, after what was sent. */
static inline void broker_end(memory_broker *broker) {
  broker->end_after = true;
  iotops_task_soon(broker->context, &broker->stream->readable);
}

static inline void broker_accept_more(memory_broker *broker, size_t bytes) {
  broker->accept = bytes;
  iotops_task_soon(broker->context, &broker->stream->writable);
}

static inline void broker_publish(memory_broker *broker, const char *topic,
                                  int qos, bool dup, uint16_t id,
                                  const char *payload) {
  uint8_t bytes[600];
  size_t size = strlen(topic), payload_size = strlen(payload), at = 0;
  size_t body = 2 + size + (qos ? 2 : 0) + 1 + payload_size;

  assert_true(body < 128);
  bytes[at++] = (uint8_t)(0x30 | qos << 1 | dup << 3);
  bytes[at++] = (uint8_t)body;
  bytes[at++] = 0;
  bytes[at++] = (uint8_t)size;
  memcpy(bytes + at, topic, size);
  at += size;
  if (qos) {
    bytes[at++] = (uint8_t)(id >> 8);
    bytes[at++] = (uint8_t)id;
  }
  bytes[at++] = 0;
  memcpy(bytes + at, payload, payload_size);
  broker_send(broker, bytes, at + payload_size);
}

/* The next packet that the session wrote; NULL: none. */
static inline const broker_packet *broker_next(memory_broker *broker) {
  iotops_context_drain(broker->context);
  if (broker->taken == broker->packet_count)
    return NULL;
  return &broker->packets[broker->taken++];
}

static inline const broker_packet *broker_expect(memory_broker *broker,
                                                 int type) {
  const broker_packet *packet = broker_next(broker);

  if (!packet)
    fail_msg("no packet where type %d was expected", type);
  if (packet->type != type)
    fail_msg("packet type %d where %d was expected", packet->type, type);
  return packet;
}

static inline void broker_expect_nothing(memory_broker *broker) {
  const broker_packet *packet = broker_next(broker);

  if (packet)
    fail_msg("packet type %d where none was expected", packet->type);
}

/* Takes the CONNECT and answers it. */
static inline void broker_connack(memory_broker *broker, bool present) {
  broker_expect(broker, 1);
  BROKER_SEND(broker, 0x20, 3, present, 0, 0);
  iotops_context_drain(broker->context);
}

#endif
