#include "protocol/response_cache.h"

#include <string.h>

enum {
  FIRST_BUCKETS = 64,
  PURGE_ON_INSERT = 4,  /* more than one, so that inserting catches up */
  PURGE_ON_TIMER = 512, /* a pause that nobody notices */
  PURGE_AGAIN_MS = 5
};

static uint64_t hash_key(uint64_t seed, iotops_text topic,
                         const uint8_t *correlation) {
  uint64_t hash = seed ^ 0xcbf29ce484222325u; /* FNV-1a */
  for (size_t i = 0; i < topic.size; i++)
    hash = (hash ^ (uint8_t)topic.data[i]) * 0x100000001b3u;
  for (size_t i = 0; i < CORRELATION_BYTES; i++)
    hash = (hash ^ correlation[i]) * 0x100000001b3u;
  return hash ^ hash >> 32;
}

static void free_entry(iotops_context *context, cache_entry *entry) {
  while (entry->held) {
    held_ack *next = entry->held->next;
    iotops_free(context, entry->held);
    entry->held = next;
  }
  iotops_free(context, entry->message);
  iotops_free(context, entry);
}

static void retire(response_cache *cache, cache_entry *entry) {
  entry->retired = true;
  entry->chain = NULL;
  if (entry->pins == 0)
    free_entry(cache->context, entry);
}

/* Drops the message of an entry that can no longer be answered. */
static void drop_message(iotops_context *context, cache_entry *entry) {
  if (entry->pins == 0) {
    iotops_free(context, entry->message);
    entry->message = NULL;
  }
}

/* ------------------------------------------- live entries, by deadline -- */

static void sift_up(response_cache *cache, size_t at) {
  cache_entry *entry = cache->heap[at];
  while (at > 0) {
    size_t parent = (at - 1) / 2;
    if (cache->heap[parent]->deadline_ms <= entry->deadline_ms)
      break;
    cache->heap[at] = cache->heap[parent];
    at = parent;
  }
  cache->heap[at] = entry;
}

static cache_entry *take_first(response_cache *cache) {
  cache_entry *first = cache->heap[0];
  cache_entry *last = cache->heap[--cache->live];
  size_t at = 0;
  while (2 * at + 1 < cache->live) {
    size_t child = 2 * at + 1;
    if (child + 1 < cache->live &&
        cache->heap[child + 1]->deadline_ms < cache->heap[child]->deadline_ms)
      child++;
    if (last->deadline_ms <= cache->heap[child]->deadline_ms)
      break;
    cache->heap[at] = cache->heap[child];
    at = child;
  }
  if (cache->live > 0)
    cache->heap[at] = last;
  return first;
}

/* -------------------------------------------------------------- purging -- */

static void remove_oldest(response_cache *cache) {
  cache_entry *entry = cache->oldest;
  cache_entry **link = &cache->buckets[entry->hash & (cache->bucket_count - 1)];
  while (*link != entry)
    link = &(*link)->chain;
  *link = entry->chain;
  cache->oldest = entry->later;
  if (!cache->oldest)
    cache->newest = NULL;
  cache->expired--;
  cache->count--;
  retire(cache, entry);
}

/* Does one piece of work that is due; false when there is none. */
static bool purge_one(response_cache *cache, uint64_t now) {
  cache_entry *oldest = cache->oldest;
  /* An entry in progress is somebody's; its end is near, if not past. */
  if (oldest && oldest->done &&
      (cache->expired > CACHE_EXPIRED_MAX ||
       now >= oldest->deadline_ms + CACHE_RETENTION_MS)) {
    remove_oldest(cache);
    return true;
  }
  if (cache->live == 0 || cache->heap[0]->deadline_ms > now)
    return false;
  cache_entry *entry = take_first(cache);
  drop_message(cache->context, entry);
  entry->later = NULL;
  if (cache->newest)
    cache->newest->later = entry;
  else
    cache->oldest = entry;
  cache->newest = entry;
  cache->expired++;
  return true;
}

static void purge(response_cache *cache, unsigned at_most) {
  uint64_t now = iotops_mono_ms(cache->context);
  while (at_most > 0 && purge_one(cache, now))
    at_most--;
}

static uint64_t next_purge(const response_cache *cache) {
  uint64_t next = UINT64_MAX;
  if (cache->live > 0)
    next = cache->heap[0]->deadline_ms;
  if (cache->oldest && cache->oldest->deadline_ms + CACHE_RETENTION_MS < next)
    next = cache->oldest->deadline_ms + CACHE_RETENTION_MS;
  return next;
}

static void set_timer(response_cache *cache) {
  uint64_t now = iotops_mono_ms(cache->context);
  uint64_t next = next_purge(cache);
  if (next == UINT64_MAX)
    iotops_timer_stop(cache->context, &cache->timer);
  else
    iotops_timer_start(cache->context, &cache->timer,
                       next > now ? next - now : PURGE_AGAIN_MS);
}

static void on_timer(iotops_timer *timer) {
  response_cache *cache = timer->user;
  purge(cache, PURGE_ON_TIMER);
  set_timer(cache);
}

/* ------------------------------------------------------------ interface -- */

void response_cache_init(response_cache *cache, iotops_context *context) {
  cache->context = context;
  cache->timer.fire = on_timer;
  cache->timer.user = cache;
  iotops_random(context, &cache->seed, sizeof cache->seed);
}

void response_cache_clear(response_cache *cache) {
  iotops_timer_stop(cache->context, &cache->timer);
  for (size_t i = 0; i < cache->bucket_count; i++) {
    while (cache->buckets[i]) {
      cache_entry *entry = cache->buckets[i];
      cache->buckets[i] = entry->chain;
      retire(cache, entry);
    }
  }
  iotops_free(cache->context, cache->buckets);
  iotops_free(cache->context, cache->heap);
  cache->buckets = NULL;
  cache->heap = NULL;
  cache->bucket_count = cache->count = 0;
  cache->live = cache->capacity = cache->expired = 0;
  cache->oldest = cache->newest = NULL;
}

response_cache *response_cache_new(iotops_context *context) {
  response_cache *made = iotops_zalloc(context, sizeof *made);
  if (!made)
    return NULL;
  response_cache_init(made, context);
  made->users = 1;
  return made;
}

void response_cache_leave(response_cache *cache) {
  if (!cache || --cache->users > 0)
    return;
  iotops_context *context = cache->context;
  response_cache_clear(cache);
  iotops_free(context, cache);
}

cache_entry *response_cache_find(response_cache *cache, iotops_text topic,
                                 const uint8_t correlation[CORRELATION_BYTES]) {
  if (cache->bucket_count == 0)
    return NULL;
  uint64_t hash = hash_key(cache->seed, topic, correlation);
  cache_entry *entry = cache->buckets[hash & (cache->bucket_count - 1)];
  while (entry &&
         (entry->hash != hash || entry->topic_size != topic.size ||
          memcmp(entry->correlation, correlation, CORRELATION_BYTES) != 0 ||
          memcmp(entry->topic, topic.data, topic.size) != 0))
    entry = entry->chain;
  return entry;
}

/* Doubles the table; when memory is short the chains get longer instead. */
static void grow_buckets(response_cache *cache) {
  size_t size = cache->bucket_count ? cache->bucket_count * 2 : FIRST_BUCKETS;
  cache_entry **buckets = iotops_zalloc(cache->context, size * sizeof *buckets);
  if (!buckets)
    return;
  for (size_t i = 0; i < cache->bucket_count; i++) {
    while (cache->buckets[i]) {
      cache_entry *entry = cache->buckets[i];
      cache->buckets[i] = entry->chain;
      entry->chain = buckets[entry->hash & (size - 1)];
      buckets[entry->hash & (size - 1)] = entry;
    }
  }
  iotops_free(cache->context, cache->buckets);
  cache->buckets = buckets;
  cache->bucket_count = size;
}

static bool make_room(response_cache *cache) {
  if (cache->count >= cache->bucket_count)
    grow_buckets(cache);
  if (cache->live == cache->capacity) {
    size_t capacity = cache->capacity ? cache->capacity * 2 : FIRST_BUCKETS;
    cache_entry **heap = iotops_resize(cache->context, cache->heap,
                                       capacity * sizeof(cache_entry *));
    if (!heap)
      return false;
    cache->heap = heap;
    cache->capacity = capacity;
  }
  return cache->bucket_count > 0;
}

cache_entry *response_cache_insert(response_cache *cache, iotops_text topic,
                                   const uint8_t correlation[CORRELATION_BYTES],
                                   uint64_t deadline_ms) {
  purge(cache, PURGE_ON_INSERT);
  if (!make_room(cache))
    return NULL;
  cache_entry *entry =
      iotops_zalloc(cache->context, sizeof *entry + topic.size);
  if (!entry)
    return NULL;
  entry->hash = hash_key(cache->seed, topic, correlation);
  entry->deadline_ms = deadline_ms;
  entry->pins = 1;
  memcpy(entry->correlation, correlation, CORRELATION_BYTES);
  entry->topic_size = topic.size;
  memcpy(entry->topic, topic.data, topic.size);
  cache_entry **bucket =
      &cache->buckets[entry->hash & (cache->bucket_count - 1)];
  entry->chain = *bucket;
  *bucket = entry;
  cache->count++;
  cache->heap[cache->live++] = entry;
  sift_up(cache, cache->live - 1);
  if (!cache->timer.running || cache->heap[0] == entry)
    set_timer(cache);
  return entry;
}

int response_cache_hold(response_cache *cache, cache_entry *entry,
                        iotops_ack ack) {
  held_ack **link = &entry->held;
  while (*link) {
    held_ack *held = *link;
    if (held->ack.epoch == ack.epoch) {
      link = &held->next;
    } else {
      *link = held->next;
      iotops_free(cache->context, held);
    }
  }
  held_ack *held = iotops_zalloc(cache->context, sizeof *held);
  if (!held)
    return -1;
  held->ack = ack;
  *link = held;
  return 0;
}

held_ack *response_cache_finish(cache_entry *entry, iotops_message *message) {
  held_ack *held = entry->held;
  entry->held = NULL;
  entry->done = true;
  entry->message = message;
  return held;
}

void cache_entry_pin(cache_entry *entry) {
  entry->pins++;
}

void cache_entry_unpin(iotops_context *context, cache_entry *entry) {
  if (--entry->pins > 0)
    return;
  if (entry->retired)
    free_entry(context, entry);
  else if (entry->deadline_ms <= iotops_mono_ms(context))
    drop_message(context, entry);
}
