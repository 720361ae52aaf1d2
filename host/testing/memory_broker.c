#include "testing/memory_broker.h"

#include <string.h>

#include "testing/memory_client.h"

/* --------------------------------------------------------------- life -- */

memory_broker *memory_broker_new(iotops_context *context) {
  memory_broker *broker = iotops_zalloc(context, sizeof *broker);
  if (broker != NULL)
    broker->context = context;
  return broker;
}

static void free_rules(memory_broker *broker, memory_rule *rule) {
  while (rule != NULL) {
    memory_rule *next = rule->next;
    iotops_free(broker->context, rule);
    rule = next;
  }
}

void memory_broker_free(memory_broker *broker) {
  if (broker == NULL)
    return;
  iotops_context *context = broker->context;
  while (broker->clients != NULL) {
    memory_client *client = broker->clients;
    broker->clients = client->next;
    memory_client_free(client);
  }
  for (size_t i = 0; i < broker->publish_count; i++) {
    iotops_free(context, broker->publishes[i]->message);
    iotops_free(context, broker->publishes[i]);
  }
  iotops_free(context, broker->publishes);
  iotops_free(context, broker->retained);
  free_rules(broker, broker->rules);
  iotops_free(context, broker);
}

iotops_mqtt_client *memory_broker_client(memory_broker *broker,
                                         const char *id) {
  memory_client **last = &broker->clients;
  for (; *last != NULL; last = &(*last)->next)
    if (strcmp((*last)->id, id) == 0)
      return &(*last)->base;
  memory_client *made = memory_client_new(broker, id);
  *last = made;
  return made != NULL ? &made->base : NULL;
}

int memory_broker_refuse(memory_broker *broker, iotops_text filter,
                         uint8_t reason_code) {
  memory_rule *rule = broker->rules;
  while (rule != NULL &&
         !iotops_text_equal(iotops_text_of(rule->filter), filter))
    rule = rule->next;
  if (rule == NULL) {
    rule = iotops_zalloc(broker->context, sizeof *rule + filter.size + 1);
    if (rule == NULL)
      return -1;
    memcpy(rule->filter, filter.data, filter.size);
    rule->next = broker->rules;
    broker->rules = rule;
  }
  rule->reason_code = reason_code;
  return 0;
}

uint8_t memory_broker_ruling(const memory_broker *broker, iotops_text topic) {
  for (const memory_rule *rule = broker->rules; rule != NULL; rule = rule->next)
    if (rule->reason_code != 0 &&
        (iotops_text_equal(iotops_text_of(rule->filter), topic) ||
         iotops_topic_filter_matches(iotops_text_of(rule->filter), topic)))
      return rule->reason_code;
  return 0;
}

/* ------------------------------------------------------------- looking -- */

size_t memory_broker_count(const memory_broker *broker) {
  return broker->publish_count;
}

const memory_publish *memory_broker_nth(const memory_broker *broker, size_t n) {
  return n < broker->publish_count ? broker->publishes[n] : NULL;
}

bool memory_broker_subscription(const memory_broker *broker, size_t n,
                                const char **client, const char **filter,
                                uint8_t *qos) {
  for (const memory_client *at = broker->clients; at != NULL; at = at->next)
    for (const memory_subscription *s = at->subscriptions; s != NULL;
         s = s->next)
      if (n-- == 0) {
        *client = at->id;
        *filter = s->filter;
        *qos = s->options.qos;
        return true;
      }
  return false;
}

bool memory_broker_flooded(memory_broker *broker) {
  if (!broker->flooded)
    broker->since = 0;
  return broker->flooded;
}

/* ------------------------------------------------------------- routing -- */

static void *grow(iotops_context *context, void *array, size_t count,
                  size_t *capacity, size_t size) {
  if (count < *capacity)
    return array;
  size_t larger = *capacity == 0 ? 64 : *capacity * 2;
  void *moved = iotops_resize(context, array, larger * size);
  if (moved != NULL)
    *capacity = larger;
  return moved;
}

static memory_publish *note(memory_broker *broker, const memory_client *from,
                            iotops_message *message) {
  memory_publish *made = iotops_zalloc(broker->context, sizeof *made);
  memory_publish **array =
      grow(broker->context, broker->publishes, broker->publish_count,
           &broker->publish_capacity, sizeof(memory_publish *));
  if (array != NULL)
    broker->publishes = array;
  if (made == NULL || array == NULL) {
    iotops_free(broker->context, made);
    return NULL;
  }
  made->message = message;
  made->from = from->id;
  made->wall_ms = iotops_wall_ms(broker->context);
  broker->publishes[broker->publish_count++] = made;
  return made;
}

/* A retained message replaces the topic's last one; an empty one clears. */
static bool retain(memory_broker *broker, const memory_publish *publish) {
  for (size_t i = 0; i < broker->retained_count; i++) {
    if (!iotops_text_equal(broker->retained[i]->message->topic,
                           publish->message->topic))
      continue;
    broker->retained[i] = publish->message->payload.size > 0
                              ? publish
                              : broker->retained[--broker->retained_count];
    return true;
  }
  if (publish->message->payload.size == 0)
    return true;
  const memory_publish **array =
      grow(broker->context, broker->retained, broker->retained_count,
           &broker->retained_capacity, sizeof(memory_publish *));
  if (array == NULL)
    return false;
  broker->retained = array;
  array[broker->retained_count++] = publish;
  return true;
}

static bool is_shared(const char *filter) {
  return strncmp(filter, "$share/", 7) == 0;
}

static bool wants(const memory_client *client, const memory_subscription *s,
                  const memory_client *from, const iotops_message *message) {
  return iotops_topic_filter_matches(iotops_text_of(s->filter),
                                     message->topic) &&
         !(s->options.no_local && client == from);
}

/* The n-th member of a group; NULL: there are not so many. */
static memory_client *member(const memory_broker *broker, const char *filter,
                             bool connected, size_t n,
                             memory_subscription **by) {
  for (memory_client *at = broker->clients; at != NULL; at = at->next)
    for (memory_subscription *s = at->subscriptions; s != NULL; s = s->next)
      if (strcmp(s->filter, filter) == 0 && (at->connected || !connected) &&
          n-- == 0) {
        *by = s;
        return at;
      }
  return NULL;
}

/* To one of the members of a group, each in turn; connected ones first. */
static bool give_to_group(memory_broker *broker, const char *filter,
                          memory_publish *publish) {
  memory_subscription *by = NULL;
  bool connected = member(broker, filter, true, 0, &by) != NULL;
  size_t members = 0;
  while (member(broker, filter, connected, members, &by) != NULL)
    members++;
  if (members == 0)
    return true;
  memory_client *chosen =
      member(broker, filter, connected, broker->turn++ % members, &by);
  return memory_client_give(chosen, publish, by, false);
}

/* Whether `s` is the first subscription of all with its filter. */
static bool is_first(const memory_broker *broker,
                     const memory_subscription *sought) {
  for (const memory_client *at = broker->clients; at != NULL; at = at->next)
    for (const memory_subscription *s = at->subscriptions; s != NULL;
         s = s->next)
      if (strcmp(s->filter, sought->filter) == 0)
        return s == sought;
  return true;
}

static bool hand_out(memory_broker *broker, const memory_client *from,
                     memory_publish *publish, size_t *given) {
  for (memory_client *at = broker->clients; at != NULL; at = at->next) {
    const memory_subscription *best = NULL;
    for (memory_subscription *s = at->subscriptions; s != NULL; s = s->next) {
      if (!wants(at, s, from, publish->message))
        continue;
      if (!is_shared(s->filter)) {
        if (best == NULL || s->options.qos > best->options.qos)
          best = s;
      } else if (is_first(broker, s)) {
        if (!give_to_group(broker, s->filter, publish))
          return false;
        ++*given;
      }
    }
    if (best == NULL)
      continue;
    if (!memory_client_give(at, publish, best, false))
      return false;
    ++*given;
  }
  return true;
}

int memory_broker_route(memory_broker *broker, const memory_client *from,
                        iotops_message *message, uint8_t *reason_code) {
  size_t given = 0;
  memory_publish *publish = note(broker, from, message);
  if (publish == NULL) {
    iotops_free(broker->context, message);
    return -1;
  }
  if (++broker->since > MEMORY_BROKER_FLOOD)
    broker->flooded = true;
  publish->reason_code = memory_broker_ruling(broker, message->topic);
  if (publish->reason_code == 0) {
    if ((message->retain && !retain(broker, publish)) ||
        !hand_out(broker, from, publish, &given))
      return -1;
    if (given == 0 && message->qos > 0)
      publish->reason_code = MEMORY_NO_SUBSCRIBER;
  }
  *reason_code = publish->reason_code;
  return 0;
}

bool memory_broker_give_retained(memory_client *client,
                                 const memory_subscription *subscription) {
  memory_broker *broker = client->broker;
  for (size_t i = 0; i < broker->retained_count; i++) {
    memory_publish *publish = (memory_publish *)broker->retained[i];
    if (wants(client, subscription, NULL, publish->message) &&
        !memory_client_give(client, publish, subscription, true))
      return false;
  }
  return true;
}
