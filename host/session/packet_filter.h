/*
** packet_filter.h -- between the broker's stream and libmosquitto's
** (session.md section 19).
**
** Inbound, it holds the receive buffer and hands out one whole, checked packet
** at a time; a packet that announces more than the limit is refused before
** anything is allocated for it, and the buffer grows with what has arrived,
** never with what was claimed.  What libmosquitto must see of it is collected
** in a buffer of its own: a CONNACK with nothing but a Receive Maximum, and
** PUBACKs as four bytes.
**
** Outbound, it holds everything that waits for the broker.  libmosquitto's
** bytes are appended as they come; its CONNECT is replaced by ours and its
** PUBACKs are dropped.  Packets of the session's own are put between whole
** packets only.  Everything that one event produced can so be written at once.
*/
#ifndef IOTOPS_SESSION_PACKET_FILTER_H
#define IOTOPS_SESSION_PACKET_FILTER_H

#include "session/packet_write.h"

typedef struct packet_filter packet_filter;
struct packet_filter {
  iotops_context *context; /* borrowed */
  int version;             /* 5 or 4 */
  size_t packet_max;       /* largest inbound packet */
  packet_buffer in;        /* received, not yet handed out */
  packet_buffer out;       /* for the broker */
  packet_buffer library;   /* for libmosquitto */
  size_t ready;            /* of the bytes in `out`, those of whole packets */
  size_t partial;          /* between begin and end: bytes behind them */
  uint64_t queued;         /* bytes ever put in order for the broker */
  uint64_t written;        /* of them, taken by the transport */
  uint64_t packets_in, packets_out, bytes_in;
  const packet_connect *connect; /* borrowed; what replaces CONNECT */
  /*
  ** Sees each packet of libmosquitto that stays; `end` is the count of
  ** `written` at which its last byte has left.  True: it is a PUBLISH that
  ** goes out once more, and gets its DUP flag if it has none.
  */
  bool (*outgoing)(void *user, const packet *packet, uint64_t end);
  void *user; /* borrowed; passed to outgoing */
};

/* `packet_max` 0: what MQTT allows. */
void packet_filter_init(packet_filter *filter, iotops_context *context,
                        int version, size_t packet_max);

/* Back to empty, for a new stream; keeps its buffers and counts. */
void packet_filter_reset(packet_filter *filter);
void packet_filter_free(packet_filter *filter);

/* ----------------------------------------------------------- inbound -- */

/*
** Where received bytes go: at least one, `*size` at most.  NULL when memory
** is short.  Packets handed out before are dead afterwards.
*/
uint8_t *packet_filter_space(packet_filter *filter, size_t *size);

/* `size` bytes were stored there. */
void packet_filter_received(packet_filter *filter, size_t size);

/*
** The next whole packet, which stays readable until the next call of
** packet_filter_space.  0; packet->size 0 when there is none yet; or a reason
** code, after which the stream must not be used any more.
*/
int packet_filter_next(packet_filter *filter, packet *packet);

/* Tell libmosquitto; false when memory is short. */
bool packet_filter_tell_connack(packet_filter *filter, bool session_present,
                                uint16_t receive_max);
bool packet_filter_tell_puback(packet_filter *filter, uint16_t packet_id);

/* ---------------------------------------------------------- outbound -- */

/* Where bytes of libmosquitto go, as for packet_filter_space. */
uint8_t *packet_filter_library_space(packet_filter *filter, size_t *size);

/* `size` bytes were stored there.  0 or a reason code. */
int packet_filter_library_wrote(packet_filter *filter, size_t size);

/*
** Where a packet of the session's own is to be written: packet_write_* into
** the returned buffer between these two calls.  What was written counts as one
** packet; false when nothing was.
*/
packet_buffer *packet_filter_begin(packet_filter *filter);
bool packet_filter_end(packet_filter *filter);

/* What may be written to the broker now, and how much of it was taken. */
iotops_text packet_filter_pending(const packet_filter *filter);
void packet_filter_wrote(packet_filter *filter, size_t size);

#endif
