/*
** faulty_product.c -- functions of the product that do what they should not.
**
** The linker (--wrap) has calls of these functions end here.  Each does what
** the product's own does unless its fault is on.
*/
#include "fault.h"
#include "protocol/cloud_event_write.h"
#include "protocol/expiry.h"
#include "protocol/response_cache.h"
#include "protocol/topic_pattern.h"
#include "session/ack_queue.h"

#define WRAPPED(type, name, ...)                                               \
  type __real_##name(__VA_ARGS__);                                             \
  type __wrap_##name(__VA_ARGS__)

/* ------------------------------------------------------ response cache -- */

static iotops_text cache_topic(iotops_text topic) {
  return fault_is("cache-key-without-response-topic") ? iotops_text_of("")
                                                      : topic;
}

WRAPPED(cache_entry *, response_cache_find, response_cache *cache,
        iotops_text topic, const uint8_t correlation[CORRELATION_BYTES]) {
  return fault_is("never-cached") ? NULL
                                  : __real_response_cache_find(
                                        cache, cache_topic(topic), correlation);
}

WRAPPED(cache_entry *, response_cache_insert, response_cache *cache,
        iotops_text topic, const uint8_t correlation[CORRELATION_BYTES],
        uint64_t deadline_ms) {
  return __real_response_cache_insert(cache, cache_topic(topic), correlation,
                                      deadline_ms);
}

/* -------------------------------------------------------------- topics -- */

WRAPPED(int, topic_pattern_init, topic_pattern *pattern,
        iotops_context *context, const char *property, iotops_text text,
        iotops_text topic_namespace, const iotops_token *tokens,
        size_t token_count, iotops_error *err) {
  if (fault_is("namespace-not-prepended"))
    topic_namespace = (iotops_text){0};
  if (fault_is("tokens-not-replaced"))
    token_count = 0;
  return __real_topic_pattern_init(pattern, context, property, text,
                                   topic_namespace, tokens, token_count, err);
}

/* -------------------------------------------------------------- expiry -- */

WRAPPED(int, expiry_from_us, int64_t us, const char *property,
        uint32_t *seconds, iotops_error *err) {
  int result = __real_expiry_from_us(us, property, seconds, err);
  if (result == 0 && fault_is("expiry-not-rounded-up"))
    *seconds = (uint32_t)(us / 1000000);
  return result;
}

WRAPPED(uint32_t, expiry_left, uint64_t deadline_ms, uint64_t now_ms) {
  uint32_t left = __real_expiry_left(deadline_ms, now_ms);
  if (left > 0 && fault_is("expiry-not-rounded-up"))
    left = (uint32_t)((deadline_ms - now_ms) / 1000);
  return left;
}

/* -------------------------------------------------------- cloud events -- */

WRAPPED(int, iotops_cloud_event_from, const iotops_user_property *properties,
        size_t count, iotops_text content_type, iotops_cloud_event *event,
        iotops_error *err) {
  int result = __real_iotops_cloud_event_from(properties, count, content_type,
                                              event, err);
  if (result == 0 || !fault_is("cloud-events-unchecked"))
    return result;
  *event = (iotops_cloud_event)IOTOPS_CLOUD_EVENT_INIT;
  return 0;
}

WRAPPED(int, cloud_event_check_user_data, const iotops_user_property *pairs,
        size_t count, iotops_error *err) {
  return fault_is("cloud-event-names-in-user-data")
             ? 0
             : __real_cloud_event_check_user_data(pairs, count, err);
}

/* -------------------------------------------------- acknowledgements -- */

/* Brings a later delivery that is done to the head of the queue. */
static void jump_the_queue(ack_queue *queue) {
  ack_entry *head = &queue->ring[queue->head & (queue->capacity - 1)];
  for (uint32_t i = 1; i < queue->count && head->pending > 0; i++) {
    ack_entry *later = &queue->ring[(queue->head + i) & (queue->capacity - 1)];
    if (later->pending == 0) {
      ack_entry first = *head;
      *head = *later;
      *later = first;
    }
  }
}

WRAPPED(bool, ack_queue_next, ack_queue *queue, uint16_t *packet_id) {
  if (fault_is("acked-out-of-order") && queue->count > 1)
    jump_the_queue(queue);
  return __real_ack_queue_next(queue, packet_id);
}
