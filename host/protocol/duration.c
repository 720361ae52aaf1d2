#include "protocol/duration.h"

#include <stdio.h>

#define SECOND_US INT64_C(1000000)
#define MINUTE_US (60 * SECOND_US)
#define HOUR_US   (60 * MINUTE_US)
#define DAY_US    (24 * HOUR_US)

__extension__ typedef __int128 wide;

typedef struct unit {
  char letter;
  int64_t us;
} unit;

static const unit date_units[] = {
    {'Y', 365 * DAY_US}, {'M', 30 * DAY_US}, {'W', 7 * DAY_US}, {'D', DAY_US}};
static const unit time_units[] = {
    {'H', HOUR_US}, {'M', MINUTE_US}, {'S', SECOND_US}};

typedef struct reader {
  const char *at, *end;
  int64_t sum;     /* microseconds so far, never negative */
  bool fractional; /* a fraction was read: nothing may follow */
  unsigned count;  /* components so far */
} reader;

static bool is_digit(const reader *reader) {
  return reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9';
}

static bool add(reader *reader, int64_t value, int64_t unit_us) {
  int64_t product;
  return !__builtin_mul_overflow(value, unit_us, &product) &&
         !__builtin_add_overflow(reader->sum, product, &reader->sum);
}

/*
** The digits behind the point, in units of 10^-12 of the component's unit:
** enough that cutting off what follows does not show in microseconds of a
** year, and small enough that nothing overflows below.
*/
static bool fraction(reader *reader, int64_t *parts, int64_t *scale) {
  *parts = 0;
  *scale = 1;
  reader->at++; /* the point or comma */
  if (!is_digit(reader))
    return false;
  for (; is_digit(reader); reader->at++) {
    if (*scale >= INT64_C(1000000000000))
      continue;
    *parts = *parts * 10 + (*reader->at - '0');
    *scale *= 10;
  }
  reader->fractional = true;
  return true;
}

/* One component, whose unit is among `units` from `*next` on. */
static bool component(reader *reader, const unit *units, size_t count,
                      size_t *next) {
  int64_t value = 0, parts = 0, scale = 1;
  if (reader->fractional || !is_digit(reader))
    return false;
  for (; is_digit(reader); reader->at++)
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, *reader->at - '0', &value))
      return false;
  if (reader->at < reader->end && (*reader->at == '.' || *reader->at == ',') &&
      !fraction(reader, &parts, &scale))
    return false;
  if (reader->at == reader->end)
    return false;
  while (*next < count && units[*next].letter != *reader->at)
    (*next)++;
  if (*next == count)
    return false;
  int64_t us = units[(*next)++].us;
  reader->at++;
  reader->count++;
  int64_t part = (int64_t)((wide)us * parts / scale);
  return add(reader, value, us) && add(reader, part, 1);
}

bool duration_parse(iotops_text text, int64_t *us) {
  bool negative = false;
  size_t next = 0;
  if (text.size == 0)
    return false;
  reader reader = {text.data, text.data + text.size, 0, false, 0};
  if (*reader.at == '+' || *reader.at == '-')
    negative = *reader.at++ == '-';
  if (reader.at == reader.end || *reader.at++ != 'P')
    return false;
  while (reader.at < reader.end && *reader.at != 'T')
    if (!component(&reader, date_units, 4, &next))
      return false;
  if (reader.at < reader.end) {
    reader.at++;
    next = 0;
    unsigned before = reader.count;
    while (reader.at < reader.end)
      if (!component(&reader, time_units, 3, &next))
        return false;
    if (reader.count == before)
      return false;
  }
  if (reader.count == 0)
    return false;
  *us = negative ? -reader.sum : reader.sum;
  return true;
}

size_t duration_format(int64_t us, char *text, size_t size) {
  uint64_t left = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
  uint64_t hours = left / HOUR_US;
  uint64_t minutes = left % HOUR_US / MINUTE_US;
  uint64_t seconds = left % MINUTE_US / SECOND_US;
  unsigned fraction = (unsigned)(left % SECOND_US);
  char whole[DURATION_TEXT_SIZE];
  size_t length =
      (size_t)snprintf(whole, sizeof whole, "%sPT", us < 0 ? "-" : "");
  if (hours > 0)
    length += (size_t)snprintf(whole + length, sizeof whole - length, "%lluH",
                               (unsigned long long)hours);
  if (minutes > 0)
    length += (size_t)snprintf(whole + length, sizeof whole - length, "%lluM",
                               (unsigned long long)minutes);
  if (fraction > 0) {
    int digits = 6;
    for (; fraction % 10 == 0; fraction /= 10)
      digits--;
    snprintf(whole + length, sizeof whole - length, "%llu.%0*uS",
             (unsigned long long)seconds, digits, fraction);
  } else if (seconds > 0 || left == 0) {
    snprintf(whole + length, sizeof whole - length, "%lluS",
             (unsigned long long)seconds);
  }
  int written = snprintf(text, size, "%s", whole);
  return (size_t)written < size ? (size_t)written : size - 1;
}
