#include "commands/ctl_status.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "commands/tool.h"
#include "protocol/rfc3339.h"

enum { CELL = 48, COLUMNS = 12 };

#define RED    "\033[31m"
#define GREEN  "\033[32m"
#define YELLOW "\033[33m"
#define FAINT  "\033[2m"
#define PLAIN  "\033[0m"

static const json_t *member(const json_t *object, const char *name) {
  return json_object_get(object, name);
}

static const char *text_of(const json_t *object, const char *name) {
  const char *text = json_string_value(member(object, name));
  return text != NULL ? text : "-";
}

static long long number_of(const json_t *object, const char *name) {
  return json_integer_value(member(object, name));
}

/* ------------------------------------------------------------- figures -- */

static void put_duration(char cell[CELL], double seconds) {
  long long whole = seconds < 0 ? 0 : (long long)seconds;
  if (whole < 60)
    snprintf(cell, CELL, "%lld s", whole);
  else if (whole < 3600)
    snprintf(cell, CELL, "%lld min", whole / 60);
  else if (whole < 48LL * 3600)
    snprintf(cell, CELL, "%lld h %lld min", whole / 3600, whole % 3600 / 60);
  else
    snprintf(cell, CELL, "%lld days", whole / 86400);
}

/* How long ago a time was; "-": there is none. */
static void put_age(char cell[CELL], const json_t *object, const char *name) {
  int64_t when_ms = 0;
  const char *text = json_string_value(member(object, name));
  if (text == NULL || !rfc3339_parse(iotops_text_of(text), &when_ms))
    snprintf(cell, CELL, "-");
  else
    put_duration(cell, (double)time(NULL) - (double)when_ms / 1000.0);
}

static void put_ms(char cell[CELL], double ms) {
  if (ms < 0.001)
    snprintf(cell, CELL, "-");
  else if (ms < 1)
    snprintf(cell, CELL, "%.0f us", ms * 1000);
  else if (ms < 1000)
    snprintf(cell, CELL, ms < 10 ? "%.1f ms" : "%.0f ms", ms);
  else
    snprintf(cell, CELL, "%.1f s", ms / 1000);
}

static void put_size(char cell[CELL], long long bytes) {
  if (bytes < 1024LL * 1024)
    snprintf(cell, CELL, "%lld KiB", (bytes + 1023) / 1024);
  else
    snprintf(cell, CELL, "%.1f MiB", (double)bytes / 1024 / 1024);
}

/* --------------------------------------------------------------- table -- */

static const char *const titles[COLUMNS] = {
    "SCRIPT", "STATE", "VERSION", "FOR",    "CALLS",  "ERRORS",
    "P50",    "P99",   "HELD",    "OLDEST", "MEMORY", "LAST RELOAD"};

/* The handlers of which there were more in the last minutes. */
static const json_t *busier(const json_t *script) {
  const json_t *telemetry = member(script, "telemetry");
  const json_t *command = member(script, "command");
  return number_of(command, "count") > number_of(telemetry, "count")
             ? command
             : telemetry;
}

static void put_last_reload(char cell[CELL], const json_t *last) {
  char age[CELL];
  const char *outcome = text_of(last, "outcome");
  put_age(age, last, "when");
  if (strcmp(outcome, "none") == 0 || strcmp(outcome, "-") == 0)
    snprintf(cell, CELL, "-");
  else
    snprintf(cell, CELL, "%.16s %.24s ago", outcome, age);
}

static void put_cells(char cells[COLUMNS][CELL], const json_t *script) {
  const json_t *latency = busier(script);
  const json_t *held = member(script, "held");
  snprintf(cells[0], CELL, "%s", text_of(script, "script"));
  snprintf(cells[1], CELL, "%s%s", text_of(script, "state"),
           json_is_true(member(script, "reloading"))   ? ", reloading"
           : json_is_true(member(script, "probation")) ? ", on probation"
                                                       : "");
  if (json_is_string(member(script, "hash")))
    snprintf(cells[2], CELL, "%lld %.8s", number_of(script, "generation"),
             text_of(script, "hash"));
  else
    snprintf(cells[2], CELL, "-");
  put_age(cells[3], script, "since");
  snprintf(cells[4], CELL, "%lld", number_of(script, "calls"));
  snprintf(cells[5], CELL, "%lld", number_of(script, "errors"));
  put_ms(cells[6], json_number_value(member(latency, "p50_ms")));
  put_ms(cells[7], json_number_value(member(latency, "p99_ms")));
  snprintf(cells[8], CELL, "-");
  if (held != NULL)
    snprintf(cells[8], CELL, "%lld", json_integer_value(held));
  put_ms(cells[9], json_number_value(member(script, "oldest_held_ms")));
  put_size(cells[10], number_of(script, "memory"));
  put_last_reload(cells[11], member(script, "last_reload"));
}

static const char *state_colour(const json_t *script) {
  const char *state = text_of(script, "state");
  if (strcmp(state, "failed") == 0)
    return RED;
  if (strcmp(state, "serving") == 0 && !json_is_true(member(script, "refused")))
    return GREEN;
  return YELLOW;
}

/* Columns as wide as their widest cell, figures to the right. */
static void put_row(char cells[COLUMNS][CELL], const size_t widths[COLUMNS],
                    const char *colour) {
  for (size_t i = 0; i < COLUMNS; i++) {
    bool right = i >= 3 && i < COLUMNS - 1;
    int width = i == COLUMNS - 1 ? 0 : (int)widths[i];
    if (i == 1 && colour != NULL)
      fputs(colour, stdout);
    printf(right ? "%*s" : "%-*s", width, cells[i]);
    if (i == 1 && colour != NULL)
      fputs(PLAIN, stdout);
    fputs(i == COLUMNS - 1 ? "\n" : "  ", stdout);
  }
}

static void show_failure(const json_t *script, bool colour) {
  const json_t *last = member(script, "last_reload");
  const char *outcome = text_of(last, "outcome");
  if (strcmp(outcome, "failed") != 0 && strcmp(outcome, "rolled back") != 0)
    return;
  printf("\n%s%s: %s:%s ", colour ? YELLOW : "", text_of(script, "script"),
         outcome, colour ? PLAIN : "");
  const char *message = text_of(last, "message");
  /* The traceback is in the log. */
  tool_print_text((iotops_text){message, strcspn(message, "\n")});
  putchar('\n');
}

static void show_host(const json_t *host, bool colour) {
  char up[CELL], memory[CELL], oldest[CELL];
  const char *state = text_of(host, "state");
  bool connected = strcmp(state, "connected") == 0;
  const char *joint = connected                            ? " to"
                      : strcmp(state, "disconnected") == 0 ? " from"
                                                           : ", broker";
  long long messages = number_of(host, "messages");
  put_duration(up, json_number_value(member(host, "uptime_s")));
  put_size(memory, number_of(host, "memory"));
  put_ms(oldest, json_number_value(member(host, "oldest_message_ms")));
  printf("%s: %s%s%s%s %s, up %s\n", text_of(host, "client_id"),
         !colour     ? ""
         : connected ? GREEN
                     : RED,
         state, colour ? PLAIN : "", joint, text_of(host, "broker"), up);
  printf("iotops %s, process %lld, %s; %lld message%s in hand, the oldest for "
         "%s\n\n",
         text_of(host, "version"), number_of(host, "pid"), memory, messages,
         messages == 1 ? "" : "s", oldest);
}

void ctl_status_show(const json_t *answer, bool colour) {
  char cells[COLUMNS][CELL];
  size_t widths[COLUMNS], i = 0;
  const json_t *scripts = member(answer, "scripts");
  const json_t *script = NULL;
  show_host(member(answer, "host"), colour);
  for (size_t k = 0; k < COLUMNS; k++)
    widths[k] = strlen(titles[k]);
  json_array_foreach(scripts, i, script) {
    put_cells(cells, script);
    for (size_t k = 0; k < COLUMNS; k++)
      if (strlen(cells[k]) > widths[k])
        widths[k] = strlen(cells[k]);
  }
  for (size_t k = 0; k < COLUMNS; k++)
    snprintf(cells[k], CELL, "%s", titles[k]);
  put_row(cells, widths, NULL);
  json_array_foreach(scripts, i, script) {
    put_cells(cells, script);
    put_row(cells, widths, colour ? state_colour(script) : NULL);
  }
  json_array_foreach(scripts, i, script) {
    show_failure(script, colour);
  }
}

void ctl_status_show_reloads(const json_t *answer, bool colour) {
  const json_t *scripts = member(answer, "scripts");
  const json_t *script = NULL;
  size_t i = 0;
  json_array_foreach(scripts, i, script) {
    const char *outcome = text_of(script, "outcome");
    bool failed = strcmp(outcome, "failed") == 0;
    printf("%s: %s%s%s", text_of(script, "script"),
           !colour  ? ""
           : failed ? RED
                    : GREEN,
           outcome, colour ? PLAIN : "");
    if (strcmp(outcome, "committed") == 0 ||
        strcmp(outcome, "rolled back") == 0)
      printf(" in %.1f ms", json_number_value(member(script, "took_ms")));
    fputs("; ", stdout);
    tool_print_text(iotops_text_of(text_of(script, "message")));
    if (json_is_true(member(script, "serving")))
      printf("\n  generation %lld (%.8s) serves\n",
             number_of(script, "generation"), text_of(script, "hash"));
    else
      fputs("\n  nothing serves\n", stdout);
  }
}

/* ----------------------------------------------------------------- log -- */

static bool is_shown_already(const char *name) {
  static const char *const names[] = {"time",    "level",  "component",
                                      "message", "script", "generation"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(names[i], name) == 0)
      return true;
  return false;
}

static void show_fields(json_t *record, bool colour) {
  const char *name = NULL;
  json_t *value = NULL;
  json_object_foreach(record, name, value) {
    if (is_shown_already(name))
      continue;
    printf("%s  %s=", colour ? FAINT : "", name);
    if (json_is_string(value))
      tool_print_text(iotops_text_of(json_string_value(value)));
    else
      json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
    if (colour)
      fputs(PLAIN, stdout);
  }
}

void ctl_status_show_record(const json_t *record, bool colour) {
  const char *level = text_of(record, "level");
  const char *message = text_of(record, "message");
  const char *rest = strchr(message, '\n');
  size_t size = rest != NULL ? (size_t)(rest - message) : strlen(message);
  const json_t *generation = member(record, "generation");
  const char *paint = strcmp(level, "error") == 0  ? RED
                      : strcmp(level, "warn") == 0 ? YELLOW
                      : strcmp(level, "info") == 0 ? GREEN
                                                   : FAINT;
  printf("%s %s%-5s%s ", text_of(record, "time"), colour ? paint : "", level,
         colour ? PLAIN : "");
  tool_print_text(iotops_text_of(member(record, "script") != NULL
                                     ? text_of(record, "script")
                                     : text_of(record, "component")));
  if (json_is_integer(generation))
    printf("#%lld", (long long)json_integer_value(generation));
  fputs(": ", stdout);
  tool_print_text((iotops_text){message, size});
  show_fields(json_incref((json_t *)record), colour);
  json_decref((json_t *)record);
  if (rest != NULL)
    tool_print_text(iotops_text_of(rest));
  putchar('\n');
}
