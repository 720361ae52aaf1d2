/*
** Settings from a connection string and from mounted files, and all of them
** together.
*/
#include "settings_fixture.h"

/* ---------------------------------------------------- connection string -- */

static int from_string(fixture *f, const char *string) {
  return iotops_settings_from_string(f->settings, iotops_text_of(string),
                                     &f->err);
}

static void a_connection_string_fills_all_its_keys(void **state) {
  fixture *f = *state;
  assert_int_equal(
      from_string(f, "HostName=broker;clientid=me; TcpPort = 1883 ;UseTls="
                     "FALSE;CleanStart=True;KeepAlive=30;SessionExpiry=60;"
                     "Username=a=b;PasswordFile=/p;CaFile=/ca;CertFile=/c;"
                     "KeyFile=/k;KeyPasswordFile=/kp;SatAuthFile=/s;"
                     "Unknown=thing;"),
      0);
  static const char *const expected[][2] = {
      {"hostname", "broker"},       {"tcp_port", "1883"},
      {"use_tls", "false"},         {"clean_start", "true"},
      {"keep_alive", "30"},         {"client_id", "me"},
      {"session_expiry", "60"},     {"username", "a=b"},
      {"password_file", "/p"},      {"ca_file", "/ca"},
      {"cert_file", "/c"},          {"key_file", "/k"},
      {"key_password_file", "/kp"}, {"sat_file", "/s"}};
  for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
    expect_text(f, expected[i][0], expected[i][1]);
}

static void a_value_runs_to_the_next_key(void **state) {
  fixture *f = *state;
  assert_int_equal(
      from_string(f, ";;HostName=h;Username=a;b c;d=;CaFile=/x y;z.pem"), 0);
  expect_text(f, "username", "a;b c");
  expect_text(f, "ca_file", "/x y;z.pem");
  assert_int_equal(from_string(f, "HostName=h;Username=;ClientId=c"), 0);
  expect_text(f, "username", "");
  expect_text(f, "client_id", "c");
}

static void errors_speak_the_words_of_the_connection_string(void **state) {
  fixture *f = *state;
  static const struct {
    const char *string, *message, *name, *value;
  } cases[] = {
      {"HostName=a;TcpPort=false",
       "TcpPort: expected an integer from 1 to 65535, got \"false\"", "TcpPort",
       "false"},
      {"KeepAlive=PT10M",
       "KeepAlive: expected seconds from 1 to 65535, got \"PT10M\"",
       "KeepAlive", "PT10M"},
      {"SessionExpiry=12min",
       "SessionExpiry: expected seconds from 1 to 4294967295, got "
       "\"12min\"",
       "SessionExpiry", "12min"},
      {"UseTls=1", "UseTls: expected true or false, got \"1\"", "UseTls", "1"},
      {"CleanStart=t", "CleanStart: expected true or false, got \"t\"",
       "CleanStart", "t"},
      {"HostName=a;hostname=b", "HostName is given twice", "HostName", "b"},
      {"just text",
       "connection string: expected Key=Value pairs separated "
       "by ;",
       "connection string", NULL},
      {"=x", "connection string: expected Key=Value pairs separated by ;",
       "connection string", NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(from_string(f, cases[i].string), -1);
    expect_error(f, cases[i].message, cases[i].name, cases[i].value);
  }
  assert_int_equal(from_string(f, "HostName= ;ClientId=c"), 0);
  assert_int_equal(iotops_settings_check(f->settings, &f->err), -1);
  expect_error(f, "hostname is required: HostName is not set", "HostName", "");
  assert_int_equal(from_string(f, "HostName=h"), 0);
  assert_int_equal(iotops_settings_check(f->settings, &f->err), -1);
  expect_error(f, "client_id is required: ClientId is not set", "ClientId", "");
  assert_int_equal(from_string(f, "HostName=h;ClientId=c;CertFile="), 0);
  assert_int_equal(iotops_settings_check(f->settings, &f->err), -1);
  expect_error(f, "cert_file and key_file must be set together", "CertFile",
               "");
}

static void random_strings_never_do_harm(void **state) {
  fixture *f = *state;
  static const char *const parts[] = {"HostName", "=",    ";",      "TcpPort",
                                      " ",        "1883", "\n",     "x",
                                      "==",       "\xFF", "UseTls", "true"};
  srand(11);
  for (int round = 0; round < 5000; round++) {
    char string[256] = "";
    size_t length = 0;
    for (int i = rand() % 14; i > 0; i--)
      length += (size_t)snprintf(string + length, sizeof string - length, "%s",
                                 parts[rand() % 12]);
    from_string(f, string);
    iotops_settings_check(f->settings, &f->err);
  }
}

/* -------------------------------------------------------- mounted files -- */

/* A folder as the operator mounts it; `json` is the connection's. */
static void mount(const fixture *f, const char *json) {
  mkdir(path_of(f, "config"), 0700);
  write_file(f, "config/MQTT_CONNECTION_CONFIGURATION", json);
}

static int from_files(fixture *f, const variable *more) {
  char config[160];
  variable all[8] = {{"CONNECTOR_ID", "pod-0"},
                     {"CONNECTOR_CONFIGURATION_MOUNT_PATH", config}};
  snprintf(config, sizeof config, "%s/config", f->folder);
  for (int i = 0; more != NULL && more[i].name != NULL; i++)
    all[2 + i] = more[i];
  return iotops_settings_from_files(f->settings, lookup, all, &f->err);
}

static void mounted_files_are_read(void **state) {
  fixture *f = *state;
  variable more[] = {
      {"BROKER_SAT_MOUNT_PATH", write_file(f, "token", "t")},
      {"BROKER_TLS_TRUST_BUNDLE_CACERT_MOUNT_PATH", path_of(f, "bundle")},
      {NULL, NULL}};
  mount(f, "{\"host\":\"aio-broker:18883\",\"keepAliveSeconds\":20,"
           "\"maxInflightMessages\":100,\"sessionExpirySeconds\":600,"
           "\"protocol\":\"Mqtt\",\"tls\":{\"mode\":\"enabled\"},"
           "\"authentication\":{\"method\":\"x\"},\"more\":[1]}");
  mkdir(path_of(f, "bundle"), 0700);
  mkdir(path_of(f, "bundle/..data"), 0700);
  write_file(f, "bundle/..2026", "not this");
  write_file(f, "bundle/..data/ca.crt", "x");
  assert_int_equal(symlink("..data/ca.crt", path_of(f, "bundle/ca.crt")), 0);
  write_file(f, "config/DIAGNOSTICS", "{\"logs\":{\"level\":\"debug\"}}");
  if (from_files(f, more) != 0)
    fail_msg("%s", f->err.message);
  expect_text(f, "hostname", "aio-broker");
  expect_text(f, "tcp_port", "18883");
  expect_text(f, "keep_alive", "20");
  expect_text(f, "receive_max", "100");
  expect_text(f, "session_expiry", "600");
  expect_text(f, "use_tls", "true");
  expect_text(f, "client_id", "pod-0");
  expect_text(f, "sat_file", path_of(f, "token"));
  expect_text(f, "ca_directory", path_of(f, "bundle"));
}

static void members_that_may_be_absent_have_defaults(void **state) {
  fixture *f = *state;
  mount(f, "{\"host\":\"[::1]:1883\",\"keepAliveSeconds\":null,"
           "\"tls\":{\"mode\":\"Disabled\"}}");
  if (from_files(f, NULL) != 0)
    fail_msg("%s", f->err.message);
  expect_text(f, "hostname", "::1");
  expect_text(f, "tcp_port", "1883");
  expect_text(f, "use_tls", "false");
  expect_text(f, "keep_alive", "60");
  expect_text(f, "receive_max", "65535");
  expect_text(f, "session_expiry", "3600");
}

static void errors_speak_the_words_of_the_files(void **state) {
  fixture *f = *state;
  static const struct {
    const char *json, *message, *name;
  } cases[] = {
      {"{\"tls\":{\"mode\":\"Enabled\"}}",
       "host: expected \"<hostname>:<port>\", got \"\"", "host"},
      {"{\"host\":\"broker\"}",
       "host: expected \"<hostname>:<port>\", got \"broker\"", "host"},
      {"{\"host\":\":1883\"}",
       "host: expected \"<hostname>:<port>\", got \":1883\"", "host"},
      {"{\"host\":\"a:b:1883\"}",
       "host: expected \"<hostname>:<port>\", got \"a:b:1883\"", "host"},
      {"{\"host\":\"[::1]\"}",
       "host: expected \"<hostname>:<port>\", got \"[::1]\"", "host"},
      {"{\"host\":\"a:70000\"}",
       "host: expected \"<hostname>:<port>\", got \"a:70000\"", "host"},
      {"{\"host\":5}", "host: expected \"<hostname>:<port>\", got \"5\"",
       "host"},
      {"{\"host\":\"a:1\",\"keepAliveSeconds\":0}",
       "keepAliveSeconds: expected seconds from 1 to 65535, got \"0\"",
       "keepAliveSeconds"},
      {"{\"host\":\"a:1\",\"keepAliveSeconds\":1.5}",
       "keepAliveSeconds: expected seconds from 1 to 65535, got \"1.5\"",
       "keepAliveSeconds"},
      {"{\"host\":\"a:1\",\"keepAliveSeconds\":\"60\"}",
       "keepAliveSeconds: expected a number, got \"60\"", "keepAliveSeconds"},
      {"{\"host\":\"a:1\",\"maxInflightMessages\":0}",
       "receive_max must be at least 1", "maxInflightMessages"},
      {"{\"host\":\"a:1\",\"sessionExpirySeconds\":-1}",
       "sessionExpirySeconds: expected seconds from 1 to 4294967295, got "
       "\"-1\"",
       "sessionExpirySeconds"},
      {"{\"host\":\"a:1\",\"protocol\":\"amqp\"}",
       "protocol: expected mqtt, got \"amqp\"", "protocol"},
      {"{\"host\":\"a:1\"}", "tls.mode: expected Enabled or Disabled, got \"\"",
       "tls.mode"},
      {"{\"host\":\"a:1\",\"tls\":{\"mode\":\"off\"}}",
       "tls.mode: expected Enabled or Disabled, got \"off\"", "tls.mode"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    mount(f, cases[i].json);
    assert_int_equal(from_files(f, NULL), -1);
    assert_string_equal(f->err.message, cases[i].message);
    assert_string_equal(f->err.property_name, cases[i].name);
  }
}

static void expect_files_error(fixture *f, const variable *more,
                               const char *format, const char *path) {
  char message[512];
  assert_int_equal(from_files(f, more), -1);
  snprintf(message, sizeof message, format, path);
  assert_string_equal(f->err.message, message);
  assert_int_equal(f->err.kind, IOTOPS_INVALID_CONFIGURATION);
}

static void missing_mounts_are_named(void **state) {
  fixture *f = *state;
  variable none[] = {{NULL, NULL}};
  variable id[] = {{"CONNECTOR_ID", "x"}, {NULL, NULL}};
  assert_int_equal(
      iotops_settings_from_files(f->settings, lookup, none, &f->err), -1);
  expect_error(f, "CONNECTOR_ID is not set", "CONNECTOR_ID", "");
  assert_int_equal(iotops_settings_from_files(f->settings, lookup, id, &f->err),
                   -1);
  expect_error(f, "CONNECTOR_CONFIGURATION_MOUNT_PATH is not set",
               "CONNECTOR_CONFIGURATION_MOUNT_PATH", "");
  expect_files_error(
      f, NULL, "CONNECTOR_CONFIGURATION_MOUNT_PATH: path \"%s\" does not exist",
      path_of(f, "config"));
  mkdir(path_of(f, "config"), 0700);
  expect_files_error(f, NULL, "file \"%s\" does not exist",
                     path_of(f, "config/MQTT_CONNECTION_CONFIGURATION"));
  assert_string_equal(f->err.property_name, "MQTT_CONNECTION_CONFIGURATION");

  mount(f, "{\"host\":\"a:1\",\"tls\":{\"mode\":\"Enabled\"}}");
  variable sat[] = {{"BROKER_SAT_MOUNT_PATH", path_of(f, "token")},
                    {NULL, NULL}};
  expect_files_error(f, sat,
                     "BROKER_SAT_MOUNT_PATH: path \"%s\" does not exist",
                     path_of(f, "token"));
  variable bundle[] = {
      {"BROKER_TLS_TRUST_BUNDLE_CACERT_MOUNT_PATH", path_of(f, "bundle")},
      {NULL, NULL}};
  expect_files_error(
      f, bundle,
      "BROKER_TLS_TRUST_BUNDLE_CACERT_MOUNT_PATH: path \"%s\" does not exist",
      path_of(f, "bundle"));
  mkdir(path_of(f, "bundle"), 0700);
  write_file(f, "bundle/..data", "x");
  expect_files_error(f, bundle, "no CA certificate found in \"%s\"",
                     path_of(f, "bundle"));
}

static void bad_json_is_named_with_its_place(void **state) {
  fixture *f = *state;
  mount(f, "{\n \"host\": oops }");
  assert_int_equal(from_files(f, NULL), -1);
  const char *path = path_of(f, "config/MQTT_CONNECTION_CONFIGURATION");
  assert_memory_equal(f->err.message, path, strlen(path));
  assert_non_null(strstr(f->err.message, " at line 2, column "));
  mount(f, "[1]");
  expect_files_error(f, NULL, "%s: expected an object", path);
  mount(f, "{\"host\":\"a:1\",\"tls\":{\"mode\":\"Enabled\"}}");
  write_file(f, "config/DIAGNOSTICS", "{\"logs\":{\"level\":\"loud\"}}");
  expect_files_error(f, NULL,
                     "logs.level: expected trace, debug, info, warn or "
                     "error, got \"%s\"",
                     "loud");
  static char big[1024 * 1024 + 2];
  memset(big, ' ', sizeof big);
  write_bytes(path, big, sizeof big);
  expect_files_error(
      f, NULL, "cannot read file \"%s\": larger than 1048576 bytes", path);
}

/* ------------------------------------------------ all of them together -- */

typedef struct combination {
  const char *settings[8]; /* name, value, ... */
  const char *message, *name;
} combination;

static void combinations_that_cannot_be_are_refused(void **state) {
  fixture *f = *state;
  static const combination cases[] = {
      {{NULL}, "hostname is required", "hostname"},
      {{"hostname", " \t"}, "hostname is required", "hostname"},
      {{"hostname", "mqtt://h", "client_id", "c"},
       "hostname: expected a DNS name or an IP address, got \"mqtt://h\"",
       "hostname"},
      {{"hostname", "h"}, "client_id is required", "client_id"},
      {{"hostname", "h", "client_id", "c", "password", "p", "sat_file", "/s"},
       "only one of password, password_file and sat_file may be set",
       "sat_file"},
      {{"hostname", "h", "client_id", "c", "password_file", "/p", "sat_file",
        "/s"},
       "only one of password, password_file and sat_file may be set",
       "sat_file"},
      {{"hostname", "h", "client_id", "c", "password_file", "/p", "password",
        "x"},
       "only one of password, password_file and sat_file may be set",
       "password_file"},
      {{"hostname", "h", "client_id", "c", "cert_file", "/c"},
       "cert_file and key_file must be set together",
       "key_file"},
      {{"hostname", "h", "client_id", "c", "key_file", "/k"},
       "cert_file and key_file must be set together",
       "cert_file"},
      {{"hostname", "h", "client_id", "c", "cert_file", "", "key_file", ""},
       "cert_file and key_file must be set together",
       "cert_file"},
      {{"hostname", "h", "client_id", "c", "key_password_file", "/p"},
       "key_password_file is set but key_file is not",
       "key_password_file"},
      {{"hostname", "h", "client_id", "c", "use_tls", "false", "ca_file", "/c"},
       "TLS files are set but use_tls is false",
       "ca_file"},
      {{"hostname", "h", "client_id", "c", "keep_alive", "5",
        "ping_response_timeout", "6"},
       "ping_response_timeout: expected seconds from 1 to 5 (keep_alive), "
       "got \"6\"",
       "ping_response_timeout"},
      {{"hostname", "h", "client_id", "c", "aio_persistence", "true",
        "aio_broker_features", "false"},
       "aio_persistence needs aio_broker_features",
       "aio_persistence"},
      {{"hostname", "h", "client_id", "c", "password_file", "/no/such"},
       "cannot read password_file \"/no/such\": No such file or directory",
       "password_file"},
      {{"hostname", "h", "client_id", "c", "sat_file", "/no/such"},
       "cannot read sat_file \"/no/such\": No such file or directory",
       "sat_file"},
      {{"hostname", "h", "client_id", "c", "sat_file", "/"},
       "cannot read sat_file \"/\": Is a directory",
       "sat_file"},
      {{"hostname", "h", "client_id", "c", "sat_file", "/dev/null"},
       "cannot read sat_file \"/dev/null\": not a regular file",
       "sat_file"},
      {{"hostname", "h", "client_id", "c", "ca_file", "/no/such"},
       "cannot load ca_file \"/no/such\": No such file or directory",
       "ca_file"},
      {{"hostname", "h", "client_id", "c", "cert_file", "/no/c", "key_file",
        "/no/k"},
       "cannot load cert_file \"/no/c\": No such file or directory",
       "cert_file"},
      {{"hostname", "h", "client_id", "c", "ca_directory", "/no/such"},
       "cannot read ca_directory \"/no/such\": No such file or directory",
       "ca_directory"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    settings_start(f->settings, SOURCE_API);
    for (int j = 0; j < 8 && cases[i].settings[j] != NULL; j += 2)
      assert_int_equal(put(f, cases[i].settings[j], cases[i].settings[j + 1]),
                       0);
    assert_int_equal(iotops_settings_check(f->settings, &f->err), -1);
    assert_string_equal(f->err.message, cases[i].message);
    assert_string_equal(f->err.property_name, cases[i].name);
    assert_int_equal(f->err.kind, IOTOPS_INVALID_CONFIGURATION);
    assert_true(f->err.is_shallow);
  }
}

static void a_password_is_never_in_an_error(void **state) {
  fixture *f = *state;
  static char big[65537];
  memset(big, 'S', 65536);
  assert_int_equal(put(f, "password", big), -1);
  assert_false(f->err.has_property_value);
  assert_null(strstr(f->err.message, "SSS"));
  put(f, "hostname", "h");
  put(f, "client_id", "c");
  put(f, "sat_file", "/s");
  put(f, "password", "hunter2");
  assert_int_equal(iotops_settings_check(f->settings, &f->err), -1);
  assert_null(strstr(f->err.property_value, "hunter2"));
}

static void settings_that_fit_pass(void **state) {
  fixture *f = *state;
  put(f, "hostname", "::1");
  put(f, "client_id", "c");
  put(f, "username", "");
  put(f, "password_file", write_file(f, "password", ""));
  if (iotops_settings_check(f->settings, &f->err) != 0)
    fail_msg("%s", f->err.message);
  put(f, "password_file", NULL);
  put(f, "sat_file", write_file(f, "token", "\r\n \n"));
  assert_int_equal(iotops_settings_check(f->settings, &f->err), -1);
  assert_non_null(strstr(f->err.message, "token\": it is empty"));
  write_file(f, "token", "abc\n");
  assert_int_equal(iotops_settings_check(f->settings, NULL), 0);
}

/* ---------------------------------------------------------------- memory -- */

static int left_until_failure, blocks;

static void *failing_resize(void *user, void *block, size_t size) {
  (void)user;
  if (size == 0) {
    blocks -= block != NULL;
    free(block);
    return NULL;
  }
  if (left_until_failure-- <= 0)
    return NULL;
  blocks += block == NULL;
  return realloc(block, size);
}

static void
every_failed_allocation_is_reported_and_leaks_nothing(void **state) {
  (void)state;
  iotops_allocator allocator = {failing_resize, NULL};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  iotops_context *context;
  bool worked = false;
  options.allocator = &allocator;
  left_until_failure = 10;
  blocks = 0;
  assert_int_equal(iotops_context_new(&options, &context, NULL), 0);
  for (int fail_at = 0; !worked; fail_at++) {
    iotops_message will = IOTOPS_MESSAGE_INIT;
    iotops_error err = {0};
    assert_true(fail_at < 100);
    will.topic = iotops_text_of("t");
    left_until_failure = fail_at;
    iotops_settings *settings = iotops_settings_new(context), *copy = NULL;
    worked =
        settings != NULL &&
        iotops_settings_from_string(
            settings, iotops_text_of("HostName=h;ClientId=c;UseTls=false"),
            &err) == 0 &&
        iotops_settings_add_user_property(settings, iotops_text_of("k"),
                                          iotops_text_of("v"), &err) == 0 &&
        iotops_settings_set_will(settings, &will, 0, &err) == 0 &&
        (copy = iotops_settings_copy(settings)) != NULL;
    if (err.kind != IOTOPS_NO_ERROR)
      assert_string_equal(err.message, "out of memory");
    iotops_settings_free(copy);
    iotops_settings_free(settings);
    assert_int_equal(blocks, 1);
  }
  iotops_context_free(context);
  assert_int_equal(blocks, 0);
}

#define WITH(test)                                                             \
  cmocka_unit_test_setup_teardown(test, make_fixture, free_fixture)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH(a_connection_string_fills_all_its_keys),
      WITH(a_value_runs_to_the_next_key),
      WITH(errors_speak_the_words_of_the_connection_string),
      WITH(random_strings_never_do_harm),
      WITH(mounted_files_are_read),
      WITH(members_that_may_be_absent_have_defaults),
      WITH(errors_speak_the_words_of_the_files),
      WITH(missing_mounts_are_named),
      WITH(bad_json_is_named_with_its_place),
      WITH(combinations_that_cannot_be_are_refused),
      WITH(a_password_is_never_in_an_error),
      WITH(settings_that_fit_pass),
      WITH(every_failed_allocation_is_reported_and_leaks_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
