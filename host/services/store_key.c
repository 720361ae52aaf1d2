#include "services/store_key.h"

#include <string.h>

#include "services/store_error.h"

enum { RETRY_MS = 1000 }; /* between failed attempts to register or read */

static const char component[] = "state_store";

/* ---------------------------------------------------------------- table -- */

static size_t bucket_of(iotops_text name) {
  uint32_t hash = 2166136261U;
  for (size_t i = 0; i < name.size; i++)
    hash = (hash ^ (uint8_t)name.data[i]) * 16777619U;
  return (hash ^ hash >> 16) % STORE_BUCKETS;
}

store_key *store_key_find(const iotops_state_store *store, iotops_text name) {
  store_key *key = store->keys[bucket_of(name)];
  while (key != NULL && !iotops_text_equal(key->name, name))
    key = key->next;
  return key;
}

static void advance(store_key *key);

static void unlink_key(store_key *key) {
  store_key **at = &key->store->keys[bucket_of(key->name)];
  while (*at != key)
    at = &(*at)->next;
  *at = key->next;
}

static void hold(store_key *key) {
  key->holds++;
}

static bool is_idle(const store_key *key) {
  if (key->request != STORE_KEY_IDLE)
    return false;
  return key->store == NULL ||
         (key->first == NULL && key->stopped == NULL && !key->registered &&
          !key->unsure && !key->step.queued);
}

/* Frees the key when nobody needs it any more. */
static void release(store_key *key) {
  if (--key->holds > 0 || !is_idle(key))
    return;
  if (key->store != NULL)
    unlink_key(key);
  iotops_timer_stop(key->context, &key->retry);
  iotops_free(key->context, key);
}

static void step(iotops_task *task) {
  store_key *key = task->user;
  hold(key);
  advance(key);
  release(key);
}

static void retry(iotops_timer *timer) {
  store_key *key = timer->user;
  hold(key);
  advance(key);
  release(key);
}

store_key *store_key_new(iotops_state_store *store, iotops_text name) {
  store_key *key = iotops_zalloc(store->context, sizeof *key + name.size);
  if (key == NULL)
    return NULL;
  size_t bucket = bucket_of(name);
  memcpy(key + 1, name.data, name.size);
  key->name = (iotops_text){(char *)(key + 1), name.size};
  key->context = store->context;
  key->store = store;
  key->step.run = step;
  key->retry.fire = retry;
  key->step.user = key->retry.user = key;
  key->next = store->keys[bucket];
  store->keys[bucket] = key;
  return key;
}

void store_key_wake(store_key *key) {
  iotops_task_soon(key->context, &key->step);
}

static void wake_later(store_key *key) {
  iotops_timer_start(key->context, &key->retry, RETRY_MS);
}

/* --------------------------------------------------------- observations -- */

void store_key_add(store_key *key, iotops_store_observation *observation) {
  observation->key = key;
  if (key->last != NULL)
    key->last->next = observation;
  else
    key->first = observation;
  key->last = observation;
}

void store_key_remove(store_key *key, iotops_store_observation *observation) {
  iotops_store_observation *previous = NULL;
  for (store_cursor *c = key->cursors; c != NULL; c = c->outer)
    if (c->next == observation)
      c->next = observation->next;
  if (key->first != observation) {
    previous = key->first;
    while (previous->next != observation)
      previous = previous->next;
    previous->next = observation->next;
  } else {
    key->first = observation->next;
  }
  if (key->last == observation)
    key->last = previous;
  observation->next = NULL;
  observation->key = NULL;
}

static iotops_store_observation *walk(store_key *key, store_cursor *cursor) {
  *cursor = (store_cursor){key->first, key->cursors};
  key->cursors = cursor;
  return key->first;
}

static iotops_store_observation *next_of(store_cursor *cursor) {
  iotops_store_observation *observation = cursor->next;
  if (observation != NULL)
    cursor->next = observation->next;
  return observation;
}

static void end_walk(store_key *key, const store_cursor *cursor) {
  key->cursors = cursor->outer;
}

static void tell_cancelled(iotops_store_done done, void *user,
                           const char *why) {
  iotops_error err;
  iotops_error_set(&err, IOTOPS_CANCELLATION, "%s", why);
  if (done != NULL)
    done(user, NULL, &err);
}

/* Tells how an unobserve ended, and frees the observation. */
static void end_observation(iotops_store_observation *observation, int count,
                            const iotops_error *err) {
  iotops_store_observation was = *observation;
  iotops_store_result result = {.count = count};
  iotops_task_cancel(was.context, &observation->report);
  iotops_free(was.context, observation);
  tell_cancelled(was.done, was.user,
                 "the observation was ended before it was registered");
  if (was.ended != NULL && !was.closed)
    was.ended(was.ended_user, err == NULL ? &result : NULL, err);
  else
    tell_cancelled(was.ended, was.ended_user, "the state store was closed");
}

static void report(iotops_task *task) {
  iotops_store_observation *observation = task->user;
  if (observation->over) {
    end_observation(observation, observation->count, NULL);
    return;
  }
  iotops_store_done done = observation->done;
  observation->done = NULL;
  tell_cancelled(done, observation->user,
                 observation->closed
                     ? "the state store was closed"
                     : "the observation was ended before it was registered");
}

void store_observation_report(iotops_store_observation *observation) {
  observation->report.run = report;
  observation->report.user = observation;
  iotops_task_soon(observation->context, &observation->report);
}

static void tell_stopped(store_key *key, int count, const iotops_error *err) {
  iotops_store_observation *next = key->stopped;
  key->stopped = NULL;
  while (next != NULL) { /* nobody else can reach these any more */
    iotops_store_observation *observation = next;
    next = observation->next;
    end_observation(observation, count, err);
  }
}

static bool is_waiting(const iotops_store_observation *observation) {
  return observation->done != NULL;
}

static bool is_doomed(const iotops_store_observation *observation) {
  return observation->doomed;
}

static iotops_store_observation *
first_that(const store_key *key,
           bool (*is)(const iotops_store_observation *observation)) {
  iotops_store_observation *observation = key->first;
  while (observation != NULL && !is(observation))
    observation = observation->next;
  return observation;
}

static void tell_registered(store_key *key) {
  iotops_store_result result = {.count = 1};
  iotops_store_observation *observation;
  store_cursor cursor;
  walk(key, &cursor);
  while ((observation = next_of(&cursor)) != NULL) {
    iotops_store_done done = observation->done;
    observation->done = NULL;
    if (done != NULL)
      done(observation->user, &result, NULL);
  }
  end_walk(key, &cursor);
}

static void fail_doomed(store_key *key, const iotops_error *err) {
  iotops_store_observation *observation;
  while ((observation = first_that(key, is_doomed)) != NULL) {
    iotops_store_done done = observation->done;
    store_key_remove(key, observation);
    observation->done = NULL;
    if (done != NULL)
      done(observation->user, NULL, err);
    else if (observation->on_end != NULL)
      observation->on_end(observation->user);
  }
}

void store_key_doom(store_key *key) {
  for (iotops_store_observation *o = key->first; o != NULL; o = o->next)
    o->doomed = true;
  key->catch_up = false;
  store_key_wake(key);
}

/* -------------------------------------------------------------- changes -- */

struct iotops_store_change {
  iotops_context *context;
  iotops_telemetry_delivery *delivery; /* NULL: made up after a reconnect */
  size_t holders;
};

void iotops_store_change_done(iotops_store_change *change) {
  if (--change->holders > 0)
    return;
  if (change->delivery != NULL)
    iotops_telemetry_delivery_ack(change->delivery);
  iotops_free(change->context, change);
}

void store_key_notify(store_key *key, const iotops_store_notification *what,
                      iotops_telemetry_delivery *delivery) {
  iotops_store_observation *observation;
  store_cursor cursor;
  iotops_store_change *change = iotops_zalloc(key->context, sizeof *change);
  if (change == NULL) {
    iotops_log(key->context, IOTOPS_LOG_WARN, component,
               "out of memory for a key notification; the key is read again");
    if (delivery != NULL)
      iotops_telemetry_delivery_ack(delivery);
    key->catch_up = true;
    wake_later(key);
    return;
  }
  key->heard = true;
  *change = (iotops_store_change){key->context, delivery, 1};
  hold(key);
  walk(key, &cursor);
  while ((observation = next_of(&cursor)) != NULL) {
    change->holders++;
    observation->on_change(observation->user, change, what);
  }
  end_walk(key, &cursor);
  iotops_store_change_done(change);
  release(key);
}

/* ------------------------------------------------------------- requests -- */

static void key_answered(void *user, const iotops_response *response,
                         const iotops_error *err);

static int ask(store_key *key, store_key_request request, iotops_error *err) {
  bool reads = request == STORE_KEY_READING;
  iotops_text verb = iotops_text_of(reads ? "GET" : "KEYNOTIFY");
  iotops_text blobs[] = {verb, key->name, iotops_text_of("STOP")};
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.timeout_us = key->timeout_us;
  key->request = request;
  key->epoch = key->store->epoch;
  key->heard = false;
  if (reads)
    key->catch_up = false;
  if (request == STORE_KEY_STOPPING) { /* who comes now must register */
    key->registered = false;
    key->unsure = true;
  }
  if (store_request(key->store, blobs, request == STORE_KEY_STOPPING ? 3 : 2,
                    &options, STORE_READS, key_answered, key, err) == 0)
    return 0;
  key->request = STORE_KEY_IDLE;
  return -1;
}

/* A refusal lasts; what else can go wrong passes. */
static bool passes(const iotops_error *err) {
  return err->kind != IOTOPS_SERVICE_ERROR &&
         err->kind != IOTOPS_UNEXPECTED_PAYLOAD;
}

/*
** Those who wait for the registration are told.  Those who had one before the
** connection was lost keep waiting for what passes; else they are ended.
*/
static void registration_failed(store_key *key, const iotops_error *err) {
  bool again = passes(err);
  for (iotops_store_observation *o = key->first; o != NULL; o = o->next)
    o->doomed = o->doomed || is_waiting(o) || !again;
  key->unsure = again;
  key->store->failure = *err;
  fail_doomed(key, &key->store->failure);
  if (key->first == NULL)
    return;
  iotops_log(key->context, IOTOPS_LOG_WARN, component,
             "an observed key could not be registered again: %s", err->message);
  wake_later(key);
}

static void registration_answered(store_key *key,
                                  const iotops_response *response,
                                  const resp3_value *value) {
  bool is_ok = value->type == RESP3_STRING &&
               iotops_text_equal(value->text, iotops_text_of("OK"));
  bool was_already = value->type == RESP3_NUMBER && value->number == 0;
  if (is_ok || was_already) {
    /* One of an earlier connection is forgotten with it. */
    key->registered = key->epoch == key->store->epoch;
    return;
  }
  iotops_error failure;
  store_error_unexpected(&failure, response->payload.bytes);
  registration_failed(key, &failure);
}

static void stop_answered(store_key *key, const iotops_response *response,
                          const resp3_value *value) {
  bool is_ok = value->type == RESP3_STRING &&
               iotops_text_equal(value->text, iotops_text_of("OK"));
  iotops_error failure;
  key->registered = key->unsure = false;
  if (is_ok || (value->type == RESP3_NUMBER && value->number == 0)) {
    tell_stopped(key, is_ok ? 1 : 0, NULL);
    return;
  }
  store_error_unexpected(&failure, response->payload.bytes);
  tell_stopped(key, 0, &failure);
}

static void reading_failed(store_key *key, const iotops_error *err) {
  iotops_log(key->context, IOTOPS_LOG_WARN, component,
             "an observed key could not be read after a reconnect: %s",
             err->message);
  key->catch_up = passes(err);
  if (key->catch_up)
    wake_later(key);
}

/*
** Where the key stands, as if it had just changed; not when a change was
** heard meanwhile, which may be later than what was read.
*/
static void reading_answered(store_key *key, const iotops_response *response,
                             const resp3_value *value) {
  iotops_store_notification what = {.key = key->name};
  iotops_error failure;
  if (value->type != RESP3_BLOB && value->type != RESP3_NULL) {
    store_error_unexpected(&failure, response->payload.bytes);
    reading_failed(key, &failure);
    return;
  }
  if (key->heard || key->first == NULL)
    return;
  what.deleted = value->type == RESP3_NULL;
  if (!what.deleted) {
    what.value = value->text;
    what.version = response->timestamp;
  }
  store_key_notify(key, &what, NULL);
}

static void request_failed(store_key *key, store_key_request request,
                           const iotops_error *err) {
  if (request == STORE_KEY_REGISTERING) {
    registration_failed(key, err);
  } else if (request == STORE_KEY_READING) {
    reading_failed(key, err);
  } else {
    key->registered = key->unsure = false;
    tell_stopped(key, 0, err);
  }
}

static void key_answered(void *user, const iotops_response *response,
                         const iotops_error *err) {
  store_key *key = user;
  store_key_request request = key->request;
  iotops_error failure;
  resp3_value value;
  hold(key);
  key->request = STORE_KEY_IDLE;
  if (key->store != NULL) {
    if (err == NULL && !store_read_answer(response, &value, &failure))
      err = &failure;
    if (err != NULL)
      request_failed(key, request, err);
    else if (request == STORE_KEY_REGISTERING)
      registration_answered(key, response, &value);
    else if (request == STORE_KEY_STOPPING)
      stop_answered(key, response, &value);
    else
      reading_answered(key, response, &value);
    advance(key);
  }
  release(key);
}

/* What the key needs of the store now; idle: nothing, or not yet. */
static store_key_request wanted(const store_key *key) {
  iotops_state_store *store = key->store;
  if (key->request != STORE_KEY_IDLE || !store->subscribed)
    return STORE_KEY_IDLE;
  if (key->first == NULL)
    return key->registered || key->unsure ? STORE_KEY_STOPPING : STORE_KEY_IDLE;
  /* Who waits for an answer asks at once; others when it may be answered. */
  if (first_that(key, is_waiting) == NULL &&
      (key->retry.running || !iotops_mqtt_is_connected(store->client)))
    return STORE_KEY_IDLE;
  if (!key->registered)
    return STORE_KEY_REGISTERING;
  return key->catch_up ? STORE_KEY_READING : STORE_KEY_IDLE;
}

static void advance(store_key *key) {
  while (key->store != NULL) {
    bool has_it = key->registered || key->unsure;
    if (first_that(key, is_doomed) != NULL) {
      fail_doomed(key, &key->store->failure);
      continue;
    }
    if (key->registered && first_that(key, is_waiting) != NULL) {
      tell_registered(key);
      continue;
    }
    if (key->stopped != NULL && key->request != STORE_KEY_STOPPING &&
        (key->first != NULL || (!has_it && key->request == STORE_KEY_IDLE))) {
      tell_stopped(key, key->first != NULL ? 1 : 0, NULL);
      continue;
    }
    store_key_request request = wanted(key);
    iotops_error err;
    if (request == STORE_KEY_IDLE || ask(key, request, &err) == 0)
      return;
    request_failed(key, request, &err);
  }
}

/* ----------------------------------------------------------------- ends -- */

void store_key_forget(store_key *key) {
  key->catch_up = key->catch_up || key->registered;
  key->registered = key->unsure = false;
  iotops_timer_stop(key->context, &key->retry);
}

void store_key_close(store_key *key) {
  hold(key);
  iotops_task_cancel(key->context, &key->step);
  iotops_timer_stop(key->context, &key->retry);
  unlink_key(key);
  key->store = NULL;
  while (key->first != NULL) {
    iotops_store_observation *observation = key->first;
    store_key_remove(key, observation);
    observation->closed = true;
    if (observation->done != NULL)
      store_observation_report(observation);
  }
  while (key->stopped != NULL) {
    iotops_store_observation *observation = key->stopped;
    key->stopped = observation->next;
    observation->over = observation->closed = true;
    store_observation_report(observation);
  }
  release(key);
}
