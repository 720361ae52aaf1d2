#include "iotops/hlc.h"

#include <string.h>

#include "context/context_fields.h"
#include "protocol/property_names.h"

/* Reads 1 or more digits, up to `max`, as the whole text. */
static bool number(const char *data, size_t size, uint64_t max,
                   uint64_t *value) {
  *value = 0;
  for (size_t i = 0; i < size; i++) {
    unsigned digit = (unsigned)(unsigned char)data[i] - '0';
    if (digit > 9 || *value > (max - digit) / 10)
      return false;
    *value = *value * 10 + digit;
  }
  return size > 0;
}

int iotops_hlc_parse(iotops_text text, iotops_hlc *hlc, iotops_error *err) {
  const char *first = NULL, *second = NULL, *end = NULL;
  uint64_t ms;
  if (text.size > 0) {
    end = text.data + text.size;
    first = memchr(text.data, ':', text.size);
  }
  if (first != NULL)
    second = memchr(first + 1, ':', (size_t)(end - first - 1));
  if (second == NULL)
    goto malformed;
  const char *node = second + 1;
  size_t size = (size_t)(end - node);
  if (size >= sizeof hlc->node || memchr(node, ':', size) != NULL ||
      memchr(node, '\0', size) != NULL)
    goto malformed;
  if (!number(text.data, (size_t)(first - text.data), INT64_MAX, &ms) ||
      !number(first + 1, (size_t)(second - first - 1), UINT64_MAX,
              &hlc->counter))
    goto malformed;
  hlc->ms = (int64_t)ms;
  memcpy(hlc->node, node, size);
  hlc->node[size] = '\0';
  return 0;

malformed:
  iotops_error_set(err, IOTOPS_INVALID_HEADER,
                   "the timestamp of the message is malformed");
  if (err != NULL) {
    iotops_error_name(err->header_name, iotops_text_of(PROPERTY_TIMESTAMP));
    iotops_error_header_value(err, text);
  }
  return -1;
}

/* At least `width` digits; returns what follows them. */
static char *put_number(char *at, uint64_t number, int width) {
  char digits[20];
  int count = 0;
  do
    digits[count++] = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  for (int padding = width - count; padding > 0; padding--)
    *at++ = '0';
  while (count > 0)
    *at++ = digits[--count];
  return at;
}

/* By hand: every message sent and received has one. */
size_t iotops_hlc_format(const iotops_hlc *hlc,
                         char text[IOTOPS_HLC_TEXT_SIZE]) {
  char *at = text;
  uint64_t ms = (uint64_t)hlc->ms;
  int width = 15;
  if (hlc->ms < 0) {
    *at++ = '-';
    ms = 0 - ms;
    width = 14;
  }
  at = put_number(at, ms, width);
  *at++ = ':';
  at = put_number(at, hlc->counter, 5);
  *at++ = ':';
  size_t node = strnlen(hlc->node, IOTOPS_HLC_NODE_SIZE - 1);
  memcpy(at, hlc->node, node);
  at[node] = '\0';
  return (size_t)(at - text) + node;
}

int iotops_hlc_compare(const iotops_hlc *a, const iotops_hlc *b) {
  if (a->ms != b->ms)
    return a->ms < b->ms ? -1 : 1;
  if (a->counter != b->counter)
    return a->counter < b->counter ? -1 : 1;
  return strcmp(a->node, b->node); /* as unsigned bytes */
}

static int state_error(iotops_error *err, const char *property,
                       const char *message) {
  iotops_error_set(err, IOTOPS_INVALID_STATE, "%s", message);
  if (err != NULL)
    iotops_error_name(err->property_name, iotops_text_of(property));
  return -1;
}

/* Commits (ms, counter + 1) unless that overflows or drifts. */
static int count_up(iotops_hlc *local, int64_t ms, uint64_t counter,
                    int64_t wall_ms, uint64_t max_drift_ms, iotops_error *err) {
  if (counter == UINT64_MAX)
    return state_error(err, "Counter",
                       "the counter of the hybrid logical clock is exhausted");
  if (ms > wall_ms && (uint64_t)ms - (uint64_t)wall_ms > max_drift_ms)
    return state_error(err, "MaxClockDrift",
                       "the hybrid logical clock is too far ahead of the "
                       "wall clock");
  local->ms = ms;
  local->counter = counter + 1;
  return 0;
}

int iotops_hlc_advance(iotops_hlc *local, int64_t wall_ms,
                       uint64_t max_drift_ms, iotops_error *err) {
  if (wall_ms > local->ms) {
    local->ms = wall_ms;
    local->counter = 0;
    return 0;
  }
  if (count_up(local, local->ms, local->counter, wall_ms, max_drift_ms, err) ==
      0)
    return 0;
  if (err != NULL)
    err->is_shallow = true; /* found before sending */
  return -1;
}

int iotops_hlc_merge(iotops_hlc *local, const iotops_hlc *remote,
                     int64_t wall_ms, uint64_t max_drift_ms,
                     iotops_error *err) {
  int64_t ms;
  uint64_t counter;
  if (strcmp(remote->node, local->node) == 0)
    return 0;
  if (wall_ms > local->ms && wall_ms > remote->ms) {
    local->ms = wall_ms;
    local->counter = 0;
    return 0;
  }
  if (local->ms == remote->ms) {
    ms = local->ms;
    counter =
        local->counter > remote->counter ? local->counter : remote->counter;
  } else if (local->ms > remote->ms) {
    ms = local->ms;
    counter = local->counter;
  } else {
    ms = remote->ms;
    counter = remote->counter;
  }
  return count_up(local, ms, counter, wall_ms, max_drift_ms, err);
}

/* ------------------------------------------------------- of the context -- */

/* The text form has no sign: a wall clock before 1970 counts as 1970. */
static int64_t wall(const iotops_context *context) {
  int64_t ms = iotops_wall_ms(context);
  return ms < 0 ? 0 : ms;
}

static iotops_hlc *clock_of(iotops_context *context) {
  iotops_hlc *hlc = &context->hlc;
  if (hlc->node[0] == '\0') {
    uint8_t bytes[16];
    char text[37];
    iotops_uuid(context, bytes);
    iotops_uuid_text(bytes, text);
    memcpy(hlc->node, text, sizeof text);
    hlc->ms = wall(context);
    hlc->counter = 0;
  }
  return hlc;
}

const iotops_hlc *iotops_context_hlc(iotops_context *context) {
  return clock_of(context);
}

int iotops_context_hlc_now(iotops_context *context, iotops_hlc *now,
                           iotops_error *err) {
  iotops_hlc *hlc = clock_of(context);
  if (iotops_hlc_advance(hlc, wall(context), context->max_clock_drift_ms,
                         err) != 0)
    return -1;
  if (now != NULL)
    *now = *hlc;
  return 0;
}

int iotops_context_hlc_receive(iotops_context *context,
                               const iotops_hlc *remote, iotops_error *err) {
  return iotops_hlc_merge(clock_of(context), remote, wall(context),
                          context->max_clock_drift_ms, err);
}
