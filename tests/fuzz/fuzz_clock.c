/*
** fuzz_clock.c -- what is read of a clock, an instant or a duration is written
** and read again as the same; no clock of a peer's makes ours wrong.
*/
#include "fuzz.h"

#include "iotops/hlc.h"
#include "protocol/duration.h"
#include "protocol/rfc3339.h"

static void clocks(iotops_text text) {
  static iotops_hlc local;
  iotops_hlc clock, again, before = local;
  char written[IOTOPS_HLC_TEXT_SIZE];
  iotops_text back;
  iotops_error err;

  if (iotops_hlc_parse(text, &clock, &err) != 0)
    return;
  back = (iotops_text){written, iotops_hlc_format(&clock, written)};
  FUZZ_CHECK(back.size < sizeof written && strlen(written) == back.size);
  FUZZ_CHECK(iotops_hlc_parse(back, &again, &err) == 0);
  FUZZ_CHECK(iotops_hlc_compare(&clock, &again) == 0);
  if (before.node[0] == 0) {
    memcpy(before.node, "me", 3);
    local = before;
  }
  if (iotops_hlc_merge(&local, &clock, 1700000000000, 60000, &err) == 0) {
    FUZZ_CHECK(iotops_hlc_compare(&local, &before) > 0 ||
               strcmp(clock.node, before.node) == 0);
    FUZZ_CHECK(strcmp(local.node, before.node) == 0);
    FUZZ_CHECK(local.ms <= 1700000000000 + 60000);
  } else {
    FUZZ_CHECK(memcmp(&local, &before, sizeof local) == 0);
  }
}

static void instants(iotops_text text) {
  char written[RFC3339_TEXT_SIZE];
  int64_t ms, again, second;

  if (!rfc3339_parse(text, &ms) || !rfc3339_format(ms, written))
    return;
  FUZZ_CHECK(strlen(written) == RFC3339_TEXT_SIZE - 1);
  FUZZ_CHECK(rfc3339_parse(iotops_text_of(written), &again));
  second = ms - ((ms % 1000 + 1000) % 1000);
  FUZZ_CHECK(again == second);
}

static void durations(iotops_text text) {
  char written[DURATION_TEXT_SIZE];
  int64_t us, again;

  if (!duration_parse(text, &us))
    return;
  FUZZ_CHECK(duration_format(us, written, sizeof written) < sizeof written);
  FUZZ_CHECK(duration_parse(iotops_text_of(written), &again));
  FUZZ_CHECK(again == us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  iotops_text text = {(const char *)data, size};

  clocks(text);
  instants(text);
  durations(text);
  return 0;
}
