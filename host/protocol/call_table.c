#include "protocol/call_table.h"

#include <string.h>

enum {
  FIRST_SLOTS = 16,
  SLOTS_KEPT = 1024 /* more are freed once none is in use */
};

/* Correlation data of ours is random: any part of it is a hash. */
static size_t bucket_of(const call_table *table, const uint8_t *correlation) {
  uint64_t hash;
  memcpy(&hash, correlation, sizeof hash);
  return (hash ^ hash >> 32) & (table->bucket_count - 1);
}

/* -------------------------------------------------------------- two lists --
 */

static void append_open(call_table *table, invoker_call *call) {
  call->open = (call_links){NULL, table->open.last};
  if (table->open.last)
    table->open.last->open.next = call;
  else
    table->open.first = call;
  table->open.last = call;
  call->is_open = true;
}

static void remove_open(call_table *table, invoker_call *call) {
  call_links links = call->open;
  if (links.previous)
    links.previous->open.next = links.next;
  else
    table->open.first = links.next;
  if (links.next)
    links.next->open.previous = links.previous;
  else
    table->open.last = links.previous;
  call->is_open = false;
}

static void remove_waiting(call_table *table, invoker_call *call) {
  call_links links = call->waiting;
  if (links.previous)
    links.previous->waiting.next = links.next;
  else
    table->waiting.first = links.next;
  if (links.next)
    links.next->waiting.previous = links.previous;
  else
    table->waiting.last = links.previous;
  call->is_waiting = false;
}

/* -------------------------------------------------------------- the table --
 */

void call_table_init(call_table *table, iotops_context *context) {
  memset(table, 0, sizeof *table);
  table->context = context;
}

static void free_pool(call_table *table) {
  for (size_t i = 0; i < table->slot_count; i++)
    iotops_free(table->context, table->slots[i]);
  iotops_free(table->context, table->slots);
  iotops_free(table->context, table->buckets);
  table->slots = NULL;
  table->buckets = NULL;
  table->pool = NULL;
  table->slot_count = table->slot_capacity = table->bucket_count = 0;
}

void call_table_clear(call_table *table) {
  free_pool(table);
  call_table_init(table, table->context);
}

/* Doubles the buckets; when memory is short the chains get longer instead. */
static void grow_buckets(call_table *table) {
  size_t count = table->bucket_count ? table->bucket_count * 2 : FIRST_SLOTS;
  invoker_call **buckets =
      iotops_zalloc(table->context, count * sizeof(invoker_call *));
  if (!buckets)
    return;
  iotops_free(table->context, table->buckets);
  table->buckets = buckets;
  table->bucket_count = count;
  for (invoker_call *call = table->open.first; call; call = call->open.next) {
    invoker_call **bucket = &buckets[bucket_of(table, call->correlation)];
    call->chain = *bucket;
    *bucket = call;
  }
}

/* One more call in the pool. */
static bool grow_pool(call_table *table) {
  if (table->slot_count == table->slot_capacity) {
    size_t capacity =
        table->slot_capacity ? table->slot_capacity * 2 : FIRST_SLOTS;
    if (capacity > UINT32_MAX)
      return false;
    invoker_call **slots = iotops_resize(table->context, table->slots,
                                         capacity * sizeof(invoker_call *));
    if (!slots)
      return false;
    table->slots = slots;
    table->slot_capacity = capacity;
  }
  invoker_call *call = iotops_zalloc(table->context, sizeof *call);
  if (!call)
    return false;
  call->number = table->slot_count + 1;
  table->slots[table->slot_count++] = call;
  table->pool = call;
  return true;
}

invoker_call *call_table_new(call_table *table) {
  if (table->open_count >= table->bucket_count)
    grow_buckets(table);
  if (table->bucket_count == 0 || (!table->pool && !grow_pool(table)))
    return NULL;
  invoker_call *call = table->pool;
  uint64_t number = (uint64_t)++table->last << 32 | (call->number & UINT32_MAX);
  table->pool = call->chain;
  memset(call, 0, sizeof *call);
  call->number = number;
  iotops_uuid(table->context, call->correlation);
  invoker_call **bucket = &table->buckets[bucket_of(table, call->correlation)];
  call->chain = *bucket;
  *bucket = call;
  append_open(table, call);
  table->open_count++;
  table->in_use++;
  return call;
}

void call_table_close(call_table *table, invoker_call *call) {
  if (!call->is_open)
    return;
  invoker_call **link = &table->buckets[bucket_of(table, call->correlation)];
  while (*link != call)
    link = &(*link)->chain;
  *link = call->chain;
  call->chain = NULL;
  remove_open(table, call);
  if (call->is_waiting)
    remove_waiting(table, call);
  table->open_count--;
}

void call_table_put_back(call_table *table, invoker_call *call) {
  call->chain = table->pool;
  table->pool = call;
  if (--table->in_use == 0 && table->slot_count > SLOTS_KEPT)
    free_pool(table);
}

invoker_call *call_table_find(const call_table *table,
                              const uint8_t correlation[CORRELATION_BYTES]) {
  if (table->bucket_count == 0)
    return NULL;
  invoker_call *call = table->buckets[bucket_of(table, correlation)];
  while (call && memcmp(call->correlation, correlation, CORRELATION_BYTES) != 0)
    call = call->chain;
  return call;
}

invoker_call *call_table_number(const call_table *table, uint64_t number) {
  uint64_t slot = number & UINT32_MAX;
  if (slot == 0 || slot > table->slot_count)
    return NULL;
  invoker_call *call = table->slots[slot - 1];
  return call->is_open && call->number == number ? call : NULL;
}

invoker_call *call_table_any(const call_table *table) {
  return table->open.first;
}

void call_table_wait(call_table *table, invoker_call *call) {
  call->batch = table->batch;
  call->is_waiting = true;
  call->waiting = (call_links){NULL, table->waiting.last};
  if (table->waiting.last)
    table->waiting.last->waiting.next = call;
  else
    table->waiting.first = call;
  table->waiting.last = call;
}

uint32_t call_table_batch(call_table *table) {
  return table->batch++;
}

invoker_call *call_table_next(call_table *table, uint32_t batch) {
  invoker_call *call = table->waiting.first;
  if (!call || call->batch != batch)
    return NULL;
  remove_waiting(table, call);
  return call;
}
