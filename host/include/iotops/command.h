/*
** command.h -- command invoker and executor (protocol.md sections 7, 8).
*/
#ifndef IOTOPS_COMMAND_H
#define IOTOPS_COMMAND_H

#include "iotops/telemetry.h"

/* ------------------------------------------------------------ invoker -- */

typedef struct iotops_command_invoker iotops_command_invoker;

typedef struct iotops_command_invoker_options {
  size_t size;              /* IOTOPS_COMMAND_INVOKER_OPTIONS_INIT */
  iotops_text command_name; /* copied; so is all else */
  iotops_text request_topic_pattern;
  iotops_text response_topic_pattern; /* absent or "": not given */
  iotops_text response_topic_prefix;  /* absent or "": not given */
  iotops_text response_topic_suffix;  /* absent or "": not given */
  iotops_text topic_namespace;
  const iotops_token *tokens;
  size_t token_count;
} iotops_command_invoker_options;

#define IOTOPS_COMMAND_INVOKER_OPTIONS_INIT                                    \
  { .size = sizeof(iotops_command_invoker_options) }

typedef struct iotops_invoke_options {
  size_t size; /* IOTOPS_INVOKE_OPTIONS_INIT */
  iotops_payload payload;
  int64_t timeout_us; /* rounded up to seconds; default 10 s */
  const iotops_user_property *user_data;
  size_t user_data_count;
  const iotops_token *tokens;
  size_t token_count;
  const iotops_cloud_event *cloud_event; /* NULL: none */
} iotops_invoke_options;

#define IOTOPS_INVOKE_OPTIONS_INIT                                             \
  { .size = sizeof(iotops_invoke_options), .timeout_us = 10000000 }

/* A successful response; a view that dies when the callback returns. */
typedef struct iotops_response {
  iotops_payload payload;
  uint16_t status; /* 200 or 204 */
  const iotops_user_property *user_data;
  size_t user_data_count;
  iotops_text executor_id; /* `__srcId`; absent when not given */
  const iotops_hlc *timestamp;
  const iotops_token *tokens;
  size_t token_count;
  const uint8_t *correlation_id; /* 16 bytes */
} iotops_response;

/*
** How an invocation ended: `response` on success, else `err` (timeout,
** cancellation, mqtt error, or what the response said, section 6.4).  The
** value's deserialization is the caller's; its failure is reported as the
** caller's invalid payload or invalid header.  The callback may free the
** invoker, and may be NULL.
*/
typedef void (*iotops_invoke_done)(void *user, const iotops_response *response,
                                   const iotops_error *err);

/* Names one invocation, for iotops_invoke_cancel(); 0: none. */
typedef uint64_t iotops_invocation;

/* ----------------------------------------------------------- executor -- */

typedef struct iotops_command_executor iotops_command_executor;

/* A request that the handler has; end it exactly once. */
typedef struct iotops_request iotops_request;

/* What a handler is given; a view that dies when the callback returns. */
typedef struct iotops_request_view {
  iotops_text topic;
  iotops_payload payload;
  const iotops_user_property *user_data;
  size_t user_data_count;
  iotops_text invoker_id;      /* `__srcId`; absent when not given */
  const iotops_hlc *timestamp; /* NULL when not given, or not readable */
  iotops_text timestamp_text;  /* `__ts` as received */
  iotops_text response_topic;
  const iotops_token *tokens;
  size_t token_count;
  const uint8_t *correlation_id; /* 16 bytes */
  uint64_t deadline_ms;          /* on mono_ms; no response after it */
  uint16_t packet_id;            /* 0 with QoS 0 */
} iotops_request_view;

/*
** Executes one request, now or later; ends with _respond, _reject or _fail.
*/
typedef void (*iotops_command_handler)(void *user, iotops_request *request,
                                       const iotops_request_view *view);

/*
** The request has been given up (execution timeout, deadline): whatever the
** handler does later is discarded.  The request must still be ended, here or
** later.
*/
typedef void (*iotops_request_cancelled)(void *user, iotops_request *request);

/*
** How the publish of a response ended; `err` NULL: acknowledged.  A timeout:
** the response came too late and was not published.  A cancellation: the
** executor was freed before it could be.
*/
typedef void (*iotops_respond_done)(void *user, const iotops_error *err);

typedef struct iotops_command_executor_options {
  size_t size;              /* IOTOPS_COMMAND_EXECUTOR_OPTIONS_INIT */
  iotops_text command_name; /* copied; so is all else */
  iotops_text request_topic_pattern;
  iotops_text topic_namespace;
  const iotops_token *tokens;
  size_t token_count;
  iotops_text service_group_id; /* absent: not shared */
  int64_t execution_timeout_us; /* default 10 s */
  uint32_t concurrency;         /* 0 (default): unlimited */
  bool is_idempotent;
  /*
  ** The meaning of `__ts` is the handler's: it is neither checked nor merged
  ** into the context's clock (services whose timestamps are versions).
  ** `$partition` and `aio-persistence` are then left in the user data.
  */
  bool raw_timestamp;
  int64_t cacheable_duration_us; /* only with is_idempotent */
  iotops_command_handler handler;
  iotops_request_cancelled cancelled; /* may be NULL */
  void *user;                         /* borrowed; passed to both */
  /*
  ** A request is kept while its handler has it past the callback, so that
  ** iotops_request_again() can hand it out once more.
  */
  bool keeps_requests;
} iotops_command_executor_options;

#define IOTOPS_COMMAND_EXECUTOR_OPTIONS_INIT                                   \
  {                                                                            \
    .size = sizeof(iotops_command_executor_options),                           \
    .execution_timeout_us = 10000000                                           \
  }

typedef struct iotops_respond_options {
  size_t size; /* IOTOPS_RESPOND_OPTIONS_INIT */
  iotops_payload payload;
  const iotops_user_property *user_data;
  size_t user_data_count;
  const iotops_cloud_event *cloud_event; /* NULL: none */
  iotops_text timestamp;    /* `__ts`; absent: the clock's, "": none */
  iotops_respond_done done; /* may be NULL */
  void *user;
} iotops_respond_options;

#define IOTOPS_RESPOND_OPTIONS_INIT                                            \
  { .size = sizeof(iotops_respond_options) }

#ifdef __cplusplus
extern "C" {
#endif

/*
** Makes an invoker.  Fails with invalid configuration: command_name,
** topic_namespace, response_topic_prefix, response_topic_suffix,
** request_topic_pattern, response_topic_pattern, a token's name.  Every error
** of an invoker carries the command name.
*/
IOTOPS_API int
iotops_command_invoker_new(iotops_mqtt_client *client,
                           const iotops_command_invoker_options *options,
                           iotops_command_invoker **invoker, iotops_error *err);

/* Subscribes to the responses; the first invoke does it otherwise. */
IOTOPS_API int iotops_command_invoker_start(iotops_command_invoker *invoker,
                                            iotops_envoy_done done, void *user,
                                            iotops_error *err);

/*
** Invokes the command.  Fails at once, without calling `done`, with invalid
** configuration (command_timeout, metadata, content_type, format_indicator,
** cloud_event, a token), cancellation after stop, invalid state (clock, full
** queue).
*/
IOTOPS_API int iotops_command_invoke(iotops_command_invoker *invoker,
                                     const iotops_invoke_options *options,
                                     iotops_invoke_done done, void *user,
                                     iotops_invocation *invocation,
                                     iotops_error *err);

/* Gives one invocation up: it completes with a cancellation. */
IOTOPS_API void iotops_invoke_cancel(iotops_command_invoker *invoker,
                                     iotops_invocation invocation);

/*
** Unsubscribes; pending calls complete with a cancellation (section 14).
** Terminal; may be called again after a failure.
*/
IOTOPS_API int iotops_command_invoker_stop(iotops_command_invoker *invoker,
                                           iotops_envoy_done done, void *user,
                                           iotops_error *err);

/*
** Frees it and unsubscribes without waiting; pending calls complete with a
** cancellation, later.  NULL is allowed.
*/
IOTOPS_API void iotops_command_invoker_free(iotops_command_invoker *invoker);

/*
** Makes an executor; it takes requests from now on, and subscribes at start.
** Fails with invalid configuration: command_name, topic_namespace,
** service_group_id, request_topic_pattern, a token's name, handler,
** execution_timeout, cacheable_duration.
*/
IOTOPS_API int iotops_command_executor_new(
    iotops_mqtt_client *client, const iotops_command_executor_options *options,
    iotops_command_executor **executor, iotops_error *err);

IOTOPS_API int iotops_command_executor_start(iotops_command_executor *executor,
                                             iotops_envoy_done done, void *user,
                                             iotops_error *err);

/*
** Unsubscribes; no new request is taken, those in hand finish.  Terminal; may
** be called again after a failure.
*/
IOTOPS_API int iotops_command_executor_stop(iotops_command_executor *executor,
                                            iotops_envoy_done done, void *user,
                                            iotops_error *err);

/*
** `to` takes the place of `from`, which is to be stopped: it answers duplicates
** of the requests that `from` has taken, and executes those that wait for their
** turn, and those that are given back by iotops_request_again().  False, and
** nothing happens, unless both are of one client and command, neither has a
** successor and `to` has not taken a request.
*/
IOTOPS_API bool iotops_command_executor_succeed(iotops_command_executor *to,
                                                iotops_command_executor *from);

/*
** Answers the requests that wait for their turn with an execution error, and
** `message` as its text, instead of executing them.
*/
IOTOPS_API void
iotops_command_executor_fail_waiting(iotops_command_executor *executor,
                                     const char *message);

/*
** While paused no handler begins: requests wait as if all places were taken.
** Ends with the next turn of the loop after a call with false.
*/
IOTOPS_API void iotops_command_executor_pause(iotops_command_executor *executor,
                                              bool paused);

/*
** Frees it and unsubscribes without waiting.  Responses that the client has
** taken go out.  Requests that wait or that the handler has are not answered
** any more, and are acknowledged, with a warning: stop and let them finish to
** lose none.  Those that the handler has stay valid until it ends them;
** `cancelled` is not called.  NULL is allowed.
*/
IOTOPS_API void iotops_command_executor_free(iotops_command_executor *executor);

/*
** Ends a request with a response: status 200, or 204 when the payload is
** empty.  Fails, leaving the request to be ended otherwise, with invalid
** configuration (metadata, content_type, format_indicator, cloud_event,
** timestamp) and with invalid state when memory is short.  While the client's
** queue is full the response waits for room, until the request expires.
*/
IOTOPS_API int iotops_request_respond(iotops_request *request,
                                      const iotops_respond_options *options,
                                      iotops_error *err);

/*
** Ends a request whose payload cannot be read: 415 when `err` is about the
** header Content Type or Payload Format Indicator, 400 otherwise (section
** 6.3).  `err` may be NULL.
*/
IOTOPS_API void iotops_request_reject(iotops_request *request,
                                      const iotops_error *err);

/*
** Ends a request whose handler failed: 500 with `__apErr` true and the
** message of `err`, which may be NULL.
*/
IOTOPS_API void iotops_request_fail(iotops_request *request,
                                    const iotops_error *err);

/*
** Gives a request back, whose handler has not ended it and does nothing more:
** the executor's handler, or its successor's, is called with it again, in its
** turn, as if it came then, with what is left of its lifetime.  True: that is
** so, and the request is not the caller's any more.  False, with nothing
** changed, when one of the two does not keep requests, that handler's executor
** has been stopped or freed, the request has been given up, or memory was
** short.  Not within the callback of the handler.
*/
IOTOPS_API bool iotops_request_again(iotops_request *request);

/* Ends a request without an answer: acknowledged, with a warning. */
IOTOPS_API void iotops_request_drop(iotops_request *request);

/* True once the request has been given up. */
IOTOPS_API bool iotops_request_is_cancelled(const iotops_request *request);

#ifdef __cplusplus
}
#endif

#endif
