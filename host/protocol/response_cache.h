/*
** response_cache.h -- which requests an executor has taken, and how each was
** answered (protocol.md section 7.3).
**
** An entry is known by (response topic, correlation data).  It is live until
** its deadline: no live entry is ever evicted, so a request that is delivered
** again is never executed again while it could still be answered.  At the
** deadline the response is dropped; the key stays for another minute, so that
** a late duplicate is not executed either, unless more than
** CACHE_EXPIRED_MAX such keys are held, when the oldest go first.  Expired
** entries go when others are inserted and by a timer, a bounded number at a
** time.
*/
#ifndef PROTOCOL_RESPONSE_CACHE_H
#define PROTOCOL_RESPONSE_CACHE_H

#include "iotops/mqtt_client.h"
#include "protocol/correlation.h"

enum {
  CACHE_RETENTION_MS = 60000, /* a key outlives its deadline by this */
  CACHE_EXPIRED_MAX = 65536   /* keys past their deadline */
};

/* The acknowledgement of a duplicate that came before the answer. */
typedef struct held_ack held_ack;
struct held_ack {
  iotops_ack ack;
  held_ack *next; /* owned */
};

typedef struct cache_entry cache_entry;
struct cache_entry {
  cache_entry *chain; /* next of the same bucket */
  cache_entry *later; /* next in the list of expired ones */
  uint64_t hash;
  uint64_t deadline_ms;    /* on mono_ms */
  iotops_message *message; /* owned; NULL: none yet, or none at all */
  held_ack *held;          /* owned; only while in progress */
  unsigned pins;           /* holders of a pointer to this entry */
  bool done;
  bool retired; /* out of the table, freed at the last unpin */
  uint8_t correlation[CORRELATION_BYTES];
  size_t topic_size;
  char topic[]; /* the response topic */
};

typedef struct response_cache {
  iotops_context *context; /* borrowed */
  cache_entry **buckets;   /* owned */
  size_t bucket_count;     /* a power of two, or 0 */
  size_t count;
  cache_entry **heap; /* live entries, earliest deadline first; owned */
  size_t live, capacity;
  cache_entry *oldest, *newest; /* expired entries, in order of deadline */
  size_t expired;
  uint64_t seed; /* so that peers cannot aim at one bucket */
  iotops_timer timer;
  unsigned users; /* executors that share it */
} response_cache;

/* An empty cache with one user; NULL when memory is short. */
response_cache *response_cache_new(iotops_context *context);

/* One user less; the last one's cache is cleared and freed. */
void response_cache_leave(response_cache *cache);

/* Prepares an empty cache in zeroed memory; allocates nothing. */
void response_cache_init(response_cache *cache, iotops_context *context);

/*
** Forgets everything, without settling held acknowledgements; pinned entries
** are freed at their last unpin.  The cache can be used again.
*/
void response_cache_clear(response_cache *cache);

/*
** The entry of a request, NULL when it is not known.  Borrowed: it dies with
** the next call on the cache unless pinned.
*/
cache_entry *response_cache_find(response_cache *cache, iotops_text topic,
                                 const uint8_t correlation[CORRELATION_BYTES]);

/*
** A new entry in progress, pinned once, for a request that is not known.
** NULL when memory is short.
*/
cache_entry *response_cache_insert(response_cache *cache, iotops_text topic,
                                   const uint8_t correlation[CORRELATION_BYTES],
                                   uint64_t deadline_ms);

/*
** Keeps the acknowledgement of a duplicate with an entry in progress.  Drops
** those of earlier connections, which are stale.  -1 when memory is short:
** the caller settles it.
*/
int response_cache_hold(response_cache *cache, cache_entry *entry,
                        iotops_ack ack);

/*
** The entry is done, answered by `message` (owned from now on; NULL: not
** answered).  Gives the held acknowledgements over to the caller.
*/
held_ack *response_cache_finish(cache_entry *entry, iotops_message *message);

/*
** While an entry is pinned its memory, and its message, stay.  Unpinning
** works after response_cache_clear() too.
*/
void cache_entry_pin(cache_entry *entry);
void cache_entry_unpin(iotops_context *context, cache_entry *entry);

static inline iotops_text cache_entry_topic(const cache_entry *entry) {
  return (iotops_text){entry->topic, entry->topic_size};
}

#endif
