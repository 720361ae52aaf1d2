/*
** executor_scene.h -- an executor in the world of commands, requests to it, and
** what became of them.
*/
#ifndef UNIT_EXECUTOR_SCENE_H
#define UNIT_EXECUTOR_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "command_world.h"

enum { REQUESTS_MAX = 64 };

/* What the handler was given. */
static struct {
  iotops_command_executor *executor;
  iotops_request *requests[REQUESTS_MAX];
  size_t executed;
  size_t cancelled;
  iotops_request *last_cancelled;
  bool answers;        /* the handler responds at once */
  bool ends_cancelled; /* the cancelled callback fails the request */
  bool frees;          /* the handler frees the executor */
  char seen[512];      /* of the last one: what is worth comparing */
} the;

static inline void respond(iotops_request *request, const char *payload) {
  iotops_respond_options options = IOTOPS_RESPOND_OPTIONS_INIT;
  options.payload =
      iotops_format_payload(IOTOPS_FORMAT_JSON, iotops_text_of(payload));
  options.done = note_end;
  assert_int_equal(iotops_request_respond(request, &options, NULL), 0);
}

static inline void handle(void *user, iotops_request *request,
                          const iotops_request_view *view) {
  assert_ptr_equal(user, &the);
  assert_true(the.executed < REQUESTS_MAX);
  the.requests[the.executed++] = request;
  int size = snprintf(the.seen, sizeof the.seen, "%.*s|%.*s|%.*s|",
                      (int)view->topic.size, view->topic.data,
                      (int)view->payload.bytes.size, view->payload.bytes.data,
                      (int)view->invoker_id.size, view->invoker_id.data);
  for (size_t i = 0; i < view->token_count; i++)
    size +=
        snprintf(the.seen + size, sizeof the.seen - (size_t)size, "%.*s=%.*s;",
                 (int)view->tokens[i].name.size, view->tokens[i].name.data,
                 (int)view->tokens[i].value.size, view->tokens[i].value.data);
  size += snprintf(the.seen + size, sizeof the.seen - (size_t)size, "|");
  for (size_t i = 0; i < view->user_data_count; i++)
    size += snprintf(
        the.seen + size, sizeof the.seen - (size_t)size, "%.*s=%.*s;",
        (int)view->user_data[i].name.size, view->user_data[i].name.data,
        (int)view->user_data[i].value.size, view->user_data[i].value.data);
  if (the.answers)
    respond(request, "\"done\"");
  if (the.frees) {
    iotops_command_executor_free(the.executor);
    the.executor = NULL;
  }
}

static inline void on_cancelled(void *user, iotops_request *request) {
  (void)user;
  the.cancelled++;
  the.last_cancelled = request;
  assert_true(iotops_request_is_cancelled(request));
  if (the.ends_cancelled)
    iotops_request_fail(request, NULL);
}

static inline iotops_command_executor_options options_of(void) {
  iotops_command_executor_options options =
      IOTOPS_COMMAND_EXECUTOR_OPTIONS_INIT;
  options.command_name = iotops_text_of("test");
  options.request_topic_pattern = iotops_text_of("mock/test");
  options.handler = handle;
  options.cancelled = on_cancelled;
  options.user = &the;
  return options;
}

static inline void make(const iotops_command_executor_options *options) {
  assert_int_equal(iotops_command_executor_new(&world.stub->client, options,
                                               &the.executor, NULL),
                   0);
}

static inline void make_default(void) {
  iotops_command_executor_options options = options_of();
  make(&options);
}

static inline int open_world(void **state) {
  (void)state;
  memset(&the, 0, sizeof the);
  return command_world_open();
}

static inline int close_world(void **state) {
  (void)state;
  iotops_command_executor_free(the.executor);
  return command_world_close();
}

/* ------------------------------------------------------------- requests -- */

typedef struct request_message {
  iotops_message message;
  iotops_user_property pairs[16];
  uint8_t correlation[16];
} request_message;

/* Correlation data `number`, packet id 1 + number, expiry 10 s. */
static inline request_message request_of(unsigned number) {
  request_message made = {.message = IOTOPS_MESSAGE_INIT};
  memset(made.correlation, 7, sizeof made.correlation);
  memcpy(made.correlation, &number, sizeof number);
  made.message.topic = iotops_text_of("mock/test");
  made.message.payload = iotops_text_of("\"ask\"");
  made.message.content_type = iotops_text_of("application/json");
  made.message.format_indicator = 1;
  made.message.qos = 1;
  made.message.packet_id = (uint16_t)(number + 1);
  made.message.has_expiry = true;
  made.message.expiry_s = 10;
  made.message.response_topic = iotops_text_of("answers/here");
  return made;
}

static inline void add(request_message *request, const char *name,
                       const char *value) {
  iotops_user_property *pair =
      &request->pairs[request->message.user_property_count++];
  pair->name = iotops_text_of(name);
  pair->value = iotops_text_of(value);
}

static inline void deliver(request_message *request) {
  if (!request->message.correlation_data.data)
    request->message.correlation_data =
        (iotops_text){(const char *)request->correlation, 16};
  request->message.user_properties = request->pairs;
  stub_deliver(world.stub, &request->message);
  settle_down();
}

static inline void ask(unsigned number) {
  request_message request = request_of(number);
  deliver(&request);
}

/* The n-th publish is an error response with these properties. */
static inline void assert_answer(size_t n, const char *status,
                                 const char *app_error, const char *name,
                                 const char *value) {
  const iotops_message *answer = published(n);
  assert_string_equal(property_of(answer, "__stat"), status);
  assert_true(stub_property(answer, "__stMsg", 0).size > 0);
  assert_string_equal(property_of(answer, "__apErr"), app_error);
  if (name)
    assert_string_equal(property_of(answer, "__propName"), name);
  else
    assert_null(property_of(answer, "__propName"));
  if (value)
    assert_string_equal(property_of(answer, "__propVal"), value);
  else
    assert_null(property_of(answer, "__propVal"));
  assert_int_equal(answer->payload.size, 0);
  assert_null(answer->content_type.data);
  assert_true(iotops_text_equal(answer->topic, iotops_text_of("answers/here")));
  assert_int_equal(answer->qos, 1);
  assert_true(answer->has_expiry);
  assert_true(answer->expiry_s > 0);
}

static inline void refuse_next_as_full(void) {
  iotops_error_set(&world.stub->refuse, IOTOPS_INVALID_STATE, "queue is full");
  iotops_error_name(world.stub->refuse.property_name,
                    iotops_text_of("publish_queue"));
}

static inline void tell_writable(void) {
  iotops_mqtt_observer *observer = world.stub->observers;
  observer->writable(observer);
  settle_down();
}

#endif
