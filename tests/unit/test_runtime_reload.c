/*
** test_runtime_reload.c -- how one generation takes over from another, with
** states and endpoints that only note what is done to them.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "runtime/host.h"
#include "runtime/reload.h"

enum { SLOTS = 64, TEXT = 64 };

struct iotops_lua_endpoint {
  char identity[TEXT];
  char filter[TEXT];
  bool open, closed, adopted;
  iotops_envoy_done done; /* NULL: not waited for */
  void *done_user;
};

/* What the fakes note; one test at a time. */
static struct {
  iotops_lua_endpoint slots[SLOTS];
  size_t used;
  char declares[256]; /* by the next state: "identity@filter ..." */
  bool fails;         /* the next state cannot be loaded */
  bool connected;
  char log[4096];
  size_t loads, frees, drains, starts;
} world;

/* --------------------------------------------------------------- fakes -- */

script_state *state_load(script *script, uint64_t generation, source *tried,
                         iotops_error *err) {
  iotops_context *context = script->host->context;
  script_state *state = iotops_zalloc(context, sizeof *state);
  char *bytes = NULL, declares[256], *rest = declares;
  size_t size = 0;
  world.loads++;
  state->script = script;
  state->generation = generation;
  state->source.context = context;
  assert_int_equal(
      source_read(&state->source, script->path, &bytes, &size, NULL), 0);
  iotops_free(context, bytes);
  if (world.fails) {
    *tried = state->source;
    iotops_free(context, state);
    iotops_error_set(err, IOTOPS_INVALID_CONFIGURATION, "syntax error");
    return NULL;
  }
  state->endpoints = iotops_zalloc(context, 8 * sizeof *state->endpoints);
  state->refused = iotops_zalloc(context, 8);
  snprintf(declares, sizeof declares, "%s", world.declares);
  for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL;) {
    iotops_lua_endpoint *endpoint = &world.slots[world.used++];
    char *at = strchr(word, '@');
    snprintf(endpoint->identity, TEXT, "%s", word);
    snprintf(endpoint->filter, TEXT, "%s", at + 1);
    state->endpoints[state->endpoint_count++] = endpoint;
  }
  return state;
}

void state_free(script_state *state) {
  iotops_context *context = state->script->host->context;
  script_state **at = &state->script->draining;
  while (*at != NULL && *at != state)
    at = &(*at)->next;
  if (*at == state)
    *at = state->next;
  for (size_t i = 0; i < state->endpoint_count; i++)
    state->endpoints[i]->closed = true;
  world.frees++;
  iotops_free(context, state->endpoints);
  iotops_free(context, state->refused);
  source_clear(&state->source);
  iotops_free(context, state);
}

void state_drain(script_state *state, uint64_t limit_ms) {
  (void)limit_ms;
  state->draining = true;
  world.drains++;
}

size_t iotops_lua_calls(lua_State *L) {
  (void)L;
  return 0;
}

void iotops_lua_start(lua_State *L) {
  (void)L;
  world.starts++;
}

const char *iotops_lua_endpoint_identity(const iotops_lua_endpoint *endpoint) {
  return endpoint->identity;
}

const char *iotops_lua_endpoint_filter(const iotops_lua_endpoint *endpoint) {
  return endpoint->filter;
}

int iotops_lua_endpoint_open(iotops_lua_endpoint *endpoint,
                             iotops_envoy_done done, void *user,
                             iotops_error *err) {
  (void)err;
  endpoint->open = true;
  endpoint->done = done;
  endpoint->done_user = user;
  return 0;
}

void iotops_lua_endpoint_adopt(iotops_lua_endpoint *to,
                               iotops_lua_endpoint *from) {
  assert_true(from->open);
  assert_false(from->closed);
  to->open = to->adopted = true;
  from->closed = true;
}

void iotops_lua_endpoint_close(iotops_lua_endpoint *endpoint) {
  endpoint->closed = true;
}

iotops_session_state iotops_session_get_state(const iotops_session *session) {
  (void)session;
  return IOTOPS_SESSION_CONNECTED;
}

static bool is_connected(iotops_mqtt_client *client) {
  (void)client;
  return world.connected;
}

static const iotops_mqtt_client_ops client_ops = {.is_connected = is_connected};

static void noted(void *user, const iotops_log_record *record) {
  size_t size = strlen(world.log);
  (void)user;
  snprintf(world.log + size, sizeof world.log - size, "%.*s\n",
           (int)record->message.size, record->message.data);
}

/* ------------------------------------------------------------- fixture -- */

typedef struct fixture {
  host host;
  iotops_mqtt_client client;
  char path[64];
  script *script;
} fixture;

static void write_script(const fixture *f, const char *text) {
  FILE *file = fopen(f->path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
}

static int begin(void **state) {
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  fixture *f = test_calloc(1, sizeof *f);
  memset(&world, 0, sizeof world);
  options.log = noted;
  if (iotops_context_new(&options, &f->host.context, NULL) != 0)
    return -1;
  f->client.ops = &client_ops;
  f->client.context = f->host.context;
  f->host.client = &f->client;
  f->host.options.grant_timeout_ms = 30;
  f->host.phase = HOST_SERVING;
  snprintf(f->path, sizeof f->path, "/tmp/iotops-test-%d.lua", (int)getpid());
  f->script = script_new(&f->host, f->path, false);
  *state = f;
  return f->script != NULL ? 0 : -1;
}

/* A grant, or a refusal, that an endpoint is still owed. */
static void answer(iotops_lua_endpoint *endpoint, const char *refusal) {
  iotops_envoy_done done = endpoint->done;
  iotops_error err;
  assert_non_null(done);
  endpoint->done = NULL;
  if (refusal != NULL)
    iotops_error_set(&err, IOTOPS_MQTT_ERROR, "%s", refusal);
  done(endpoint->done_user, refusal != NULL ? &err : NULL);
}

static int end(void **state) {
  fixture *f = *state;
  script_close(f->script);
  for (size_t i = 0; i < world.used; i++)
    if (world.slots[i].done != NULL)
      answer(&world.slots[i], NULL);
  script_free(f->script);
  iotops_context_free(f->host.context);
  unlink(f->path);
  test_free(f);
  return 0;
}

/* The script's file gets this text, and what it declares is told. */
static void change(fixture *f, const char *text, const char *declares) {
  write_script(f, text);
  snprintf(world.declares, sizeof world.declares, "%s", declares);
  script_consider(f->script, SCRIPT_LOOK_CONTENT);
}

static void pass(fixture *f, unsigned milliseconds) {
  uint64_t until = iotops_mono_ms(f->host.context) + milliseconds;
  do {
    iotops_context_run_once(f->host.context, false);
    usleep(1000);
  } while (iotops_mono_ms(f->host.context) < until);
}

static bool logged(const char *text) {
  return strstr(world.log, text) != NULL;
}

/* --------------------------------------------------------------- tests -- */

static void the_first_generation_waits_for_no_grant(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x b@y");
  assert_non_null(f->script->current);
  assert_true(world.slots[0].open && world.slots[1].open);
  assert_int_equal(world.starts, 1);
  answer(&world.slots[0], NULL);
  assert_false(logged("subscribed"));
  answer(&world.slots[1], NULL);
  assert_true(logged("subscribed"));
}

static void an_endpoint_that_stays_the_same_is_passed_on(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  assert_int_equal(f->script->generation, 2);
  assert_true(world.slots[1].adopted);
  assert_null(world.slots[1].done);
  assert_int_equal(world.drains, 1);
  assert_int_equal(f->script->client.counters.reloads, 1);
}

static void equal_content_is_no_change(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "1", "a@x");
  assert_int_equal(world.loads, 1);
}

static void
the_old_generation_serves_until_new_filters_are_granted(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  assert_int_equal(f->script->generation, 1);
  assert_true(world.slots[2].open);
  assert_false(world.slots[1].adopted);
  answer(&world.slots[2], NULL);
  /* Not from within the answer, which may come from a receiver's turn. */
  assert_int_equal(f->script->generation, 1);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  assert_true(world.slots[1].adopted);
}

static void
a_known_filter_with_other_options_is_opened_at_the_commit(void **state) {
  fixture *f = *state;
  change(f, "1", "a1@x");
  change(f, "2", "a2@x");
  assert_int_equal(f->script->generation, 2);
  assert_true(world.slots[1].open);
  assert_false(world.slots[1].adopted);
  assert_true(world.slots[0].closed);
}

static void an_endpoint_that_is_gone_is_closed(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x b@y");
  change(f, "2", "b@y");
  assert_true(world.slots[0].closed);
  assert_true(world.slots[2].adopted);
}

static void a_refused_subscription_changes_nothing(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  answer(&world.slots[2], "Not authorized");
  pass(f, 1);
  assert_int_equal(f->script->generation, 1);
  assert_false(world.slots[0].closed);
  assert_true(world.slots[2].closed);
  assert_int_equal(world.frees, 1);
  assert_true(logged("still serving generation 1"));
  assert_true(logged("subscription to y: Not authorized"));
  /* It is not tried again by itself, but when it is asked for. */
  script_consider(f->script, SCRIPT_LOOK_CONTENT);
  assert_int_equal(world.loads, 2);
  script_consider(f->script, SCRIPT_LOOK_FORCED);
  assert_int_equal(world.loads, 3);
}

static void
a_refused_subscription_is_asked_for_again_at_the_next_connect(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x b@y");
  answer(&world.slots[0], NULL);
  answer(&world.slots[1], "Not authorized");
  assert_true(logged("nothing will be received by y: Not authorized"));
  reload_reopen(f->script);
  assert_null(world.slots[0].done);
  answer(&world.slots[1], "Not authorized");
  reload_reopen(f->script);
  answer(&world.slots[1], NULL);
  assert_true(logged("subscribed"));
  reload_reopen(f->script);
  assert_null(world.slots[1].done);
  /* What is granted now is passed on. */
  change(f, "2", "a@x b@y");
  assert_true(world.slots[3].adopted);
}

static void a_script_that_cannot_be_loaded_changes_nothing(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  world.fails = true;
  change(f, "2", "");
  assert_int_equal(f->script->generation, 1);
  assert_false(world.slots[0].closed);
  assert_true(logged("still serving generation 1"));
  script_consider(f->script, SCRIPT_LOOK_CONTENT);
  assert_int_equal(world.loads, 2);
  world.fails = false;
  change(f, "3", "a@x");
  assert_int_equal(f->script->generation, 2);
  assert_int_equal(f->script->client.counters.failed_reloads, 1);
}

static void what_was_refused_and_put_back_is_forgotten(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  world.fails = true;
  change(f, "2", "");
  world.fails = false;
  change(f, "1", "a@x");
  assert_int_equal(world.loads, 2);
  assert_int_equal(f->script->generation, 1);
  assert_true(logged("its file is again what generation 1 was made from"));
  /* The same mistake again is news. */
  world.fails = true;
  change(f, "2", "");
  assert_int_equal(world.loads, 3);
}

static void grants_that_do_not_come_end_the_try(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  pass(f, 60);
  assert_int_equal(f->script->generation, 1);
  assert_true(logged("broker unreachable"));
  assert_true(f->script->retry);
  assert_null(f->script->reload);
}

static void
a_grant_of_a_try_given_up_does_not_count_for_the_next(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  change(f, "3", "a@x c@z");
  answer(&world.slots[2], NULL);
  pass(f, 1);
  assert_int_equal(f->script->generation, 1);
  answer(&world.slots[4], NULL);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
}

static void an_endpoint_that_was_refused_is_opened_anew(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  answer(&world.slots[0], "Not authorized");
  assert_true(logged("nothing will be received by x: Not authorized"));
  change(f, "2", "a@x");
  assert_false(world.slots[1].adopted);
  assert_true(world.slots[1].open);
  assert_int_equal(f->script->generation, 1);
  answer(&world.slots[1], NULL);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
}

static void of_two_changes_the_last_is_taken(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  change(f, "3", "a@x");
  assert_int_equal(f->script->generation, 2);
  assert_int_equal(world.frees, 1);
  assert_null(f->script->reload);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
  const struct CMUnitTest tests[] = {
      TEST(the_first_generation_waits_for_no_grant),
      TEST(an_endpoint_that_stays_the_same_is_passed_on),
      TEST(equal_content_is_no_change),
      TEST(the_old_generation_serves_until_new_filters_are_granted),
      TEST(a_known_filter_with_other_options_is_opened_at_the_commit),
      TEST(an_endpoint_that_is_gone_is_closed),
      TEST(a_refused_subscription_changes_nothing),
      TEST(a_refused_subscription_is_asked_for_again_at_the_next_connect),
      TEST(a_script_that_cannot_be_loaded_changes_nothing),
      TEST(what_was_refused_and_put_back_is_forgotten),
      TEST(grants_that_do_not_come_end_the_try),
      TEST(a_grant_of_a_try_given_up_does_not_count_for_the_next),
      TEST(an_endpoint_that_was_refused_is_opened_anew),
      TEST(of_two_changes_the_last_is_taken),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
