/*
** fuzz.h -- what the fuzz targets share: a context, the input taken apart, and
** a check that stays in every build.
**
** A target is one file that defines LLVMFuzzerTestOneInput.  Linked with
** libFuzzer it is fed by that; linked with replay.c it runs the inputs that
** are kept in corpus/<target>.
*/
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iotops/context.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                  \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
      abort();                                                                 \
    }                                                                          \
  } while (0)

/* Made at the first input, kept until the end. */
static inline iotops_context *fuzz_context(void) {
  static iotops_context *context;

  if (!context)
    FUZZ_CHECK(iotops_context_new(NULL, &context, NULL) == 0);
  return context;
}

/* The input, taken off from the front; nothing but zeros behind its end. */
typedef struct fuzz_input {
  const uint8_t *at, *end; /* borrowed */
} fuzz_input;

static inline uint8_t fuzz_byte(fuzz_input *input) {
  return input->at < input->end ? *input->at++ : 0;
}

/* Up to the next newline, which is taken too. */
static inline iotops_text fuzz_line(fuzz_input *input) {
  size_t left = (size_t)(input->end - input->at);
  const uint8_t *newline = left ? memchr(input->at, '\n', left) : NULL;
  iotops_text text = {(const char *)input->at,
                      newline ? (size_t)(newline - input->at) : left};

  input->at += newline ? text.size + 1 : text.size;
  return text;
}

/* True when `text` is absent or a part of `bytes`. */
static inline bool fuzz_within(iotops_text text, const uint8_t *bytes,
                               size_t size) {
  const uint8_t *from = (const uint8_t *)text.data;

  return !from || (from >= bytes && from <= bytes + size &&
                   text.size <= (size_t)(bytes + size - from));
}

#endif
