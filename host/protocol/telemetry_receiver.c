/*
** telemetry_receiver.c -- protocol.md section 10.
**
** A message whose turn it is right away is handled where the client left it;
** only one that has to wait is copied.  What a handler may look at lives in
** the delivery, so that handlers of one receiver can be nested.
*/
#include <string.h>

#include "iotops/telemetry.h"
#include "protocol/payload_check.h"
#include "protocol/protocol_version.h"
#include "protocol/received_properties.h"
#include "protocol/subscription.h"
#include "protocol/topic_pattern.h"

static const char component[] = "telemetry";

enum {
  SPARE_MAX = 64, /* ended deliveries that are kept */
  PUMP_MAX = 100, /* waiting messages that are handled in a row */
  WAITING_QOS0_MAX = 10000,
  ROW_MAX = 10000 /* dropped messages that one log record may stand for */
};

struct iotops_telemetry_delivery {
  iotops_telemetry_receiver *receiver;
  iotops_ack ack;
  iotops_telemetry_delivery *next; /* of the waiting or the spare ones */
  iotops_message *copy;            /* owned; of one that had to wait */
  received_properties properties;
  iotops_hlc timestamp;
  bool has_timestamp;
  bool in_handler; /* the callback has not returned yet */
  bool done, acked;
  iotops_token tokens[]; /* as many as the pattern has */
};

struct iotops_telemetry_receiver {
  iotops_mqtt_client *client; /* borrowed */
  iotops_context *context;    /* borrowed */
  iotops_telemetry_handler handler;
  void *user;
  bool manual_ack;
  uint32_t concurrency;
  topic_pattern pattern;
  subscription *subscription; /* owned */
  iotops_receiver *inbound;   /* owned; NULL once stopped */
  uint32_t running;           /* deliveries whose handler has not ended */
  iotops_telemetry_delivery *first, *last; /* that wait */
  size_t waiting, waiting_qos0;
  uint64_t dropped;      /* never handled, since the receiver was made */
  uint64_t told_dropped; /* of those, before the row that goes on */
  iotops_telemetry_delivery *spare;
  unsigned spare_count;
  iotops_task pump;
  unsigned holds; /* the user's, and one for each delivery in use */
  bool paused;
  bool freed;
};

/* ------------------------------------------------------------- life time -- */

static void on_message(void *user, const iotops_message *message,
                       iotops_ack ack);
static void on_pump(iotops_task *task);

static void free_delivery(iotops_telemetry_delivery *delivery) {
  received_properties_clear(&delivery->properties);
  iotops_free(delivery->receiver->context, delivery);
}

static void release(iotops_telemetry_receiver *receiver) {
  if (--receiver->holds > 0)
    return;
  iotops_task_cancel(receiver->context, &receiver->pump);
  while (receiver->spare != NULL) {
    iotops_telemetry_delivery *next = receiver->spare->next;
    free_delivery(receiver->spare);
    receiver->spare = next;
  }
  if (receiver->inbound != NULL)
    iotops_mqtt_remove_receiver(receiver->client, receiver->inbound);
  subscription_free(receiver->subscription);
  topic_pattern_clear(&receiver->pattern);
  iotops_free(receiver->context, receiver);
}

int iotops_telemetry_receiver_new(
    iotops_mqtt_client *client, const iotops_telemetry_receiver_options *given,
    iotops_telemetry_receiver **result, iotops_error *err) {
  iotops_telemetry_receiver_options options =
      IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
  text_buffer filter;
  *result = NULL;
  memcpy(&options, given,
         given->size < sizeof options ? given->size : sizeof options);
  text_buffer_init(&filter, client->context);
  iotops_telemetry_receiver *receiver =
      iotops_zalloc(client->context, sizeof *receiver);
  if (receiver == NULL)
    return iotops_error_memory(err);
  receiver->client = client;
  receiver->context = client->context;
  receiver->handler = options.handler;
  receiver->user = options.user;
  receiver->manual_ack = options.manual_ack;
  receiver->concurrency = options.concurrency;
  receiver->pump.run = on_pump;
  receiver->pump.user = receiver;
  receiver->holds = 1;

  if (topic_namespace_check(options.topic_namespace, err) != 0 ||
      share_group_check(options.service_group_id, err) != 0 ||
      topic_pattern_init(&receiver->pattern, receiver->context, "topic_pattern",
                         options.topic_pattern, options.topic_namespace,
                         options.tokens, options.token_count, err) != 0)
    goto failed;
  if (options.concurrency < 1) {
    iotops_error_configuration(err, "concurrency", iotops_text_of("0"),
                               "the concurrency must be at least 1");
    goto failed;
  }
  if (options.handler == NULL) {
    iotops_error_configuration(err, "handler", iotops_text_of(NULL),
                               "a telemetry receiver needs a handler");
    goto failed;
  }
  if (topic_pattern_filter(&receiver->pattern, options.service_group_id,
                           &filter, err) != 0)
    goto failed;
  receiver->subscription =
      subscription_new(client, text_buffer_text(&filter), iotops_text_of(NULL));
  if (receiver->subscription == NULL) {
    iotops_error_memory(err);
    goto failed;
  }
  if (iotops_mqtt_add_receiver(client, text_buffer_text(&filter), on_message,
                               receiver, &receiver->inbound, err) != 0) {
    receiver->inbound = NULL;
    goto failed;
  }
  text_buffer_clear(&filter);
  *result = receiver;
  return 0;

failed:
  text_buffer_clear(&filter);
  release(receiver);
  return -1;
}

int iotops_telemetry_receiver_start(iotops_telemetry_receiver *receiver,
                                    iotops_envoy_done done, void *user,
                                    iotops_error *err) {
  return subscription_start(receiver->subscription, done, user, err);
}

static void stop_inbound(iotops_telemetry_receiver *receiver) {
  if (receiver->inbound != NULL)
    iotops_mqtt_remove_receiver(receiver->client, receiver->inbound);
  receiver->inbound = NULL;
}

int iotops_telemetry_receiver_stop(iotops_telemetry_receiver *receiver,
                                   iotops_envoy_done done, void *user,
                                   iotops_error *err) {
  if (subscription_stop(receiver->subscription, done, user, err) != 0)
    return -1;
  stop_inbound(receiver);
  return 0;
}

size_t
iotops_telemetry_receiver_waiting(const iotops_telemetry_receiver *receiver) {
  return receiver->waiting;
}

uint64_t
iotops_telemetry_receiver_dropped(const iotops_telemetry_receiver *receiver) {
  return receiver->dropped;
}

/* ------------------------------------------------------------ deliveries -- */

static iotops_telemetry_delivery *take(iotops_telemetry_receiver *receiver,
                                       iotops_ack ack) {
  iotops_telemetry_delivery *delivery = receiver->spare;
  if (delivery != NULL) {
    receiver->spare = delivery->next;
    receiver->spare_count--;
  } else {
    delivery = iotops_zalloc(receiver->context,
                             sizeof *delivery + receiver->pattern.token_count *
                                                    sizeof(iotops_token));
    if (delivery == NULL)
      return NULL;
    delivery->receiver = receiver;
    received_properties_init(&delivery->properties, receiver->context);
  }
  delivery->ack = ack;
  delivery->next = NULL;
  delivery->in_handler = delivery->done = delivery->acked = false;
  receiver->holds++;
  return delivery;
}

/* Ends the use of a delivery and maybe, with it, of a freed receiver. */
static void give_back(iotops_telemetry_delivery *delivery) {
  iotops_telemetry_receiver *receiver = delivery->receiver;
  iotops_free(receiver->context, delivery->copy);
  delivery->copy = NULL;
  if (receiver->freed || receiver->spare_count == SPARE_MAX) {
    free_delivery(delivery);
  } else {
    delivery->next = receiver->spare;
    receiver->spare = delivery;
    receiver->spare_count++;
  }
  release(receiver);
}

static void settle(iotops_telemetry_receiver *receiver, iotops_ack ack) {
  if (ack.epoch != 0)
    iotops_mqtt_settle(receiver->client, ack);
}

static void acknowledge(iotops_telemetry_delivery *delivery) {
  if (delivery->acked)
    return;
  delivery->acked = true;
  settle(delivery->receiver, delivery->ack);
}

static bool has_place(const iotops_telemetry_receiver *receiver) {
  return !receiver->paused && receiver->running < receiver->concurrency;
}

/* The handler has ended; another message may have its turn, but not in here:
** this is the application's call. */
static void end(iotops_telemetry_delivery *delivery) {
  iotops_telemetry_receiver *receiver = delivery->receiver;
  if (delivery->done)
    return;
  delivery->done = true;
  receiver->running--;
  if (receiver->waiting > 0)
    iotops_task_soon(receiver->context, &receiver->pump);
}

static void give_back_when_over(iotops_telemetry_delivery *delivery) {
  if (delivery->done && delivery->acked && !delivery->in_handler)
    give_back(delivery);
}

void iotops_telemetry_delivery_done(iotops_telemetry_delivery *delivery) {
  if (!delivery->receiver->manual_ack)
    acknowledge(delivery);
  end(delivery);
  give_back_when_over(delivery);
}

void iotops_telemetry_delivery_ack(iotops_telemetry_delivery *delivery) {
  acknowledge(delivery);
  give_back_when_over(delivery);
}

static void log_dropped(const iotops_telemetry_receiver *receiver,
                        const iotops_message *message, const char *why) {
  iotops_text topic = message->topic;
  iotops_log(receiver->context, IOTOPS_LOG_WARN, component,
             "dropped a message on %.*s: %s",
             (int)(topic.size < 512 ? topic.size : 512), topic.data, why);
}

void iotops_telemetry_delivery_reject(iotops_telemetry_delivery *delivery,
                                      const iotops_error *err) {
  iotops_telemetry_receiver *receiver = delivery->receiver;
  iotops_text pattern = {receiver->pattern.text, receiver->pattern.text_size};
  iotops_log(receiver->context, IOTOPS_LOG_WARN, component,
             "dropped a message for %.*s whose payload cannot be read: %s",
             (int)(pattern.size < 512 ? pattern.size : 512), pattern.data,
             err == NULL ? "no reason is given" : err->message);
  acknowledge(delivery);
  end(delivery);
  give_back_when_over(delivery);
}

/* --------------------------------------------------------------- reading -- */

/* Steps 1 and 2, as far as they need no state; -1: to be dropped. */
static int read_message(iotops_telemetry_delivery *delivery,
                        const iotops_message *message, iotops_error *err) {
  iotops_telemetry_receiver *receiver = delivery->receiver;
  received_properties *properties = &delivery->properties;
  if (!topic_pattern_match(&receiver->pattern, message->topic,
                           delivery->tokens))
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "the topic does not match the pattern");
  if (received_properties_read(properties, message, MESSAGE_TELEMETRY,
                               component) != 0)
    return iotops_error_memory(err);
  if (protocol_version_check(properties->version, err) != 0)
    return -1;
  delivery->has_timestamp = properties->timestamp.data != NULL;
  if (!delivery->has_timestamp)
    return 0;
  return iotops_hlc_parse(properties->timestamp, &delivery->timestamp, err);
}

/* A clock that is off must not lose data: only a warning. */
static void merge_clock(const iotops_telemetry_delivery *delivery,
                        const iotops_message *message) {
  iotops_context *context = delivery->receiver->context;
  iotops_error err;
  if (!delivery->has_timestamp ||
      iotops_context_hlc_receive(context, &delivery->timestamp, &err) == 0)
    return;
  iotops_log(context, IOTOPS_LOG_WARN, component,
             "the timestamp of a message on %.*s was not taken over: %s",
             (int)(message->topic.size < 512 ? message->topic.size : 512),
             message->topic.data, err.message);
}

/* -------------------------------------------------------------- handling -- */

static void handle(iotops_telemetry_delivery *delivery,
                   const iotops_message *message) {
  iotops_telemetry_receiver *receiver = delivery->receiver;
  iotops_telemetry view = {
      .topic = message->topic,
      .payload = payload_of(message),
      .user_data = delivery->properties.user_data,
      .user_data_count = delivery->properties.user_data_count,
      .sender_id = delivery->properties.source,
      .timestamp = delivery->has_timestamp ? &delivery->timestamp : NULL,
      .tokens = delivery->tokens,
      .token_count = receiver->pattern.token_count,
      .qos = message->qos,
      .retain = message->retain,
      .dup = message->dup,
      .packet_id = message->packet_id,
  };
  receiver->running++;
  delivery->in_handler = true;
  receiver->handler(receiver->user, delivery, &view);
  delivery->in_handler = false;
  iotops_free(receiver->context, delivery->copy);
  delivery->copy = NULL;
  give_back_when_over(delivery);
}

/* Says how many messages a row of dropped ones had besides the first. */
static void tell_dropped(iotops_telemetry_receiver *receiver) {
  uint64_t row = receiver->dropped - receiver->told_dropped;
  receiver->told_dropped = receiver->dropped;
  if (row <= 1)
    return;
  iotops_log(receiver->context, IOTOPS_LOG_WARN, component,
             "dropped %llu more messages for %.*s like the last one",
             (unsigned long long)(row - 1),
             (int)(receiver->pattern.text_size < 512
                       ? receiver->pattern.text_size
                       : 512),
             receiver->pattern.text);
}

/* Counts and logs a message that is not handled, the first of a row. */
static void drop_for_want(iotops_telemetry_receiver *receiver,
                          const iotops_message *message, iotops_ack ack,
                          const char *why) {
  if (receiver->dropped++ == receiver->told_dropped)
    log_dropped(receiver, message, why);
  else if (receiver->dropped - receiver->told_dropped >= ROW_MAX)
    tell_dropped(receiver);
  iotops_task_soon(receiver->context, &receiver->pump); /* ends the row */
  settle(receiver, ack);
}

static void wait_for_turn(iotops_telemetry_delivery *delivery,
                          const iotops_message *message) {
  iotops_telemetry_receiver *receiver = delivery->receiver;
  const char *why = NULL;
  if (message->qos == 0 && receiver->waiting_qos0 >= WAITING_QOS0_MAX)
    why = "10000 messages of QoS 0 wait for a handler already";
  else if ((delivery->copy = iotops_message_copy(receiver->context, message)) ==
           NULL)
    why = "out of memory";
  if (why != NULL) {
    drop_for_want(receiver, message, delivery->ack, why);
    give_back(delivery);
    return;
  }
  if (receiver->last != NULL)
    receiver->last->next = delivery;
  else
    receiver->first = delivery;
  receiver->last = delivery;
  receiver->waiting++;
  receiver->waiting_qos0 += message->qos == 0;
}

static void on_message(void *user, const iotops_message *message,
                       iotops_ack ack) {
  iotops_telemetry_receiver *receiver = user;
  iotops_telemetry_delivery *delivery = take(receiver, ack);
  iotops_error err;
  if (delivery == NULL) {
    drop_for_want(receiver, message, ack, "out of memory");
    return;
  }
  if (read_message(delivery, message, &err) != 0) {
    log_dropped(receiver, message, err.message);
    settle(receiver, ack);
    give_back(delivery);
    return;
  }
  merge_clock(delivery, message);
  if (has_place(receiver) && receiver->waiting == 0) {
    tell_dropped(receiver); /* the row ends with this one */
    handle(delivery, message);
  } else {
    wait_for_turn(delivery, message);
  }
}

static iotops_telemetry_delivery *
take_first(iotops_telemetry_receiver *receiver) {
  iotops_telemetry_delivery *delivery = receiver->first;
  receiver->first = delivery->next;
  if (receiver->first == NULL)
    receiver->last = NULL;
  receiver->waiting--;
  receiver->waiting_qos0 -= delivery->copy->qos == 0;
  delivery->next = NULL;
  return delivery;
}

static void on_pump(iotops_task *task) {
  iotops_telemetry_receiver *receiver = task->user;
  unsigned turns = 0;
  receiver->holds++; /* a handler may free the receiver */
  while (receiver->waiting > 0 && has_place(receiver)) {
    if (turns++ == PUMP_MAX) { /* others have work to do, too */
      iotops_task_soon(receiver->context, task);
      break;
    }
    iotops_telemetry_delivery *delivery = take_first(receiver);
    iotops_message *message = delivery->copy;
    iotops_error err;
    /* The views of the first reading died with the client's message. */
    if (read_message(delivery, message, &err) == 0) {
      handle(delivery, message);
    } else {
      log_dropped(receiver, message, err.message);
      settle(receiver, delivery->ack);
      give_back(delivery);
    }
  }
  if (receiver->waiting == 0)
    tell_dropped(receiver);
  release(receiver);
}

void iotops_telemetry_receiver_pause(iotops_telemetry_receiver *receiver,
                                     bool paused) {
  receiver->paused = paused;
  if (!paused && receiver->waiting > 0)
    iotops_task_soon(receiver->context, &receiver->pump);
}

iotops_message *
iotops_telemetry_receiver_take(iotops_telemetry_receiver *receiver,
                               iotops_ack *ack) {
  if (receiver->waiting == 0)
    return NULL;
  iotops_telemetry_delivery *delivery = take_first(receiver);
  iotops_message *message = delivery->copy;
  *ack = delivery->ack;
  delivery->copy = NULL;
  give_back(delivery);
  return message;
}

void iotops_telemetry_receiver_free(iotops_telemetry_receiver *receiver) {
  if (receiver == NULL)
    return;
  receiver->freed = true;
  stop_inbound(receiver);
  subscription_free(receiver->subscription);
  receiver->subscription = NULL;
  iotops_task_cancel(receiver->context, &receiver->pump);
  tell_dropped(receiver);
  if (receiver->waiting > 0)
    iotops_log(receiver->context, IOTOPS_LOG_WARN, component,
               "a receiver is freed while %zu messages for %.*s wait; they "
               "are acknowledged unhandled",
               receiver->waiting,
               (int)(receiver->pattern.text_size < 512
                         ? receiver->pattern.text_size
                         : 512),
               receiver->pattern.text);
  while (receiver->waiting > 0) {
    iotops_telemetry_delivery *delivery = take_first(receiver);
    acknowledge(delivery);
    give_back(delivery);
  }
  release(receiver);
}
