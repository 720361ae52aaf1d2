/* session_request.c -- publish, subscribe, unsubscribe and their answers. */
#include <string.h>

#include "iotops/topic.h"
#include "session/session_fields.h"

enum { SHOWN = 512 }; /* bytes of a bad value that an error text shows */

/* ------------------------------------------------------------ checks -- */

static int invalid(iotops_error *err, const char *field, iotops_text value,
                   const char *what) {
  return iotops_error_configuration(err, field, value, "%s", what);
}

static int invalid_topic(iotops_error *err, const char *field,
                         iotops_text value) {
  return iotops_error_configuration(
      err, field, value, "invalid topic %s \"%.*s\"",
      strcmp(field, "topic") == 0 ? "name" : "filter",
      (int)(value.size < SHOWN ? value.size : SHOWN),
      value.data ? value.data : "");
}

static bool too_deep(iotops_text topic) {
  size_t levels = 1;

  for (size_t i = 0; i < topic.size; i++)
    levels += topic.data[i] == '/';
  return levels > DISPATCH_LEVELS_MAX;
}

static bool valid_text(iotops_text text) {
  return text.size <= PACKET_TEXT_MAX && packet_utf8_valid(text);
}

static bool has_persistence(const iotops_message *message) {
  return iotops_text_equal(iotops_message_property(message, "aio-persistence"),
                           iotops_text_of("true"));
}

static int check_message(const iotops_session *session,
                         const iotops_message *message, iotops_error *err) {
  iotops_text none = {0};

  if (message->qos > 1)
    return invalid(err, "qos", none, "invalid or unsupported QoS");
  if (message->format_indicator > 1)
    return invalid(err, "format_indicator", none,
                   "invalid payload format indicator");
  if (!message->topic.data || !iotops_topic_name_valid(message->topic) ||
      too_deep(message->topic))
    return invalid_topic(err, "topic", message->topic);
  if (!valid_text(message->content_type))
    return invalid(err, "content_type", message->content_type,
                   "invalid content type");
  if (!valid_text(message->response_topic) ||
      (message->response_topic.data &&
       !iotops_topic_name_valid(message->response_topic)))
    return invalid(err, "response_topic", message->response_topic,
                   "invalid response topic");
  if (message->correlation_data.size > PACKET_TEXT_MAX)
    return invalid(err, "correlation_data", none, "invalid correlation data");
  for (size_t i = 0; i < message->user_property_count; i++) {
    const iotops_user_property *pair = &message->user_properties[i];

    if (!pair->name.data || !pair->value.data || !valid_text(pair->name) ||
        !valid_text(pair->value))
      return invalid(err, "user_properties", pair->name,
                     "invalid user property");
  }
  if (!session->config.aio_features && has_persistence(message))
    return invalid(err, "aio-persistence", iotops_text_of("true"),
                   "aio-persistence needs aio_broker_features");
  if (message->payload.size > PACKET_SIZE_MAX)
    return invalid(err, "payload", none, "the payload is too large for MQTT");
  return 0;
}

static int too_large(const iotops_session *session, size_t size,
                     iotops_error *err) {
  iotops_text none = {0};
  uint32_t limit = session->limits.packet_size_max;

  if ((limit == 0 || size <= limit) && size <= PACKET_SIZE_MAX)
    return 0;
  return iotops_error_configuration(
      err, "payload", none,
      "packet of %zu bytes exceeds the broker's maximum of %lu", size,
      (unsigned long)(limit ? limit : PACKET_SIZE_MAX));
}

static int check_publish_limits(const iotops_session *session,
                                const iotops_message *message, size_t size,
                                iotops_error *err) {
  iotops_text none = {0};

  if (message->qos > session->limits.maximum_qos)
    return invalid(err, "qos", none, "the broker offers no QoS 1");
  if (message->retain && !session->limits.retain)
    return invalid(err, "retain", none,
                   "the broker does not keep retained messages");
  return too_large(session, size, err);
}

static int check_filter_limits(const iotops_session *session,
                               iotops_text filter, iotops_error *err) {
  static const char share[] = "$share/";

  if (!session->limits.wildcard && (memchr(filter.data, '+', filter.size) ||
                                    memchr(filter.data, '#', filter.size)))
    return invalid(err, "filter", filter,
                   "the broker offers no wildcard subscriptions");
  if (!session->limits.shared && filter.size > sizeof share - 1 &&
      memcmp(filter.data, share, sizeof share - 1) == 0)
    return invalid(err, "filter", filter,
                   "the broker offers no shared subscriptions");
  return too_large(session,
                   packet_subscribe_size(
                       filter.size,
                       session->limits.subscription_id ? UINT32_MAX >> 4 : 0,
                       session->config.version),
                   err);
}

int session_check_limits(const iotops_session *session, const outbox_op *op,
                         iotops_error *err) {
  if (op->kind == OUTBOX_PUBLISH)
    return check_publish_limits(session, op->message, op->size, err);
  if (op->kind == OUTBOX_SUBSCRIBE) {
    iotops_text filter = {op->filter->text, op->filter->size};

    return check_filter_limits(session, filter, err);
  }
  return 0;
}

/* ----------------------------------------------------------- calling -- */

static int check_state(const iotops_session *session, iotops_error *err) {
  if (session->state != IOTOPS_SESSION_ENDED && !session->disconnect_written)
    return 0;
  iotops_error_set(err, IOTOPS_INVALID_STATE, "the session has ended");
  if (err)
    err->is_shallow = true;
  return -1;
}

/* Queues `op`, or frees it and says why not. */
static int put(iotops_session *session, outbox_op *op, iotops_operation *id,
               iotops_error *err) {
  outbox_class class = op->class;
  iotops_operation given = op->by_id.id;

  /* What is full may only be waiting for the end of the event. */
  if (session->connected && outbox_is_full(&session->outbox, class))
    session_hand_on(session);
  if (!outbox_put(&session->outbox, op)) {
    const char *name = outbox_class_name(class);

    outbox_delete(&session->outbox, op);
    iotops_error_set(err, IOTOPS_INVALID_STATE, "queue full: %s holds %zu",
                     name, session->outbox.limits[class]);
    if (err) {
      err->is_shallow = true;
      iotops_error_name(err->property_name, iotops_text_of(name));
    }
    return -1;
  }
  if (id)
    *id = given;
  if (session->outbox.ended.first) /* a full queue dropped one */
    session_report_later(session);
  if (session->connected)
    session_flush_later(session);
  return 0;
}

int session_publish(iotops_mqtt_client *client, const iotops_message *message,
                    iotops_mqtt_done done, void *user, iotops_operation *id,
                    iotops_error *err) {
  iotops_session *session = (iotops_session *)client;
  size_t size;
  outbox_op *op;

  if (check_state(session, err) != 0 ||
      check_message(session, message, err) != 0)
    return -1;
  size = packet_publish_size(message, session->config.version);
  if (session->connected
          ? check_publish_limits(session, message, size, err) != 0
          : size > PACKET_SIZE_MAX && too_large(session, size, err) != 0)
    return -1;
  op = outbox_new(&session->outbox, OUTBOX_PUBLISH,
                  message->qos ? OUTBOX_QOS1 : OUTBOX_QOS0, done, user);
  if (!op)
    return iotops_error_memory(err);
  op->size = size;
  op->message = iotops_message_copy(session->context, message);
  if (!op->message) {
    outbox_delete(&session->outbox, op);
    return iotops_error_memory(err);
  }
  return put(session, op, id, err);
}

static int check_filter(iotops_text filter, iotops_error *err) {
  if (!filter.data || !iotops_topic_filter_valid(filter) || too_deep(filter))
    return invalid_topic(err, "filter", filter);
  return 0;
}

static outbox_op *new_control(iotops_session *session, outbox_kind kind,
                              iotops_text filter, iotops_mqtt_done done,
                              void *user) {
  outbox_op *op =
      outbox_new(&session->outbox, kind, OUTBOX_CONTROL, done, user);

  if (!op)
    return NULL;
  op->filter = dispatcher_hold(&session->dispatcher, filter);
  if (!op->filter) {
    outbox_delete(&session->outbox, op);
    return NULL;
  }
  return op;
}

/* Ends `op`, which was never queued, as the broker answered before. */
static void answer_at_once(iotops_session *session, outbox_op *op,
                           uint8_t reason_code, iotops_operation *id) {
  if (id)
    *id = op->by_id.id;
  op->reason_code = reason_code;
  outbox_end_op(&session->outbox, op, OUTBOX_ANSWERED, NULL);
  session_report_later(session);
}

int session_subscribe(iotops_mqtt_client *client, iotops_text filter,
                      const iotops_subscribe_options *options,
                      iotops_mqtt_done done, void *user, iotops_operation *id,
                      iotops_error *err) {
  static const iotops_subscribe_options defaults =
      IOTOPS_SUBSCRIBE_OPTIONS_INIT;
  iotops_session *session = (iotops_session *)client;
  outbox_op *op, *leader;

  if (!options)
    options = &defaults;
  if (check_state(session, err) != 0 || check_filter(filter, err) != 0)
    return -1;
  if (options->qos > 1)
    return invalid(err, "qos", (iotops_text){0}, "invalid or unsupported QoS");
  if (options->retain_handling > 2)
    return invalid(err, "retain_handling", (iotops_text){0},
                   "invalid retain handling");
  if (options->no_local && filter.size > 7 &&
      memcmp(filter.data, "$share/", 7) == 0)
    return invalid(err, "no_local", (iotops_text){0},
                   "no-local cannot be used with a shared subscription");
  if (session->connected && check_filter_limits(session, filter, err) != 0)
    return -1;
  op = new_control(session, OUTBOX_SUBSCRIBE, filter, done, user);
  if (!op)
    return iotops_error_memory(err);
  op->options = (uint8_t)(options->qos | options->no_local << 2 |
                          options->retain_as_published << 3 |
                          options->retain_handling << 4);
  leader = outbox_subscribing(&session->outbox, op->filter);
  if (leader && leader->options == op->options) {
    op->owns = true;
    dispatcher_own(op->filter);
    if (id)
      *id = op->by_id.id;
    outbox_follow(&session->outbox, leader, op);
    return 0;
  }
  if (!leader && op->filter->owners > 0 && op->filter->granted &&
      op->filter->options == op->options) {
    dispatcher_own(op->filter);
    answer_at_once(session, op, op->filter->reason_code, id);
    return 0;
  }
  if (put(session, op, id, err) != 0)
    return -1;
  op->owns = true;
  dispatcher_own(op->filter);
  return 0;
}

int session_unsubscribe(iotops_mqtt_client *client, iotops_text text,
                        iotops_mqtt_done done, void *user, iotops_operation *id,
                        iotops_error *err) {
  iotops_session *session = (iotops_session *)client;
  dispatch_filter *filter;
  outbox_op *op;

  if (check_state(session, err) != 0 || check_filter(text, err) != 0)
    return -1;
  op = new_control(session, OUTBOX_UNSUBSCRIBE, text, done, user);
  if (!op)
    return iotops_error_memory(err);
  filter = op->filter;
  if (filter->owners > 1) {
    dispatcher_disown(&session->dispatcher, filter);
    answer_at_once(session, op, 0, id);
    return 0;
  }
  if (put(session, op, id, err) != 0)
    return -1;
  if (filter->owners > 0)
    dispatcher_disown(&session->dispatcher, filter);
  filter->granted = false;
  return 0;
}

void session_cancel(iotops_mqtt_client *client, iotops_operation id) {
  iotops_session *session = (iotops_session *)client;

  outbox_cancel(&session->outbox, id);
  if (session->outbox.ended.first)
    session_report_later(session);
}

/* ----------------------------------------------------------- answers -- */

/* One owner less for each subscribe that the broker refused. */
static void refuse_owner(iotops_session *session, outbox_op *op) {
  if (op->owns)
    dispatcher_disown(&session->dispatcher, op->filter);
  op->owns = false;
}

/* Everybody who might have unsubscribed has given up before the grant. */
static void drop_unwanted(iotops_session *session, dispatch_filter *filter) {
  iotops_text text = {filter->text, filter->size};
  outbox_op *op = new_control(session, OUTBOX_UNSUBSCRIBE, text, NULL, NULL);

  if (!op)
    return;
  filter->granted = false;
  if (!outbox_put(&session->outbox, op))
    outbox_delete(&session->outbox, op);
}

static void subscribe_answered(iotops_session *session, outbox_op *op,
                               uint8_t code) {
  dispatch_filter *filter = op->filter;

  if (code >= 0x80) {
    refuse_owner(session, op);
  } else {
    filter->granted = true;
    filter->reason_code = code;
    filter->options = op->options;
  }
  while (op->followers.first) {
    outbox_op *follower = op->followers.first;

    if (code >= 0x80)
      refuse_owner(session, follower);
    follower->owns = false;
    follower->reason_code = code;
    outbox_end_op(&session->outbox, follower, OUTBOX_ANSWERED, NULL);
    session_report_later(session);
  }
  op->owns = false; /* the ownership is the caller's from now on */
  if (code < 0x80 && filter->owners == 0)
    drop_unwanted(session, filter);
}

void session_answered(iotops_session *session, outbox_op *op, uint8_t code,
                      const packet_reply *reply) {
  iotops_mqtt_result result = {.reason_code = code};

  if (reply) {
    result.reason_string = reply->reason_string;
    result.user_properties = reply->user_properties;
    result.user_property_count = reply->user_property_count;
  }
  if (op->kind == OUTBOX_SUBSCRIBE)
    subscribe_answered(session, op, code);
  else if (op->class == OUTBOX_QOS1)
    *(code < 0x80 ? &session->metrics.publishes_acked
                  : &session->metrics.publishes_refused) += 1;
  if (op->done)
    op->done(op->user, &result);
  outbox_delete(&session->outbox, op);
}

static void stopped_error(const iotops_session *session, iotops_error *err) {
  if (session->has_end_error)
    *err = session->end_error;
  else
    iotops_error_set(err, IOTOPS_CANCELLATION, "exited: the session was ended");
}

static void report(iotops_session *session, outbox_op *op) {
  iotops_mqtt_result result = {0};
  iotops_error err;

  switch (op->end) {
  case OUTBOX_ANSWERED:
    result.reason_code = op->reason_code;
    break;
  case OUTBOX_CANCELLED:
    iotops_error_set(&err, IOTOPS_CANCELLATION,
                     "cancelled: the caller gave the operation up");
    result.error = &err;
    break;
  case OUTBOX_DROPPED:
    iotops_error_set(&err, IOTOPS_MQTT_ERROR, "dropped from queue: %s was full",
                     outbox_class_name(op->class));
    iotops_error_name(err.property_name,
                      iotops_text_of(outbox_class_name(op->class)));
    result.error = &err;
    if (op->class == OUTBOX_QOS0)
      session->metrics.dropped_qos0++;
    break;
  case OUTBOX_FAILED:
    if (!op->error)
      iotops_error_memory(&err);
    result.error = op->error ? op->error : &err;
    break;
  case OUTBOX_STOPPED:
    stopped_error(session, &err);
    result.error = &err;
    break;
  }
  if (result.error && op->owns)
    refuse_owner(session, op);
  if (op->done)
    op->done(op->user, &result);
  outbox_delete(&session->outbox, op);
}

void session_report_ended(iotops_session *session) {
  outbox_op *op;

  while ((op = outbox_next_ended(&session->outbox)))
    report(session, op);
}
