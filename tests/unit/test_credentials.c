#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "session/credentials.h"

typedef struct fixture {
  iotops_context *context;
  iotops_settings *settings;
  credentials *credentials;
  char folder[64];
  uint64_t shift_ms; /* how far the clock is set ahead */
  int changed, warnings;
} fixture;

static int64_t wall(void *user) {
  return (int64_t)((fixture *)user)->shift_ms;
}

/* Real time and what the test adds; alarms are rung by the test. */
static uint64_t mono(void *user) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return ((fixture *)user)->shift_ms + (uint64_t)now.tv_sec * 1000 +
         (uint64_t)now.tv_nsec / 1000000;
}

static void no_alarm(void *user, iotops_context *context, uint64_t due_ms) {
  (void)user;
  (void)context;
  (void)due_ms;
}

static void note_log(void *user, const iotops_log_record *record) {
  fixture *f = user;
  f->warnings += record->level == IOTOPS_LOG_WARN;
  assert_null(memmem(record->message.data, record->message.size, "secret", 6));
}

static void note_changed(void *user) {
  ((fixture *)user)->changed++;
}

static const char *path_of(const fixture *f, const char *name) {
  static char paths[4][128];
  static int next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", f->folder, name);
  return path;
}

static void write_file(const fixture *f, const char *name, const char *text) {
  FILE *file = fopen(path_of(f, name), "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static void set(fixture *f, const char *name, const char *value) {
  assert_int_equal(
      iotops_settings_set(f->settings, name, iotops_text_of(value), NULL), 0);
}

static int make_fixture(void **state) {
  fixture *f = calloc(1, sizeof *f);
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  iotops_clock clock = {wall, mono, no_alarm, f};
  *state = f;
  strcpy(f->folder, "/tmp/iotops-credentials-XXXXXX");
  options.clock = &clock;
  options.log = note_log;
  options.log_user = f;
  if (mkdtemp(f->folder) == NULL ||
      iotops_context_new(&options, &f->context, NULL) != 0)
    return -1;
  f->settings = iotops_settings_new(f->context);
  return 0;
}

static int free_fixture(void **state) {
  fixture *f = *state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
  credentials_close(f->credentials);
  iotops_settings_free(f->settings);
  iotops_context_free(f->context);
  free(f);
  return system(command);
}

static void open_credentials(fixture *f) {
  assert_int_equal(credentials_open(f->context, f->settings, note_changed, f,
                                    &f->credentials, NULL),
                   0);
}

static void turn(fixture *f) {
  iotops_context_run_once(f->context, false);
  iotops_context_ring(f->context);
}

/* Turns the loop until `changed` was called `times`; false in vain. */
static bool changed_within(fixture *f, int times, int turns) {
  while (f->changed < times && turns-- > 0) {
    turn(f);
    usleep(1000);
  }
  return f->changed >= times;
}

static bool is(iotops_text text, const char *expected) {
  return iotops_text_equal(text, iotops_text_of(expected));
}

/* A projected volume: token -> ..data/token, ..data -> ..1, ..2, ... */
static void project(fixture *f, int version, const char *token) {
  char name[64], link[64];
  snprintf(name, sizeof name, "..%d", version);
  mkdir(path_of(f, name), 0700);
  snprintf(link, sizeof link, "..%d/token", version);
  write_file(f, link, token);
  assert_int_equal(symlink(name, path_of(f, "..data_tmp")), 0);
  assert_int_equal(rename(path_of(f, "..data_tmp"), path_of(f, "..data")), 0);
  if (version == 1)
    assert_int_equal(symlink("..data/token", path_of(f, "token")), 0);
}

static void with_projected_token(fixture *f, const char *debounce) {
  credentials_view view;
  project(f, 1, "secret one\n");
  set(f, "sat_file", path_of(f, "token"));
  set(f, "sat_debounce", debounce);
  open_credentials(f);
  assert_int_equal(credentials_for_connect(f->credentials, &view, NULL), 0);
  assert_true(is(view.token, "secret one"));
}

static void nothing_configured_presents_nothing(void **state) {
  fixture *f = *state;
  credentials_view view;
  iotops_text token;
  open_credentials(f);
  assert_int_equal(credentials_for_connect(f->credentials, &view, NULL), 0);
  assert_null(view.username.data);
  assert_null(view.password.data);
  assert_null(view.token.data);
  assert_false(credentials_next_token(f->credentials, &token));
}

static void a_password_file_is_read_verbatim_each_time(void **state) {
  fixture *f = *state;
  credentials_view view;
  set(f, "username", "me");
  set(f, "password_file", path_of(f, "password"));
  write_file(f, "password", " secret one\r\n");
  open_credentials(f);
  assert_int_equal(credentials_for_connect(f->credentials, &view, NULL), 0);
  assert_true(is(view.username, "me"));
  assert_true(is(view.password, " secret one\r\n"));
  write_file(f, "password", "");
  assert_int_equal(credentials_for_connect(f->credentials, &view, NULL), 0);
  assert_true(is(view.password, ""));
}

static void a_file_that_cannot_be_read_fails_the_attempt_only(void **state) {
  fixture *f = *state;
  credentials_view view;
  iotops_error err;
  set(f, "password_file", path_of(f, "password"));
  open_credentials(f);
  assert_int_equal(credentials_for_connect(f->credentials, &view, &err), -1);
  assert_int_equal(err.kind, IOTOPS_INVALID_CONFIGURATION);
  assert_string_equal(err.property_name, "password_file");
  write_file(f, "password", "secret");
  assert_int_equal(credentials_for_connect(f->credentials, &view, &err), 0);
  char big[65537];
  memset(big, 'x', sizeof big);
  big[65536] = '\0';
  write_file(f, "password", big);
  assert_int_equal(credentials_for_connect(f->credentials, &view, &err), -1);
  assert_non_null(strstr(err.message, "larger than 65535 bytes"));
}

static void a_swapped_link_is_noticed_and_its_token_taken_once(void **state) {
  fixture *f = *state;
  iotops_text token;
  with_projected_token(f, "0");
  turn(f);
  project(f, 2, "secret two\n");
  assert_true(changed_within(f, 1, 1000));
  assert_true(credentials_next_token(f->credentials, &token));
  assert_true(is(token, "secret two"));
  assert_false(credentials_next_token(f->credentials, &token));
  project(f, 3, "secret two"); /* the same, newly written */
  assert_false(changed_within(f, 2, 30));
}

static void events_are_collected_before_the_file_is_looked_at(void **state) {
  fixture *f = *state;
  iotops_text token;
  with_projected_token(f, "30000");
  turn(f);
  for (int version = 2; version < 6; version++) {
    char text[32];
    snprintf(text, sizeof text, "secret %d", version);
    project(f, version, text);
    turn(f);
    usleep(2000);
    turn(f);
  }
  assert_int_equal(f->changed, 0);
  f->shift_ms += 30001;
  turn(f);
  assert_int_equal(f->changed, 1);
  assert_true(credentials_next_token(f->credentials, &token));
  assert_true(is(token, "secret 5"));
}

static void a_change_without_events_is_found_by_looking(void **state) {
  fixture *f = *state;
  with_projected_token(f, "1000000");
  for (int i = 0; i < 3; i++) {
    f->shift_ms += 60001;
    turn(f);
  }
  assert_int_equal(f->changed, 0);
  project(f, 2, "secret two");
  f->shift_ms += 60001;
  turn(f);
  assert_int_equal(f->changed, 1);
  f->shift_ms += 60001; /* nobody has taken it: said again */
  turn(f);
  assert_int_equal(f->changed, 2);
}

static void an_empty_or_absent_file_is_ignored_with_one_warning(void **state) {
  fixture *f = *state;
  iotops_text token;
  with_projected_token(f, "1000000");
  unlink(path_of(f, "token"));
  for (int i = 0; i < 3; i++) {
    f->shift_ms += 60001;
    turn(f);
  }
  assert_false(credentials_next_token(f->credentials, &token));
  assert_int_equal(f->changed, 0);
  assert_int_equal(f->warnings, 1);
  write_file(f, "token", "secret two");
  assert_true(credentials_next_token(f->credentials, &token));
  write_file(f, "token", " \r\n");
  assert_false(credentials_next_token(f->credentials, &token));
  assert_int_equal(f->warnings, 2);
}

static void a_connect_takes_the_newest_token(void **state) {
  fixture *f = *state;
  credentials_view view;
  iotops_text token;
  with_projected_token(f, "1000000");
  project(f, 2, "secret two");
  assert_int_equal(credentials_for_connect(f->credentials, &view, NULL), 0);
  assert_true(is(view.token, "secret two"));
  assert_false(credentials_next_token(f->credentials, &token));
  project(f, 3, "secret three"); /* between CONNECT and CONNACK */
  assert_true(credentials_next_token(f->credentials, &token));
  assert_true(is(token, "secret three"));
}

static void before_the_first_connect_there_is_nothing_new(void **state) {
  fixture *f = *state;
  iotops_text token;
  project(f, 1, "secret");
  set(f, "sat_file", path_of(f, "token"));
  set(f, "sat_debounce", "0");
  open_credentials(f);
  turn(f);
  project(f, 2, "secret two");
  assert_false(changed_within(f, 1, 30));
  assert_false(credentials_next_token(f->credentials, &token));
}

static void a_folder_that_cannot_be_watched_is_only_a_warning(void **state) {
  fixture *f = *state;
  set(f, "sat_file", path_of(f, "absent/token"));
  open_credentials(f);
  assert_int_equal(f->warnings, 1);
  credentials_close(f->credentials);
  f->credentials = NULL;
  credentials_close(NULL);
}

static void closing_with_an_event_on_its_way_calls_nobody(void **state) {
  fixture *f = *state;
  with_projected_token(f, "0");
  turn(f);
  project(f, 2, "secret two");
  credentials_close(f->credentials);
  f->credentials = NULL;
  assert_false(changed_within(f, 1, 20));
}

#define WITH(test)                                                             \
  cmocka_unit_test_setup_teardown(test, make_fixture, free_fixture)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH(nothing_configured_presents_nothing),
      WITH(a_password_file_is_read_verbatim_each_time),
      WITH(a_file_that_cannot_be_read_fails_the_attempt_only),
      WITH(a_swapped_link_is_noticed_and_its_token_taken_once),
      WITH(events_are_collected_before_the_file_is_looked_at),
      WITH(a_change_without_events_is_found_by_looking),
      WITH(an_empty_or_absent_file_is_ignored_with_one_warning),
      WITH(a_connect_takes_the_newest_token),
      WITH(before_the_first_connect_there_is_nothing_new),
      WITH(a_folder_that_cannot_be_watched_is_only_a_warning),
      WITH(closing_with_an_event_on_its_way_calls_nobody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
