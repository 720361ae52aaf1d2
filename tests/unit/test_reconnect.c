/* test_reconnect.c -- classes of reason codes and the delays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "session/reconnect.h"

static iotops_context *context;
static uint8_t randomness;

static void fill(void *user, void *bytes, size_t size) {
  (void)user;
  for (size_t i = 0; i < size; i++)
    ((uint8_t *)bytes)[i] = randomness;
}

static int make_context(void **state) {
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;

  (void)state;
  options.random = fill;
  return iotops_context_new(&options, &context, NULL);
}

static int free_context(void **state) {
  (void)state;
  iotops_context_free(context);
  return 0;
}

static int64_t delay(uint32_t failures) {
  iotops_reconnect_question question = {.failures = failures};

  return iotops_reconnect_backoff(NULL, context, &question);
}

static void delays_double_up_to_a_minute(void **state) {
  static const int64_t nominal[] = {256,  512,   1024,  2048,  4096,
                                    8192, 16384, 32768, 60000, 60000};

  (void)state;
  randomness = 0xff;
  assert_int_equal(delay(0), 0);
  for (uint32_t i = 0; i < 10; i++)
    assert_int_equal(delay(i + 1), nominal[i]);
  assert_int_equal(delay(1000000), 60000);
  assert_int_equal(delay(UINT32_MAX), 60000);
  randomness = 0;
  for (uint32_t i = 0; i < 10; i++)
    assert_int_equal(delay(i + 1), nominal[i] * 9 / 10);
}

static void a_fatal_cause_is_not_tried_again(void **state) {
  iotops_reconnect_question question = {.failures = 1, .fatal = true};

  (void)state;
  assert_true(iotops_reconnect_backoff(NULL, context, &question) < 0);
}

static void only_a_connection_that_lived_resets_the_count(void **state) {
  reconnect reconnect = {0};

  (void)state;
  assert_int_equal(reconnect_failed(&reconnect), 1);
  assert_int_equal(reconnect_failed(&reconnect), 2);
  reconnect_connected(&reconnect, 1000);
  assert_int_equal(reconnect_lost(&reconnect, 10999), 3);
  reconnect_connected(&reconnect, 20000);
  assert_int_equal(reconnect_lost(&reconnect, 30000), 0);
  assert_int_equal(reconnect_failed(&reconnect), 1);
}

static void codes_have_their_classes(void **state) {
  (void)state;
  for (int code = 0; code < 256; code++) {
    bool cred = code == 0x86 || code == 0x87;
    bool fatal = (code >= 0x81 && code <= 0x85) || code == 0x8a ||
                 code == 0x8c || code == 0x90 || code == 0x95 ||
                 (code >= 0x99 && code <= 0x9d);

    assert_int_equal(reconnect_class_connack((uint8_t)code),
                     cred    ? RECONNECT_CREDENTIALS
                     : fatal ? RECONNECT_FATAL
                             : RECONNECT_RETRY);
    cred = code == 0x87;
    fatal = code == 0x81 || code == 0x82 || code == 0x8c || code == 0x8e ||
            code == 0x8f || code == 0x90 || code == 0x94 || code == 0x95 ||
            (code >= 0x99 && code <= 0x9b) || code == 0x9d || code == 0x9e ||
            code == 0xa1 || code == 0xa2;
    assert_int_equal(reconnect_class_disconnect((uint8_t)code),
                     cred    ? RECONNECT_CREDENTIALS
                     : fatal ? RECONNECT_FATAL
                             : RECONNECT_RETRY);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(delays_double_up_to_a_minute),
      cmocka_unit_test(a_fatal_cause_is_not_tried_again),
      cmocka_unit_test(only_a_connection_that_lived_resets_the_count),
      cmocka_unit_test(codes_have_their_classes),
  };

  return cmocka_run_group_tests(tests, make_context, free_context);
}
