#include "runtime/log_ring.h"

#include <string.h>

#include "runtime/logger.h"

enum { ALIGNMENT = 8, SCRIPT_MAX = 256 };

void log_ring_begin(log_ring *ring, iotops_context *context) {
  ring->context = context;
  ring->bytes = iotops_zalloc(context, LOG_RING_BYTES);
  /* Taken at once: what the host needs does not grow with its log. */
  if (ring->bytes != NULL)
    memset(ring->bytes, 0, LOG_RING_BYTES);
}

static log_entry *at_offset(const log_ring *ring, size_t offset) {
  return (log_entry *)(ring->bytes + offset);
}

const char *log_entry_script(const log_entry *entry) {
  return entry->json + entry->size + 1;
}

static iotops_text script_of(const iotops_log_record *record) {
  for (size_t i = 0; i < record->field_count; i++) {
    iotops_text value = record->fields[i].value;
    if (strcmp(record->fields[i].name, "script") == 0 && value.data != NULL)
      return (iotops_text){value.data,
                           value.size < SCRIPT_MAX ? value.size : SCRIPT_MAX};
  }
  return (iotops_text){"", 0};
}

static void drop_oldest(log_ring *ring) {
  ring->first += at_offset(ring, ring->first)->room;
  ring->count--;
  if (ring->end != 0 && ring->first == ring->end)
    ring->first = ring->end = 0;
}

/* Makes `room` bytes free at `next`, before `first` if that comes after. */
static void make_room(log_ring *ring, size_t room) {
  if (LOG_RING_BYTES - ring->next < room) {
    /* What lies after `next` is older than all: gone when we turn. */
    while (ring->count > 0 && ring->end != 0)
      drop_oldest(ring);
    ring->end = ring->count > 0 ? ring->next : 0;
    if (ring->count == 0)
      ring->first = 0;
    ring->next = 0;
  }
  while (ring->count > 0 && ring->end != 0 && ring->first - ring->next < room)
    drop_oldest(ring);
}

void log_ring_keep(log_ring *ring, const iotops_log_record *record) {
  char json[LOGGER_LINE_SIZE];
  if (ring->bytes == NULL)
    return;
  size_t size = logger_json(record, json);
  iotops_text script = script_of(record);
  size_t room = sizeof(log_entry) + size + script.size + 2;
  room += (ALIGNMENT - room % ALIGNMENT) % ALIGNMENT;
  make_room(ring, room);
  log_entry *entry = at_offset(ring, ring->next);
  *entry = (log_entry){
      .room = (uint32_t)room, .size = (uint32_t)size, .level = record->level};
  memcpy(entry->json, json, size);
  entry->json[size] = '\0';
  memcpy(entry->json + size + 1, script.data, script.size);
  entry->json[size + 1 + script.size] = '\0';
  ring->next += room;
  ring->count++;
  for (log_listener *at = ring->listeners; at != NULL; at = at->next)
    at->heard(at, entry);
}

const log_entry *log_ring_first(const log_ring *ring) {
  return ring->count > 0 ? at_offset(ring, ring->first) : NULL;
}

const log_entry *log_ring_after(const log_ring *ring, const log_entry *entry) {
  size_t offset = (size_t)((const char *)entry - ring->bytes) + entry->room;
  if (ring->end != 0 && offset == ring->end)
    offset = 0;
  return offset == ring->next ? NULL : at_offset(ring, offset);
}

void log_ring_listen(log_ring *ring, log_listener *listener) {
  listener->next = ring->listeners;
  ring->listeners = listener;
}

void log_ring_ignore(log_ring *ring, log_listener *listener) {
  log_listener **at = &ring->listeners;
  while (*at != NULL && *at != listener)
    at = &(*at)->next;
  if (*at != NULL)
    *at = listener->next;
}

void log_ring_end(log_ring *ring) {
  if (ring->bytes != NULL)
    iotops_free(ring->context, ring->bytes);
  ring->bytes = NULL;
  ring->count = 0;
}
