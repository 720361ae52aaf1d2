/* memory_stream.c -- see memory_stream.h. */
#include "memory_stream.h"

#include <stdlib.h>
#include <string.h>

struct metl_stream {
  iotops_stream base;
  metl_wire *wire; /* borrowed; NULL once the client has closed */
  iotops_context *context;
  iotops_stream_events events;
  metl_bytes unread;
  bool ended, paused;
  size_t taken; /* bytes written in this turn */
  iotops_task opened, readable, writable;
};

static void tell_opened(iotops_task *task) {
  metl_stream *stream = task->user;
  stream->events.opened(stream->events.user);
}

static void tell_readable(iotops_task *task) {
  metl_stream *stream = task->user;
  if (!stream->paused && (stream->unread.size > 0 || stream->ended)) {
    stream->events.readable(stream->events.user);
  }
}

static void tell_writable(iotops_task *task) {
  metl_stream *stream = task->user;
  stream->taken = 0;
  stream->events.writable(stream->events.user);
}

static ptrdiff_t read_some(iotops_stream *base, void *bytes, size_t size) {
  metl_stream *stream = (metl_stream *)base;
  if (stream->unread.size == 0) {
    return stream->ended ? IOTOPS_STREAM_END : IOTOPS_STREAM_AGAIN;
  }
  size_t limit = stream->wire->read_limit;
  if (size > stream->unread.size) {
    size = stream->unread.size;
  }
  if (limit > 0 && size > limit) {
    size = limit;
  }
  memcpy(bytes, stream->unread.data, size);
  metl_bytes_drop(&stream->unread, size);
  stream->wire->moved += size;
  if (stream->unread.size > 0 || stream->ended) {
    iotops_task_soon(stream->context, &stream->readable);
  }
  return (ptrdiff_t)size;
}

static ptrdiff_t write_some(iotops_stream *base, const void *bytes,
                            size_t size) {
  metl_stream *stream = (metl_stream *)base;
  size_t limit = stream->wire->write_limit;
  if (limit > 0 && size > limit - stream->taken) {
    size = limit - stream->taken;
    iotops_task_soon(stream->context, &stream->writable);
  }
  stream->taken += limit > 0 ? size : 0;
  stream->wire->moved += size;
  if (size > 0 && !stream->ended) {
    stream->wire->written(stream->wire->user, bytes, size);
  }
  return (ptrdiff_t)size;
}

static void pause_stream(iotops_stream *base, bool paused) {
  metl_stream *stream = (metl_stream *)base;
  stream->paused = paused;
  if (!paused) {
    iotops_task_soon(stream->context, &stream->readable);
  }
}

static const iotops_error *last_error(iotops_stream *base) {
  (void)base;
  return NULL;
}

static void close_stream(iotops_stream *base, bool graceful) {
  metl_stream *stream = (metl_stream *)base;
  (void)graceful;
  if (stream->wire->stream == stream) {
    stream->wire->stream = NULL;
  }
  stream->wire->closed(stream->wire->user);
  iotops_task_cancel(stream->context, &stream->opened);
  iotops_task_cancel(stream->context, &stream->readable);
  iotops_task_cancel(stream->context, &stream->writable);
  metl_bytes_free(&stream->unread);
  free(stream);
}

static int open_stream(void *user, iotops_context *context,
                       const iotops_settings *settings,
                       const iotops_stream_events *events,
                       iotops_stream **stream, iotops_error *err) {
  static const iotops_stream_ops ops = {.read = read_some,
                                        .write = write_some,
                                        .pause = pause_stream,
                                        .last_error = last_error,
                                        .close = close_stream};
  metl_wire *wire = user;
  (void)settings;
  if (wire->stream) {
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "a second stream of one session");
  }
  metl_stream *opened = metl_resize(NULL, sizeof *opened);
  *opened = (metl_stream){.base = {.ops = &ops},
                          .wire = wire,
                          .context = context,
                          .events = *events,
                          .opened = {.run = tell_opened, .user = opened},
                          .readable = {.run = tell_readable, .user = opened},
                          .writable = {.run = tell_writable, .user = opened}};
  wire->stream = opened;
  *stream = &opened->base;
  wire->opened(wire->user);
  iotops_task_soon(context, &opened->opened);
  return 0;
}

iotops_transport metl_wire_transport(metl_wire *wire) {
  return (iotops_transport){.open = open_stream, .user = wire};
}

void metl_wire_send(metl_wire *wire, const void *bytes, size_t size) {
  metl_stream *stream = wire->stream;
  if (stream && !stream->ended) {
    metl_bytes_add(&stream->unread, bytes, size);
    iotops_task_soon(stream->context, &stream->readable);
  }
}

void metl_wire_end(metl_wire *wire, size_t most) {
  metl_stream *stream = wire->stream;
  if (stream) {
    if (stream->unread.size > most) {
      stream->unread.size = most;
    }
    stream->ended = true;
    iotops_task_soon(stream->context, &stream->readable);
  }
}
