#include "virtual_time.h"

#include <stdlib.h>
#include <string.h>

static int64_t wall_ms(void *user) {
  return ((virtual_time *)user)->wall_ms;
}

static uint64_t mono_ms(void *user) {
  return ((virtual_time *)user)->now_ms;
}

static void no_alarm(void *user, iotops_context *context, uint64_t due_ms) {
  (void)user;
  (void)context;
  (void)due_ms;
}

static void *resize(void *user, void *block, size_t size) {
  virtual_time *time = user;
  if (size == 0) {
    time->blocks -= block != NULL;
    free(block);
    return NULL;
  }
  time->made++;
  if (time->fail_from == 0)
    return NULL;
  if (time->fail_from > 0)
    time->fail_from--;
  void *made = realloc(block, size);
  time->blocks += made && !block;
  return made;
}

static void keep_log(void *user, const iotops_log_record *record) {
  virtual_time *time = user;
  size_t size = record->message.size;
  if (record->level < IOTOPS_LOG_WARN)
    return;
  if (size >= sizeof time->log)
    size = sizeof time->log - 1;
  memcpy(time->log, record->message.data, size);
  time->log[size] = '\0';
}

virtual_time *virtual_time_new(void) {
  virtual_time *time = calloc(1, sizeof *time);
  if (!time)
    return NULL;
  time->now_ms = 1000000;
  time->wall_ms = 1760000000000;
  time->fail_from = -1;
  iotops_clock clock = {wall_ms, mono_ms, no_alarm, time};
  iotops_allocator allocator = {resize, time};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  options.clock = &clock;
  options.allocator = &allocator;
  options.log = keep_log;
  options.log_user = time;
  options.log_level = IOTOPS_LOG_DEBUG;
  if (iotops_context_new(&options, &time->context, NULL)) {
    free(time);
    return NULL;
  }
  return time;
}

long virtual_time_free(virtual_time *time) {
  iotops_context_free(time->context);
  long left = time->blocks;
  free(time);
  return left;
}

void virtual_time_pass(virtual_time *time, uint64_t ms) {
  uint64_t end = time->now_ms + ms;
  iotops_context_drain(time->context);
  for (;;) {
    uint64_t due = iotops_context_next_due(time->context);
    if (due > end)
      break;
    if (due > time->now_ms) {
      time->wall_ms += (int64_t)(due - time->now_ms);
      time->now_ms = due;
    }
    iotops_context_ring(time->context);
  }
  time->wall_ms += (int64_t)(end - time->now_ms);
  time->now_ms = end;
  iotops_context_drain(time->context);
}
