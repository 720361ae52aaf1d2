#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "iotops/message.h"

static int make_context(void **state) {
  iotops_context *context = NULL;
  int rc = iotops_context_new(NULL, &context, NULL);
  *state = context;
  return rc;
}

static int free_context(void **state) {
  iotops_context_free(*state);
  return 0;
}

static iotops_text text(const char *data, size_t size) {
  iotops_text made = {data, size};
  return made;
}

static void a_copy_owns_every_byte(void **state) {
  iotops_context *context = *state;
  char topic[] = "a/b", payload[] = "p\0q", name[] = "k", value[] = "v";
  uint32_t ids[] = {7, 268435455};
  iotops_user_property properties[] = {{text(name, 1), text(value, 1)},
                                       {text("", 0), text(NULL, 0)}};
  iotops_message message = IOTOPS_MESSAGE_INIT;
  message.topic = text(topic, 3);
  message.payload = text(payload, 3);
  message.qos = 1;
  message.dup = true;
  message.packet_id = 65535;
  message.has_expiry = true;
  message.expiry_s = 9;
  message.content_type = text("", 0);
  message.correlation_data = text("0123456789abcdef", 16);
  message.user_properties = properties;
  message.user_property_count = 2;
  message.subscription_ids = ids;
  message.subscription_id_count = 2;

  iotops_message *copy = iotops_message_copy(context, &message);
  assert_non_null(copy);
  memset(topic, 'x', sizeof topic);
  memset(payload, 'x', sizeof payload);
  memset(name, 'x', sizeof name);
  memset(value, 'x', sizeof value);
  memset(ids, 0, sizeof ids);
  memset(properties, 0, sizeof properties);

  assert_true(iotops_text_equal(copy->topic, iotops_text_of("a/b")));
  assert_true(iotops_text_equal(copy->payload, text("p\0q", 3)));
  assert_true(iotops_text_equal(copy->content_type, text("", 0)));
  assert_null(copy->response_topic.data);
  assert_int_equal(copy->correlation_data.size, 16);
  assert_int_equal(copy->packet_id, 65535);
  assert_int_equal(copy->expiry_s, 9);
  assert_int_equal(copy->format_indicator, -1);
  assert_true(copy->dup && copy->has_expiry);
  assert_int_equal(copy->user_property_count, 2);
  assert_true(
      iotops_text_equal(copy->user_properties[0].name, iotops_text_of("k")));
  assert_true(
      iotops_text_equal(copy->user_properties[0].value, iotops_text_of("v")));
  assert_non_null(copy->user_properties[1].name.data);
  assert_null(copy->user_properties[1].value.data);
  assert_int_equal(copy->subscription_id_count, 2);
  assert_int_equal(copy->subscription_ids[1], 268435455);
  iotops_free(context, copy);
}

static void random_messages_are_copied_as_they_are(void **state) {
  iotops_context *context = *state;
  static char bytes[512];
  srand(3);
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = (char)rand();
  for (int round = 0; round < 2000; round++) {
    iotops_user_property properties[9];
    uint32_t ids[5];
    iotops_message message = IOTOPS_MESSAGE_INIT;
    iotops_text *texts[] = {&message.topic, &message.payload,
                            &message.content_type, &message.response_topic,
                            &message.correlation_data};
    for (size_t i = 0; i < 5; i++)
      if (rand() % 4 != 0)
        *texts[i] = text(bytes + rand() % 200, (size_t)(rand() % 300));
    message.user_property_count = (size_t)(rand() % 10);
    message.user_properties = properties;
    for (size_t i = 0; i < message.user_property_count; i++) {
      properties[i].name = text(bytes + rand() % 64, (size_t)(rand() % 20));
      properties[i].value = text(bytes + rand() % 64, (size_t)(rand() % 20));
    }
    message.subscription_id_count = (size_t)(rand() % 6);
    message.subscription_ids = ids;
    for (size_t i = 0; i < message.subscription_id_count; i++)
      ids[i] = (uint32_t)rand();
    iotops_message *copy = iotops_message_copy(context, &message);
    assert_non_null(copy);
    assert_true(iotops_text_equal(copy->topic, message.topic));
    assert_true(iotops_text_equal(copy->payload, message.payload));
    assert_true(iotops_text_equal(copy->content_type, message.content_type));
    assert_true(
        iotops_text_equal(copy->response_topic, message.response_topic));
    assert_true(
        iotops_text_equal(copy->correlation_data, message.correlation_data));
    for (size_t i = 0; i < message.user_property_count; i++) {
      assert_true(
          iotops_text_equal(copy->user_properties[i].name, properties[i].name));
      assert_true(iotops_text_equal(copy->user_properties[i].value,
                                    properties[i].value));
    }
    for (size_t i = 0; i < message.subscription_id_count; i++)
      assert_int_equal(copy->subscription_ids[i], ids[i]);
    iotops_free(context, copy);
  }
}

static void sizes_that_cannot_be_are_refused(void **state) {
  iotops_context *context = *state;
  iotops_message message = IOTOPS_MESSAGE_INIT;
  message.payload = text("x", SIZE_MAX - 100);
  assert_null(iotops_message_copy(context, &message));
  message.payload = text("x", SIZE_MAX / 2);
  message.topic = text("x", SIZE_MAX / 2);
  assert_null(iotops_message_copy(context, &message));
  message.payload = message.topic = text("x", 1);
  message.user_property_count = SIZE_MAX / 8;
  assert_null(iotops_message_copy(context, &message));
}

static void the_last_of_several_properties_counts(void **state) {
  (void)state;
  iotops_user_property properties[] = {
      {text("__ts", 4), text("1", 1)},
      {text("__TS", 4), text("2", 1)},
      {text("__ts", 4), text("3", 1)},
      {text("__tsx", 5), text("4", 1)},
  };
  iotops_message message = IOTOPS_MESSAGE_INIT;
  message.user_properties = properties;
  message.user_property_count = 4;
  assert_true(iotops_text_equal(iotops_message_property(&message, "__ts"),
                                iotops_text_of("3")));
  assert_null(iotops_message_property(&message, "__").data);
  message.user_property_count = 0;
  assert_null(iotops_message_property(&message, "__ts").data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_copy_owns_every_byte),
      cmocka_unit_test(random_messages_are_copied_as_they_are),
      cmocka_unit_test(sizes_that_cannot_be_are_refused),
      cmocka_unit_test(the_last_of_several_properties_counts),
  };
  return cmocka_run_group_tests(tests, make_context, free_context);
}
