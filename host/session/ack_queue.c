/* ack_queue.c -- a ring of deliveries between receipt and PUBACK. */
#include "session/ack_queue.h"

#include <string.h>

enum { FIRST_CAPACITY = 64 };

void ack_queue_init(ack_queue *queue, iotops_context *context, uint16_t limit) {
  memset(queue, 0, sizeof *queue);
  queue->context = context;
  queue->limit = limit;
}

static ack_entry *entry_at(const ack_queue *queue, uint32_t seq) {
  return &queue->ring[seq & (queue->capacity - 1)];
}

static void drop_head(ack_queue *queue) {
  ack_entry *entry = entry_at(queue, queue->head);

  queue->pending_ids[entry->packet_id >> 3] &=
      (uint8_t) ~(1u << (entry->packet_id & 7));
  queue->held_bytes -= entry->size;
  if (entry->more) {
    iotops_free(queue->context, entry->more);
    entry->more = NULL;
  }
  queue->head++;
  queue->count--;
}

void ack_queue_reset(ack_queue *queue) {
  while (queue->count > 0)
    drop_head(queue);
}

void ack_queue_begin(ack_queue *queue) {
  ack_queue_reset(queue);
  if (++queue->epoch == 0)
    queue->epoch = 1;
}

void ack_queue_free(ack_queue *queue) {
  ack_queue_reset(queue);
  iotops_free(queue->context, queue->ring);
  queue->ring = NULL;
  queue->capacity = 0;
}

static bool grow(ack_queue *queue) {
  uint32_t capacity = queue->capacity ? queue->capacity * 2 : FIRST_CAPACITY;
  ack_entry *ring =
      iotops_zalloc(queue->context, capacity * sizeof *queue->ring);

  if (!ring)
    return false;
  for (uint32_t i = 0; i < queue->count; i++) {
    uint32_t seq = queue->head + i;

    ring[seq & (capacity - 1)] = *entry_at(queue, seq);
  }
  iotops_free(queue->context, queue->ring);
  queue->ring = ring;
  queue->capacity = capacity;
  return true;
}

ack_entry_result ack_queue_enter(ack_queue *queue, uint16_t packet_id,
                                 size_t size) {
  uint8_t bit = (uint8_t)(1u << (packet_id & 7));
  ack_entry *entry;

  if (queue->pending_ids[packet_id >> 3] & bit)
    return ACK_DUPLICATE;
  if (queue->count >= queue->limit)
    return ACK_FULL;
  if (queue->count == queue->capacity && !grow(queue))
    return ACK_NO_MEMORY;
  queue->pending_ids[packet_id >> 3] |= bit;
  entry = entry_at(queue, queue->head + queue->count);
  memset(entry, 0, sizeof *entry);
  entry->packet_id = packet_id;
  entry->size = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
  entry->pending = 1;
  entry->entered_ms = iotops_mono_ms(queue->context);
  queue->held_bytes += entry->size;
  queue->count++;
  return ACK_ENTERED;
}

bool ack_queue_share(ack_queue *queue, iotops_ack *ack) {
  uint32_t seq = queue->head + queue->count - 1;
  ack_entry *entry = entry_at(queue, seq);
  uint32_t share = entry->shares;

  if (share >= ACK_INLINE_SHARES && share % 64 == 0) {
    size_t words = share / 64;
    uint64_t *more =
        iotops_resize(queue->context, entry->more, words * sizeof *more);

    if (!more)
      return false;
    more[words - 1] = 0;
    entry->more = more;
  }
  entry->shares++;
  entry->pending++;
  ack->epoch = queue->epoch;
  ack->seq = seq;
  ack->share = share;
  return true;
}

void ack_queue_seal(ack_queue *queue) {
  if (queue->count > 0)
    entry_at(queue, queue->head + queue->count - 1)->pending--;
}

bool ack_queue_settle(ack_queue *queue, iotops_ack ack) {
  ack_entry *entry;
  uint64_t *word, bit = (uint64_t)1 << (ack.share % 64);

  if (ack.epoch == 0 || ack.epoch != queue->epoch ||
      ack.seq - queue->head >= queue->count)
    return false;
  entry = entry_at(queue, ack.seq);
  if (ack.share >= entry->shares)
    return false;
  word = ack.share < ACK_INLINE_SHARES ? &entry->settled
                                       : &entry->more[ack.share / 64 - 1];
  if (*word & bit)
    return false;
  *word |= bit;
  entry->pending--;
  return true;
}

bool ack_queue_next(ack_queue *queue, uint16_t *packet_id) {
  ack_entry *entry;

  if (queue->count == 0)
    return false;
  entry = entry_at(queue, queue->head);
  if (entry->pending > 0)
    return false;
  *packet_id = entry->packet_id;
  drop_head(queue);
  return true;
}

uint64_t ack_queue_age(const ack_queue *queue) {
  if (queue->count == 0)
    return 0;
  return iotops_mono_ms(queue->context) -
         entry_at(queue, queue->head)->entered_ms;
}
