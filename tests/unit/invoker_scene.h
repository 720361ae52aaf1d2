/*
** invoker_scene.h -- an invoker in the world of commands, and what its calls
** came to.
*/
#ifndef UNIT_INVOKER_SCENE_H
#define UNIT_INVOKER_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "command_world.h"

static struct {
  iotops_command_invoker *invoker;
  bool frees;      /* a completion frees the invoker */
  bool calls;      /* a completion invokes again, once */
  char tokens[64]; /* of the last response */
  char user_data[128];
} the;

static inline int invoke_with(const iotops_invoke_options *options,
                              iotops_invocation *invocation, iotops_error *err);

static inline void note_response(void *user, const iotops_response *response,
                                 const iotops_error *err) {
  assert_ptr_equal(user, &the);
  assert_true((response != NULL) != (err != NULL));
  note_end(NULL, err);
  outcome *made = &world.outcomes[world.outcome_count - 1];
  if (response) {
    made->status = response->status;
    snprintf(made->payload, sizeof made->payload, "%.*s",
             (int)response->payload.bytes.size, response->payload.bytes.data);
    the.tokens[0] = the.user_data[0] = '\0';
    for (size_t i = 0; i < response->token_count; i++)
      snprintf(
          the.tokens + strlen(the.tokens),
          sizeof the.tokens - strlen(the.tokens), "%.*s=%.*s;",
          (int)response->tokens[i].name.size, response->tokens[i].name.data,
          (int)response->tokens[i].value.size, response->tokens[i].value.data);
    for (size_t i = 0; i < response->user_data_count; i++)
      snprintf(the.user_data + strlen(the.user_data),
               sizeof the.user_data - strlen(the.user_data), "%.*s=%.*s;",
               (int)response->user_data[i].name.size,
               response->user_data[i].name.data,
               (int)response->user_data[i].value.size,
               response->user_data[i].value.data);
  }
  if (the.calls) {
    iotops_invoke_options options = IOTOPS_INVOKE_OPTIONS_INIT;
    the.calls = false;
    assert_int_equal(invoke_with(&options, NULL, NULL), 0);
  }
  if (the.frees) {
    the.frees = false;
    iotops_command_invoker_free(the.invoker);
    the.invoker = NULL;
  }
}

static inline iotops_command_invoker_options options_of(void) {
  iotops_command_invoker_options options = IOTOPS_COMMAND_INVOKER_OPTIONS_INIT;
  options.command_name = iotops_text_of("test");
  options.request_topic_pattern = iotops_text_of("mock/test");
  options.response_topic_prefix = iotops_text_of("response");
  return options;
}

static inline void make(const iotops_command_invoker_options *options) {
  assert_int_equal(iotops_command_invoker_new(&world.stub->client, options,
                                              &the.invoker, NULL),
                   0);
}

static inline void make_default(void) {
  iotops_command_invoker_options options = options_of();
  make(&options);
}

static inline int invoke_with(const iotops_invoke_options *options,
                              iotops_invocation *invocation,
                              iotops_error *err) {
  return iotops_command_invoke(the.invoker, options, note_response, &the,
                               invocation, err);
}

static inline iotops_invocation invoke(void) {
  iotops_invoke_options options = IOTOPS_INVOKE_OPTIONS_INIT;
  iotops_invocation invocation = 0;
  options.payload =
      iotops_format_payload(IOTOPS_FORMAT_JSON, iotops_text_of("\"ask\""));
  size_t before = world.outcome_count;
  assert_int_equal(invoke_with(&options, &invocation, NULL), 0);
  assert_int_equal(world.outcome_count, before);
  assert_true(invocation != 0);
  return invocation;
}

/* An invoker that has subscribed already. */
static inline void make_ready(void) {
  make_default();
  iotops_command_invoker_start(the.invoker, NULL, NULL, NULL);
  answer_nth(STUB_SUBSCRIBE, 0, 1);
}

static inline int open_world(void **state) {
  (void)state;
  memset(&the, 0, sizeof the);
  return command_world_open();
}

static inline int close_world(void **state) {
  (void)state;
  iotops_command_invoker_free(the.invoker);
  return command_world_close();
}

/* ------------------------------------------------------------ responses -- */

typedef struct response_message {
  iotops_message message;
  iotops_user_property pairs[16];
} response_message;

/* A success to the n-th published request, packet id 1 + n. */
static inline response_message response_to(size_t n) {
  response_message made = {.message = IOTOPS_MESSAGE_INIT};
  made.message.topic = iotops_text_of("response/mock/test");
  made.message.payload = iotops_text_of("\"yes\"");
  made.message.content_type = iotops_text_of("application/json");
  made.message.format_indicator = 1;
  made.message.qos = 1;
  made.message.packet_id = (uint16_t)(n + 1);
  made.message.correlation_data = published(n)->correlation_data;
  return made;
}

static inline void add(response_message *response, const char *name,
                       const char *value) {
  iotops_user_property *pair =
      &response->pairs[response->message.user_property_count++];
  pair->name = iotops_text_of(name);
  pair->value = iotops_text_of(value);
}

static inline size_t deliver(response_message *response) {
  response->message.user_properties = response->pairs;
  size_t matched = stub_deliver(world.stub, &response->message);
  settle_down();
  return matched;
}

static inline void succeed(size_t n) {
  response_message response = response_to(n);
  add(&response, "__stat", "200");
  deliver(&response);
}

static inline const outcome *last(void) {
  assert_true(world.outcome_count > 0);
  return &world.outcomes[world.outcome_count - 1];
}

static inline void assert_local(iotops_error_kind kind) {
  assert_true(last()->failed);
  assert_int_equal(last()->err.kind, kind);
  assert_false(last()->err.is_shallow);
  assert_false(last()->err.is_remote);
  assert_string_equal(last()->err.command_name, "test");
}

#endif
