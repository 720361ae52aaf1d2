#include "runtime/logger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
  LINE_SIZE = LOGGER_LINE_SIZE,
  TAIL_SIZE = 64,       /* kept free for what closes a line */
  MESSAGE_LIMIT = 8192, /* bytes of the message that are shown */
  FIELD_LIMIT = 1024
};

typedef struct line {
  char bytes[LINE_SIZE];
  size_t size;
} line;

static void put(line *line, const char *bytes, size_t size) {
  size_t room = LINE_SIZE - TAIL_SIZE - line->size;
  if (line->size > LINE_SIZE - TAIL_SIZE)
    return;
  if (size > room)
    size = room;
  memcpy(line->bytes + line->size, bytes, size);
  line->size += size;
}

static void put_string(line *line, const char *string) {
  put(line, string, strlen(string));
}

/* Bytes of the UTF-8 character at the front of `text`; 0 when it is none. */
static size_t character_size(const unsigned char *text, size_t size) {
  static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
  size_t need = 0;
  uint32_t code = 0;
  if (text[0] < 0x80)
    return 1;
  if (text[0] >= 0xC2 && text[0] <= 0xDF)
    need = 2, code = text[0] & 0x1FU;
  else if (text[0] >= 0xE0 && text[0] <= 0xEF)
    need = 3, code = text[0] & 0x0FU;
  else if (text[0] >= 0xF0 && text[0] <= 0xF4)
    need = 4, code = text[0] & 0x07U;
  if (need == 0 || need > size)
    return 0;
  for (size_t i = 1; i < need; i++) {
    if ((text[i] & 0xC0U) != 0x80)
      return 0;
    code = code << 6 | (text[i] & 0x3FU);
  }
  if (code < lowest[need] || code > 0x10FFFF ||
      (code >= 0xD800 && code <= 0xDFFF))
    return 0;
  return need;
}

static void put_character(line *line, const unsigned char *at, size_t width,
                          bool json) {
  char escape[8];
  if (width == 0) {
    put_string(line, json ? "\\ufffd" : "\xEF\xBF\xBD");
  } else if (json && (*at == '"' || *at == '\\')) {
    escape[0] = '\\';
    escape[1] = (char)*at;
    put(line, escape, 2);
  } else if (*at == '\n') {
    put_string(line, json ? "\\n" : "\n    ");
  } else if (*at < 0x20 || *at == 0x7F) {
    if (!json && *at == '\t')
      put_string(line, "  ");
    else {
      snprintf(escape, sizeof escape, json ? "\\u%04x" : "\\x%02x",
               (unsigned)*at);
      put_string(line, escape);
    }
  } else {
    put(line, (const char *)at, width);
  }
}

static void put_text(line *line, iotops_text text, size_t limit, bool json) {
  const unsigned char *at = (const unsigned char *)text.data;
  size_t left = text.data == NULL ? 0 : text.size;
  size_t used = 0;
  /* Room for the longest escape, so that none is cut in the middle. */
  while (left > 0 && used < limit && line->size + 8 < LINE_SIZE - TAIL_SIZE) {
    size_t width = character_size(at, left);
    put_character(line, at, width, json);
    if (width == 0)
      width = 1;
    at += width;
    left -= width;
    used += width;
  }
  if (left > 0)
    put_string(line, "...");
}

/* Whether a value reads unambiguously without quotes. */
static bool is_plain(iotops_text text) {
  if (text.size == 0 || text.data == NULL)
    return false;
  for (size_t i = 0; i < text.size; i++) {
    unsigned char c = (unsigned char)text.data[i];
    if (c <= ' ' || c == '"' || c == '=' || c == 0x7F)
      return false;
  }
  return true;
}

static void put_time(line *line, bool json) {
  struct timespec now;
  struct tm parts;
  char text[64];
  clock_gettime(CLOCK_REALTIME, &now);
  if (json)
    gmtime_r(&now.tv_sec, &parts);
  else
    localtime_r(&now.tv_sec, &parts);
  strftime(text, sizeof text, json ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S", &parts);
  put_string(line, text);
  snprintf(text, sizeof text, json ? ".%03ldZ" : ".%03ld",
           now.tv_nsec / 1000000);
  put_string(line, text);
}

/* How many digits there are from `at` on. */
static size_t digits(iotops_text text, size_t at) {
  size_t end = at;
  while (end < text.size && text.data[end] >= '0' && text.data[end] <= '9')
    end++;
  return end - at;
}

/* Whether JSON takes it as it is: -12.5e+3, without a zero in front. */
static bool is_number(iotops_text text) {
  size_t at = text.size > 0 && text.data[0] == '-' ? 1 : 0;
  size_t whole = digits(text, at);
  if (whole == 0 || (whole > 1 && text.data[at] == '0'))
    return false;
  at += whole;
  if (at < text.size && text.data[at] == '.') {
    size_t part = digits(text, at + 1);
    if (part == 0)
      return false;
    at += 1 + part;
  }
  if (at < text.size && (text.data[at] == 'e' || text.data[at] == 'E')) {
    at++;
    if (at < text.size && (text.data[at] == '+' || text.data[at] == '-'))
      at++;
    size_t power = digits(text, at);
    if (power == 0)
      return false;
    at += power;
  }
  return at == text.size;
}

static void build_json(line *line, const iotops_log_record *record) {
  put_string(line, "{\"time\":\"");
  put_time(line, true);
  put_string(line, "\",\"level\":\"");
  put_string(line, iotops_log_level_name(record->level));
  put_string(line, "\",\"component\":\"");
  put_text(line, iotops_text_of(record->component), FIELD_LIMIT, true);
  put_string(line, "\",\"message\":\"");
  put_text(line, record->message, MESSAGE_LIMIT, true);
  line->bytes[line->size++] = '"';
  for (size_t i = 0; i < record->field_count; i++) {
    if (line->size + 2 * (size_t)FIELD_LIMIT > LINE_SIZE)
      break;
    put_string(line, ",\"");
    put_text(line, iotops_text_of(record->fields[i].name), FIELD_LIMIT, true);
    put_string(line, "\":");
    if (record->fields[i].is_number && is_number(record->fields[i].value)) {
      put_text(line, record->fields[i].value, FIELD_LIMIT, true);
      continue;
    }
    put_string(line, "\"");
    put_text(line, record->fields[i].value, FIELD_LIMIT, true);
    line->bytes[line->size++] = '"';
  }
  line->bytes[line->size++] = '}';
}

static const char *field(const iotops_log_record *record, const char *name,
                         iotops_text *value) {
  for (size_t i = 0; i < record->field_count; i++)
    if (strcmp(record->fields[i].name, name) == 0) {
      *value = record->fields[i].value;
      return name;
    }
  return NULL;
}

/* The fields of a text line but for those that name the script. */
static void put_fields(line *line, const iotops_log_record *record,
                       bool has_script, bool colour) {
  for (size_t i = 0; i < record->field_count; i++) {
    const iotops_log_field *f = &record->fields[i];
    if (strcmp(f->name, "script") == 0 ||
        (strcmp(f->name, "generation") == 0 && has_script))
      continue;
    if (line->size + 2 * (size_t)FIELD_LIMIT > LINE_SIZE)
      break;
    put_string(line, colour ? "  \033[2m" : "  ");
    put_string(line, f->name);
    put_string(line, "=");
    if (is_plain(f->value)) {
      put_text(line, f->value, FIELD_LIMIT, false);
    } else {
      put_string(line, "\"");
      put_text(line, f->value, FIELD_LIMIT, false);
      put_string(line, "\"");
    }
    if (colour)
      put_string(line, "\033[0m");
  }
}

static void build_text(line *line, const iotops_log_record *record,
                       bool colour) {
  static const char *const colours[] = {"\033[2m",  "\033[2m",  "\033[32m",
                                        "\033[33m", "\033[31m", ""};
  iotops_text script = {0}, generation = {0};
  iotops_text first = record->message, rest = {0};
  bool has_script = field(record, "script", &script) != NULL;
  bool has_generation = field(record, "generation", &generation) != NULL;
  const char *end =
      first.size > 0 ? memchr(first.data, '\n', first.size) : NULL;
  char level[16];
  if (end != NULL) { /* a traceback comes after the fields */
    first.size = (size_t)(end - first.data);
    rest = (iotops_text){end, record->message.size - first.size};
  }
  put_time(line, false);
  put_string(line, " ");
  if (colour)
    put_string(line, colours[record->level]);
  snprintf(level, sizeof level, "%-5s", iotops_log_level_name(record->level));
  put_string(line, level);
  if (colour)
    put_string(line, "\033[0m");
  put_string(line, " ");
  /* A script's records go by its name; who else speaks, by the component. */
  if (has_script) {
    put_text(line, script, FIELD_LIMIT, false);
    if (has_generation) {
      put_string(line, "#");
      put_text(line, generation, FIELD_LIMIT, false);
    }
  } else {
    put_text(line, iotops_text_of(record->component), FIELD_LIMIT, false);
  }
  put_string(line, ": ");
  put_text(line, first, MESSAGE_LIMIT, false);
  put_fields(line, record, has_script, colour);
  put_text(line, rest, MESSAGE_LIMIT, false);
}

void logger_init(logger *logger, int fd, logger_format format) {
  const char *no_colour = getenv("NO_COLOR");
  bool terminal = isatty(fd) != 0;
  logger->fd = fd;
  logger->json = format == LOGGER_JSON || (format == LOGGER_AUTO && !terminal);
  logger->colour =
      terminal && !logger->json && (no_colour == NULL || no_colour[0] == '\0');
}

size_t logger_json(const iotops_log_record *record,
                   char bytes[LOGGER_LINE_SIZE]) {
  line line;
  line.size = 0;
  build_json(&line, record);
  memcpy(bytes, line.bytes, line.size);
  return line.size;
}

void logger_write(void *user, const iotops_log_record *record) {
  const logger *logger = user;
  line line;
  line.size = 0;
  if (logger->json)
    build_json(&line, record);
  else
    build_text(&line, record, logger->colour);
  line.bytes[line.size++] = '\n';
  for (size_t at = 0; at < line.size;) {
    ssize_t written = write(logger->fd, line.bytes + at, line.size - at);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return; /* nobody reads the log; the work goes on */
    at += (size_t)written;
  }
}

bool logger_format_from(const char *name, logger_format *format) {
  if (strcmp(name, "auto") == 0)
    *format = LOGGER_AUTO;
  else if (strcmp(name, "text") == 0)
    *format = LOGGER_TEXT;
  else if (strcmp(name, "json") == 0)
    *format = LOGGER_JSON;
  else
    return false;
  return true;
}
