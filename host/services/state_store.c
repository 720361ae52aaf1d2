#include "iotops/state_store.h"

#include <stdio.h>
#include <string.h>

#include "services/state_store_fields.h"
#include "services/store_error.h"

static iotops_text text(const char *string) {
  return iotops_text_of(string);
}

int iotops_state_store_new(iotops_mqtt_client *client,
                           const iotops_state_store_options *options,
                           iotops_state_store **store, iotops_error *err) {
  iotops_context *context = client->context;
  iotops_state_store *self = iotops_zalloc(context, sizeof *self);
  char *topic = NULL;
  const char *id = iotops_mqtt_client_id(client);
  const char *format = "clients/%s/services/statestore/v1/" STORE_UUID
                       "/command/invoke/response";
  int size = snprintf(NULL, 0, format, id) + 1;
  topic = iotops_resize(context, NULL, (size_t)size);
  if (self == NULL || topic == NULL) {
    iotops_error_memory(err);
    goto failed;
  }
  snprintf(topic, (size_t)size, format, id);
  self->client = client;
  self->context = context;
  if (options != NULL && options->size >= sizeof *options)
    self->close_on_disconnect = options->close_on_disconnect;
  iotops_command_invoker_options invoker = IOTOPS_COMMAND_INVOKER_OPTIONS_INIT;
  invoker.command_name = text("invoke");
  invoker.request_topic_pattern =
      text("statestore/v1/" STORE_UUID "/command/invoke");
  invoker.response_topic_pattern = text(topic);
  if (iotops_command_invoker_new(client, &invoker, &self->invoker, err) != 0)
    goto failed;
  iotops_free(context, topic);
  *store = self;
  return 0;

failed:
  iotops_free(context, topic);
  iotops_free(context, self);
  return -1;
}

void iotops_state_store_free(iotops_state_store *store) {
  if (store == NULL)
    return;
  store_observe_close(store);
  iotops_command_invoker_free(store->invoker);
  store->freed = true;
  if (!store->subscribing)
    iotops_free(store->context, store);
}

iotops_context *iotops_state_store_context(const iotops_state_store *store) {
  return store->context;
}

const char *iotops_state_store_client_id(const iotops_state_store *store) {
  return iotops_mqtt_client_id(store->client);
}

int store_check_key(iotops_text key, iotops_error *err) {
  if (key.data != NULL && key.size > 0)
    return 0;
  return iotops_error_configuration(err, "key", key,
                                    "a key must have at least one byte");
}

iotops_store_options store_options_of(const iotops_store_options *given) {
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  if (given != NULL) /* an older caller's struct is shorter */
    memcpy(&options, given,
           given->size < sizeof options ? given->size : sizeof options);
  return options;
}

int store_request(iotops_state_store *store, const iotops_text *blobs,
                  size_t count, const iotops_store_options *given,
                  store_effect effect, store_answer answer, void *user,
                  iotops_error *err) {
  iotops_store_options options = store_options_of(given);
  iotops_invoke_options invoke = IOTOPS_INVOKE_OPTIONS_INIT;
  iotops_user_property pairs[2];
  char token[IOTOPS_HLC_TEXT_SIZE];
  iotops_text bytes = resp3_write_blobs(store->context, blobs, count);
  if (bytes.data == NULL)
    return iotops_error_memory(err);
  invoke.payload = iotops_format_payload(IOTOPS_FORMAT_RAW, bytes);
  invoke.timeout_us = options.timeout_us;
  invoke.user_data = pairs;
  if (effect != STORE_READS && options.fencing_token != NULL) {
    size_t size = iotops_hlc_format(options.fencing_token, token);
    pairs[invoke.user_data_count++] =
        (iotops_user_property){text("__ft"), {token, size}};
  }
  if (effect == STORE_WRITES && options.persist)
    pairs[invoke.user_data_count++] =
        (iotops_user_property){text("aio-persistence"), text("true")};
  int failed =
      iotops_command_invoke(store->invoker, &invoke, answer, user, NULL, err);
  iotops_free(store->context, (char *)bytes.data);
  return failed;
}

bool store_read_answer(const iotops_response *response, resp3_value *value,
                       iotops_error *err) {
  iotops_text payload = response->payload.bytes;
  if (iotops_format_accepts(IOTOPS_FORMAT_RAW, &response->payload, err) != 0)
    return false;
  if (!resp3_read_scalar(payload, value)) {
    store_error_unexpected(err, payload);
    return false;
  }
  if (value->type == RESP3_ERROR) {
    store_error_refused(err, value->text);
    return false;
  }
  return true;
}

/* ------------------------------------------------- get, set, del, vdel -- */

typedef enum verb { GET, SET, DEL, VDEL } verb;

typedef struct store_call { /* owned by itself until answered */
  iotops_context *context;
  verb verb;
  iotops_store_done done;
  void *user;
} store_call;

/* What section 3.4 allows as answer to each verb. */
static bool result_of(verb verb, const resp3_value *value,
                      iotops_store_result *result) {
  bool is_number = value->type == RESP3_NUMBER;
  switch (verb) {
  case GET:
    if (value->type == RESP3_BLOB)
      result->value = value->text;
    return value->type == RESP3_BLOB || value->type == RESP3_NULL;
  case SET:
    if (value->type == RESP3_STRING) {
      result->count = 1;
      return iotops_text_equal(value->text, text("OK"));
    }
    return is_number && value->number == -1;
  case DEL:
    result->count = (int)value->number;
    return is_number && value->number >= 0 && value->number <= 1;
  case VDEL:
    result->count = (int)value->number;
    return is_number && value->number >= -1 && value->number <= 1;
  }
  return false;
}

static void answered(void *user, const iotops_response *response,
                     const iotops_error *err) {
  store_call *call = user;
  iotops_error failure;
  resp3_value value;
  iotops_store_result result = {.value = {NULL, 0}};
  if (err == NULL) {
    if (!store_read_answer(response, &value, &failure)) {
      err = &failure;
    } else if (!result_of(call->verb, &value, &result)) {
      store_error_unexpected(&failure, response->payload.bytes);
      err = &failure;
    } else {
      bool missed = call->verb == GET && value.type == RESP3_NULL;
      result.version = missed ? NULL : response->timestamp;
    }
  }
  if (call->done != NULL)
    call->done(call->user, err == NULL ? &result : NULL, err);
  iotops_free(call->context, call);
}

static store_effect effect_of(verb verb) {
  if (verb == GET)
    return STORE_READS;
  return verb == SET ? STORE_WRITES : STORE_DELETES;
}

static int start_call(iotops_state_store *store, verb verb,
                      const iotops_text *blobs, size_t count,
                      const iotops_store_options *options,
                      iotops_store_done done, void *user, iotops_error *err) {
  if (store_check_key(blobs[1], err) != 0)
    return -1;
  store_call *call = iotops_zalloc(store->context, sizeof *call);
  if (call == NULL)
    return iotops_error_memory(err);
  *call = (store_call){store->context, verb, done, user};
  if (store_request(store, blobs, count, options, effect_of(verb), answered,
                    call, err) != 0) {
    iotops_free(store->context, call);
    return -1;
  }
  return 0;
}

int iotops_store_get(iotops_state_store *store, iotops_text key,
                     const iotops_store_options *options,
                     iotops_store_done done, void *user, iotops_error *err) {
  iotops_text blobs[] = {text("GET"), key};
  return start_call(store, GET, blobs, 2, options, done, user, err);
}

int iotops_store_set(iotops_state_store *store, iotops_text key,
                     iotops_text value, const iotops_store_options *given,
                     iotops_store_done done, void *user, iotops_error *err) {
  iotops_store_options options = store_options_of(given);
  iotops_text blobs[6] = {text("SET"), key, value};
  size_t count = 3;
  char expiry[24];
  if (options.condition == IOTOPS_STORE_IF_ABSENT)
    blobs[count++] = text("NX");
  if (options.condition == IOTOPS_STORE_IF_ABSENT_OR_EQUAL)
    blobs[count++] = text("NEX");
  if (options.expiry_ms != -1) {
    snprintf(expiry, sizeof expiry, "%lld", (long long)options.expiry_ms);
    if (options.expiry_ms < 1)
      return iotops_error_configuration(
          err, "expiry", text(expiry),
          "an expiry must be at least one millisecond, got %s", expiry);
    blobs[count++] = text("PX");
    blobs[count++] = text(expiry);
  }
  return start_call(store, SET, blobs, count, &options, done, user, err);
}

int iotops_store_del(iotops_state_store *store, iotops_text key,
                     const iotops_store_options *options,
                     iotops_store_done done, void *user, iotops_error *err) {
  iotops_text blobs[] = {text("DEL"), key};
  return start_call(store, DEL, blobs, 2, options, done, user, err);
}

int iotops_store_vdel(iotops_state_store *store, iotops_text key,
                      iotops_text value, const iotops_store_options *options,
                      iotops_store_done done, void *user, iotops_error *err) {
  iotops_text blobs[] = {text("VDEL"), key, value};
  return start_call(store, VDEL, blobs, 3, options, done, user, err);
}
