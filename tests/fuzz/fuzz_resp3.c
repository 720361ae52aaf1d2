/*
** fuzz_resp3.c -- a payload of the state store's is read to its end without
** leaving it, and a request that is written is read back as it was.
*/
#include "fuzz.h"

#include "services/resp3.h"

enum { BLOBS = 8 };

static void read_all(const uint8_t *data, size_t size) {
  iotops_text rest = {(const char *)data, size};
  resp3_value value;
  size_t left = rest.size;

  while (resp3_read(&rest, &value)) {
    FUZZ_CHECK(rest.size < left);
    left = rest.size;
    FUZZ_CHECK(fuzz_within(rest, data, size));
    if (value.type == RESP3_ARRAY)
      FUZZ_CHECK(value.count <= rest.size);
    if (value.type == RESP3_BLOB || value.type == RESP3_STRING ||
        value.type == RESP3_ERROR)
      FUZZ_CHECK(value.text.size <= size);
  }
}

static void write_and_read(const uint8_t *data, size_t size) {
  fuzz_input input = {data, data + size};
  iotops_text blobs[BLOBS], written, rest;
  resp3_value value;
  size_t count = 0;

  while (count < BLOBS && input.at < input.end)
    blobs[count++] = fuzz_line(&input);
  written = resp3_write_blobs(fuzz_context(), blobs, count);
  FUZZ_CHECK(written.data != NULL);
  rest = written;
  FUZZ_CHECK(resp3_read(&rest, &value));
  FUZZ_CHECK(value.type == RESP3_ARRAY && value.count == count);
  for (size_t i = 0; i < count; i++) {
    FUZZ_CHECK(resp3_read(&rest, &value));
    FUZZ_CHECK(value.type == RESP3_BLOB);
    FUZZ_CHECK(iotops_text_equal(value.text, blobs[i]));
  }
  FUZZ_CHECK(rest.size == 0);
  iotops_free(fuzz_context(), (void *)written.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  iotops_text whole = {(const char *)data, size};
  resp3_value value;

  read_all(data, size);
  if (resp3_read_scalar(whole, &value))
    FUZZ_CHECK(value.type != RESP3_ARRAY);
  write_and_read(data, size);
  return 0;
}
