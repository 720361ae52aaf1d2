/*
** exposition.h -- figures as Prometheus' text format, version 0.0.4.
**
** Whatever a label's value holds, it is one valid line and stays apart from
** other values: bytes that are not UTF-8, control characters and U+FFFD are
** written as U+FFFD and two digits of hexadecimal each.  Numbers are exact.
*/
#ifndef RUNTIME_EXPOSITION_H
#define RUNTIME_EXPOSITION_H

#include "protocol/text_buffer.h"
#include "runtime/latency.h"

enum { EXPOSITION_LABELS = 3 };

/* What tells the samples of a family apart; the first without name ends it. */
typedef struct exposition_labels {
  struct {
    const char *name;  /* borrowed */
    iotops_text value; /* borrowed */
  } label[EXPOSITION_LABELS];
} exposition_labels;

typedef struct exposition {
  text_buffer *buffer; /* borrowed */
  const char *family;  /* borrowed; what samples belong to */
} exposition;

/* Begins a family of `type`: "counter", "gauge", "histogram". */
void exposition_family(exposition *to, const char *name, const char *type,
                       const char *help);

/* A sample of the family: `value` / 10^`decimals`. */
void exposition_sample(exposition *to, const exposition_labels *labels,
                       uint64_t value, unsigned decimals);

/* A sample with a finite value. */
void exposition_real(exposition *to, const exposition_labels *labels,
                     double value);

/* The samples of a histogram in seconds; `latency` may be NULL: all zero. */
void exposition_histogram(exposition *to, const exposition_labels *labels,
                          const latency *latency);

#endif
