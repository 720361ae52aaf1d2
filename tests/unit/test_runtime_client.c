/*
** test_runtime_client.c -- the session as one script sees it: holding,
** releasing and shutting, over a session that only notes what it is told.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/script_client.h"

enum { LIMIT = 8 };

typedef struct fake_session {
  iotops_mqtt_client base;
  iotops_on_message on_message[LIMIT];
  void *receiver_user[LIMIT];
  size_t receivers;
  uint32_t settled[LIMIT];
  size_t settled_count;
  bool stale;
  bool refuse;
  iotops_mqtt_done done;
  void *done_user;
} fake_session;

static int fake_add(iotops_mqtt_client *client, iotops_text filter,
                    iotops_on_message on_message, void *user,
                    iotops_receiver **receiver, iotops_error *err) {
  fake_session *fake = (fake_session *)client;
  (void)filter;
  if (fake->refuse)
    return iotops_error_set(err, IOTOPS_INVALID_STATE, "no");
  fake->on_message[fake->receivers] = on_message;
  fake->receiver_user[fake->receivers] = user;
  *receiver = (iotops_receiver *)&fake->on_message[fake->receivers++];
  return 0;
}

static void fake_remove(iotops_mqtt_client *client, iotops_receiver *receiver) {
  (void)client;
  *(iotops_on_message *)receiver = NULL;
}

static bool fake_settle(iotops_mqtt_client *client, iotops_ack ack) {
  fake_session *fake = (fake_session *)client;
  if (fake->stale)
    return false;
  fake->settled[fake->settled_count++] = ack.seq;
  return true;
}

static int fake_publish(iotops_mqtt_client *client,
                        const iotops_message *message, iotops_mqtt_done done,
                        void *user, iotops_operation *op, iotops_error *err) {
  fake_session *fake = (fake_session *)client;
  (void)message;
  (void)op;
  if (fake->refuse)
    return iotops_error_set(err, IOTOPS_INVALID_STATE, "full");
  fake->done = done;
  fake->done_user = user;
  return 0;
}

static const iotops_mqtt_client_ops fake_ops = {
    .add_receiver = fake_add,
    .remove_receiver = fake_remove,
    .settle = fake_settle,
    .publish = fake_publish,
};

typedef struct fixture {
  fake_session session;
  script_client client;
  char seen[256]; /* payloads in order of delivery, with who got them */
} fixture;

static void note(void *user, const char *who, const iotops_message *message) {
  fixture *f = user;
  size_t size = strlen(f->seen);
  snprintf(f->seen + size, sizeof f->seen - size, "%s%.*s ", who,
           (int)message->payload.size, message->payload.data);
}

static void first(void *user, const iotops_message *message, iotops_ack ack) {
  fixture *f = user;
  note(user, "a", message);
  iotops_mqtt_settle(&f->client.base, ack);
}

static void second(void *user, const iotops_message *message, iotops_ack ack) {
  fixture *f = user;
  note(user, "b", message);
  iotops_mqtt_settle(&f->client.base, ack);
}

static iotops_receiver *receive(fixture *f, iotops_on_message on_message) {
  iotops_receiver *receiver = NULL;
  assert_int_equal(iotops_mqtt_add_receiver(&f->client.base,
                                            iotops_text_of("t"), on_message, f,
                                            &receiver, NULL),
                   0);
  return receiver;
}

static void deliver(fixture *f, size_t receiver, const char *topic,
                    uint32_t seq) {
  iotops_message message = IOTOPS_MESSAGE_INIT;
  char payload[8];
  snprintf(payload, sizeof payload, "%u", (unsigned)seq);
  message.topic = iotops_text_of(topic);
  message.payload = iotops_text_of(payload);
  message.qos = 1;
  f->session.on_message[receiver](f->session.receiver_user[receiver], &message,
                                  (iotops_ack){.epoch = 1, .seq = seq});
}

static int begin(void **state) {
  fixture *f = test_calloc(1, sizeof *f);
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  f->session.base.ops = &fake_ops;
  if (iotops_context_new(&options, &f->session.base.context, NULL) != 0)
    return -1;
  script_client_init(&f->client, &f->session.base);
  *state = f;
  return 0;
}

static int end(void **state) {
  fixture *f = *state;
  while (f->client.receivers != NULL)
    iotops_mqtt_remove_receiver(&f->client.base,
                                (iotops_receiver *)f->client.receivers);
  script_client_close(&f->client);
  iotops_context_free(f->session.base.context);
  test_free(f);
  return 0;
}

static void messages_pass_and_are_counted(void **state) {
  fixture *f = *state;
  receive(f, first);
  deliver(f, 0, "t", 1);
  deliver(f, 0, "t", 2);
  assert_string_equal(f->seen, "a1 a2 ");
  assert_int_equal(f->client.counters.received, 2);
  assert_int_equal(f->client.counters.acknowledged, 2);
}

static void held_messages_come_at_the_release_in_order(void **state) {
  fixture *f = *state;
  f->client.holding = true;
  receive(f, first);
  deliver(f, 0, "t", 1);
  deliver(f, 0, "t", 2);
  assert_string_equal(f->seen, "");
  assert_int_equal(f->session.settled_count, 0);
  script_client_release(&f->client, NULL, 0);
  assert_string_equal(f->seen, "a1 a2 ");
  deliver(f, 0, "t", 3);
  assert_string_equal(f->seen, "a1 a2 a3 ");
  assert_int_equal(f->session.settled_count, 3);
}

static void what_the_old_filter_brought_too_is_not_handled_twice(void **state) {
  fixture *f = *state;
  const char *const old[] = {"a/+"};
  f->client.holding = true;
  receive(f, first);
  deliver(f, 0, "a/b", 1);
  deliver(f, 0, "c/d", 2);
  script_client_release(&f->client, old, 1);
  assert_string_equal(f->seen, "a2 ");
  assert_int_equal(f->session.settled_count, 2);
}

static void a_reload_given_up_acknowledges_what_it_held(void **state) {
  fixture *f = *state;
  f->client.holding = true;
  iotops_receiver *receiver = receive(f, first);
  deliver(f, 0, "t", 7);
  iotops_mqtt_remove_receiver(&f->client.base, receiver);
  assert_string_equal(f->seen, "");
  assert_int_equal(f->session.settled_count, 1);
  assert_int_equal(f->session.settled[0], 7);
}

static void only_receivers_made_while_holding_hold(void **state) {
  fixture *f = *state;
  receive(f, first);
  f->client.holding = true;
  receive(f, second);
  f->client.holding = false;
  deliver(f, 0, "t", 1);
  deliver(f, 1, "t", 2);
  assert_string_equal(f->seen, "a1 ");
  script_client_release(&f->client, NULL, 0);
  assert_string_equal(f->seen, "a1 b2 ");
}

static void a_shut_endpoint_leaves_its_messages_to_the_broker(void **state) {
  fixture *f = *state;
  f->client.endpoint = true;
  receive(f, first);
  f->client.endpoint = false;
  receive(f, second); /* responses to the script's own calls */
  script_client_shut(&f->client);
  deliver(f, 0, "t", 1);
  deliver(f, 1, "t", 2);
  assert_string_equal(f->seen, "b2 ");
  assert_int_equal(f->session.settled_count, 1);
  assert_int_equal(f->session.settled[0], 2);
}

static void a_late_acknowledgement_counts_as_stale(void **state) {
  fixture *f = *state;
  receive(f, first);
  f->session.stale = true;
  deliver(f, 0, "t", 1);
  assert_int_equal(f->client.counters.acknowledged, 0);
  assert_int_equal(f->client.counters.stale, 1);
}

static void noted(void *user, const iotops_mqtt_result *result) {
  (void)result;
  (*(int *)user)++;
}

static void publishes_are_counted_by_how_they_end(void **state) {
  fixture *f = *state;
  iotops_message message = IOTOPS_MESSAGE_INIT;
  iotops_mqtt_result taken = {0}, refused = {.reason_code = 0x87};
  int told = 0;
  const iotops_mqtt_result *results[] = {&taken, &refused, &taken};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(iotops_mqtt_publish(&f->client.base, &message, noted,
                                         &told, NULL, NULL),
                     0);
    assert_int_equal(f->client.publishing, 1);
    f->session.done(f->session.done_user, results[i]);
    assert_int_equal(f->client.publishing, 0);
  }
  assert_int_equal(told, 3);
  assert_int_equal(f->client.counters.sent, 2);
  assert_int_equal(f->client.counters.refused, 1);
}

static void a_publish_that_is_not_accepted_leaves_nothing(void **state) {
  fixture *f = *state;
  iotops_message message = IOTOPS_MESSAGE_INIT;
  int told = 0;
  f->session.refuse = true;
  assert_int_equal(
      iotops_mqtt_publish(&f->client.base, &message, noted, &told, NULL, NULL),
      -1);
  assert_int_equal(f->client.publishing, 0);
  assert_int_equal(told, 0);
  iotops_receiver *receiver = NULL;
  assert_int_equal(iotops_mqtt_add_receiver(&f->client.base,
                                            iotops_text_of("t"), first, f,
                                            &receiver, NULL),
                   -1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
  const struct CMUnitTest tests[] = {
      TEST(messages_pass_and_are_counted),
      TEST(held_messages_come_at_the_release_in_order),
      TEST(what_the_old_filter_brought_too_is_not_handled_twice),
      TEST(a_reload_given_up_acknowledges_what_it_held),
      TEST(only_receivers_made_while_holding_hold),
      TEST(a_shut_endpoint_leaves_its_messages_to_the_broker),
      TEST(a_late_acknowledgement_counts_as_stale),
      TEST(publishes_are_counted_by_how_they_end),
      TEST(a_publish_that_is_not_accepted_leaves_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
