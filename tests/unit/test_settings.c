/*
** Settings one by one, and from the environment.
*/
#include "settings_fixture.h"

/* -------------------------------------------------- one by one: the API -- */

static void settings_begin_at_their_defaults(void **state) {
  fixture *f = *state;
  expect_text(f, "hostname", NULL);
  expect_text(f, "tcp_port", "8883");
  expect_text(f, "use_tls", "true");
  expect_text(f, "clean_start", "false");
  expect_text(f, "keep_alive", "60");
  expect_text(f, "session_expiry", "3600");
  expect_text(f, "receive_max", "65535");
  expect_text(f, "receive_packet_size_max", NULL);
  expect_text(f, "connection_timeout", "30");
  expect_text(f, "publish_queue_qos0", "100");
  expect_text(f, "publish_queue_qos1", "100");
  expect_text(f, "publish_queue_full", "wait");
  expect_text(f, "max_inflight", "65535");
  expect_text(f, "max_unacked", "0");
  expect_text(f, "max_held_bytes", "0");
  expect_text(f, "sat_debounce", "1000");
  expect_text(f, "aio_broker_features", "true");
  expect_text(f, "aio_persistence", "false");
  expect_text(f, "no_such_thing", NULL);
  assert_int_equal(settings_ping_timeout_s(f->settings), 10);
  put(f, "keep_alive", "4");
  assert_int_equal(settings_ping_timeout_s(f->settings), 4);
  put(f, "ping_response_timeout", "3");
  assert_int_equal(settings_ping_timeout_s(f->settings), 3);
}

static void a_setting_without_a_value_has_its_default_back(void **state) {
  fixture *f = *state;
  assert_int_equal(put(f, "tcp_port", "1883"), 0);
  assert_int_equal(settings_number(f->settings, SETTING_TCP_PORT), 1883);
  assert_int_equal(put(f, "tcp_port", NULL), 0);
  expect_text(f, "tcp_port", "8883");
  assert_int_equal(settings_number(f->settings, SETTING_TCP_PORT), 8883);
  assert_int_equal(put(f, "hostname", "a"), 0);
  assert_int_equal(put(f, "hostname", NULL), 0);
  expect_text(f, "hostname", NULL);
}

static void
values_that_do_not_fit_are_refused_and_change_nothing(void **state) {
  fixture *f = *state;
  static const struct {
    const char *name, *value, *message;
  } cases[] = {
      {"tcp_port", "0",
       "tcp_port: expected an integer from 1 to 65535, got \"0\""},
      {"tcp_port", "65536",
       "tcp_port: expected an integer from 1 to 65535, got \"65536\""},
      {"tcp_port", "-1",
       "tcp_port: expected an integer from 1 to 65535, got \"-1\""},
      {"tcp_port", "",
       "tcp_port: expected an integer from 1 to 65535, got "
       "\"\""},
      {"tcp_port", "1883 ",
       "tcp_port: expected an integer from 1 to 65535, got \"1883 \""},
      {"tcp_port", "18446744073709551617",
       "tcp_port: expected an integer from 1 to 65535, got "
       "\"18446744073709551617\""},
      {"use_tls", "yes", "use_tls: expected true or false, got \"yes\""},
      {"clean_start", "", "clean_start: expected true or false, got \"\""},
      {"keep_alive", "0",
       "keep_alive: expected seconds from 1 to 65535, got \"0\""},
      {"keep_alive", "65536",
       "keep_alive: expected seconds from 1 to 65535, got \"65536\""},
      {"keep_alive", "PT1M",
       "keep_alive: expected seconds from 1 to 65535, got \"PT1M\""},
      {"session_expiry", "0",
       "session_expiry: expected seconds from 1 to 4294967295, got \"0\""},
      {"session_expiry", "4294967296",
       "session_expiry: expected seconds from 1 to 4294967295, got "
       "\"4294967296\""},
      {"receive_max", "0", "receive_max must be at least 1"},
      {"receive_packet_size_max", "0",
       "receive_packet_size_max must be at least 1"},
      {"receive_max", "65536",
       "receive_max: expected an integer from 1 to 65535, got \"65536\""},
      {"publish_queue_full", "sometimes",
       "publish_queue_full: expected wait, drop_newest or drop_oldest, got "
       "\"sometimes\""},
      {"hostname", "\xFF", "hostname: not valid UTF-8"},
      {"client_id", "a\xED\xA0\x80", "client_id: not valid UTF-8"},
      {"username", "\xC0\x80", "username: not valid UTF-8"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    put(f, cases[i].name, NULL);
    iotops_text before = iotops_settings_get(f->settings, cases[i].name);
    assert_int_equal(put(f, cases[i].name, cases[i].value), -1);
    expect_error(f, cases[i].message, cases[i].name, cases[i].value);
    assert_true(iotops_text_equal(
        before, iotops_settings_get(f->settings, cases[i].name)));
  }
  assert_int_equal(put(f, "host_name", "x"), -1);
  expect_error(f, "there is no setting \"host_name\"", "host_name", NULL);
  iotops_text nul = {"a\0b", 3};
  assert_int_equal(iotops_settings_set(f->settings, "client_id", nul, &f->err),
                   -1);
  assert_string_equal(f->err.message, "client_id: contains a NUL character");
}

static void the_edges_of_each_range_fit(void **state) {
  fixture *f = *state;
  static const char *const cases[][2] = {
      {"tcp_port", "1"},         {"tcp_port", "65535"},
      {"keep_alive", "1"},       {"keep_alive", "65535"},
      {"session_expiry", "1"},   {"session_expiry", "4294967295"},
      {"receive_max", "1"},      {"receive_packet_size_max", "4294967295"},
      {"max_held_bytes", "0"},   {"max_held_bytes", "9223372036854775807"},
      {"sat_debounce", "0"},     {"publish_queue_full", "drop_oldest"},
      {"client_id", "k\xC3\xB6"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(put(f, cases[i][0], cases[i][1]), 0);
    expect_text(f, cases[i][0], cases[i][1]);
  }
  assert_int_equal(settings_number(f->settings, SETTING_PUBLISH_QUEUE_FULL),
                   QUEUE_FULL_DROP_OLDEST);
}

static void strings_end_where_mqtt_ends_them(void **state) {
  fixture *f = *state;
  static char big[65537];
  memset(big, 'a', 65536);
  assert_int_equal(put(f, "client_id", big), -1);
  assert_string_equal(f->err.message,
                      "client_id: longer than 65535 bytes (65536)");
  big[65535] = '\0';
  assert_int_equal(put(f, "client_id", big), 0);
}

static void booleans_have_several_spellings(void **state) {
  fixture *f = *state;
  static const char *const spellings[][2] = {
      {"true", "true"}, {"TRUE", "true"},   {"1", "true"},  {"T", "true"},
      {"t", "true"},    {"False", "false"}, {"0", "false"}, {"F", "false"}};
  for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
    assert_int_equal(put(f, "use_tls", spellings[i][0]), 0);
    expect_text(f, "use_tls", spellings[i][1]);
  }
}

static void printing_masks_secrets_and_stays_within_bounds(void **state) {
  fixture *f = *state;
  char text[4096], small[20];
  put(f, "hostname", "broker\nforged=1");
  put(f, "password", "hunter2");
  put(f, "username", "me");
  size_t length = iotops_settings_print(f->settings, text, sizeof text);
  assert_int_equal(length, strlen(text));
  assert_non_null(strstr(text, "hostname=broker?forged=1\n"));
  assert_non_null(strstr(text, "password=***\n"));
  assert_non_null(strstr(text, "tcp_port=8883\n"));
  assert_null(strstr(text, "hunter2"));
  assert_int_equal(iotops_settings_print(f->settings, small, sizeof small),
                   length);
  assert_int_equal(strlen(small), sizeof small - 1);
  assert_int_equal(iotops_settings_print(f->settings, NULL, 0), length);
}

static void a_copy_is_its_own(void **state) {
  fixture *f = *state;
  iotops_message will = IOTOPS_MESSAGE_INIT;
  will.topic = iotops_text_of("last/words");
  put(f, "hostname", "one");
  iotops_settings_add_user_property(f->settings, iotops_text_of("k"),
                                    iotops_text_of("v"), NULL);
  assert_int_equal(iotops_settings_set_will(f->settings, &will, 5, NULL), 0);
  iotops_settings *copy = iotops_settings_copy(f->settings);
  put(f, "hostname", "two");
  iotops_settings_set_will(f->settings, NULL, 0, NULL);
  assert_string_equal(settings_string(copy, SETTING_HOSTNAME), "one");
  assert_int_equal(settings_number(copy, SETTING_TCP_PORT), 8883);
  assert_int_equal(copy->user_property_count, 1);
  assert_true(
      iotops_text_equal(copy->will->topic, iotops_text_of("last/words")));
  assert_int_equal(copy->will_delay_s, 5);
  iotops_settings_free(copy);
}

static void wills_and_properties_are_checked(void **state) {
  fixture *f = *state;
  iotops_message will = IOTOPS_MESSAGE_INIT;
  assert_int_equal(iotops_settings_set_will(f->settings, &will, 0, &f->err),
                   -1);
  expect_error(f, "will: topic is required", "will", "");
  will.topic = iotops_text_of("a/+");
  assert_int_equal(iotops_settings_set_will(f->settings, &will, 0, &f->err),
                   -1);
  expect_error(f, "will: topic must not hold + or #", "will", "a/+");
  will.topic = iotops_text_of("a");
  will.qos = 2;
  assert_int_equal(iotops_settings_set_will(f->settings, &will, 0, &f->err),
                   -1);
  assert_int_equal(
      iotops_settings_add_user_property(f->settings, iotops_text_of("a\n"),
                                        iotops_text_of("v"), &f->err),
      -1);
  expect_error(f,
               "connect_user_properties: not valid UTF-8 without control "
               "characters",
               "connect_user_properties", "a\n");
}

/* ---------------------------------------------------------- environment -- */

static void the_environment_fills_all_it_can(void **state) {
  fixture *f = *state;
  variable all[] = {{"AIO_BROKER_HOSTNAME", "broker"},
                    {"AIO_BROKER_TCP_PORT", "1883"},
                    {"AIO_MQTT_USE_TLS", "T"},
                    {"AIO_MQTT_CLEAN_START", "1"},
                    {"AIO_MQTT_KEEP_ALIVE", "30"},
                    {"AIO_MQTT_CLIENT_ID", "me"},
                    {"AIO_MQTT_SESSION_EXPIRY", "7200"},
                    {"AIO_MQTT_USERNAME", "user"},
                    {"AIO_MQTT_PASSWORD_FILE", "/p"},
                    {"AIO_TLS_CA_FILE", "/ca"},
                    {"AIO_TLS_CERT_FILE", "/c"},
                    {"AIO_TLS_KEY_FILE", "/k"},
                    {"AIO_TLS_KEY_PASSWORD_FILE", "/kp"},
                    {"AIO_SAT_FILE", "/s"},
                    {"MQTT_CLIENT_ID", "not this"},
                    {NULL, NULL}};
  assert_int_equal(
      iotops_settings_from_environment(f->settings, lookup, all, NULL), 0);
  static const char *const expected[][2] = {
      {"hostname", "broker"},       {"tcp_port", "1883"},
      {"use_tls", "true"},          {"clean_start", "true"},
      {"keep_alive", "30"},         {"client_id", "me"},
      {"session_expiry", "7200"},   {"username", "user"},
      {"password_file", "/p"},      {"ca_file", "/ca"},
      {"cert_file", "/c"},          {"key_file", "/k"},
      {"key_password_file", "/kp"}, {"sat_file", "/s"}};
  for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
    expect_text(f, expected[i][0], expected[i][1]);
}

static void an_empty_variable_is_unset_and_nothing_is_merged(void **state) {
  fixture *f = *state;
  variable none[] = {
      {"AIO_MQTT_KEEP_ALIVE", ""}, {"AIO_MQTT_USE_TLS", ""}, {NULL, NULL}};
  put(f, "hostname", "from before");
  assert_int_equal(
      iotops_settings_from_environment(f->settings, lookup, none, NULL), 0);
  expect_text(f, "hostname", NULL);
  expect_text(f, "keep_alive", "60");
  expect_text(f, "clean_start", "false");
}

static void errors_speak_the_words_of_the_environment(void **state) {
  fixture *f = *state;
  static const struct {
    variable bad;
    const char *message;
  } cases[] = {
      {{"AIO_BROKER_TCP_PORT", "x"},
       "AIO_BROKER_TCP_PORT: expected an integer from 1 to 65535, got \"x\""},
      {{"AIO_MQTT_USE_TLS", "on"},
       "AIO_MQTT_USE_TLS: expected true or false, got \"on\""},
      {{"AIO_MQTT_KEEP_ALIVE", "0"},
       "AIO_MQTT_KEEP_ALIVE: expected seconds from 1 to 65535, got \"0\""},
      {{"AIO_MQTT_SESSION_EXPIRY", "-5"},
       "AIO_MQTT_SESSION_EXPIRY: expected seconds from 1 to 4294967295, got "
       "\"-5\""},
      {{"AIO_MQTT_CLIENT_ID", "\x80"}, "AIO_MQTT_CLIENT_ID: not valid UTF-8"},
      {{"AIO_TLS_CA_FILE", "/\xFF"}, "AIO_TLS_CA_FILE: not valid UTF-8"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    variable one[] = {cases[i].bad, {NULL, NULL}};
    assert_int_equal(
        iotops_settings_from_environment(f->settings, lookup, one, &f->err),
        -1);
    expect_error(f, cases[i].message, cases[i].bad.name, cases[i].bad.value);
  }
  variable no_host[] = {{"AIO_MQTT_CLIENT_ID", "me"}, {NULL, NULL}};
  assert_int_equal(
      iotops_settings_from_environment(f->settings, lookup, no_host, NULL), 0);
  assert_int_equal(iotops_settings_check(f->settings, &f->err), -1);
  expect_error(f, "hostname is required: AIO_BROKER_HOSTNAME is not set",
               "AIO_BROKER_HOSTNAME", "");
  put(f, "hostname", "h");
  put(f, "client_id", "");
  assert_int_equal(iotops_settings_check(f->settings, &f->err), -1);
  expect_error(f, "client_id is required", "client_id", "");
}

static void auto_takes_mounted_files_when_there_are_any(void **state) {
  fixture *f = *state;
  variable env[] = {{"AIO_BROKER_HOSTNAME", "broker"}, {NULL, NULL}};
  variable files[] = {{"AIO_BROKER_HOSTNAME", "broker"},
                      {"CONNECTOR_CONFIGURATION_MOUNT_PATH", "/nowhere"},
                      {NULL, NULL}};
  assert_int_equal(iotops_settings_auto(f->settings, lookup, env, NULL), 0);
  expect_text(f, "hostname", "broker");
  assert_int_equal(iotops_settings_auto(f->settings, lookup, files, &f->err),
                   -1);
  expect_error(f, "CONNECTOR_ID is not set", "CONNECTOR_ID", "");
}

#define WITH(test)                                                             \
  cmocka_unit_test_setup_teardown(test, make_fixture, free_fixture)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH(settings_begin_at_their_defaults),
      WITH(a_setting_without_a_value_has_its_default_back),
      WITH(values_that_do_not_fit_are_refused_and_change_nothing),
      WITH(the_edges_of_each_range_fit),
      WITH(strings_end_where_mqtt_ends_them),
      WITH(booleans_have_several_spellings),
      WITH(printing_masks_secrets_and_stays_within_bounds),
      WITH(a_copy_is_its_own),
      WITH(wills_and_properties_are_checked),
      WITH(the_environment_fills_all_it_can),
      WITH(an_empty_variable_is_unset_and_nothing_is_merged),
      WITH(errors_speak_the_words_of_the_environment),
      WITH(auto_takes_mounted_files_when_there_are_any),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
