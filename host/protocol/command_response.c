/*
** command_response.c -- what an executor publishes (section 7.5), and how a
** request is ended.
*/
#include <stdio.h>
#include <string.h>

#include "protocol/cloud_event_write.h"
#include "protocol/command_executor_fields.h"
#include "protocol/command_status.h"
#include "protocol/expiry.h"
#include "protocol/mqtt_outcome.h"
#include "protocol/payload_check.h"
#include "protocol/property_names.h"
#include "protocol/protocol_version.h"
#include "protocol/text_check.h"

enum { ERROR_TEXT_SIZE = 1024 }; /* longest text of ours in a property */

/* A response being built; the texts its message points to. */
typedef struct draft {
  iotops_message message;
  char status[8];
  char stamp[IOTOPS_HLC_TEXT_SIZE];
} draft;

static void end_refused(iotops_request *request, const iotops_error *err);

/* -------------------------------------------------------------- building -- */

/* The clock's; absent, with a warning, when it cannot advance. */
static iotops_text current_stamp(const iotops_command_executor *executor,
                                 char text[IOTOPS_HLC_TEXT_SIZE]) {
  iotops_hlc now;
  iotops_error err;
  if (iotops_context_hlc_now(executor->context, &now, &err) == 0)
    return (iotops_text){text, iotops_hlc_format(&now, text)};
  iotops_log(executor->context, IOTOPS_LOG_WARN, "executor",
             "%s: a response goes without a timestamp: %s", executor->name,
             err.message);
  return (iotops_text){0};
}

static void start_draft(draft *draft, iotops_command_executor *executor,
                        const answer_address *address, uint16_t code,
                        uint64_t deadline_ms, iotops_text stamp) {
  property_list *list = &executor->properties;
  property_list_reset(list);
  snprintf(draft->status, sizeof draft->status, "%u", (unsigned)code);
  property_list_add(list, PROPERTY_STATUS, iotops_text_of(draft->status));
  property_list_add(list, PROPERTY_VERSION, iotops_text_of(PROTOCOL_VERSION));
  property_list_add(list, PROPERTY_SOURCE,
                    iotops_text_of(iotops_mqtt_client_id(executor->client)));
  if (!stamp.data)
    stamp = current_stamp(executor, draft->stamp);
  if (stamp.size > 0)
    property_list_add(list, PROPERTY_TIMESTAMP, stamp);
  property_list_add(list, PROPERTY_HIGH_PRIORITY, iotops_text_of(""));
  draft->message = (iotops_message)IOTOPS_MESSAGE_INIT;
  draft->message.topic = address->topic;
  draft->message.correlation_data = address->correlation;
  draft->message.qos = 1;
  draft->message.has_expiry = true;
  draft->message.expiry_s =
      expiry_left(deadline_ms, iotops_mono_ms(executor->context));
}

static void end_draft(draft *draft, const iotops_command_executor *executor) {
  draft->message.user_properties = executor->properties.pairs;
  draft->message.user_property_count = executor->properties.count;
}

static answer_address entry_address(const cache_entry *entry) {
  return (answer_address){
      .topic = cache_entry_topic(entry),
      .correlation = {(const char *)entry->correlation, CORRELATION_BYTES}};
}

/* ------------------------------------------------------------ publishing -- */

static void on_published(void *user, const iotops_mqtt_result *result) {
  iotops_request *request = user;
  iotops_command_executor *executor = request->executor;
  iotops_respond_done done = request->done;
  void *done_user = request->done_user;
  iotops_error err;
  bool failed = mqtt_outcome(result, "publish a response", &err) != 0;
  if (failed) {
    iotops_error_name(err.command_name, iotops_text_of(executor->name));
    iotops_log(executor->context, IOTOPS_LOG_ERROR, "executor", "%s: %s",
               executor->name, err.message);
  }
  /* A client that ends may be past acknowledging. */
  if (!executor->freed || !result->error)
    request_acknowledge(request);
  request->answering = false;
  request->done = NULL;
  request_move(request, NULL);
  request_release(request);
  if (done)
    done(done_user, failed ? &err : NULL);
}

/* The client's queue is full, which passes, as nothing else does. */
static bool is_full(const iotops_error *err) {
  return err->kind == IOTOPS_INVALID_STATE && err->property_name[0] != '\0';
}

/* Keeps an answer until the client has room. */
static void park(iotops_request *request, const iotops_message *message) {
  iotops_command_executor *executor = request->executor;
  iotops_error err;
  if (!request->entry || !request->entry->message) {
    request->copy = iotops_message_copy(executor->context, message);
    if (!request->copy) {
      iotops_error_memory(&err);
      end_refused(request, &err);
      return;
    }
  }
  request_move(request, &executor->unsent);
  request_watch_deadline(request);
}

static void publish(iotops_request *request, const iotops_message *message) {
  iotops_command_executor *executor = request->executor;
  iotops_error err;
  request->answering = true;
  if (executor->unsent.count > 0) { /* responses keep their order */
    park(request, message);
  } else if (iotops_mqtt_publish(executor->client, message, on_published,
                                 request, NULL, &err) == 0) {
    request_move(request, &executor->publishing);
  } else if (is_full(&err)) {
    iotops_log(executor->context, IOTOPS_LOG_WARN, "executor",
               "%s: a response waits: %s", executor->name, err.message);
    park(request, message);
  } else {
    end_refused(request, &err);
  }
}

void answer_unsent(iotops_command_executor *executor) {
  iotops_error err;
  uint64_t now = iotops_mono_ms(executor->context);
  while (executor->unsent.count > 0) {
    iotops_request *request = executor->unsent.first;
    iotops_message message =
        request->copy ? *request->copy : *request->entry->message;
    message.expiry_s = expiry_left(request->deadline_ms, now);
    if (message.expiry_s == 0) {
      iotops_error_set(&err, IOTOPS_TIMEOUT, "the request expired unanswered");
      end_refused(request, &err);
    } else if (iotops_mqtt_publish(executor->client, &message, on_published,
                                   request, NULL, &err) == 0) {
      iotops_timer_stop(executor->context, &request->timer);
      request_move(request, &executor->publishing);
    } else if (is_full(&err)) {
      return;
    } else {
      end_refused(request, &err);
    }
  }
}

/* Stores the answer before it is published: a duplicate may come any time. */
static void store_and_publish(iotops_request *request,
                              const iotops_message *message) {
  iotops_command_executor *executor = request->executor;
  if (request->entry) {
    iotops_message *copy = iotops_message_copy(executor->context, message);
    if (!copy)
      iotops_log(executor->context, IOTOPS_LOG_ERROR, "executor",
                 "%s: out of memory; a response is not kept for duplicates",
                 executor->name);
    request->held = response_cache_finish(request->entry, copy);
  }
  publish(request, message);
}

void answer_again(iotops_request *request) {
  iotops_message message = *request->entry->message;
  message.expiry_s = expiry_left(request->deadline_ms,
                                 iotops_mono_ms(request->executor->context));
  publish(request, &message);
}

/* --------------------------------------------------------------- endings -- */

static void on_tell(iotops_task *task) {
  iotops_request *request = task->user;
  iotops_context *context = request->executor->context;
  iotops_respond_done told = request->told;
  void *user = request->told_user;
  iotops_error *failure = request->failure;
  iotops_error short_of_memory;
  if (!failure)
    iotops_error_memory(&short_of_memory);
  request->failure = NULL;
  request->telling = false;
  request_release(request);
  told(user, failure ? failure : &short_of_memory);
  iotops_free(context, failure);
}

/* Tells `told`, which may be NULL, that there was no publish. */
static void tell_later(iotops_request *request, iotops_respond_done told,
                       void *user, const iotops_error *err) {
  iotops_command_executor *executor = request->executor;
  if (!told)
    return;
  request->failure = iotops_zalloc(executor->context, sizeof *err);
  if (request->failure) {
    *request->failure = *err;
    iotops_error_name(request->failure->command_name,
                      iotops_text_of(executor->name));
  }
  request->telling = true;
  request->told = told;
  request->told_user = user;
  request->task.run = on_tell;
  request->task.user = request;
  iotops_task_soon(executor->context, &request->task);
}

/* The answer is over without a publish that could end by itself. */
static void end_answer(iotops_request *request, const iotops_error *err) {
  iotops_timer_stop(request->executor->context, &request->timer);
  request_move(request, NULL);
  request_acknowledge(request);
  tell_later(request, request->done, request->done_user, err);
  request->done = NULL;
  request->answering = false;
  request_release(request);
}

static void end_refused(iotops_request *request, const iotops_error *err) {
  iotops_log(request->executor->context, IOTOPS_LOG_ERROR, "executor",
             "%s: a response could not be published: %s",
             request->executor->name, err->message);
  end_answer(request, err);
}

void answer_nothing(iotops_request *request, const iotops_error *err) {
  if (request->entry && !request->entry->done && !request->entry->retired)
    request->held = response_cache_finish(request->entry, NULL);
  end_answer(request, err);
}

static void add_text(property_list *list, const char *name, iotops_text text,
                     char *buffer) {
  size_t size = text_sanitise(text, buffer, ERROR_TEXT_SIZE);
  property_list_add(list, name, (iotops_text){buffer, size});
}

void answer_error(iotops_request *request, const answer_address *address,
                  const iotops_error *err) {
  iotops_command_executor *executor = request->executor;
  property_list *list = &executor->properties;
  command_status status;
  draft draft = {0};
  char message[ERROR_TEXT_SIZE], value[ERROR_TEXT_SIZE], name[ERROR_TEXT_SIZE],
      version[ERROR_TEXT_SIZE];
  command_status_of(err, &status);
  start_draft(&draft, executor, address, status.code, request->deadline_ms,
              (iotops_text){0});
  add_text(list, PROPERTY_STATUS_MESSAGE, status.message, message);
  property_list_add(
      list, PROPERTY_APP_ERROR,
      iotops_text_of(status.is_application_error ? "true" : "false"));
  if (status.name.data)
    add_text(list, PROPERTY_NAME, status.name, name);
  if (status.value.data)
    add_text(list, PROPERTY_VALUE, status.value, value);
  if (status.code == STATUS_UNSUPPORTED_VERSION) {
    add_text(list, PROPERTY_REQUEST_VERSION, address->version, version);
    property_list_add(list, PROPERTY_SUPPORTED_MAJORS,
                      iotops_text_of(PROTOCOL_SUPPORTED_MAJORS));
  }
  end_draft(&draft, executor);
  if (list->failed) {
    iotops_error short_of_memory;
    iotops_error_memory(&short_of_memory);
    answer_nothing(request, &short_of_memory);
  } else if (draft.message.expiry_s == 0) {
    iotops_error late;
    iotops_error_set(&late, IOTOPS_TIMEOUT, "the request expired unanswered");
    answer_nothing(request, &late);
  } else {
    store_and_publish(request, &draft.message);
  }
}

void answer_entry_error(iotops_request *request, const iotops_error *err) {
  answer_address address = entry_address(request->entry);
  answer_error(request, &address, err);
}

/* ------------------------------------------------- what the handler says -- */

/* Whether a response may be sent; touches nothing. */
static int check_response(const iotops_respond_options *options,
                          iotops_error *err) {
  if (payload_check(&options->payload, err) ||
      iotops_user_data_check(options->user_data, options->user_data_count, err))
    return -1;
  iotops_hlc stamp;
  if (options->timestamp.size > 0 &&
      iotops_hlc_parse(options->timestamp, &stamp, NULL))
    return iotops_error_configuration(
        err, "timestamp", options->timestamp,
        "the timestamp of a response must read <ms>:<counter>:<node>");
  if (!options->cloud_event)
    return 0;
  if (cloud_event_check_user_data(options->user_data, options->user_data_count,
                                  err))
    return -1;
  return iotops_cloud_event_check(options->cloud_event,
                                  options->payload.content_type, err);
}

static int answer_success(iotops_request *request,
                          const iotops_respond_options *options,
                          iotops_error *err) {
  iotops_command_executor *executor = request->executor;
  property_list *list = &executor->properties;
  answer_address address = entry_address(request->entry);
  cloud_event_texts texts;
  draft draft = {0};
  start_draft(&draft, executor, &address,
              options->payload.bytes.size > 0 ? STATUS_OK : STATUS_NO_CONTENT,
              request->deadline_ms, options->timestamp);
  payload_put(&options->payload, &draft.message);
  if (options->cloud_event &&
      cloud_event_write(options->cloud_event, CLOUD_EVENT_RESPONSE,
                        address.topic, options->payload.content_type, &texts,
                        list, err))
    return -1;
  property_list_add_user_data(list, options->user_data,
                              options->user_data_count, "executor");
  if (list->failed)
    return iotops_error_memory(err);
  end_draft(&draft, executor);
  request->done = options->done;
  request->done_user = options->user;
  request_end_handling(request);
  store_and_publish(request, &draft.message);
  return 0;
}

/* A response that comes too late. */
static void discard(iotops_request *request,
                    const iotops_respond_options *options) {
  iotops_error late;
  iotops_error_set(&late, IOTOPS_TIMEOUT,
                   "the response came too late and was discarded");
  if (request->given_up) {
    tell_later(request, options->done, options->user, &late);
    request_end_handling(request);
  } else {
    request->done = options->done;
    request->done_user = options->user;
    request_end_handling(request);
    answer_nothing(request, &late);
  }
}

int iotops_request_respond(iotops_request *request,
                           const iotops_respond_options *options,
                           iotops_error *err) {
  iotops_command_executor *executor = request->executor;
  int rc = check_response(options, err);
  if (rc == 0 && !request->given_up &&
      iotops_mono_ms(executor->context) < request->deadline_ms)
    rc = answer_success(request, options, err);
  else if (rc == 0)
    discard(request, options);
  if (rc && err)
    iotops_error_name(err->command_name, iotops_text_of(executor->name));
  return rc;
}

void iotops_request_reject(iotops_request *request, const iotops_error *err) {
  iotops_error unreadable;
  if (!request_end_handling(request))
    return;
  if (!err || (err->kind != IOTOPS_INVALID_HEADER &&
               err->kind != IOTOPS_MISSING_HEADER &&
               err->kind != IOTOPS_INVALID_PAYLOAD)) {
    iotops_error_set(&unreadable, IOTOPS_INVALID_PAYLOAD, "%s",
                     err ? err->message : "the payload cannot be read");
    err = &unreadable;
  }
  iotops_log(request->executor->context, IOTOPS_LOG_WARN, "executor",
             "%s: a request was rejected: %s", request->executor->name,
             err->message);
  answer_entry_error(request, err);
}

void iotops_request_fail(iotops_request *request, const iotops_error *err) {
  iotops_error failed;
  if (!request_end_handling(request))
    return;
  iotops_error_set(&failed, IOTOPS_EXECUTION_ERROR, "%s",
                   err && err->message[0] ? err->message
                                          : "the command failed");
  /* Who fails a request knows best what there is to say about it. */
  iotops_log(request->executor->context, IOTOPS_LOG_DEBUG, "executor",
             "%s: a request failed: %s", request->executor->name,
             failed.message);
  answer_entry_error(request, &failed);
}

void iotops_request_drop(iotops_request *request) {
  iotops_error dropped;
  if (!request_end_handling(request))
    return;
  iotops_error_set(&dropped, IOTOPS_CANCELLATION,
                   "the handler dropped the request");
  iotops_log(request->executor->context, IOTOPS_LOG_WARN, "executor", "%s: %s",
             request->executor->name, dropped.message);
  answer_nothing(request, &dropped);
}

bool iotops_request_is_cancelled(const iotops_request *request) {
  return request->given_up;
}
