/*
** command_invoker.c -- the life of an invoker and its calls (section 8).
*/
#include <stdio.h>
#include <string.h>

#include "protocol/cloud_event_write.h"
#include "protocol/command_invoker_fields.h"
#include "protocol/command_name.h"
#include "protocol/expiry.h"
#include "protocol/mqtt_outcome.h"
#include "protocol/payload_check.h"
#include "protocol/property_names.h"
#include "protocol/protocol_version.h"

#define TIMEOUT_NAME "command_timeout"

static void name_error(const iotops_command_invoker *invoker,
                       iotops_error *err) {
  if (err)
    iotops_error_name(err->command_name, iotops_text_of(invoker->name));
}

/* ------------------------------------------------------ ends of one call -- */

/* Gives the call back unless somebody holds it. */
static void release(invoker_call *call) {
  iotops_command_invoker *invoker = call->invoker;
  if (call->pending || call->publishing || call->telling)
    return;
  call_table_put_back(&invoker->calls, call);
  invoker_release(invoker);
}

/* Nothing can complete the call any more but its `done`. */
static void close_call(invoker_call *call) {
  iotops_command_invoker *invoker = call->invoker;
  call_table_close(&invoker->calls, call);
  iotops_timer_stop(invoker->context, &call->timer);
  iotops_free(invoker->context, call->request);
  call->request = NULL;
  call->pending = false;
}

void invoker_complete(invoker_call *call, const iotops_response *response,
                      const iotops_error *err) {
  iotops_invoke_done done = call->done;
  void *user = call->user;
  close_call(call);
  release(call);
  if (done)
    done(user, response, err);
}

/* A publish that nobody waits for any more need not leave the queue. */
static void withdraw(invoker_call *call) {
  if (call->publishing)
    iotops_mqtt_cancel(call->invoker->client, call->operation);
}

static void on_cancelled(iotops_task *task) {
  invoker_call *call = task->user;
  iotops_command_invoker *invoker = call->invoker;
  iotops_invoke_done done = call->done;
  void *user = call->user;
  iotops_error err;
  iotops_error_set(&err, IOTOPS_CANCELLATION, "%s",
                   call->stopped ? "the invoker was stopped"
                                 : "the invocation was cancelled");
  name_error(invoker, &err);
  call->telling = false;
  release(call);
  if (done)
    done(user, NULL, &err);
}

static void cancel(invoker_call *call, bool stopped) {
  close_call(call);
  withdraw(call);
  call->stopped = stopped;
  call->telling = true;
  call->task.run = on_cancelled;
  call->task.user = call;
  iotops_task_soon(call->invoker->context, &call->task);
}

static void on_timeout(iotops_timer *timer) {
  invoker_call *call = timer->user;
  iotops_error err;
  iotops_error_set(&err, IOTOPS_TIMEOUT, "no response to %s within %u s",
                   call->invoker->name, (unsigned)call->timeout_s);
  iotops_error_name(err.timeout_name, iotops_text_of(TIMEOUT_NAME));
  err.has_timeout_value = true;
  err.timeout_ms = (int64_t)call->timeout_s * 1000;
  name_error(call->invoker, &err);
  withdraw(call);
  invoker_complete(call, NULL, &err);
}

/* ------------------------------------------------------------ publishing -- */

static void on_published(void *user, const iotops_mqtt_result *result) {
  invoker_call *call = user;
  iotops_command_invoker *invoker = call->invoker;
  iotops_error err;
  bool failed = mqtt_outcome(result, "publish a request", &err) != 0;
  call->publishing = false;
  if (failed && call->pending) {
    name_error(invoker, &err);
    invoker_complete(call, NULL, &err);
    return;
  }
  if (failed && err.kind != IOTOPS_CANCELLATION)
    iotops_log(invoker->context, IOTOPS_LOG_WARN, "invoker",
               "%s: a request that has ended: %s", invoker->name, err.message);
  release(call);
}

static int publish(invoker_call *call, const iotops_message *request,
                   iotops_error *err) {
  if (iotops_mqtt_publish(call->invoker->client, request, on_published, call,
                          &call->operation, err))
    return -1;
  call->publishing = true;
  return 0;
}

/* -------------------------------------------------------- the first call -- */

/* Subscribed, or not: what the calls that wait were waiting for. */
static void on_subscribed(void *user, const iotops_error *err) {
  iotops_command_invoker *invoker = user;
  uint32_t batch = call_table_batch(&invoker->calls);
  invoker_call *call;
  invoker->subscribing = false;
  /* One of those told may free the invoker, cancel others, or call again. */
  while ((call = call_table_next(&invoker->calls, batch))) {
    iotops_error failure;
    if (err) {
      invoker_complete(call, NULL, err);
    } else if (publish(call, call->request, &failure) == 0) {
      iotops_free(invoker->context, call->request);
      call->request = NULL;
    } else {
      failure.is_shallow = false;
      name_error(invoker, &failure);
      invoker_complete(call, NULL, &failure);
    }
  }
  invoker_release(invoker);
}

static int subscribe(iotops_command_invoker *invoker, iotops_error *err) {
  if (invoker->subscribing)
    return 0;
  if (subscription_start(invoker->subscription, on_subscribed, invoker, err))
    return -1;
  invoker->subscribing = true;
  invoker->holds++;
  return 0;
}

/* ---------------------------------------------------------------- invoke -- */

/* The texts that a request points to while it is built. */
typedef struct request_texts {
  cloud_event_texts event;
  char stamp[IOTOPS_HLC_TEXT_SIZE];
} request_texts;

static int check_invoke(const iotops_invoke_options *options, uint32_t *timeout,
                        iotops_error *err) {
  if (expiry_from_us(options->timeout_us, TIMEOUT_NAME, timeout, err) ||
      iotops_user_data_check(options->user_data, options->user_data_count,
                             err) ||
      payload_check(&options->payload, err))
    return -1;
  if (!options->cloud_event)
    return 0;
  if (cloud_event_check_user_data(options->user_data, options->user_data_count,
                                  err))
    return -1;
  return iotops_cloud_event_check(options->cloud_event,
                                  options->payload.content_type, err);
}

/* Steps 2 to 4: `request` gets views into options, invoker and texts. */
static int build_request(iotops_command_invoker *invoker,
                         const iotops_invoke_options *options, uint32_t timeout,
                         request_texts *texts, iotops_message *request,
                         iotops_error *err) {
  property_list *list = &invoker->properties;
  iotops_text client_id =
      iotops_text_of(iotops_mqtt_client_id(invoker->client));
  iotops_hlc now;
  if (topic_pattern_publish(&invoker->request_pattern, options->tokens,
                            options->token_count, &invoker->request_topic,
                            &request->topic, err) ||
      topic_pattern_publish(&invoker->response_pattern, options->tokens,
                            options->token_count, &invoker->response_topic,
                            &request->response_topic, err) ||
      iotops_context_hlc_now(invoker->context, &now, err))
    return -1;
  request->qos = 1;
  request->has_expiry = true;
  request->expiry_s = timeout;
  payload_put(&options->payload, request);
  property_list_reset(list);
  property_list_add(list, PROPERTY_VERSION, iotops_text_of(PROTOCOL_VERSION));
  property_list_add(list, PROPERTY_SOURCE, client_id);
  property_list_add(
      list, PROPERTY_TIMESTAMP,
      (iotops_text){texts->stamp, iotops_hlc_format(&now, texts->stamp)});
  property_list_add(list, PROPERTY_PARTITION, client_id);
  property_list_add(list, PROPERTY_HIGH_PRIORITY, iotops_text_of(""));
  if (options->cloud_event &&
      cloud_event_write(options->cloud_event, CLOUD_EVENT_REQUEST,
                        request->topic, options->payload.content_type,
                        &texts->event, list, err))
    return -1;
  property_list_add_user_data(list, options->user_data,
                              options->user_data_count, "invoker");
  if (list->failed)
    return iotops_error_memory(err);
  request->user_properties = list->pairs;
  request->user_property_count = list->count;
  return 0;
}

/* Steps 5 to 7, with the call registered. */
static int send_request(invoker_call *call, const iotops_message *request,
                        iotops_error *err) {
  iotops_command_invoker *invoker = call->invoker;
  if (subscription_active(invoker->subscription))
    return publish(call, request, err);
  call->request = iotops_message_copy(invoker->context, request);
  if (!call->request)
    return iotops_error_memory(err);
  if (subscribe(invoker, err))
    return -1;
  call_table_wait(&invoker->calls, call);
  return 0;
}

static int invoke(iotops_command_invoker *invoker,
                  const iotops_invoke_options *options, iotops_invoke_done done,
                  void *user, iotops_invocation *invocation,
                  iotops_error *err) {
  iotops_message request = IOTOPS_MESSAGE_INIT;
  request_texts texts;
  uint32_t timeout;
  if (check_invoke(options, &timeout, err) ||
      build_request(invoker, options, timeout, &texts, &request, err))
    return -1;
  if (subscription_stopped(invoker->subscription))
    return iotops_error_set(err, IOTOPS_CANCELLATION,
                            "the invoker was stopped");
  invoker_call *call = call_table_new(&invoker->calls);
  if (!call)
    return iotops_error_memory(err);
  invoker->holds++;
  call->invoker = invoker;
  call->pending = true;
  call->done = done;
  call->user = user;
  call->timeout_s = timeout;
  call->timer.fire = on_timeout;
  call->timer.user = call;
  request.correlation_data =
      (iotops_text){(const char *)call->correlation, CORRELATION_BYTES};
  if (send_request(call, &request, err)) {
    close_call(call);
    release(call);
    return -1;
  }
  iotops_timer_start(invoker->context, &call->timer, (uint64_t)timeout * 1000);
  if (invocation)
    *invocation = call->number;
  return 0;
}

int iotops_command_invoke(iotops_command_invoker *invoker,
                          const iotops_invoke_options *options,
                          iotops_invoke_done done, void *user,
                          iotops_invocation *invocation, iotops_error *err) {
  if (invocation)
    *invocation = 0;
  if (invoke(invoker, options, done, user, invocation, err) == 0)
    return 0;
  name_error(invoker, err);
  return -1;
}

void iotops_invoke_cancel(iotops_command_invoker *invoker,
                          iotops_invocation invocation) {
  invoker_call *call = call_table_number(&invoker->calls, invocation);
  if (call)
    cancel(call, false);
}

/* ------------------------------------------------------ life of the envoy --
 */

static bool given(iotops_text text) {
  return text.data && text.size > 0;
}

static bool add_part(text_buffer *pattern, iotops_text part) {
  if (!given(part))
    return false;
  if (pattern->size > 0)
    text_buffer_add_char(pattern, '/');
  text_buffer_add(pattern, part);
  return true;
}

/* A prefix or suffix is checked alone, so that an error names it. */
static int check_part(const char *property, iotops_text part,
                      iotops_error *err) {
  if (given(part) && !iotops_topic_pattern_valid(part))
    return iotops_error_configuration(err, property, part,
                                      "not a valid part of a topic pattern");
  return 0;
}

static int init_patterns(iotops_command_invoker *invoker,
                         const iotops_command_invoker_options *options,
                         text_buffer *text, iotops_error *err) {
  iotops_context *context = invoker->context;
  iotops_text request = options->request_topic_pattern;
  const char *property = "response_topic_pattern";
  bool is_whole = given(options->response_topic_pattern);
  if (topic_namespace_check(options->topic_namespace, err))
    return -1;
  if (!is_whole && (check_part("response_topic_prefix",
                               options->response_topic_prefix, err) ||
                    check_part("response_topic_suffix",
                               options->response_topic_suffix, err)))
    return -1;
  if (topic_pattern_init(
          &invoker->request_pattern, context, "request_topic_pattern", request,
          options->topic_namespace, options->tokens, options->token_count, err))
    return -1;
  if (is_whole) {
    text_buffer_add(text, options->response_topic_pattern);
  } else if (given(options->response_topic_prefix) ||
             given(options->response_topic_suffix)) {
    add_part(text, options->response_topic_prefix);
    add_part(text, request);
    add_part(text, options->response_topic_suffix);
  } else {
    add_part(text, iotops_text_of("clients"));
    add_part(text, iotops_text_of(iotops_mqtt_client_id(invoker->client)));
    add_part(text, request);
  }
  if (text->failed)
    return iotops_error_memory(err);
  return topic_pattern_init(&invoker->response_pattern, context, property,
                            text_buffer_text(text), options->topic_namespace,
                            options->tokens, options->token_count, err);
}

static int build(iotops_command_invoker *invoker,
                 const iotops_command_invoker_options *options,
                 iotops_error *err) {
  text_buffer text;
  int rc = -1;
  text_buffer_init(&text, invoker->context);
  if (command_name_check(options->command_name, err))
    goto done;
  invoker->name = command_name_copy(invoker->context, options->command_name);
  if (!invoker->name) {
    iotops_error_memory(err);
    goto done;
  }
  if (init_patterns(invoker, options, &text, err) ||
      topic_pattern_filter(&invoker->response_pattern, (iotops_text){0}, &text,
                           err))
    goto done;
  invoker->subscription = subscription_new(
      invoker->client, text_buffer_text(&text), iotops_text_of(invoker->name));
  if (!invoker->subscription) {
    iotops_error_memory(err);
    goto done;
  }
  rc = iotops_mqtt_add_receiver(invoker->client, text_buffer_text(&text),
                                invoker_on_response, invoker,
                                &invoker->receiver, err);
done:
  text_buffer_clear(&text);
  return rc;
}

int iotops_command_invoker_new(iotops_mqtt_client *client,
                               const iotops_command_invoker_options *options,
                               iotops_command_invoker **invoker,
                               iotops_error *err) {
  iotops_context *context = client->context;
  iotops_command_invoker *made = iotops_zalloc(context, sizeof *made);
  if (!made) {
    iotops_error_memory(err);
    goto fail;
  }
  made->client = client;
  made->context = context;
  made->holds = 1;
  call_table_init(&made->calls, context);
  received_properties_init(&made->received, context);
  property_list_init(&made->properties, context);
  text_buffer_init(&made->request_topic, context);
  text_buffer_init(&made->response_topic, context);
  if (build(made, options, err)) {
    subscription_free(made->subscription);
    invoker_release(made);
    goto fail;
  }
  *invoker = made;
  return 0;

fail:
  if (err)
    iotops_error_name(err->command_name, options->command_name);
  return -1;
}

void invoker_release(iotops_command_invoker *invoker) {
  if (--invoker->holds > 0)
    return;
  call_table_clear(&invoker->calls);
  received_properties_clear(&invoker->received);
  property_list_clear(&invoker->properties);
  text_buffer_clear(&invoker->request_topic);
  text_buffer_clear(&invoker->response_topic);
  topic_pattern_clear(&invoker->request_pattern);
  topic_pattern_clear(&invoker->response_pattern);
  iotops_free(invoker->context, invoker->name);
  iotops_free(invoker->context, invoker);
}

int iotops_command_invoker_start(iotops_command_invoker *invoker,
                                 iotops_envoy_done done, void *user,
                                 iotops_error *err) {
  return subscription_start(invoker->subscription, done, user, err);
}

/* No response is dispatched any more, and no call waits for one. */
static void shut(iotops_command_invoker *invoker) {
  invoker_call *call;
  if (invoker->receiver)
    iotops_mqtt_remove_receiver(invoker->client, invoker->receiver);
  invoker->receiver = NULL;
  while ((call = call_table_any(&invoker->calls)))
    cancel(call, true);
}

int iotops_command_invoker_stop(iotops_command_invoker *invoker,
                                iotops_envoy_done done, void *user,
                                iotops_error *err) {
  shut(invoker);
  return subscription_stop(invoker->subscription, done, user, err);
}

void iotops_command_invoker_free(iotops_command_invoker *invoker) {
  if (!invoker)
    return;
  shut(invoker);
  subscription_free(invoker->subscription);
  invoker->subscription = NULL;
  invoker->freed = true;
  invoker_release(invoker);
}
