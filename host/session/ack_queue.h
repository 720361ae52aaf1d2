/*
** ack_queue.h -- acknowledgements in the order of receipt (session.md
** section 9.2).
**
** A delivery enters at the tail when its PUBLISH arrives and leaves at the
** head once every receiver has settled its share, so PUBACKs go out in arrival
** order whatever order handlers finish in.  When the connection ends the queue
** is emptied and the epoch moves on: shares of an older epoch are stale, and
** settling them does nothing.
**
** The ring grows by doubling up to its limit and never shrinks: once it has
** held as much as it will hold, nothing allocates any more.
*/
#ifndef IOTOPS_SESSION_ACK_QUEUE_H
#define IOTOPS_SESSION_ACK_QUEUE_H

#include "iotops/mqtt_client.h"

enum { ACK_INLINE_SHARES = 64 };

typedef struct ack_entry {
  uint16_t packet_id;
  uint32_t size;    /* bytes of the packet */
  uint32_t shares;  /* given out */
  uint32_t pending; /* not settled, the queue's own hold included */
  uint64_t settled; /* the first shares, as bits */
  uint64_t *more;   /* owned; the shares from the 64th on, as bits */
  uint64_t entered_ms;
} ack_entry;

typedef struct ack_queue {
  iotops_context *context; /* borrowed */
  ack_entry *ring;         /* owned; capacity is a power of two */
  uint32_t capacity, limit;
  uint32_t head, count; /* head counts entries, masked for the ring */
  uint32_t epoch;       /* of the present connection; 0 before the first */
  uint64_t held_bytes;  /* of the packets in the queue */
  uint8_t pending_ids[65536 / 8];
} ack_queue;

typedef enum ack_entry_result {
  ACK_ENTERED,
  ACK_DUPLICATE, /* the id is pending: the same delivery again, or an error */
  ACK_FULL,      /* the limit is reached */
  ACK_NO_MEMORY
} ack_entry_result;

void ack_queue_init(ack_queue *queue, iotops_context *context, uint16_t limit);
void ack_queue_free(ack_queue *queue);

/* The connection has ended: empties the queue. */
void ack_queue_reset(ack_queue *queue);

/* A connection begins: moves to the next epoch, never 0. */
void ack_queue_begin(ack_queue *queue);

/*
** A delivery arrives.  It is held open, so that it cannot complete while it is
** being dispatched, until ack_queue_seal().
*/
ack_entry_result ack_queue_enter(ack_queue *queue, uint16_t packet_id,
                                 size_t size);

/*
** One more receiver of the delivery that entered last; false when memory is
** short.
*/
bool ack_queue_share(ack_queue *queue, iotops_ack *ack);

/* The delivery that entered last has all its shares. */
void ack_queue_seal(ack_queue *queue);

/* False when the share is stale or was settled before. */
bool ack_queue_settle(ack_queue *queue, iotops_ack ack);

/* Takes the next PUBACK that may leave; false when there is none yet. */
bool ack_queue_next(ack_queue *queue, uint16_t *packet_id);

/* Age of the oldest delivery in milliseconds; 0 when there is none. */
uint64_t ack_queue_age(const ack_queue *queue);

#endif
