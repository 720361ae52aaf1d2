/* telemetry_sender.c -- protocol.md section 9. */
#include <stdio.h>
#include <string.h>

#include "iotops/telemetry.h"
#include "protocol/cloud_event_write.h"
#include "protocol/expiry.h"
#include "protocol/mqtt_outcome.h"
#include "protocol/payload_check.h"
#include "protocol/property_list.h"
#include "protocol/property_names.h"
#include "protocol/protocol_version.h"
#include "protocol/topic_pattern.h"

static const char component[] = "telemetry";

/* One send that the client has; kept for the next one when it has ended. */
typedef struct send {
  iotops_telemetry_sender *sender;
  iotops_send_done done; /* may be NULL */
  void *user;            /* borrowed */
  iotops_operation operation;
  struct send *next, *previous;
} send;

enum { SPARE_MAX = 256 }; /* ended sends that are kept */

struct iotops_telemetry_sender {
  iotops_mqtt_client *client; /* borrowed */
  iotops_context *context;    /* borrowed */
  topic_pattern pattern;
  /* Memory that every send uses anew. */
  property_list properties;
  text_buffer topic;
  send *in_hand; /* owned, linked both ways */
  send *spare;   /* owned, linked through `next` */
  unsigned spare_count;
  unsigned holds; /* the user's, and one for each send in hand */
  bool closed;
};

int iotops_telemetry_sender_new(iotops_mqtt_client *client,
                                const iotops_telemetry_sender_options *given,
                                iotops_telemetry_sender **result,
                                iotops_error *err) {
  iotops_telemetry_sender_options options =
      IOTOPS_TELEMETRY_SENDER_OPTIONS_INIT;
  memcpy(&options, given,
         given->size < sizeof options ? given->size : sizeof options);
  *result = NULL;
  iotops_telemetry_sender *sender =
      iotops_zalloc(client->context, sizeof *sender);
  if (sender == NULL)
    return iotops_error_memory(err);
  if (topic_pattern_init(&sender->pattern, client->context, "topic_pattern",
                         options.topic_pattern, options.topic_namespace,
                         options.tokens, options.token_count, err) != 0) {
    iotops_free(client->context, sender);
    return -1;
  }
  sender->client = client;
  sender->context = client->context;
  sender->holds = 1;
  property_list_init(&sender->properties, sender->context);
  text_buffer_init(&sender->topic, sender->context);
  *result = sender;
  return 0;
}

static void release(iotops_telemetry_sender *sender) {
  if (--sender->holds > 0)
    return;
  while (sender->spare != NULL) {
    send *next = sender->spare->next;
    iotops_free(sender->context, sender->spare);
    sender->spare = next;
  }
  topic_pattern_clear(&sender->pattern);
  property_list_clear(&sender->properties);
  text_buffer_clear(&sender->topic);
  iotops_free(sender->context, sender);
}

void iotops_telemetry_sender_free(iotops_telemetry_sender *sender) {
  if (sender == NULL)
    return;
  sender->closed = true;
  for (send *send = sender->in_hand; send != NULL; send = send->next)
    iotops_mqtt_cancel(sender->client, send->operation);
  release(sender);
}

/* --------------------------------------------------------- sends in hand -- */

static send *take(iotops_telemetry_sender *sender) {
  send *send = sender->spare;
  if (send != NULL) {
    sender->spare = send->next;
    sender->spare_count--;
  } else {
    send = iotops_zalloc(sender->context, sizeof *send);
    if (send == NULL)
      return NULL;
    send->sender = sender;
  }
  return send;
}

static void give_back(send *send) {
  iotops_telemetry_sender *sender = send->sender;
  if (sender->closed || sender->spare_count == SPARE_MAX) {
    iotops_free(sender->context, send);
    return;
  }
  send->next = sender->spare;
  sender->spare = send;
  sender->spare_count++;
}

static void link_in(send *send) {
  iotops_telemetry_sender *sender = send->sender;
  send->previous = NULL;
  send->next = sender->in_hand;
  if (send->next != NULL)
    send->next->previous = send;
  sender->in_hand = send;
  sender->holds++;
}

static void unlink_from(send *send) {
  if (send->next != NULL)
    send->next->previous = send->previous;
  if (send->previous != NULL)
    send->previous->next = send->next;
  else
    send->sender->in_hand = send->next;
}

static void on_published(void *user, const iotops_mqtt_result *result) {
  send *send = user;
  iotops_telemetry_sender *sender = send->sender;
  iotops_send_done done = send->done;
  void *done_user = send->user;
  unlink_from(send);
  give_back(send);
  if (result->error == NULL && result->reason_code < 0x80) {
    if (done != NULL)
      done(done_user, NULL);
  } else {
    iotops_error err;
    char what[160];
    size_t size = sender->pattern.text_size;
    snprintf(what, sizeof what, "publish telemetry to %.*s",
             (int)(size < 120 ? size : 120), sender->pattern.text);
    mqtt_outcome(result, what, &err);
    if (done != NULL)
      done(done_user, &err);
  }
  release(sender);
}

/* ---------------------------------------------------------------- sending --
 */

/* Steps 1 to 3 of section 9. */
static int check(const iotops_telemetry_send_options *options,
                 uint32_t *expiry_s, iotops_error *err) {
  if (expiry_from_us(options->message_expiry_us, "message_expiry", expiry_s,
                     err) != 0)
    return -1;
  if (options->qos != 0 && options->qos != 1) {
    char text[16];
    snprintf(text, sizeof text, "%d", options->qos);
    return iotops_error_configuration(err, "qos", iotops_text_of(text),
                                      "the quality of service must be 0 or 1");
  }
  if (iotops_user_data_check(options->user_data, options->user_data_count,
                             err) != 0)
    return -1;
  if (options->cloud_event != NULL &&
      cloud_event_check_user_data(options->user_data, options->user_data_count,
                                  err) != 0)
    return -1;
  if (options->persist && options->retain == 0)
    return iotops_error_configuration(
        err, "persist", iotops_text_of("true"),
        "a message to be persisted is a retained one; do not ask for "
        "retain = false with it");
  return payload_check(&options->payload, err);
}

/* Builds the message and hands it to the client; step 4 on. */
static int publish(iotops_telemetry_sender *sender,
                   const iotops_telemetry_send_options *options,
                   uint32_t expiry_s, send *send, iotops_error *err) {
  property_list *properties = &sender->properties;
  iotops_message message = IOTOPS_MESSAGE_INIT;
  cloud_event_texts event_texts;
  char timestamp[IOTOPS_HLC_TEXT_SIZE];
  iotops_text stamp = {timestamp, 0};
  iotops_hlc now;

  if (topic_pattern_publish(&sender->pattern, options->tokens,
                            options->token_count, &sender->topic,
                            &message.topic, err) != 0)
    return -1;
  payload_put(&options->payload, &message);
  property_list_reset(properties);
  property_list_add(properties, PROPERTY_VERSION,
                    iotops_text_of(PROTOCOL_VERSION));
  property_list_add(properties, PROPERTY_SOURCE,
                    iotops_text_of(iotops_mqtt_client_id(sender->client)));
  if (options->cloud_event != NULL &&
      cloud_event_write(options->cloud_event, CLOUD_EVENT_TELEMETRY,
                        message.topic, message.content_type, &event_texts,
                        properties, err) != 0)
    return -1;
  if (iotops_context_hlc_now(sender->context, &now, err) != 0)
    return -1;
  stamp.size = iotops_hlc_format(&now, timestamp);
  property_list_add(properties, PROPERTY_TIMESTAMP, stamp);
  if (options->persist)
    property_list_add(properties, PROPERTY_PERSISTENCE, iotops_text_of("true"));
  property_list_add_user_data(properties, options->user_data,
                              options->user_data_count, component);
  if (properties->failed)
    return iotops_error_memory(err);

  message.qos = (uint8_t)options->qos;
  message.retain = options->persist || options->retain > 0;
  message.has_expiry = true;
  message.expiry_s = expiry_s;
  message.user_properties = properties->pairs;
  message.user_property_count = properties->count;
  return iotops_mqtt_publish(sender->client, &message, on_published, send,
                             &send->operation, err);
}

int iotops_telemetry_send(iotops_telemetry_sender *sender,
                          const iotops_telemetry_send_options *given,
                          iotops_send_done done, void *user,
                          iotops_error *err) {
  iotops_telemetry_send_options options = IOTOPS_TELEMETRY_SEND_OPTIONS_INIT;
  uint32_t expiry_s;
  memcpy(&options, given,
         given->size < sizeof options ? given->size : sizeof options);
  if (sender->closed)
    return iotops_error_set(err, IOTOPS_CANCELLATION,
                            "the telemetry sender is closed");
  if (check(&options, &expiry_s, err) != 0)
    return -1;
  send *send = take(sender);
  if (send == NULL)
    return iotops_error_memory(err);
  send->done = done;
  send->user = user;
  if (publish(sender, &options, expiry_s, send, err) != 0) {
    give_back(send);
    return -1;
  }
  link_in(send);
  return 0;
}
