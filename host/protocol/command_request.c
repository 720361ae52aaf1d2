/*
** command_request.c -- the life of one request behind the door (section 7.2,
** steps 7 to 10).
*/
#include <string.h>

#include "protocol/command_executor_fields.h"
#include "protocol/command_status.h"
#include "protocol/payload_check.h"
#include "protocol/property_names.h"

enum {
  POOL_MAX = 256,          /* unused requests kept */
  WAITING_QOS0_MAX = 10000 /* with QoS 1 the session bounds them */
};

/* ------------------------------------------------------- requests, lists -- */

static void append(request_list *list, iotops_request *request) {
  request->next = NULL;
  request->previous = list->last;
  if (list->last)
    list->last->next = request;
  else
    list->first = request;
  list->last = request;
  list->count++;
}

static void put_first(request_list *list, iotops_request *request) {
  request->previous = NULL;
  request->next = list->first;
  if (list->first)
    list->first->previous = request;
  else
    list->last = request;
  list->first = request;
  list->count++;
}

static void take_out(request_list *list, iotops_request *request) {
  if (request->previous)
    request->previous->next = request->next;
  else
    list->first = request->next;
  if (request->next)
    request->next->previous = request->previous;
  else
    list->last = request->previous;
  request->next = request->previous = NULL;
  list->count--;
}

void request_move(iotops_request *request, request_list *list) {
  iotops_command_executor *executor = request->executor;
  if (request->list == &executor->waiting && request->ack.epoch == 0)
    executor->waiting_qos0--;
  if (request->list)
    take_out(request->list, request);
  request->list = list;
  if (list)
    append(list, request);
  if (list == &executor->waiting && request->ack.epoch == 0)
    executor->waiting_qos0++;
}

iotops_request *request_new(iotops_command_executor *executor, iotops_ack ack,
                            uint64_t deadline_ms) {
  iotops_request *request = executor->pool;
  if (request) {
    executor->pool = request->next;
    executor->pooled--;
    memset(request, 0, sizeof *request);
  } else {
    request = iotops_zalloc(executor->context, sizeof *request);
    if (!request)
      return NULL;
  }
  request->executor = executor;
  request->ack = ack;
  request->acknowledged = ack.epoch == 0;
  request->deadline_ms = deadline_ms;
  executor->holds++;
  return request;
}

void request_release(iotops_request *request) {
  iotops_command_executor *executor = request->executor;
  if (request->handling || request->calling || request->answering ||
      request->telling)
    return;
  iotops_timer_stop(executor->context, &request->timer);
  request_move(request, NULL);
  if (request->entry)
    cache_entry_unpin(executor->context, request->entry);
  while (request->held) { /* not settled: the client has gone */
    held_ack *next = request->held->next;
    iotops_free(executor->context, request->held);
    request->held = next;
  }
  iotops_free(executor->context, request->copy);
  iotops_free(executor->context, request->original);
  iotops_free(executor->context, request->failure);
  if (executor->pooled < POOL_MAX && !executor->freed) {
    request->next = executor->pool;
    executor->pool = request;
    executor->pooled++;
  } else {
    iotops_free(executor->context, request);
  }
  executor_release(executor);
}

void request_acknowledge(iotops_request *request) {
  iotops_command_executor *executor = request->executor;
  if (!request->acknowledged)
    iotops_mqtt_settle(executor->client, request->ack);
  request->acknowledged = true;
  while (request->held) {
    held_ack *next = request->held->next;
    iotops_mqtt_settle(executor->client, request->held->ack);
    iotops_free(executor->context, request->held);
    request->held = next;
  }
}

/* ----------------------------------------------------------------- sight -- */

sight_result sight_open(request_sight *sight, iotops_command_executor *executor,
                        const iotops_message *message) {
  size_t count = executor->pattern.token_count;
  sight->has_timestamp = false;
  sight->tokens = sight->inline_tokens;
  if (count > SIGHT_TOKENS) {
    sight->tokens =
        iotops_zalloc(executor->context, count * sizeof *sight->tokens);
    if (!sight->tokens)
      return SIGHT_NO_MEMORY;
  }
  /* A handler that lets the loop turn finds new memory in its place. */
  sight->properties = executor->received;
  received_properties_init(&executor->received, executor->context);
  sight->properties.keeps_service = executor->raw_timestamp;
  sight_result result = SIGHT_CLEAR;
  if (!topic_pattern_match(&executor->pattern, message->topic, sight->tokens))
    result = SIGHT_FOREIGN;
  else if (received_properties_read(&sight->properties, message,
                                    MESSAGE_REQUEST, "executor"))
    result = SIGHT_NO_MEMORY;
  if (result != SIGHT_CLEAR)
    sight_close(sight, executor);
  return result;
}

void sight_close(request_sight *sight, iotops_command_executor *executor) {
  if (sight->tokens != sight->inline_tokens)
    iotops_free(executor->context, sight->tokens);
  received_properties_clear(&executor->received);
  executor->received = sight->properties;
}

/* --------------------------------------------------------------- endings -- */

static void free_slot(iotops_request *request) {
  iotops_command_executor *executor = request->executor;
  if (!request->has_slot)
    return;
  request->has_slot = false;
  executor->slots_used--;
  if (executor->waiting.count > 0)
    iotops_task_soon(executor->context, &executor->dispatch);
}

bool request_end_handling(iotops_request *request) {
  bool counts = !request->given_up;
  request->handling = false;
  if (counts) {
    iotops_timer_stop(request->executor->context, &request->timer);
    free_slot(request);
  } else {
    request_release(request);
  }
  return counts;
}

static void expired(iotops_request *request, const char *where) {
  iotops_error err;
  iotops_log(request->executor->context, IOTOPS_LOG_WARN, "executor",
             "%s: a request expired while it %s; not answered",
             request->executor->name, where);
  iotops_error_set(&err, IOTOPS_TIMEOUT, "the request expired unanswered");
  answer_nothing(request, &err);
}

static void timed_out(iotops_request *request) {
  iotops_error err;
  iotops_log(request->executor->context, IOTOPS_LOG_WARN, "executor",
             "%s: the execution of a request timed out; answered 408",
             request->executor->name);
  iotops_error_set(&err, IOTOPS_TIMEOUT,
                   "the command was not executed within its time");
  iotops_error_name(err.timeout_name, iotops_text_of(EXECUTION_TIMEOUT_NAME));
  err.has_timeout_value = true;
  err.timeout_ms = (int64_t)request->executor->execution_timeout_ms;
  answer_entry_error(request, &err);
}

/* The handler took too long: whatever it does from now on is discarded. */
static void on_execution_timer(iotops_timer *timer) {
  iotops_request *request = timer->user;
  iotops_command_executor *executor = request->executor;
  request->given_up = true;
  free_slot(request);
  request_move(request, NULL);
  if (iotops_mono_ms(executor->context) >= request->deadline_ms)
    expired(request, "was executed");
  else
    timed_out(request);
  if (executor->cancelled)
    executor->cancelled(executor->user, request);
}

static void on_deadline(iotops_timer *timer) {
  iotops_request *request = timer->user;
  expired(request, request->list == &request->executor->waiting
                       ? "waited for its turn"
                       : "was answered, but the client had no room");
}

static void set_timer(iotops_request *request, void (*fire)(iotops_timer *),
                      uint64_t due_ms) {
  uint64_t now = iotops_mono_ms(request->executor->context);
  request->timer.fire = fire;
  request->timer.user = request;
  iotops_timer_start(request->executor->context, &request->timer,
                     due_ms > now ? due_ms - now : 0);
}

void request_watch_deadline(iotops_request *request) {
  set_timer(request, on_deadline, request->deadline_ms);
}

/* ------------------------------------------------------------- execution -- */

static bool slot_is_free(const iotops_command_executor *executor) {
  return !executor->paused && (executor->concurrency == 0 ||
                               executor->slots_used < executor->concurrency);
}

/*
** Hands the request to the handler.  True when the executor keeps it and it is
** in hand still: `original` is to be set.  Else it may be gone.
*/
static bool run(iotops_request *request, const iotops_message *message,
                const request_sight *sight) {
  iotops_command_executor *executor = request->executor;
  iotops_request_view view = {
      .topic = message->topic,
      .payload = payload_of(message),
      .user_data = sight->properties.user_data,
      .user_data_count = sight->properties.user_data_count,
      .invoker_id = sight->properties.source,
      .timestamp = sight->has_timestamp ? &sight->timestamp : NULL,
      .timestamp_text = sight->properties.timestamp,
      .response_topic = message->response_topic,
      .tokens = sight->tokens,
      .token_count = executor->pattern.token_count,
      .correlation_id = request->entry->correlation,
      .deadline_ms = request->deadline_ms,
      .packet_id = message->packet_id,
  };
  uint64_t end =
      iotops_mono_ms(executor->context) + executor->execution_timeout_ms;
  request->handling = true;
  request->has_slot = true;
  executor->slots_used++;
  request_move(request, &executor->running);
  set_timer(request, on_execution_timer,
            end < request->deadline_ms ? end : request->deadline_ms);
  request->calling = executor->keeps_requests;
  executor->handler(executor->user, request, &view);
  if (!executor->keeps_requests)
    return false;
  request->calling = false;
  if (request->handling && !request->given_up)
    return true;
  request_release(request);
  return false;
}

static void refuse(iotops_request *request, const char *why) {
  iotops_error err;
  iotops_log(request->executor->context, IOTOPS_LOG_WARN, "executor",
             "%s: %s; a request is answered 503", request->executor->name, why);
  iotops_error_set(&err, IOTOPS_INVALID_STATE, "the executor is overloaded");
  answer_entry_error(request, &err);
}

static void wait_for_slot(iotops_request *request,
                          const iotops_message *message) {
  iotops_command_executor *executor = request->executor;
  if (request->ack.epoch == 0 && executor->waiting_qos0 >= WAITING_QOS0_MAX) {
    refuse(request, "too many requests wait");
    return;
  }
  request->copy = iotops_message_copy(executor->context, message);
  if (!request->copy) {
    refuse(request, "out of memory");
    return;
  }
  request_move(request, &executor->waiting);
  request_watch_deadline(request);
}

void request_accept(iotops_request *request, const iotops_message *message,
                    const request_sight *sight) {
  iotops_command_executor *executor = request->executor;
  if (executor->waiting.count > 0 || !slot_is_free(executor))
    wait_for_slot(request, message);
  else if (run(request, message, sight))
    request->original = iotops_message_copy(executor->context, message);
}

static void run_first_waiting(iotops_command_executor *executor) {
  iotops_request *request = executor->waiting.first;
  iotops_message *message = request->copy;
  request_sight sight;
  request->copy = NULL;
  iotops_timer_stop(executor->context, &request->timer);
  request_move(request, NULL);
  if (iotops_mono_ms(executor->context) >= request->deadline_ms) {
    expired(request, "waited for its turn");
  } else if (sight_open(&sight, executor, message) != SIGHT_CLEAR) {
    refuse(request, "out of memory");
  } else {
    iotops_text stamp = sight.properties.timestamp;
    sight.has_timestamp =
        stamp.data && iotops_hlc_parse(stamp, &sight.timestamp, NULL) == 0;
    if (run(request, message, &sight)) {
      request->original = message;
      message = NULL;
    }
    sight_close(&sight, executor);
  }
  iotops_free(executor->context, message);
}

void request_pass_on(iotops_request *request, iotops_command_executor *to) {
  iotops_command_executor *from = request->executor;
  request_move(request, NULL);
  request->executor = to;
  to->holds++;
  request_move(request, &to->waiting);
  iotops_task_soon(to->context, &to->dispatch);
  executor_release(from);
}

void request_fail_waiting(iotops_request *request, const iotops_error *err) {
  iotops_context *context = request->executor->context;
  iotops_timer_stop(context, &request->timer);
  request_move(request, NULL);
  iotops_free(context, request->copy);
  request->copy = NULL; /* the answer's place */
  answer_entry_error(request, err);
}

/* Who executes what `executor` would, now. */
static iotops_command_executor *successor(iotops_command_executor *executor) {
  while (executor->heir)
    executor = executor->heir;
  return executor;
}

bool iotops_request_again(iotops_request *request) {
  iotops_command_executor *executor = request->executor;
  iotops_command_executor *next = successor(executor);
  if (!request->original || request->given_up || !next->keeps_requests ||
      next->freed || !next->receiver)
    return false;
  request->copy = request->original;
  request->original = NULL;
  request->handling = false;
  free_slot(request);
  if (next != executor)
    request_pass_on(request, next);
  else
    request_move(request, &next->waiting);
  take_out(&next->waiting, request); /* it came before the others */
  put_first(&next->waiting, request);
  request_watch_deadline(request);
  iotops_task_soon(next->context, &next->dispatch);
  return true;
}

void iotops_command_executor_pause(iotops_command_executor *executor,
                                   bool paused) {
  executor->paused = paused;
  if (!paused && executor->waiting.count > 0)
    iotops_task_soon(executor->context, &executor->dispatch);
}

void executor_dispatch(iotops_task *task) {
  iotops_command_executor *executor = task->user;
  executor->holds++;
  while (executor->waiting.count > 0 && slot_is_free(executor))
    run_first_waiting(executor);
  executor_release(executor);
}
