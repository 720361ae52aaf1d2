/* test_memory_broker.c -- the broker that tests of scripts run on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "testing/memory_broker.h"
#include "virtual_time.h"

enum { NOTES = 64 };

typedef struct heard {
  iotops_mqtt_client *client;
  char payload[16];
  bool dup;
  iotops_ack ack;
} heard;

static virtual_time *now;
static memory_broker *broker;
static heard notes[NOTES];
static size_t note_count;
static unsigned ended, failed;
static uint8_t last_reason;

static int open_world(void **state) {
  (void)state;
  now = virtual_time_new();
  broker = memory_broker_new(now->context);
  note_count = ended = failed = 0;
  return broker == NULL ? -1 : 0;
}

static int close_world(void **state) {
  (void)state;
  iotops_context_drain(now->context);
  memory_broker_free(broker);
  return virtual_time_free(now) == 0 ? 0 : -1;
}

static void done(void *user, const iotops_mqtt_result *result) {
  (void)user;
  ended++;
  failed += result->error != NULL;
  last_reason = result->reason_code;
}

static void hear(void *user, const iotops_message *message, iotops_ack ack) {
  assert_true(note_count < NOTES);
  heard *note = &notes[note_count++];
  note->client = user;
  note->dup = message->dup;
  note->ack = ack;
  snprintf(note->payload, sizeof note->payload, "%.*s",
           (int)message->payload.size, message->payload.data);
}

static int try_receive(iotops_mqtt_client *client, const char *filter) {
  iotops_subscribe_options options = IOTOPS_SUBSCRIBE_OPTIONS_INIT;
  iotops_receiver *receiver = NULL;
  if (iotops_mqtt_add_receiver(client, iotops_text_of(filter), hear, client,
                               &receiver, NULL) != 0)
    return -1;
  return iotops_mqtt_subscribe(client, iotops_text_of(filter), &options, done,
                               NULL, NULL, NULL);
}

static iotops_mqtt_client *receive(const char *id, const char *filter) {
  iotops_mqtt_client *client = memory_broker_client(broker, id);
  assert_int_equal(try_receive(client, filter), 0);
  iotops_context_drain(now->context);
  return client;
}

static int try_send(iotops_mqtt_client *client, const char *topic,
                    const char *payload, iotops_operation *op) {
  iotops_message message = IOTOPS_MESSAGE_INIT;
  message.topic = iotops_text_of(topic);
  message.payload = iotops_text_of(payload);
  message.qos = 1;
  return iotops_mqtt_publish(client, &message, done, NULL, op, NULL);
}

static void sends(const char *topic, const char *payload) {
  iotops_mqtt_client *sender = memory_broker_client(broker, "sender");
  assert_int_equal(try_send(sender, topic, payload, NULL), 0);
  iotops_context_drain(now->context);
}

/* ---------------------------------------------------------------- tests -- */

static void acknowledgements_count_in_the_order_of_delivery(void **state) {
  (void)state;
  iotops_mqtt_client *client = receive("a", "in/+");
  sends("in/1", "1");
  sends("in/2", "2");
  sends("out", "3");
  assert_int_equal(note_count, 2);
  assert_true(iotops_mqtt_settle(client, notes[1].ack));
  assert_int_equal(memory_broker_nth(broker, 1)->acknowledged, 0);
  assert_true(iotops_mqtt_settle(client, notes[0].ack));
  assert_int_equal(memory_broker_nth(broker, 0)->acknowledged, 1);
  assert_int_equal(memory_broker_nth(broker, 1)->acknowledged, 1);
  assert_false(iotops_mqtt_settle(client, notes[0].ack));
  assert_int_equal(memory_broker_nth(broker, 2)->reason_code, 0x10);
}

static void what_is_not_acknowledged_comes_again_before_the_rest(void **state) {
  (void)state;
  iotops_mqtt_client *client = receive("a", "in");
  sends("in", "1");
  sends("in", "2");
  iotops_mqtt_settle(client, notes[0].ack);
  memory_broker_connect(client, false);
  sends("in", "3");
  assert_int_equal(note_count, 2);
  memory_broker_connect(client, true);
  iotops_context_drain(now->context);
  assert_int_equal(note_count, 4);
  assert_string_equal(notes[2].payload, "2");
  assert_true(notes[2].dup);
  assert_string_equal(notes[3].payload, "3");
  assert_false(notes[3].dup);
  assert_false(iotops_mqtt_settle(client, notes[1].ack));
  assert_true(iotops_mqtt_settle(client, notes[2].ack));
}

static void one_message_for_two_receivers_waits_for_both(void **state) {
  (void)state;
  iotops_mqtt_client *client = receive("a", "in/#");
  receive("a", "in/1");
  sends("in/1", "1");
  assert_int_equal(note_count, 2);
  assert_int_equal(memory_broker_nth(broker, 0)->deliveries, 1);
  iotops_mqtt_settle(client, notes[0].ack);
  assert_int_equal(memory_broker_nth(broker, 0)->acknowledged, 0);
  iotops_mqtt_settle(client, notes[1].ack);
  assert_int_equal(memory_broker_nth(broker, 0)->acknowledged, 1);
}

static void the_members_of_a_group_take_turns(void **state) {
  (void)state;
  iotops_mqtt_client *a = receive("a", "$share/g/in");
  iotops_mqtt_client *b = receive("b", "$share/g/in");
  sends("in", "1");
  sends("in", "2");
  assert_int_equal(note_count, 2);
  assert_ptr_not_equal(notes[0].client, notes[1].client);
  memory_broker_connect(a, false);
  sends("in", "3");
  sends("in", "4");
  assert_ptr_equal(notes[2].client, b);
  assert_ptr_equal(notes[3].client, b);
}

static void
what_cannot_be_sent_waits_until_it_can_or_is_cancelled(void **state) {
  (void)state;
  iotops_mqtt_client *client = memory_broker_client(broker, "a");
  iotops_operation op = 0;
  memory_broker_connect(client, false);
  assert_int_equal(try_send(client, "in", "1", &op), 0);
  assert_int_equal(try_send(client, "in", "2", NULL), 0);
  iotops_context_drain(now->context);
  assert_int_equal(ended, 0);
  iotops_mqtt_cancel(client, op);
  assert_int_equal(ended, 0); /* never inside the call */
  iotops_context_drain(now->context);
  assert_int_equal(ended, 1);
  assert_int_equal(failed, 1);
  memory_broker_connect(client, true);
  iotops_context_drain(now->context);
  assert_int_equal(ended, 2);
  assert_int_equal(failed, 1);
  assert_int_equal(memory_broker_count(broker), 1);
}

static void an_end_completes_what_could_not_be_sent(void **state) {
  (void)state;
  iotops_mqtt_client *client = receive("a", "in");
  memory_broker_connect(client, false);
  assert_int_equal(try_send(client, "in", "1", NULL), 0);
  memory_broker_end(client);
  iotops_context_drain(now->context);
  assert_int_equal(failed, 1);
}

static void what_is_refused_reaches_nobody(void **state) {
  (void)state;
  receive("a", "#");
  memory_broker_refuse(broker, iotops_text_of("secret/#"), 0x87);
  sends("secret/1", "1");
  assert_int_equal(last_reason, 0x87);
  assert_int_equal(note_count, 0);
  receive("b", "secret/#");
  assert_int_equal(last_reason, 0x87);
  memory_broker_refuse(broker, iotops_text_of("secret/#"), 0);
  sends("secret/1", "1");
  assert_int_equal(note_count, 1);
}

/* Subscribes, sends, loses the connection, acknowledges: as far as it gets. */
static void live(void) {
  iotops_mqtt_client *a = memory_broker_client(broker, "a");
  iotops_mqtt_client *b = memory_broker_client(broker, "b");
  if (a == NULL || b == NULL)
    return;
  try_receive(a, "in/#");
  try_receive(b, "$share/g/in/#");
  iotops_context_drain(now->context);
  for (int i = 0; i < 3; i++)
    try_send(b, "in/x", "1", NULL);
  iotops_context_drain(now->context);
  memory_broker_connect(a, false);
  memory_broker_connect(a, true);
  iotops_context_drain(now->context);
  for (size_t i = 0; i < note_count; i++)
    iotops_mqtt_settle(notes[i].client, notes[i].ack);
  memory_broker_refuse(broker, iotops_text_of("in/#"), 0x87);
}

static void no_failed_allocation_does_harm(void **state) {
  (void)state;
  for (long succeed = 0; succeed < 80; succeed++) {
    note_count = 0;
    now->fail_from = succeed;
    live();
    now->fail_from = -1;
    iotops_context_drain(now->context);
    memory_broker_free(broker);
    broker = memory_broker_new(now->context);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(name)                                                             \
  cmocka_unit_test_setup_teardown(name, open_world, close_world)
      TEST(acknowledgements_count_in_the_order_of_delivery),
      TEST(what_is_not_acknowledged_comes_again_before_the_rest),
      TEST(one_message_for_two_receivers_waits_for_both),
      TEST(the_members_of_a_group_take_turns),
      TEST(what_cannot_be_sent_waits_until_it_can_or_is_cancelled),
      TEST(an_end_completes_what_could_not_be_sent),
      TEST(what_is_refused_reaches_nobody),
      TEST(no_failed_allocation_does_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
