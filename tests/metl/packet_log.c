/* packet_log.c -- see packet_log.h. */
#include "packet_log.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"

metl_packet *metl_log_add(metl_packet_log *log, metl_packet_kind kind,
                          bool from_client, const char *name, uint64_t at_ms) {
  if (log->count == log->capacity) {
    log->capacity = log->capacity ? 2 * log->capacity : 32;
    log->packets =
        metl_resize(log->packets, log->capacity * sizeof *log->packets);
  }
  metl_packet *packet = metl_resize(NULL, sizeof *packet);
  log->packets[log->count++] = packet;
  *packet = (metl_packet){.kind = kind,
                          .from_client = from_client,
                          .at_ms = at_ms,
                          .reason_code = -1,
                          .name = name};
  return packet;
}

/* ------------------------------------------------- copies of messages -- */

static iotops_text keep(char **at, iotops_text text) {
  if (!text.data) {
    return text;
  }
  char *copy = *at;
  if (text.size > 0) {
    memcpy(copy, text.data, text.size);
  }
  *at += text.size + 1;
  return (iotops_text){copy, text.size};
}

iotops_message *metl_message_copy(const iotops_message *message) {
  size_t properties =
      message->user_property_count * sizeof *message->user_properties;
  size_t size = sizeof *message + properties + message->topic.size +
                message->payload.size + message->content_type.size +
                message->response_topic.size + message->correlation_data.size +
                5;
  for (size_t i = 0; i < message->user_property_count; i++) {
    size += message->user_properties[i].name.size +
            message->user_properties[i].value.size + 2;
  }
  iotops_message *copy = metl_resize(NULL, size);
  iotops_user_property *pairs = (iotops_user_property *)(copy + 1);
  char *at = (char *)pairs + properties;
  *copy = *message;
  copy->topic = keep(&at, message->topic);
  copy->payload = keep(&at, message->payload);
  copy->content_type = keep(&at, message->content_type);
  copy->response_topic = keep(&at, message->response_topic);
  copy->correlation_data = keep(&at, message->correlation_data);
  copy->user_properties = pairs;
  for (size_t i = 0; i < message->user_property_count; i++) {
    pairs[i].name = keep(&at, message->user_properties[i].name);
    pairs[i].value = keep(&at, message->user_properties[i].value);
  }
  copy->subscription_ids = NULL;
  copy->subscription_id_count = 0;
  return copy;
}

metl_packet *metl_log_publish(metl_packet_log *log, bool from_client,
                              const iotops_message *message, uint64_t at_ms) {
  metl_packet *packet =
      metl_log_add(log, METL_PUBLISH, from_client, "PUBLISH", at_ms);
  packet->message = metl_message_copy(message);
  packet->packet_id = message->packet_id;
  return packet;
}

metl_packet *metl_log_filter(metl_packet_log *log, metl_packet_kind kind,
                             iotops_text filter, uint64_t at_ms) {
  metl_packet *packet =
      metl_log_add(log, kind, true,
                   kind == METL_SUBSCRIBE ? "SUBSCRIBE" : "UNSUBSCRIBE", at_ms);
  packet->filter = metl_resize(NULL, filter.size + 1);
  memcpy(packet->filter, filter.data, filter.size);
  packet->filter[filter.size] = '\0';
  return packet;
}

/* ------------------------------------------------------------ reading -- */

static const metl_packet *take(metl_packet_log *log, size_t *next,
                               metl_packet_kind kind) {
  while (*next < log->count) {
    const metl_packet *packet = log->packets[(*next)++];
    if (packet->from_client && packet->kind == kind) {
      return packet;
    }
  }
  return NULL;
}

const metl_packet *metl_log_take_publish(metl_packet_log *log) {
  return take(log, &log->next_publish, METL_PUBLISH);
}

const metl_packet *metl_log_take_puback(metl_packet_log *log) {
  return take(log, &log->next_puback, METL_PUBACK);
}

size_t metl_log_count(const metl_packet_log *log, metl_packet_kind kind) {
  size_t count = 0;
  for (size_t i = 0; i < log->count; i++) {
    count += log->packets[i]->from_client && log->packets[i]->kind == kind;
  }
  return count;
}

bool metl_log_subscribed(const metl_packet_log *log, iotops_text filter) {
  for (size_t i = 0; i < log->count; i++) {
    const metl_packet *packet = log->packets[i];
    if (packet->kind == METL_SUBSCRIBE &&
        iotops_text_equal(iotops_text_of(packet->filter), filter)) {
      return true;
    }
  }
  return false;
}

void metl_log_free(metl_packet_log *log) {
  for (size_t i = 0; i < log->count; i++) {
    free(log->packets[i]->filter);
    free(log->packets[i]->message);
    free(log->packets[i]);
  }
  free(log->packets);
  *log = (metl_packet_log){0};
}
