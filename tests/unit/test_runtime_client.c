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
#include "runtime/tap.h"

enum { LIMIT = 8 };

typedef struct fake_session {
  iotops_mqtt_client base;
  iotops_on_message on_message[LIMIT];
  void *receiver_user[LIMIT];
  size_t receivers;
  uint32_t settled[LIMIT];
  size_t settled_count;
  iotops_mqtt_observer *observer;
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
  if (fake->settled_count < LIMIT)
    fake->settled[fake->settled_count] = ack.seq;
  fake->settled_count++;
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

static void fake_observe(iotops_mqtt_client *client,
                         iotops_mqtt_observer *observer) {
  fake_session *fake = (fake_session *)client;
  assert_null(fake->observer);
  fake->observer = observer;
}

static void fake_unobserve(iotops_mqtt_client *client,
                           iotops_mqtt_observer *observer) {
  fake_session *fake = (fake_session *)client;
  assert_ptr_equal(fake->observer, observer);
  fake->observer = NULL;
}

static const iotops_mqtt_client_ops fake_ops = {
    .observe = fake_observe,
    .unobserve = fake_unobserve,
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

/* An endpoint's receiver, known by `mark`. */
static iotops_receiver *endpoint(fixture *f, iotops_on_message on_message,
                                 unsigned mark) {
  f->client.endpoint = true;
  f->client.mark = mark;
  iotops_receiver *receiver = receive(f, on_message);
  f->client.endpoint = false;
  f->client.mark = 0;
  return receiver;
}

static void a_client_that_keeps_gives_back_in_order_of_arrival(void **state) {
  fixture *f = *state;
  endpoint(f, first, 1);
  endpoint(f, second, 2);
  receive(f, second); /* responses to the script's own calls */
  script_client_keep(&f->client);
  deliver(f, 0, "t", 1);
  deliver(f, 1, "t", 2);
  deliver(f, 2, "t", 3);
  deliver(f, 0, "t", 4);
  assert_string_equal(f->seen, "b3 ");
  script_client_resume(&f->client);
  assert_string_equal(f->seen, "b3 a1 b2 a4 ");
  assert_null(f->session.observer);
  deliver(f, 0, "t", 5);
  assert_string_equal(f->seen, "b3 a1 b2 a4 a5 ");
}

static void what_a_reload_holds_is_not_given_back(void **state) {
  fixture *f = *state;
  endpoint(f, first, 1);
  f->client.holding = true;
  iotops_receiver *staged = endpoint(f, second, 2);
  f->client.holding = false;
  script_client_keep(&f->client);
  deliver(f, 1, "t", 1);
  deliver(f, 0, "t", 2);
  iotops_mqtt_remove_receiver(&f->client.base, staged);
  script_client_resume(&f->client);
  assert_string_equal(f->seen, "a2 ");
  assert_int_equal(f->session.settled_count, 2);
}

static void a_connection_that_goes_takes_what_comes_again(void **state) {
  fixture *f = *state;
  endpoint(f, first, 1);
  script_client_keep(&f->client);
  deliver(f, 0, "t", 1);
  f->session.observer->disconnected(f->session.observer);
  deliver(f, 0, "t", 1);
  deliver(f, 0, "t", 2);
  script_client_release(&f->client, NULL, 0);
  assert_string_equal(f->seen, "a1 a2 ");
}

static void what_a_reload_holds_comes_again_as_well(void **state) {
  fixture *f = *state;
  f->client.holding = true;
  endpoint(f, first, 1);
  deliver(f, 0, "t", 1);
  f->session.observer->disconnected(f->session.observer);
  deliver(f, 0, "t", 1);
  deliver(f, 0, "t", 2);
  script_client_release(&f->client, NULL, 0);
  assert_string_equal(f->seen, "a1 a2 ");
  assert_null(f->session.observer);
}

static void
a_client_that_is_shut_leaves_what_it_kept_to_the_broker(void **state) {
  fixture *f = *state;
  endpoint(f, first, 1);
  script_client_keep(&f->client);
  deliver(f, 0, "t", 1);
  script_client_shut(&f->client);
  script_client_resume(&f->client);
  assert_string_equal(f->seen, "");
  assert_int_equal(f->session.settled_count, 0);
  assert_null(f->session.observer);
}

static void what_only_a_reload_holds_is_left_to_the_next_start(void **state) {
  fixture *f = *state;
  f->client.holding = true;
  iotops_receiver *staged = endpoint(f, second, 1);
  deliver(f, 0, "t", 1);
  script_client_shut(&f->client);
  iotops_mqtt_remove_receiver(&f->client.base, staged);
  assert_int_equal(f->session.settled_count, 0);
}

static void what_is_handled_as_well_is_not_left_to_it(void **state) {
  fixture *f = *state;
  endpoint(f, first, 1);
  f->client.holding = true;
  iotops_receiver *staged = endpoint(f, second, 2);
  deliver(f, 0, "t", 1);
  deliver(f, 1, "t", 1);
  script_client_shut(&f->client);
  iotops_mqtt_remove_receiver(&f->client.base, staged);
  assert_string_equal(f->seen, "a1 ");
  assert_int_equal(f->session.settled_count, 2);
}

static iotops_message *waiting(fixture *f, const char *payload) {
  iotops_message message = IOTOPS_MESSAGE_INIT;
  message.topic = iotops_text_of("t");
  message.payload = iotops_text_of(payload);
  return iotops_message_copy(f->session.base.context, &message);
}

static void a_successor_is_given_what_was_kept_and_what_waited(void **state) {
  fixture *f = *state;
  iotops_receiver *old = endpoint(f, first, 1);
  script_client_keep(&f->client);
  deliver(f, 0, "t", 3);
  endpoint(f, second, 2);
  script_client_bequeath(&f->client, 1, 2);
  script_client_put_back(&f->client, 2, waiting(f, "1"),
                         (iotops_ack){.epoch = 1, .seq = 1});
  script_client_put_back(&f->client, 2, waiting(f, "2"),
                         (iotops_ack){.epoch = 1, .seq = 2});
  iotops_mqtt_remove_receiver(&f->client.base, old);
  script_client_release(&f->client, NULL, 0);
  assert_string_equal(f->seen, "b1 b2 b3 ");
  assert_int_equal(f->client.unclaimed, 0);
}

static void of_qos_0_so_much_is_kept_and_no_more(void **state) {
  fixture *f = *state;
  iotops_message message = IOTOPS_MESSAGE_INIT;
  message.topic = iotops_text_of("t");
  endpoint(f, first, 1);
  script_client_keep(&f->client);
  for (int i = 0; i < 10003; i++)
    f->session.on_message[0](f->session.receiver_user[0], &message,
                             (iotops_ack){0});
  assert_int_equal(f->client.counters.dropped, 3);
  deliver(f, 0, "t", 1); /* of QoS 1, which the broker bounds */
  assert_int_equal(f->client.held_count, 10001);
  script_client_resume(&f->client);
  assert_int_equal(f->client.held_count, 0);
  assert_int_equal(f->client.counters.received, 10001);
}

static void without_a_successor_it_is_acknowledged_and_counted(void **state) {
  fixture *f = *state;
  iotops_receiver *old = endpoint(f, first, 1);
  script_client_keep(&f->client);
  deliver(f, 0, "t", 1);
  script_client_bequeath(&f->client, 1, 0);
  iotops_mqtt_remove_receiver(&f->client.base, old);
  script_client_release(&f->client, NULL, 0);
  assert_string_equal(f->seen, "");
  assert_int_equal(f->session.settled_count, 1);
  assert_int_equal(f->client.unclaimed, 1);
}

static void a_wider_filter_takes_over_and_doubles_nothing(void **state) {
  fixture *f = *state;
  const char *const old_filters[] = {"t"};
  iotops_receiver *old = endpoint(f, first, 1);
  f->client.holding = true;
  endpoint(f, second, 2);
  f->client.holding = false;
  deliver(f, 0, "t", 1); /* the old one handles it */
  deliver(f, 1, "t", 1);
  script_client_keep(&f->client);
  deliver(f, 0, "t", 3); /* held for both */
  deliver(f, 1, "t", 3);
  script_client_bequeath(&f->client, 1, 0);
  /* It waited in the old one, unhandled. */
  script_client_put_back(&f->client, 0, waiting(f, "2"),
                         (iotops_ack){.epoch = 1, .seq = 2});
  iotops_mqtt_remove_receiver(&f->client.base, old);
  script_client_release(&f->client, old_filters, 1);
  assert_string_equal(f->seen, "a1 b2 b3 ");
  assert_int_equal(f->client.unclaimed, 0);
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

typedef struct looker {
  tap tap;
  script_client *client; /* whose tap it ends; NULL: goes on */
  size_t count;
  char last[512];
} looker;

static void look_on(tap *tap, iotops_text line) {
  looker *looker = tap->user;
  looker->count++;
  snprintf(looker->last, sizeof looker->last, "%.*s", (int)line.size,
           line.data);
  if (looker->client != NULL)
    tap_end(&looker->client->taps, tap);
}

static void look(fixture *f, looker *looker) {
  looker->tap = (tap){.tapped = look_on, .user = looker, .script = "fans"};
  tap_begin(&f->client.taps, &looker->tap);
}

static void who_taps_sees_what_passes_and_how_it_ended(void **state) {
  fixture *f = *state;
  iotops_error lost;
  looker a = {0}, b = {.client = &f->client};
  iotops_message message = IOTOPS_MESSAGE_INIT;
  const iotops_mqtt_result refused = {.reason_code = 0x87},
                           failed = {.error = &lost}, sent = {0};
  int told = 0;
  message.topic = iotops_text_of("out/1");
  receive(f, first);
  deliver(f, 0, "before", 1);
  look(f, &a);
  look(f, &b);
  deliver(f, 0, "in/1", 2);
  assert_int_equal(a.count, 1);
  assert_non_null(strstr(a.last, "\"direction\":\"in\",\"script\":\"fans\","
                                 "\"outcome\":\"received\",\"topic\":"
                                 "\"in/1\",\"payload_text\":\"2\""));
  deliver(f, 0, "in/2", 3);
  assert_int_equal(a.count, 2);
  assert_int_equal(b.count, 1); /* it wanted no more than one */
  iotops_error_set(&lost, IOTOPS_CANCELLATION, "the session has ended");
  const iotops_mqtt_result *const results[] = {&refused, &failed, &sent};
  const char *const outcomes[] = {"\"Not authorized\"",
                                  "\"the session has ended\"", "\"sent\""};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(iotops_mqtt_publish(&f->client.base, &message, noted,
                                         &told, NULL, NULL),
                     0);
    f->session.done(f->session.done_user, results[i]);
    assert_int_equal(a.count, 3 + i);
    assert_non_null(strstr(a.last, "\"direction\":\"out\""));
    assert_non_null(strstr(a.last, outcomes[i]));
  }
  /* One that goes while a publish is under way hears no more of it. */
  assert_int_equal(
      iotops_mqtt_publish(&f->client.base, &message, noted, &told, NULL, NULL),
      0);
  tap_end(&f->client.taps, &a.tap);
  f->session.done(f->session.done_user, &sent);
  assert_int_equal(a.count, 5);
  assert_null(f->client.taps);
  assert_int_equal(told, 4);
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
      TEST(a_client_that_keeps_gives_back_in_order_of_arrival),
      TEST(what_a_reload_holds_is_not_given_back),
      TEST(a_connection_that_goes_takes_what_comes_again),
      TEST(what_a_reload_holds_comes_again_as_well),
      TEST(a_client_that_is_shut_leaves_what_it_kept_to_the_broker),
      TEST(what_only_a_reload_holds_is_left_to_the_next_start),
      TEST(what_is_handled_as_well_is_not_left_to_it),
      TEST(a_successor_is_given_what_was_kept_and_what_waited),
      TEST(of_qos_0_so_much_is_kept_and_no_more),
      TEST(without_a_successor_it_is_acknowledged_and_counted),
      TEST(a_wider_filter_takes_over_and_doubles_nothing),
      TEST(a_late_acknowledgement_counts_as_stale),
      TEST(publishes_are_counted_by_how_they_end),
      TEST(a_publish_that_is_not_accepted_leaves_nothing),
      TEST(who_taps_sees_what_passes_and_how_it_ended),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
