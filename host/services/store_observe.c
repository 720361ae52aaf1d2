/*
** store_observe.c -- the public side of observations, and the subscription to
** notifications that they share (services.md section 3.9).
*/
#include <stdio.h>
#include <string.h>

#include "protocol/expiry.h"
#include "services/store_change.h"
#include "services/store_key.h"

/* -------------------------------------------------------- notifications -- */

static void received(void *user, iotops_telemetry_delivery *delivery,
                     const iotops_telemetry *telemetry) {
  iotops_state_store *store = user;
  iotops_store_notification what = {.version = telemetry->timestamp};
  char name[STORE_NOTIFY_KEY_MAX];
  iotops_error err;
  what.key = store_change_key(telemetry->topic, name);
  if (what.key.data == NULL || telemetry->timestamp == NULL ||
      !store_change_read(telemetry->payload.bytes, &what)) {
    iotops_error_set(&err, IOTOPS_INVALID_PAYLOAD,
                     "a key notification is malformed");
    iotops_telemetry_delivery_reject(delivery, &err);
    return;
  }
  store_key *key = store_key_find(store, what.key);
  iotops_telemetry_delivery_done(delivery); /* the next may come */
  if (key == NULL || key->first == NULL)
    iotops_telemetry_delivery_ack(delivery);
  else
    store_key_notify(key, &what, delivery);
}

/* --------------------------------------------------------- subscription -- */

static void for_each_key(iotops_state_store *store,
                         void (*act)(store_key *key)) {
  for (size_t i = 0; i < STORE_BUCKETS; i++)
    for (store_key *key = store->keys[i]; key != NULL; key = key->next)
      act(key);
}

static void subscription_answered(void *user, const iotops_error *err) {
  iotops_state_store *store = user;
  store->subscribing = false;
  if (store->freed) {
    iotops_free(store->context, store);
    return;
  }
  store->subscribed = err == NULL;
  if (err != NULL)
    store->failure = *err;
  for_each_key(store, err == NULL ? store_key_wake : store_key_doom);
}

static void connected(iotops_mqtt_observer *observer) {
  for_each_key(observer->user, store_key_wake);
}

static void disconnected(iotops_mqtt_observer *observer) {
  iotops_state_store *store = observer->user;
  store->epoch++;
  for_each_key(store, store_key_forget);
  if (!store->close_on_disconnect)
    return;
  iotops_error_set(&store->failure, IOTOPS_MQTT_ERROR,
                   "the connection was lost before the key was observed");
  for_each_key(store, store_key_doom);
}

static void session_ended(iotops_mqtt_observer *observer,
                          const iotops_error *err) {
  iotops_state_store *store = observer->user;
  store->epoch++;
  for_each_key(store, store_key_forget);
  if (err != NULL)
    store->failure = *err;
  else
    iotops_error_set(&store->failure, IOTOPS_CANCELLATION,
                     "the session has ended");
  for_each_key(store, store_key_doom);
}

static int make_receiver(iotops_state_store *store, iotops_error *err) {
  static const char head[] = "clients/statestore/v1/" STORE_UUID "/";
  static const char tail[] = "/command/notify/{key}";
  const char *id = iotops_mqtt_client_id(store->client);
  size_t id_size = strlen(id);
  size_t size = sizeof head + 2 * id_size + sizeof tail;
  char *pattern = iotops_resize(store->context, NULL, size);
  if (pattern == NULL)
    return iotops_error_memory(err);
  memcpy(pattern, head, sizeof head - 1);
  char *at = pattern + sizeof head - 1;
  for (size_t i = 0; i < id_size; i++, at += 2)
    snprintf(at, 3, "%02X", (unsigned char)id[i]);
  memcpy(at, tail, sizeof tail);
  iotops_telemetry_receiver_options options =
      IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT;
  options.topic_pattern = iotops_text_of(pattern);
  options.manual_ack = true;
  options.handler = received;
  options.user = store;
  int failed = iotops_telemetry_receiver_new(store->client, &options,
                                             &store->receiver, err);
  iotops_free(store->context, pattern);
  if (failed != 0)
    return -1;
  store->observer.user = store;
  store->observer.connected = connected;
  store->observer.disconnected = disconnected;
  store->observer.ended = session_ended;
  iotops_mqtt_observe(store->client, &store->observer);
  return 0;
}

/* SUBACK must be awaited before the first KEYNOTIFY. */
static int subscribe(iotops_state_store *store, iotops_error *err) {
  if (store->subscribed || store->subscribing)
    return 0;
  if (store->receiver == NULL && make_receiver(store, err) != 0)
    return -1;
  if (iotops_telemetry_receiver_start(store->receiver, subscription_answered,
                                      store, err) != 0)
    return -1;
  store->subscribing = true;
  return 0;
}

void store_observe_close(iotops_state_store *store) {
  if (store->receiver == NULL)
    return;
  iotops_mqtt_unobserve(store->client, &store->observer);
  iotops_telemetry_receiver_free(store->receiver);
  for (size_t i = 0; i < STORE_BUCKETS; i++)
    while (store->keys[i] != NULL)
      store_key_close(store->keys[i]);
}

/* --------------------------------------------------------------- public -- */

static int timeout_of(const iotops_store_options *options, int64_t *timeout_us,
                      iotops_error *err) {
  uint32_t seconds;
  *timeout_us = store_options_of(options).timeout_us;
  return expiry_from_us(*timeout_us, "command_timeout", &seconds, err);
}

int iotops_store_observe(iotops_state_store *store, iotops_text key,
                         const iotops_store_options *options,
                         iotops_store_on_change on_change,
                         iotops_store_on_end on_end, iotops_store_done done,
                         void *user, iotops_store_observation **observation,
                         iotops_error *err) {
  int64_t timeout_us;
  if (store_check_key(key, err) != 0 ||
      timeout_of(options, &timeout_us, err) != 0)
    return -1;
  if (key.size > STORE_NOTIFY_KEY_MAX)
    return iotops_error_configuration(
        err, "key", (iotops_text){NULL, 0},
        "a key of %zu bytes is too long to be observed; at most %d", key.size,
        STORE_NOTIFY_KEY_MAX);
  iotops_store_observation *self = iotops_zalloc(store->context, sizeof *self);
  if (self == NULL)
    return iotops_error_memory(err);
  store_key *entry = store_key_find(store, key);
  if (subscribe(store, err) != 0) {
    iotops_free(store->context, self);
    return -1;
  }
  if (entry == NULL)
    entry = store_key_new(store, key);
  if (entry == NULL) {
    iotops_free(store->context, self);
    return iotops_error_memory(err);
  }
  self->context = store->context;
  self->on_change = on_change;
  self->on_end = on_end;
  self->done = done;
  self->user = user;
  entry->timeout_us = timeout_us;
  store_key_add(entry, self);
  store_key_wake(entry);
  *observation = self;
  return 0;
}

int iotops_store_unobserve(iotops_store_observation *observation,
                           const iotops_store_options *options,
                           iotops_store_done done, void *user,
                           iotops_error *err) {
  store_key *key = observation->key;
  int64_t timeout_us;
  if (timeout_of(options, &timeout_us, err) != 0)
    return -1;
  observation->ended = done;
  observation->ended_user = user;
  if (key != NULL)
    store_key_remove(key, observation);
  if (key != NULL && key->first == NULL) {
    observation->next = key->stopped;
    key->stopped = observation;
    key->timeout_us = timeout_us;
    key->catch_up = false;
    store_key_wake(key);
    if (observation->done == NULL)
      return 0; /* told when the STOP is answered */
  } else {
    observation->over = true;
    observation->closed = false;
    observation->count = key != NULL ? 1 : 0;
  }
  store_observation_report(observation);
  return 0;
}
