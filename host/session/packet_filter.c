/* packet_filter.c -- framing both ways between broker and libmosquitto. */
#include "session/packet_filter.h"

#include <string.h>

enum {
  READ_SIZE = 64 * 1024, /* room offered to one read */
  READ_LEAST = 16 * 1024
};

void packet_filter_init(packet_filter *filter, iotops_context *context,
                        int version, size_t packet_max) {
  memset(filter, 0, sizeof *filter);
  filter->context = context;
  filter->version = version;
  filter->packet_max =
      packet_max && packet_max < PACKET_SIZE_MAX ? packet_max : PACKET_SIZE_MAX;
  filter->in.context = context;
  filter->out.context = context;
  filter->library.context = context;
}

void packet_filter_reset(packet_filter *filter) {
  /* No memory goes: somebody on the stack may still look at a packet. */
  filter->in.start = filter->in.end = 0;
  filter->out.start = filter->out.end = 0;
  filter->library.start = filter->library.end = 0;
  filter->ready = 0;
  /* What was queued for the old stream and did not leave never will. */
  filter->queued = filter->written;
}

void packet_filter_free(packet_filter *filter) {
  packet_buffer_free(&filter->in);
  packet_buffer_free(&filter->out);
  packet_buffer_free(&filter->library);
  filter->ready = 0;
}

/* ----------------------------------------------------------- inbound -- */

uint8_t *packet_filter_space(packet_filter *filter, size_t *size) {
  packet_buffer *in = &filter->in;

  if (in->start == in->end) {
    packet_buffer_clear(in);
  } else if (in->start > 0) {
    /* The tail of a packet is moved to the front: at most once a read. */
    memmove(in->bytes, in->bytes + in->start, in->end - in->start);
    in->end -= in->start;
    in->start = 0;
  }
  if (in->capacity - in->end < READ_LEAST &&
      !packet_buffer_reserve(in, READ_SIZE) && in->capacity == in->end)
    return NULL;
  *size = in->capacity - in->end;
  return in->bytes + in->end;
}

void packet_filter_received(packet_filter *filter, size_t size) {
  filter->in.end += size;
  filter->bytes_in += size;
}

int packet_filter_next(packet_filter *filter, packet *packet) {
  packet_buffer *in = &filter->in;
  size_t need;
  int rc;

  packet->size = 0;
  if (in->start == in->end)
    return 0; /* there may be no bytes to point to at all */
  rc = packet_frame(in->bytes + in->start, in->end - in->start,
                    filter->packet_max, packet, &need);
  if (rc)
    return rc;
  if (packet->size > 0) {
    in->start += packet->size;
    filter->packets_in++;
  }
  return 0;
}

bool packet_filter_tell_connack(packet_filter *filter, bool session_present,
                                uint16_t receive_max) {
  uint8_t bytes[] = {PACKET_CONNACK << 4,
                     6,
                     session_present,
                     0,
                     3,
                     PROPERTY_RECEIVE_MAX,
                     (uint8_t)(receive_max >> 8),
                     (uint8_t)receive_max};

  if (filter->version == 5)
    return packet_buffer_append(&filter->library, bytes, sizeof bytes);
  bytes[1] = 2;
  return packet_buffer_append(&filter->library, bytes, 4);
}

bool packet_filter_tell_puback(packet_filter *filter, uint16_t packet_id) {
  return packet_write_puback(&filter->library, packet_id);
}

/* ---------------------------------------------------------- outbound -- */

uint8_t *packet_filter_library_space(packet_filter *filter, size_t *size) {
  packet_buffer *out = &filter->out;

  if (out->capacity - out->end < READ_LEAST &&
      !packet_buffer_reserve(out, READ_SIZE) && out->capacity == out->end)
    return NULL;
  *size = out->capacity - out->end;
  return out->bytes + out->end;
}

static void reverse(uint8_t *first, uint8_t *end) {
  for (; first < end; first++) {
    uint8_t byte = *--end;

    *end = *first;
    *first = byte;
  }
}

/* Puts our CONNECT where the library's, the last thing in `out`, is. */
static int replace_connect(packet_filter *filter, size_t size) {
  packet_buffer *out = &filter->out;
  size_t tail = out->end - out->start - filter->ready - size;

  /* Nothing may follow a CONNECT before its answer. */
  if (tail != 0)
    return PACKET_PROTOCOL_ERROR;
  out->end -= size;
  packet_filter_begin(filter);
  if (!packet_write_connect(out, filter->connect))
    return PACKET_NO_MEMORY;
  packet_filter_end(filter);
  return 0;
}

int packet_filter_library_wrote(packet_filter *filter, size_t size) {
  packet_buffer *out = &filter->out;
  packet packet;
  size_t need;
  int rc;

  out->end += size;
  for (;;) {
    uint8_t *at = out->bytes + out->start + filter->ready;
    size_t left = out->end - out->start - filter->ready;

    rc = packet_frame(at, left, PACKET_SIZE_MAX, &packet, &need);
    if (rc || packet.size == 0)
      return rc;
    if (packet.type == PACKET_CONNECT && filter->connect) {
      rc = replace_connect(filter, packet.size);
      if (rc)
        return rc;
    } else if (packet.type == PACKET_PUBACK || packet.type == PACKET_PINGREQ) {
      memmove(at, at + packet.size, left - packet.size);
      out->end -= packet.size;
    } else {
      filter->ready += packet.size;
      filter->queued += packet.size;
      filter->packets_out++;
      if (filter->outgoing &&
          filter->outgoing(filter->user, &packet, filter->queued))
        *at |= PACKET_DUP;
    }
  }
}

packet_buffer *packet_filter_begin(packet_filter *filter) {
  filter->partial = filter->out.end - filter->out.start - filter->ready;
  return &filter->out;
}

bool packet_filter_end(packet_filter *filter) {
  packet_buffer *out = &filter->out;
  size_t added = out->end - out->start - filter->ready - filter->partial;
  uint8_t *at;

  if (added == 0)
    return false;
  at = out->bytes + out->start + filter->ready;
  if (filter->partial > 0) { /* ours go in front of the library's unfinished */
    reverse(at, at + filter->partial);
    reverse(at + filter->partial, at + filter->partial + added);
    reverse(at, at + filter->partial + added);
  }
  filter->ready += added;
  filter->queued += added;
  filter->packets_out++;
  return true;
}

iotops_text packet_filter_pending(const packet_filter *filter) {
  iotops_text text = {NULL, filter->ready};

  if (text.size > 0)
    text.data = (const char *)filter->out.bytes + filter->out.start;
  return text;
}

void packet_filter_wrote(packet_filter *filter, size_t size) {
  filter->written += size;
  filter->ready -= size;
  packet_buffer_consume(&filter->out, size);
}
