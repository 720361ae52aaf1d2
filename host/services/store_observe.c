/*
** Observations (services.md section 3.9).  Each observed key has one
** registration at the store, shared by its observers.  At most one request
** about a key is in flight; when it is answered, what is wanted by then decides
** the next.
*/
#include <stdio.h>
#include <string.h>

#include "services/state_store_fields.h"
#include "services/store_error.h"

enum { KEY_NOTIFY_MAX = 32000 }; /* section 3.12: its topic must fit in MQTT */

struct iotops_store_observation {
  iotops_store_observation *next; /* of the key */
  store_key *key;                 /* NULL once ended */
  iotops_context *context;        /* borrowed */
  iotops_store_on_change on_change;
  iotops_store_on_end on_end;
  iotops_store_done done; /* of observe; NULL once called */
  void *user;
};

/* Who waits for the end of an unobserve. */
typedef struct waiter { /* owned by itself once its task is queued */
  struct waiter *next;
  iotops_context *context;
  iotops_task report;
  iotops_store_done given_up; /* of an observe not yet answered, or NULL */
  void *given_up_user;
  iotops_store_done done; /* may be NULL */
  void *user;
  int count;
  bool failed;
  iotops_error err; /* with failed */
} waiter;

typedef enum key_request {
  NOTHING,
  REGISTERING,
  STOPPING,
  READING
} key_request;

struct store_key {
  store_key *next;
  iotops_context *context;   /* borrowed */
  iotops_state_store *store; /* borrowed; NULL: freed while a request was out */
  iotops_text name;          /* owned, with the struct */
  iotops_store_observation *observations;
  waiter *stopped;     /* to be told when the STOP is answered */
  iotops_task step;    /* advance(), out of the caller's call */
  key_request request; /* in flight */
  bool registered;     /* the store has it */
  bool catch_up;       /* after a reconnect: read the key */
  bool busy;           /* callbacks run; advance() must wait */
  int64_t timeout_us;  /* of the requests, as last asked for */
};

struct iotops_store_change {
  iotops_context *context;
  iotops_telemetry_delivery *delivery; /* NULL: made up after a reconnect */
  size_t holders;
};

static void advance(store_key *key);

/* ------------------------------------------------------------ changes -- */

void iotops_store_change_done(iotops_store_change *change) {
  if (--change->holders > 0)
    return;
  if (change->delivery != NULL)
    iotops_telemetry_delivery_ack(change->delivery);
  iotops_free(change->context, change);
}

/* Hands one change to all observers of the key. */
static void notify(store_key *key, const iotops_store_notification *what,
                   iotops_telemetry_delivery *delivery) {
  iotops_store_change *change = iotops_zalloc(key->context, sizeof *change);
  if (change == NULL) {
    iotops_log(key->context, IOTOPS_LOG_WARN, "state_store",
               "a key notification was dropped: out of memory");
    if (delivery != NULL)
      iotops_telemetry_delivery_ack(delivery);
    return;
  }
  *change = (iotops_store_change){key->context, delivery, 1};
  iotops_store_observation *next;
  for (iotops_store_observation *o = key->observations; o != NULL; o = next) {
    next = o->next;
    change->holders++;
    o->on_change(o->user, change, what);
  }
  iotops_store_change_done(change);
}

static store_key *find_key(iotops_state_store *store, iotops_text name) {
  for (store_key *key = store->keys; key != NULL; key = key->next)
    if (iotops_text_equal(key->name, name))
      return key;
  return NULL;
}

/* Upper or lower case; false for an odd length or another character. */
static bool read_hex(iotops_text text, char *bytes) {
  if (text.size % 2 != 0)
    return false;
  for (size_t i = 0; i < text.size; i++) {
    char c = text.data[i];
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                       : -1;
    if (digit < 0)
      return false;
    if (i % 2 == 0)
      bytes[i / 2] = (char)(digit << 4);
    else
      bytes[i / 2] = (char)(bytes[i / 2] | digit);
  }
  return true;
}

static bool read_change(iotops_text rest, iotops_store_notification *what) {
  resp3_value array;
  iotops_text words[4];
  if (!resp3_read(&rest, &array) || array.type != RESP3_ARRAY ||
      (array.count != 2 && array.count != 4))
    return false;
  for (size_t i = 0; i < array.count; i++) {
    resp3_value word;
    if (!resp3_read(&rest, &word) || word.type != RESP3_BLOB)
      return false;
    words[i] = word.text;
  }
  if (rest.size != 0 || !iotops_text_equal(words[0], iotops_text_of("NOTIFY")))
    return false;
  what->deleted = array.count == 2;
  if (what->deleted)
    return iotops_text_equal(words[1], iotops_text_of("DELETE"));
  what->value = words[3];
  return iotops_text_equal(words[1], iotops_text_of("SET")) &&
         iotops_text_equal(words[2], iotops_text_of("VALUE"));
}

static void received(void *user, iotops_telemetry_delivery *delivery,
                     const iotops_telemetry *telemetry) {
  iotops_state_store *store = user;
  iotops_store_notification what = {.version = telemetry->timestamp};
  iotops_text topic = telemetry->topic;
  const char *slash = memrchr(topic.data, '/', topic.size);
  iotops_text hex = {NULL, 0};
  if (slash != NULL)
    hex =
        (iotops_text){slash + 1, topic.size - (size_t)(slash + 1 - topic.data)};
  char name[KEY_NOTIFY_MAX + 1];
  iotops_error err;
  if (hex.size / 2 > KEY_NOTIFY_MAX || !read_hex(hex, name) ||
      telemetry->timestamp == NULL ||
      !read_change(telemetry->payload.bytes, &what)) {
    iotops_error_set(&err, IOTOPS_INVALID_PAYLOAD,
                     "a key notification is malformed");
    iotops_telemetry_delivery_reject(delivery, &err);
    return;
  }
  what.key = (iotops_text){name, hex.size / 2};
  store_key *key = find_key(store, what.key);
  iotops_telemetry_delivery_done(delivery);
  if (key == NULL || key->observations == NULL)
    iotops_telemetry_delivery_ack(delivery);
  else
    notify(key, &what, delivery);
}

/* --------------------------------------------------------- life of keys -- */

static void step(iotops_task *task) {
  advance(task->user);
}

static store_key *make_key(iotops_state_store *store, iotops_text name) {
  store_key *key = iotops_zalloc(store->context, sizeof *key + name.size);
  if (key == NULL)
    return NULL;
  memcpy(key + 1, name.data, name.size);
  key->name = (iotops_text){(char *)(key + 1), name.size};
  key->context = store->context;
  key->store = store;
  key->step.run = step;
  key->step.user = key;
  key->next = store->keys;
  store->keys = key;
  return key;
}

static void drop_key_if_idle(store_key *key) {
  iotops_state_store *store = key->store;
  if (key->busy || key->request != NOTHING || key->observations != NULL ||
      key->stopped != NULL || key->registered)
    return;
  iotops_task_cancel(key->context, &key->step);
  for (store_key **at = &store->keys; *at != NULL; at = &(*at)->next)
    if (*at == key) {
      *at = key->next;
      break;
    }
  iotops_free(store->context, key);
}

static void tell_observers(store_key *key, const iotops_error *err) {
  iotops_store_result result = {.count = 1};
  iotops_store_observation *next;
  for (iotops_store_observation *o = key->observations; o != NULL; o = next) {
    next = o->next;
    iotops_store_done done = o->done;
    o->done = NULL;
    if (done != NULL)
      done(o->user, err == NULL ? &result : NULL, err);
  }
}

/* A failed registration ends the observations that waited for it. */
static void fail_observers(store_key *key, const iotops_error *err) {
  iotops_store_observation *waiting = key->observations;
  key->observations = NULL;
  while (waiting != NULL) {
    iotops_store_observation *o = waiting;
    waiting = o->next;
    o->key = NULL;
    iotops_store_done done = o->done;
    o->done = NULL;
    if (done != NULL)
      done(o->user, NULL, err);
    else if (o->on_end != NULL)
      o->on_end(o->user);
  }
}

static void report_stopped(iotops_task *task) {
  waiter *one = task->user;
  iotops_store_result result = {.count = one->count};
  iotops_error cancelled;
  if (one->given_up != NULL) {
    iotops_error_set(&cancelled, IOTOPS_CANCELLATION,
                     "the observation was ended before it was registered");
    one->given_up(one->given_up_user, NULL, &cancelled);
  }
  if (one->done != NULL)
    one->done(one->user, one->failed ? NULL : &result,
              one->failed ? &one->err : NULL);
  iotops_free(one->context, one);
}

static void release_waiter(waiter *one, int count, const iotops_error *err) {
  one->count = count;
  one->failed = err != NULL;
  if (err != NULL)
    one->err = *err;
  one->report.run = report_stopped;
  one->report.user = one;
  iotops_task_soon(one->context, &one->report);
}

static void tell_stopped(store_key *key, int count, const iotops_error *err) {
  waiter *next;
  for (waiter *one = key->stopped; one != NULL; one = next) {
    next = one->next;
    release_waiter(one, count, err);
  }
  key->stopped = NULL;
}

/* ------------------------------------------------------------ requests -- */

static void key_answered(void *user, const iotops_response *response,
                         const iotops_error *err);

static int ask(store_key *key, key_request request, iotops_error *err) {
  iotops_text verb = iotops_text_of(request == READING ? "GET" : "KEYNOTIFY");
  iotops_text blobs[] = {verb, key->name, iotops_text_of("STOP")};
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.timeout_us = key->timeout_us;
  if (store_request(key->store, blobs, request == STOPPING ? 3 : 2, &options,
                    false, key_answered, key, err) != 0)
    return -1;
  key->request = request;
  return 0;
}

/* Does what is wanted of the key next, when nothing is in flight for it. */
static void advance(store_key *key) {
  iotops_state_store *store = key->store;
  iotops_error err;
  if (key->busy || key->request != NOTHING || !store->subscribed)
    return;
  key->busy = true;
  int failed = 0;
  if (key->registered)
    tell_observers(key, NULL);
  if (key->observations != NULL && !key->registered)
    failed = ask(key, REGISTERING, &err);
  else if (key->observations != NULL && key->catch_up)
    failed = ask(key, READING, &err);
  else if (key->observations == NULL && key->registered)
    failed = ask(key, STOPPING, &err);
  else if (key->stopped != NULL)
    tell_stopped(key, 0, NULL);
  if (failed != 0) {
    fail_observers(key, &err);
    tell_stopped(key, 0, &err);
    key->registered = false;
  }
  key->busy = false;
  drop_key_if_idle(key);
}

/* After a reconnect: where the key stands, as if it had just changed. */
static void catch_up(store_key *key, const iotops_response *response) {
  resp3_value value;
  iotops_error err;
  iotops_store_notification what = {.key = key->name,
                                    .version = response->timestamp};
  if (!store_read_answer(response, &value, &err) ||
      (value.type != RESP3_BLOB && value.type != RESP3_NULL)) {
    iotops_log(key->context, IOTOPS_LOG_WARN, "state_store",
               "an observed key could not be read after a reconnect");
    return;
  }
  what.deleted = value.type == RESP3_NULL;
  if (!what.deleted)
    what.value = value.text;
  notify(key, &what, NULL);
}

static void registration_answered(store_key *key,
                                  const iotops_response *response,
                                  const iotops_error *err) {
  resp3_value value;
  iotops_error failure;
  if (err == NULL && !store_read_answer(response, &value, &failure))
    err = &failure;
  if (err == NULL &&
      (value.type == RESP3_STRING || value.type == RESP3_NUMBER)) {
    key->registered = true;
    tell_observers(key, NULL);
    return;
  }
  if (err == NULL) {
    store_error_unexpected(&failure, response->payload.bytes);
    err = &failure;
  }
  fail_observers(key, err);
}

static void stop_answered(store_key *key, const iotops_response *response,
                          const iotops_error *err) {
  resp3_value value;
  iotops_error failure;
  key->registered = false;
  if (err == NULL && !store_read_answer(response, &value, &failure))
    err = &failure;
  if (err != NULL)
    tell_stopped(key, 0, err);
  else
    tell_stopped(key, value.type == RESP3_STRING ? 1 : 0, NULL);
}

static void key_answered(void *user, const iotops_response *response,
                         const iotops_error *err) {
  store_key *key = user;
  key_request request = key->request;
  key->request = NOTHING;
  if (key->store == NULL) {
    iotops_free(key->context, key);
    return;
  }
  key->busy = true;
  if (request == REGISTERING)
    registration_answered(key, response, err);
  else if (request == STOPPING)
    stop_answered(key, response, err);
  else {
    key->catch_up = false;
    if (err == NULL && key->observations != NULL)
      catch_up(key, response);
  }
  key->busy = false;
  advance(key);
}

/* -------------------------------------------------------- subscription -- */

static void subscription_answered(void *user, const iotops_error *err) {
  iotops_state_store *store = user;
  store->subscribing = false;
  store->subscribed = err == NULL;
  store_key *next;
  for (store_key *key = store->keys; key != NULL; key = next) {
    next = key->next;
    if (err == NULL) {
      advance(key);
      continue;
    }
    key->busy = true;
    fail_observers(key, err);
    tell_stopped(key, 0, NULL);
    key->busy = false;
    drop_key_if_idle(key);
  }
}

static void connected(iotops_mqtt_observer *observer) {
  iotops_state_store *store = observer->user;
  if (!store->was_connected) {
    store->was_connected = true;
    return;
  }
  /* The store forgets registrations when a connection ends (N4). */
  store_key *next;
  for (store_key *key = store->keys; key != NULL; key = next) {
    next = key->next;
    key->registered = false;
    key->catch_up = true;
    advance(key);
  }
}

static void disconnected(iotops_mqtt_observer *observer) {
  iotops_state_store *store = observer->user;
  if (!store->close_on_disconnect)
    return;
  iotops_error err;
  iotops_error_set(&err, IOTOPS_MQTT_ERROR,
                   "the connection was lost before the key was observed");
  store_key *next;
  for (store_key *key = store->keys; key != NULL; key = next) {
    next = key->next;
    key->registered = false;
    bool was_busy = key->busy;
    key->busy = true;
    fail_observers(key, &err);
    key->busy = was_busy;
    advance(key);
  }
}

static int make_receiver(iotops_state_store *store, iotops_error *err) {
  const char *id = iotops_mqtt_client_id(store->client);
  size_t id_size = strlen(id);
  static const char head[] = "clients/statestore/v1/" STORE_UUID "/";
  static const char tail[] = "/command/notify/{key}";
  size_t size = sizeof head + 2 * id_size + sizeof tail;
  char *pattern = iotops_resize(store->context, NULL, size);
  if (pattern == NULL)
    return iotops_error_memory(err);
  char *at = pattern + snprintf(pattern, size, "%s", head);
  for (size_t i = 0; i < id_size; i++)
    at += snprintf(at, 3, "%02X", (unsigned char)id[i]);
  snprintf(at, size - (size_t)(at - pattern), "%s", tail);
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
  store->was_connected = iotops_mqtt_is_connected(store->client);
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
  while (store->keys != NULL) {
    store_key *key = store->keys;
    store->keys = key->next;
    for (iotops_store_observation *o = key->observations; o != NULL;
         o = o->next)
      o->key = NULL;
    tell_stopped(key, 0, NULL);
    iotops_task_cancel(key->context, &key->step);
    key->store = NULL;
    if (key->request == NOTHING)
      iotops_free(key->context, key);
  }
}

/* -------------------------------------------------------------- public -- */

static int64_t timeout_of(const iotops_store_options *options) {
  iotops_store_options defaults = IOTOPS_STORE_OPTIONS_INIT;
  return options != NULL ? options->timeout_us : defaults.timeout_us;
}

int iotops_store_observe(iotops_state_store *store, iotops_text key,
                         const iotops_store_options *options,
                         iotops_store_on_change on_change,
                         iotops_store_on_end on_end, iotops_store_done done,
                         void *user, iotops_store_observation **observation,
                         iotops_error *err) {
  if (store_check_key(key, err) != 0)
    return -1;
  if (key.size > KEY_NOTIFY_MAX)
    return iotops_error_configuration(
        err, "key", (iotops_text){NULL, 0},
        "a key of %zu bytes is too long to be observed; at most %d", key.size,
        KEY_NOTIFY_MAX);
  if (subscribe(store, err) != 0)
    return -1;
  iotops_store_observation *self = iotops_zalloc(store->context, sizeof *self);
  store_key *entry = find_key(store, key);
  if (entry == NULL && self != NULL)
    entry = make_key(store, key);
  if (entry == NULL || self == NULL) {
    iotops_free(store->context, self);
    return iotops_error_memory(err);
  }
  *self = (iotops_store_observation){entry->observations,
                                     entry,
                                     store->context,
                                     on_change,
                                     on_end,
                                     done,
                                     user};
  entry->observations = self;
  entry->timeout_us = timeout_of(options);
  *observation = self;
  iotops_task_soon(store->context, &entry->step);
  return 0;
}

int iotops_store_unobserve(iotops_store_observation *observation,
                           const iotops_store_options *options,
                           iotops_store_done done, void *user,
                           iotops_error *err) {
  store_key *key = observation->key;
  iotops_context *context = observation->context;
  waiter *one = iotops_zalloc(context, sizeof *one);
  if (one == NULL)
    return iotops_error_memory(err);
  one->context = context;
  one->given_up = observation->done;
  one->given_up_user = observation->user;
  one->done = done;
  one->user = user;
  if (key != NULL) {
    iotops_store_observation **at = &key->observations;
    while (*at != observation)
      at = &(*at)->next;
    *at = observation->next;
  }
  iotops_free(context, observation);
  if (key == NULL || key->observations != NULL) {
    release_waiter(one, key != NULL, NULL);
    return 0;
  }
  one->next = key->stopped;
  key->stopped = one;
  key->timeout_us = timeout_of(options);
  iotops_task_soon(context, &key->step);
  return 0;
}
