#include "runtime/exposition.h"

#include <stdio.h>
#include <string.h>

#include "context/text.h"

static void add(exposition *to, const char *text) {
  text_buffer_add(to->buffer, iotops_text_of(text));
}

/* Length of the character that `text` begins with; 0: it is not UTF-8. */
static size_t character(iotops_text text) {
  for (size_t size = 1; size <= 4 && size <= text.size; size++)
    if (text_is_utf8((iotops_text){text.data, size}))
      return size;
  return 0;
}

static void add_value(exposition *to, iotops_text value) {
  static const char mark[] = "\xEF\xBF\xBD"; /* U+FFFD */
  while (value.size > 0) {
    size_t size = character(value);
    char c = value.data[0];
    char hex[8];
    if (size == 3 && memcmp(value.data, mark, 3) == 0)
      size = 0;
    if (c == '\n') {
      add(to, "\\n");
    } else if (size == 0 || (unsigned char)c < ' ' || c == 0x7F) {
      size = 1;
      snprintf(hex, sizeof hex, "%s%02X", mark, (unsigned char)c);
      add(to, hex);
    } else {
      if (c == '"' || c == '\\')
        add(to, "\\");
      text_buffer_add(to->buffer, (iotops_text){value.data, size});
    }
    value.data += size;
    value.size -= size;
  }
}

/* The sample's name and labels; `bound`, unless it is NULL, as label `le`. */
static void begin(exposition *to, const char *suffix,
                  const exposition_labels *labels, const char *bound) {
  const char *between = "{";
  add(to, to->family);
  add(to, suffix);
  for (size_t i = 0; labels != NULL && i < EXPOSITION_LABELS; i++) {
    if (labels->label[i].name == NULL)
      break;
    add(to, between);
    add(to, labels->label[i].name);
    add(to, "=\"");
    add_value(to, labels->label[i].value);
    add(to, "\"");
    between = ",";
  }
  if (bound != NULL) {
    add(to, between);
    add(to, "le=\"");
    add(to, bound);
    add(to, "\"");
    between = ",";
  }
  if (between[0] == ',')
    add(to, "}");
  add(to, " ");
}

/* `value` / 10^`decimals` without zeros at the end. */
static void decimal(char text[32], uint64_t value, unsigned decimals) {
  uint64_t scale = 1;
  for (unsigned i = 0; i < decimals; i++)
    scale *= 10;
  int size = snprintf(text, 32, "%llu", (unsigned long long)(value / scale));
  if (value % scale == 0)
    return;
  size += snprintf(text + size, 32 - (size_t)size, ".%0*llu", (int)decimals,
                   (unsigned long long)(value % scale));
  while (text[size - 1] == '0')
    text[--size] = '\0';
}

static void end(exposition *to, uint64_t value, unsigned decimals) {
  char text[32];
  decimal(text, value, decimals);
  add(to, text);
  add(to, "\n");
}

void exposition_family(exposition *to, const char *name, const char *type,
                       const char *help) {
  to->family = name;
  const char *const parts[] = {"# HELP ", name, " ",  help, "\n# TYPE ",
                               name,      " ",  type, "\n"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    add(to, parts[i]);
}

void exposition_sample(exposition *to, const exposition_labels *labels,
                       uint64_t value, unsigned decimals) {
  begin(to, "", labels, NULL);
  end(to, value, decimals);
}

void exposition_real(exposition *to, const exposition_labels *labels,
                     double value) {
  char text[32];
  begin(to, "", labels, NULL);
  snprintf(text, sizeof text, "%.17g\n", value);
  add(to, text);
}

void exposition_histogram(exposition *to, const exposition_labels *labels,
                          const latency *from) {
  static const latency none;
  const latency *latency = from != NULL ? from : &none;
  uint64_t up_to = 0;
  char bound[32];
  for (size_t i = 0; i < LATENCY_BOUNDS; i++) {
    up_to += latency->up_to[i];
    if (latency_bounds_ns[i] == UINT64_MAX)
      snprintf(bound, sizeof bound, "+Inf");
    else
      decimal(bound, latency_bounds_ns[i], 9);
    begin(to, "_bucket", labels, bound);
    end(to, up_to, 0);
  }
  begin(to, "_sum", labels, NULL);
  end(to, latency->sum_ns, 9);
  begin(to, "_count", labels, NULL);
  end(to, latency->count, 0);
}
