/*
** command_executor.c -- the door of an executor (section 7.2, steps 1 to 6)
** and the life of the envoy (section 14).
*/
#include <string.h>

#include "protocol/command_executor_fields.h"
#include "protocol/command_name.h"
#include "protocol/duration.h"
#include "protocol/property_names.h"
#include "protocol/protocol_version.h"
#include "protocol/text_check.h"

enum { ANSWER_ANYWAY_MS = 10000 }; /* to a request without expiry */

/* -------------------------------------------------------------- the door -- */

/* A header that was refused; an absent value: a header that is missing. */
static int bad_header(iotops_error *err, const char *name, iotops_text value,
                      const char *message) {
  iotops_error_set(err,
                   value.data ? IOTOPS_INVALID_HEADER : IOTOPS_MISSING_HEADER,
                   "%s", message);
  iotops_error_name(err->header_name, iotops_text_of(name));
  if (value.data)
    iotops_error_header_value(err, value);
  return -1;
}

static int check_correlation(iotops_text data, iotops_error *err) {
  iotops_text none = {0};
  if (!data.data)
    return bad_header(err, HEADER_CORRELATION_DATA, none,
                      "the request has no correlation data");
  if (!correlation_bytes(data))
    return bad_header(err, HEADER_CORRELATION_DATA,
                      text_is_utf8(data) ? data : none,
                      "the correlation data is not 16 bytes long");
  return 0;
}

/* The timestamp of a request; the context's clock takes note of it. */
static int check_timestamp(iotops_command_executor *executor,
                           request_sight *sight, iotops_error *err) {
  iotops_text stamp = sight->properties.timestamp;
  sight->has_timestamp = stamp.data != NULL;
  if (!stamp.data)
    return 0;
  if (executor->raw_timestamp) {
    sight->has_timestamp = iotops_hlc_parse(stamp, &sight->timestamp, err) == 0;
    return 0;
  }
  if (iotops_hlc_parse(stamp, &sight->timestamp, err))
    return -1;
  return iotops_context_hlc_receive(executor->context, &sight->timestamp, err);
}

static bool has_expiry(const iotops_message *message) {
  return message->has_expiry && message->expiry_s > 0;
}

/* Steps 2 to 5. */
static int check_request(iotops_command_executor *executor,
                         const iotops_message *message, request_sight *sight,
                         iotops_error *err) {
  if (protocol_version_check(sight->properties.version, err) ||
      check_correlation(message->correlation_data, err))
    return -1;
  if (!has_expiry(message))
    return bad_header(err, HEADER_MESSAGE_EXPIRY, (iotops_text){0},
                      "the request has no message expiry");
  return check_timestamp(executor, sight, err);
}

static void settle(iotops_command_executor *executor, iotops_ack ack) {
  if (ack.epoch != 0)
    iotops_mqtt_settle(executor->client, ack);
}

/* A request that memory is too short for is not kept from the others. */
static void drop(iotops_command_executor *executor, iotops_ack ack) {
  iotops_log(executor->context, IOTOPS_LOG_ERROR, "executor",
             "%s: out of memory; a request was dropped", executor->name);
  settle(executor, ack);
}

static void refuse(iotops_command_executor *executor,
                   const iotops_message *message, const request_sight *sight,
                   iotops_ack ack, uint64_t deadline_ms,
                   const iotops_error *err) {
  iotops_request *request = request_new(executor, ack, deadline_ms);
  answer_address address = {message->response_topic, message->correlation_data,
                            sight->properties.version};
  if (!request) {
    drop(executor, ack);
    return;
  }
  iotops_log(executor->context, IOTOPS_LOG_WARN, "executor",
             "%s: a request was refused: %s", executor->name, err->message);
  answer_error(request, &address, err);
}

/* A request that is known (section 7.3). */
static void meet_duplicate(iotops_command_executor *executor,
                           cache_entry *entry, iotops_ack ack) {
  uint64_t now = iotops_mono_ms(executor->context);
  iotops_log(executor->context, IOTOPS_LOG_DEBUG, "executor",
             "%s: a duplicate request", executor->name);
  if (!entry->done) {
    if (ack.epoch != 0 && response_cache_hold(executor->cache, entry, ack))
      drop(executor, ack);
  } else if (!entry->message || now >= entry->deadline_ms) {
    settle(executor, ack);
  } else {
    iotops_request *request = request_new(executor, ack, entry->deadline_ms);
    if (!request) {
      drop(executor, ack);
      return;
    }
    cache_entry_pin(entry);
    request->entry = entry;
    answer_again(request);
  }
}

static void admit(iotops_command_executor *executor,
                  const iotops_message *message, const request_sight *sight,
                  iotops_ack ack, uint64_t deadline_ms) {
  const uint8_t *correlation = correlation_bytes(message->correlation_data);
  cache_entry *entry = response_cache_find(
      executor->cache, message->response_topic, correlation);
  if (entry) {
    meet_duplicate(executor, entry, ack);
    return;
  }
  iotops_request *request = request_new(executor, ack, deadline_ms);
  if (request)
    request->entry = response_cache_insert(
        executor->cache, message->response_topic, correlation, deadline_ms);
  if (request && request->entry) {
    request_accept(request, message, sight);
    return;
  }
  if (request) {
    request->acknowledged = true; /* by drop() */
    request_release(request);
  }
  drop(executor, ack);
}

static void receive(iotops_command_executor *executor,
                    const iotops_message *message, request_sight *sight,
                    iotops_ack ack) {
  uint64_t now = iotops_mono_ms(executor->context);
  iotops_error err;
  if (!message->response_topic.data ||
      !iotops_response_topic_valid(message->response_topic)) {
    iotops_log(executor->context, IOTOPS_LOG_WARN, "executor",
               "%s: a request without a valid response topic was dropped",
               executor->name);
    settle(executor, ack);
    return;
  }
  uint64_t lifetime = has_expiry(message) ? (uint64_t)message->expiry_s * 1000
                                          : ANSWER_ANYWAY_MS;
  if (check_request(executor, message, sight, &err))
    refuse(executor, message, sight, ack, now + lifetime, &err);
  else
    admit(executor, message, sight, ack, now + lifetime);
}

static void on_message(void *user, const iotops_message *message,
                       iotops_ack ack) {
  iotops_command_executor *executor = user;
  request_sight sight;
  executor->holds++; /* the handler may free the executor */
  switch (sight_open(&sight, executor, message)) {
  case SIGHT_CLEAR:
    receive(executor, message, &sight, ack);
    sight_close(&sight, executor);
    break;
  case SIGHT_FOREIGN:
    settle(executor, ack);
    break;
  case SIGHT_NO_MEMORY:
    drop(executor, ack);
    break;
  }
  executor_release(executor);
}

static void on_writable(iotops_mqtt_observer *observer) {
  answer_unsent(observer->user);
}

/* What waits for room finds that there will be none. */
static void on_ended(iotops_mqtt_observer *observer, const iotops_error *err) {
  (void)err;
  answer_unsent(observer->user);
}

/* ----------------------------------------------------------- the options -- */

static int check_options(const iotops_command_executor_options *options,
                         iotops_error *err) {
  iotops_text none = {0};
  char timeout[DURATION_TEXT_SIZE];
  if (command_name_check(options->command_name, err))
    return -1;
  if (!options->handler)
    return iotops_error_configuration(err, "handler", none,
                                      "a handler is needed");
  if (options->execution_timeout_us <= 0) {
    duration_format(options->execution_timeout_us, timeout, sizeof timeout);
    return iotops_error_configuration(err, "execution_timeout",
                                      iotops_text_of(timeout),
                                      "the execution timeout must be positive");
  }
  if (options->cacheable_duration_us < 0 ||
      (options->cacheable_duration_us > 0 && !options->is_idempotent))
    return iotops_error_configuration(
        err, "cacheable_duration", none,
        "only idempotent commands may be cacheable");
  if (topic_namespace_check(options->topic_namespace, err))
    return -1;
  if (options->service_group_id.data &&
      share_group_check(options->service_group_id, err))
    return -1;
  return 0;
}

static int build(iotops_command_executor *executor,
                 const iotops_command_executor_options *options,
                 iotops_error *err) {
  iotops_context *context = executor->context;
  text_buffer filter;
  int rc = -1;
  text_buffer_init(&filter, context);
  executor->name = command_name_copy(context, options->command_name);
  executor->cache = response_cache_new(context);
  if (!executor->name || !executor->cache) {
    iotops_error_memory(err);
    goto done;
  }
  if (topic_pattern_init(&executor->pattern, context, "request_topic_pattern",
                         options->request_topic_pattern,
                         options->topic_namespace, options->tokens,
                         options->token_count, err) ||
      topic_pattern_filter(&executor->pattern, options->service_group_id,
                           &filter, err))
    goto done;
  executor->subscription =
      subscription_new(executor->client, text_buffer_text(&filter),
                       iotops_text_of(executor->name));
  if (!executor->subscription) {
    iotops_error_memory(err);
    goto done;
  }
  rc = iotops_mqtt_add_receiver(executor->client, text_buffer_text(&filter),
                                on_message, executor, &executor->receiver, err);
done:
  text_buffer_clear(&filter);
  return rc;
}

int iotops_command_executor_new(iotops_mqtt_client *client,
                                const iotops_command_executor_options *options,
                                iotops_command_executor **executor,
                                iotops_error *err) {
  iotops_context *context = client->context;
  iotops_command_executor *made = NULL;
  if (check_options(options, err))
    goto fail;
  made = iotops_zalloc(context, sizeof *made);
  if (!made) {
    iotops_error_memory(err);
    goto fail;
  }
  made->client = client;
  made->context = context;
  made->holds = 1;
  made->raw_timestamp = options->raw_timestamp;
  made->keeps_requests = options->keeps_requests;
  made->execution_timeout_ms =
      ((uint64_t)options->execution_timeout_us + 999) / 1000;
  made->concurrency = options->concurrency;
  made->handler = options->handler;
  made->cancelled = options->cancelled;
  made->user = options->user;
  made->dispatch.run = executor_dispatch;
  made->dispatch.user = made;
  made->observer.writable = on_writable;
  made->observer.ended = on_ended;
  made->observer.user = made;
  received_properties_init(&made->received, context);
  property_list_init(&made->properties, context);
  if (build(made, options, err)) {
    subscription_free(made->subscription);
    executor_release(made);
    goto fail;
  }
  iotops_mqtt_observe(client, &made->observer);
  *executor = made;
  return 0;

fail:
  if (err)
    iotops_error_name(err->command_name, options->command_name);
  return -1;
}

/* -------------------------------------------------------------- the life -- */

void executor_release(iotops_command_executor *executor) {
  if (--executor->holds > 0)
    return;
  iotops_context *context = executor->context;
  while (executor->pool) {
    iotops_request *next = executor->pool->next;
    iotops_free(context, executor->pool);
    executor->pool = next;
  }
  response_cache_leave(executor->cache); /* one that was not finished */
  topic_pattern_clear(&executor->pattern);
  received_properties_clear(&executor->received);
  property_list_clear(&executor->properties);
  iotops_command_executor *heir = executor->heir;
  iotops_free(context, executor->name);
  iotops_free(context, executor);
  if (heir)
    executor_release(heir);
}

int iotops_command_executor_start(iotops_command_executor *executor,
                                  iotops_envoy_done done, void *user,
                                  iotops_error *err) {
  return subscription_start(executor->subscription, done, user, err);
}

static void remove_receiver(iotops_command_executor *executor) {
  if (executor->receiver)
    iotops_mqtt_remove_receiver(executor->client, executor->receiver);
  executor->receiver = NULL;
}

int iotops_command_executor_stop(iotops_command_executor *executor,
                                 iotops_envoy_done done, void *user,
                                 iotops_error *err) {
  remove_receiver(executor);
  return subscription_stop(executor->subscription, done, user, err);
}

bool iotops_command_executor_succeed(iotops_command_executor *to,
                                     iotops_command_executor *from) {
  if (to == from || to->heir || from->heir || to->client != from->client ||
      strcmp(to->name, from->name) != 0 || to->cache->count > 0)
    return false;
  response_cache_leave(to->cache);
  to->cache = from->cache;
  to->cache->users++;
  from->heir = to;
  to->holds++;
  while (from->waiting.first)
    request_pass_on(from->waiting.first, to);
  return true;
}

void iotops_command_executor_fail_waiting(iotops_command_executor *executor,
                                          const char *message) {
  iotops_error err;
  iotops_error_set(&err, IOTOPS_EXECUTION_ERROR, "%s", message);
  if (executor->waiting.count > 0)
    iotops_log(executor->context, IOTOPS_LOG_ERROR, "executor",
               "%s: %zu requests are not executed: %s", executor->name,
               executor->waiting.count, message);
  while (executor->waiting.first)
    request_fail_waiting(executor->waiting.first, &err);
}

/* Requests that nobody will answer: acknowledged, so that none waits. */
static void abandon(iotops_command_executor *executor) {
  iotops_error err;
  iotops_error_set(&err, IOTOPS_CANCELLATION, "the executor was closed");
  if (executor->waiting.count + executor->running.count +
          executor->unsent.count >
      0)
    iotops_log(executor->context, IOTOPS_LOG_WARN, "executor",
               "%s: closed with %zu requests unanswered", executor->name,
               executor->waiting.count + executor->running.count +
                   executor->unsent.count);
  while (executor->waiting.first)
    answer_nothing(executor->waiting.first, &err);
  while (executor->unsent.first)
    answer_nothing(executor->unsent.first, &err);
  while (executor->running.first) {
    iotops_request *request = executor->running.first;
    request->given_up = true;
    request->has_slot = false;
    answer_nothing(request, &err);
  }
}

void iotops_command_executor_free(iotops_command_executor *executor) {
  if (!executor)
    return;
  remove_receiver(executor);
  iotops_mqtt_unobserve(executor->client, &executor->observer);
  subscription_free(executor->subscription);
  executor->subscription = NULL;
  abandon(executor);
  iotops_task_cancel(executor->context, &executor->dispatch);
  executor->freed = true;
  response_cache_leave(executor->cache);
  executor->cache = NULL;
  executor_release(executor);
}
