#include "protocol/rfc3339.h"

#include <stdio.h>

/* Days from 1970-01-01 to a date of the Gregorian calendar, before 1970 too. */
static int64_t days_to(int64_t year, int64_t month, int64_t day) {
  /* Years start in March, so that a leap day is a year's last. */
  if (month <= 2) {
    year--;
    month += 12;
  }
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t of_era = year - era * 400;
  int64_t of_year = (153 * (month - 3) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year -
         719468;
}

static void date_of(int64_t days, int64_t *year, int64_t *month, int64_t *day) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  int64_t of_era = days - era * 146097;
  int64_t year_of_era =
      (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  int64_t of_year =
      of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t shifted = (5 * of_year + 2) / 153;
  *day = of_year - (153 * shifted + 2) / 5 + 1;
  *month = shifted < 10 ? shifted + 3 : shifted - 9;
  *year = year_of_era + era * 400 + (*month <= 2);
}

static int days_in(int year, int month) {
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return days[month - 1] + (month == 2 && leap);
}

typedef struct reader {
  const char *at, *end;
} reader;

static bool digits(reader *reader, int count, int *value) {
  *value = 0;
  if (reader->end - reader->at < count)
    return false;
  for (int i = 0; i < count; i++, reader->at++) {
    if (*reader->at < '0' || *reader->at > '9')
      return false;
    *value = *value * 10 + (*reader->at - '0');
  }
  return true;
}

/* The next character is `c`, in either case. */
static bool letter(reader *reader, char c) {
  if (reader->at == reader->end ||
      (*reader->at != c && *reader->at != (c | 32)))
    return false;
  reader->at++;
  return true;
}

static bool punctuation(reader *reader, char c) {
  if (reader->at == reader->end || *reader->at != c)
    return false;
  reader->at++;
  return true;
}

/* Milliseconds of an optional fraction. */
static bool fraction(reader *reader, int *ms) {
  int scale = 100;
  *ms = 0;
  if (!punctuation(reader, '.'))
    return true;
  const char *from = reader->at;
  for (; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9';
       reader->at++) {
    *ms += (*reader->at - '0') * scale;
    scale /= 10;
  }
  return reader->at > from;
}

static bool offset(reader *reader, int *minutes) {
  int hours, rest;
  *minutes = 0;
  if (letter(reader, 'Z'))
    return true;
  bool west = punctuation(reader, '-');
  if (!west && !punctuation(reader, '+'))
    return false;
  if (!digits(reader, 2, &hours) || !punctuation(reader, ':') ||
      !digits(reader, 2, &rest) || hours > 23 || rest > 59)
    return false;
  *minutes = (hours * 60 + rest) * (west ? -1 : 1);
  return true;
}

bool rfc3339_parse(iotops_text text, int64_t *unix_ms) {
  int year, month, day, hour, minute, second, ms, minutes;
  if (text.size == 0)
    return false;
  reader reader = {text.data, text.data + text.size};
  if (!digits(&reader, 4, &year) || !punctuation(&reader, '-') ||
      !digits(&reader, 2, &month) || !punctuation(&reader, '-') ||
      !digits(&reader, 2, &day) || !letter(&reader, 'T') ||
      !digits(&reader, 2, &hour) || !punctuation(&reader, ':') ||
      !digits(&reader, 2, &minute) || !punctuation(&reader, ':') ||
      !digits(&reader, 2, &second) || !fraction(&reader, &ms) ||
      !offset(&reader, &minutes) || reader.at != reader.end)
    return false;
  if (month < 1 || month > 12 || day < 1 || day > days_in(year, month) ||
      hour > 23 || minute > 59 || second > 60)
    return false;
  int64_t seconds = days_to(year, month, day) * 86400 +
                    ((int64_t)hour * 60 + minute - minutes) * 60 + second;
  *unix_ms = seconds * 1000 + ms;
  return true;
}

bool rfc3339_format(int64_t unix_ms, char text[RFC3339_TEXT_SIZE]) {
  int64_t seconds = unix_ms / 1000 - (unix_ms % 1000 < 0);
  int64_t days = seconds / 86400 - (seconds % 86400 < 0);
  int of_day = (int)(seconds - days * 86400);
  int64_t year, month, day;
  date_of(days, &year, &month, &day);
  if (year < 0 || year > 9999)
    return false;
  /* The remainders say to the compiler what fits. */
  snprintf(text, RFC3339_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ",
           (unsigned)year % 10000, (unsigned)month % 100, (unsigned)day % 100,
           (unsigned)of_day / 3600 % 24, (unsigned)of_day / 60 % 60,
           (unsigned)of_day % 60);
  return true;
}
