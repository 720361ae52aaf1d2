/*
** telemetry_scene.h -- a stub client, a clock moved by hand and memory that can
** fail, for the tests of telemetry.
*/
#ifndef UNIT_TELEMETRY_SCENE_H
#define UNIT_TELEMETRY_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/telemetry.h"
#include "stub_client.h"

static inline iotops_text T(const char *string) {
  return iotops_text_of(string);
}

/* --------------------------------------------------------------- the scene */

enum { LOG_SIZE = 4096 };

typedef struct scene {
  int64_t now_ms;
  iotops_context *context;
  stub_client *stub;
  iotops_mqtt_client *client;
  size_t allocations; /* blocks made or grown */
  size_t fail_at;     /* the allocation that fails; 0: none */
  unsigned warnings;
  char last_warning[LOG_SIZE];
  iotops_error err;
} scene;

static scene s;

static inline int64_t wall_ms(void *user) {
  (void)user;
  return 1700000000000 + s.now_ms;
}

static inline uint64_t mono_ms(void *user) {
  (void)user;
  return (uint64_t)s.now_ms;
}

static inline void no_alarm(void *user, iotops_context *context,
                            uint64_t due_ms) {
  (void)user;
  (void)context;
  (void)due_ms;
}

static inline void *resize(void *user, void *block, size_t size) {
  (void)user;
  if (size == 0) {
    free(block);
    return NULL;
  }
  s.allocations++;
  if (s.fail_at != 0 && s.allocations == s.fail_at)
    return NULL;
  return realloc(block, size);
}

static inline void on_log(void *user, const iotops_log_record *record) {
  (void)user;
  if (record->level != IOTOPS_LOG_WARN)
    return;
  s.warnings++;
  snprintf(s.last_warning, sizeof s.last_warning, "%.*s",
           (int)record->message.size, record->message.data);
}

static inline int set_up(void **state) {
  (void)state;
  static const iotops_clock clock = {wall_ms, mono_ms, no_alarm, NULL};
  static const iotops_allocator allocator = {resize, NULL};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  memset(&s, 0, sizeof s);
  options.clock = &clock;
  options.allocator = &allocator;
  options.log = on_log;
  if (iotops_context_new(&options, &s.context, NULL) != 0)
    return -1;
  s.stub = stub_client_new(s.context, "me");
  s.client = &s.stub->client;
  return 0;
}

static inline int tear_down(void **state) {
  (void)state;
  stub_client_free(s.stub);
  iotops_context_free(s.context);
  return 0;
}

static inline void assert_text(iotops_text text, const char *expected) {
  if (text.data == NULL || text.size != strlen(expected) ||
      memcmp(text.data, expected, text.size) != 0)
    fail_msg("%.*s is not %s", (int)text.size,
             text.data == NULL ? "" : text.data, expected);
}

static inline void assert_configuration_error(const char *property) {
  assert_int_equal(s.err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_true(s.err.is_shallow);
  assert_false(s.err.is_remote);
  assert_string_equal(s.err.property_name, property);
}

/* ------------------------------------------------------------------ sending */

typedef struct outcome {
  unsigned calls;
  bool failed;
  iotops_error err;
} outcome;

static inline void on_done(void *user, const iotops_error *err) {
  outcome *outcome = user;
  outcome->calls++;
  outcome->failed = err != NULL;
  if (err != NULL)
    outcome->err = *err;
}

static inline iotops_telemetry_sender *make_sender(const char *pattern) {
  iotops_telemetry_sender_options options =
      IOTOPS_TELEMETRY_SENDER_OPTIONS_INIT;
  iotops_telemetry_sender *sender = NULL;
  options.topic_pattern = T(pattern);
  if (iotops_telemetry_sender_new(s.client, &options, &sender, &s.err) != 0)
    fail_msg("%s", s.err.message);
  return sender;
}

static inline iotops_telemetry_send_options reading(const char *json) {
  iotops_telemetry_send_options options = IOTOPS_TELEMETRY_SEND_OPTIONS_INIT;
  options.payload = iotops_format_payload(IOTOPS_FORMAT_JSON, T(json));
  return options;
}

#endif
