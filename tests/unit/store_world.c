#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store_world.h"

store_world stores;

int store_world_make(bool close_on_disconnect) {
  iotops_state_store_options options = IOTOPS_STATE_STORE_OPTIONS_INIT;
  options.close_on_disconnect = close_on_disconnect;
  return iotops_state_store_new(&world.stub->client, &options, &stores.store,
                                NULL);
}

int store_world_open(void **state) {
  (void)state;
  memset(&stores, 0, sizeof stores);
  if (command_world_open() != 0)
    return -1;
  world.stub->automatic = true;
  return store_world_make(false);
}

int store_world_close(void **state) {
  (void)state;
  iotops_state_store_free(stores.store);
  return command_world_close();
}

void note_store_end(void *user, const iotops_store_result *result,
                    const iotops_error *err) {
  (void)user;
  if (stores.end_count == STORE_ENDS_MAX || (result != NULL) == (err != NULL))
    abort();
  store_end *end = &stores.ends[stores.end_count++];
  *end = (store_end){.failed = err != NULL};
  if (err != NULL) {
    end->err = *err;
    return;
  }
  end->count = result->count;
  end->has_value = result->value.data != NULL;
  if (end->has_value)
    snprintf(end->value, sizeof end->value, "%.*s", (int)result->value.size,
             result->value.data);
  if (result->version != NULL)
    iotops_hlc_format(result->version, end->version);
}

const store_end *last_end(void) {
  assert_true(stores.end_count > 0);
  return &stores.ends[stores.end_count - 1];
}

void assert_ended(size_t n, int count) {
  assert_int_equal(stores.end_count, n);
  if (last_end()->failed)
    fail_msg("%s", last_end()->err.message);
  assert_int_equal(last_end()->count, count);
}

void assert_failed(size_t n, iotops_error_kind kind) {
  assert_int_equal(stores.end_count, n);
  assert_true(last_end()->failed);
  assert_int_equal(last_end()->err.kind, kind);
}

iotops_text asked(size_t n) {
  return published(n)->payload;
}

void assert_asked(size_t n, const char *bytes) {
  iotops_text payload = asked(n);
  if (payload.size != strlen(bytes) ||
      memcmp(payload.data, bytes, payload.size) != 0)
    fail_msg("request %zu is %.*s", n, (int)payload.size, payload.data);
}

void answer_text(size_t n, iotops_text payload, const char *stamp) {
  const iotops_message *request = published(n);
  iotops_message response = IOTOPS_MESSAGE_INIT;
  iotops_user_property pairs[] = {
      {iotops_text_of("__stat"), iotops_text_of("200")},
      {iotops_text_of("__ts"), iotops_text_of(stamp)}};
  response.topic = request->response_topic;
  response.correlation_data = request->correlation_data;
  response.payload = payload;
  response.qos = 1;
  response.packet_id = 60000;
  response.user_properties = pairs;
  response.user_property_count = stamp == NULL ? 1 : 2;
  stub_deliver(world.stub, &response);
  settle_down();
}

void answer(size_t n, const char *payload, const char *stamp) {
  answer_text(n, iotops_text_of(payload), stamp);
}

void notify_topic(const char *topic, iotops_text payload, const char *stamp,
                  uint16_t packet_id) {
  iotops_message message = IOTOPS_MESSAGE_INIT;
  iotops_user_property pair = {iotops_text_of("__ts"), iotops_text_of(stamp)};
  message.topic = iotops_text_of(topic);
  message.payload = payload;
  message.qos = 1;
  message.packet_id = packet_id;
  message.user_properties = &pair;
  message.user_property_count = stamp == NULL ? 0 : 1;
  stub_deliver(world.stub, &message);
  settle_down();
}

void notify(const char *hex_key, const char *payload, const char *stamp,
            uint16_t packet_id) {
  char topic[256];
  snprintf(topic, sizeof topic, NOTIFY_TOPIC "%s", hex_key);
  notify_topic(topic, iotops_text_of(payload), stamp, packet_id);
}

void lose_connection(void) {
  world.stub->connected = false;
  stub_disconnect(world.stub);
  for (iotops_mqtt_observer *o = world.stub->observers; o != NULL; o = o->next)
    if (o->disconnected != NULL)
      o->disconnected(o);
  settle_down();
}

void regain_connection(void) {
  world.stub->connected = true;
  for (iotops_mqtt_observer *o = world.stub->observers; o != NULL; o = o->next)
    if (o->connected != NULL)
      o->connected(o);
  settle_down();
}
