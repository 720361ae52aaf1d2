/* command_reply.c -- what an invoker makes of a response (section 8.3). */
#include <string.h>

#include "protocol/command_invoker_fields.h"
#include "protocol/command_status.h"
#include "protocol/payload_check.h"
#include "protocol/property_names.h"
#include "protocol/protocol_version.h"

enum { TOKENS_INLINE = 16 };

/* Steps 3 to 6; fills in all but the tokens. */
static int read_response(iotops_command_invoker *invoker,
                         const iotops_message *message,
                         const received_properties *properties,
                         iotops_hlc *timestamp, iotops_response *response,
                         iotops_error *err) {
  if (protocol_version_check(properties->version, err) ||
      command_status_code(message, &response->status, err))
    return -1;
  if (properties->timestamp.data) {
    if (iotops_hlc_parse(properties->timestamp, timestamp, err) ||
        iotops_context_hlc_receive(invoker->context, timestamp, err)) {
      err->is_shallow = false;
      return -1;
    }
    response->timestamp = timestamp;
  }
  if (command_status_check(message, response->status, err))
    return -1;
  if (response->status == STATUS_NO_CONTENT && message->payload.size > 0)
    return iotops_error_set(err, IOTOPS_INVALID_PAYLOAD,
                            "a response without content has a payload");
  response->payload = payload_of(message);
  response->executor_id = properties->source;
  response->user_data = properties->user_data;
  response->user_data_count = properties->user_data_count;
  return 0;
}

static void complete(invoker_call *call, const iotops_message *message,
                     received_properties *properties) {
  iotops_command_invoker *invoker = call->invoker;
  iotops_token inline_tokens[TOKENS_INLINE], *tokens = inline_tokens;
  uint8_t correlation[CORRELATION_BYTES];
  iotops_response response = {.correlation_id = correlation};
  iotops_hlc timestamp;
  iotops_error err;
  size_t count = invoker->response_pattern.token_count;
  memcpy(correlation, call->correlation, sizeof correlation);
  if (count > TOKENS_INLINE)
    tokens = iotops_zalloc(invoker->context, count * sizeof *tokens);
  int rc;
  if (!tokens || received_properties_read(properties, message, MESSAGE_RESPONSE,
                                          "invoker"))
    rc = iotops_error_memory(&err);
  else
    rc = read_response(invoker, message, properties, &timestamp, &response,
                       &err);
  if (rc == 0) {
    response.tokens = tokens;
    if (topic_pattern_match(&invoker->response_pattern, message->topic, tokens))
      response.token_count = count;
    invoker_complete(call, &response, NULL);
  } else {
    err.is_shallow = false;
    iotops_error_name(err.command_name, iotops_text_of(invoker->name));
    invoker_complete(call, NULL, &err);
  }
  if (tokens != inline_tokens)
    iotops_free(invoker->context, tokens);
}

void invoker_on_response(void *user, const iotops_message *message,
                         iotops_ack ack) {
  iotops_command_invoker *invoker = user;
  const uint8_t *correlation = correlation_bytes(message->correlation_data);
  invoker_call *call =
      correlation ? call_table_find(&invoker->calls, correlation) : NULL;
  if (ack.epoch != 0)
    iotops_mqtt_settle(invoker->client, ack);
  if (!call) {
    iotops_log(invoker->context, IOTOPS_LOG_DEBUG, "invoker",
               "%s: a response that nobody waits for was dropped",
               invoker->name);
    return;
  }
  invoker->holds++; /* who is told may free the invoker, or let the loop turn */
  call_table_close(&invoker->calls, call);
  received_properties properties = invoker->received;
  received_properties_init(&invoker->received, invoker->context);
  complete(call, message, &properties);
  received_properties_clear(&invoker->received);
  invoker->received = properties;
  invoker_release(invoker);
}
