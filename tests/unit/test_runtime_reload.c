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
  bool open, closed, adopted, paused;
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
  /* Of all states, whichever is asked. */
  iotops_lua_handoff handoff;
  size_t busy; /* calls in the middle of something */
  bool frozen, save_fails, restore_fails;
  size_t saves, restores, snapshots;
  int64_t saved, restored; /* what the last snapshot was of */
  int64_t unreadable;      /* the snapshot that no state can restore */
} world;

struct iotops_lua_snapshot {
  int64_t content;
};

/* --------------------------------------------------------------- fakes -- */

script_state *state_load(script *script, uint64_t generation, source *tried,
                         iotops_error *err) {
  iotops_context *context = script->host->context;
  script_state *state = iotops_zalloc(context, sizeof *state);
  const char *bytes = NULL;
  char declares[256], *rest = declares;
  size_t size = 0;
  world.loads++;
  state->script = script;
  state->generation = generation;
  state->source.context = context;
  assert_int_equal(
      source_read(&state->source, script->path, &bytes, &size, NULL), 0);
  if (world.fails) {
    *tried = state->source;
    iotops_free(context, state);
    iotops_error_set(err, IOTOPS_INVALID_CONFIGURATION, "syntax error");
    return NULL;
  }
  state->endpoints = iotops_zalloc(context, 8 * sizeof *state->endpoints);
  state->refused = iotops_zalloc(context, 8);
  state->marks = iotops_zalloc(context, 8 * sizeof *state->marks);
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
  iotops_free(context, state->marks);
  source_clear(&state->source);
  iotops_free(context, state);
}

void state_drain(script_state *state, uint64_t limit_ms) {
  (void)limit_ms;
  state->draining = true;
  world.drains++;
}

script_state *state_recall(script *script, uint64_t generation,
                           const source *from, iotops_error *err) {
  source tried = {.context = script->host->context};
  script_state *state = state_load(script, generation, &tried, err);
  if (state == NULL) {
    source_clear(&tried);
    return NULL;
  }
  source_clear(&state->source);
  assert_int_equal(source_copy(&state->source, from), 0);
  return state;
}

iotops_lua_handoff iotops_lua_declared_handoff(lua_State *L) {
  (void)L;
  return world.handoff;
}

size_t iotops_lua_busy_calls(lua_State *L) {
  (void)L;
  return world.busy;
}

void iotops_lua_freeze(lua_State *L, bool frozen) {
  (void)L;
  world.frozen = frozen;
}

int iotops_lua_save(lua_State *L, size_t limit, iotops_lua_snapshot **snapshot,
                    iotops_error *err) {
  (void)L;
  (void)limit;
  world.saves++;
  *snapshot = NULL;
  if (world.save_fails)
    return iotops_error_set(err, IOTOPS_EXECUTION_ERROR, "a is a function");
  *snapshot = calloc(1, sizeof **snapshot);
  assert_non_null(*snapshot);
  (*snapshot)->content = ++world.saved;
  world.snapshots++;
  return 0;
}

int iotops_lua_restore(lua_State *L, const iotops_lua_snapshot *snapshot,
                       iotops_error *err) {
  (void)L;
  world.restores++;
  world.restored = snapshot->content;
  return world.restore_fails || world.restored == world.unreadable
             ? iotops_error_set(err, IOTOPS_EXECUTION_ERROR, "no such layout")
             : 0;
}

size_t iotops_lua_snapshot_tables(const iotops_lua_snapshot *snapshot) {
  (void)snapshot;
  return 3;
}

void iotops_lua_snapshot_free(iotops_lua_snapshot *snapshot) {
  if (snapshot == NULL)
    return;
  world.snapshots--;
  free(snapshot);
}

bool iotops_lua_endpoint_is_command(const iotops_lua_endpoint *endpoint) {
  return endpoint->identity[0] == 'C';
}

void iotops_lua_endpoint_pause(iotops_lua_endpoint *endpoint, bool paused) {
  endpoint->paused = paused;
}

iotops_message *iotops_lua_endpoint_take(iotops_lua_endpoint *endpoint,
                                         iotops_ack *ack) {
  (void)endpoint;
  (void)ack;
  return NULL;
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

void iotops_lua_endpoint_succeed(iotops_lua_endpoint *to,
                                 iotops_lua_endpoint *from) {
  assert_true(to->open);
  assert_false(from->closed);
}

void iotops_lua_leases_clear(iotops_lua_leases *leases) {
  assert_null(leases->first);
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

static void observe(iotops_mqtt_client *client,
                    iotops_mqtt_observer *observer) {
  (void)client;
  (void)observer;
}

static const iotops_mqtt_client_ops client_ops = {
    .is_connected = is_connected, .observe = observe, .unobserve = observe};

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
  f->host.options.handoff_timeout_ms = 30;
  f->host.options.probation_ms = 1000;
  f->host.options.probation_errors = 5;
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

/* ------------------------------------------------------------- hand-off -- */

static void hand_over(void) {
  world.handoff =
      (iotops_lua_handoff){.saves = true, .restores = true, .version = 1};
}

static void
a_state_is_handed_over_at_once_when_nothing_is_in_hand(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  assert_int_equal(world.saves, 0);
  change(f, "2", "a@x");
  assert_int_equal(f->script->generation, 2);
  assert_int_equal(world.restored, 1);
  assert_false(world.slots[1].paused);
  assert_int_equal(f->script->last_reload.outcome, RELOAD_COMMITTED);
  assert_int_equal(f->script->last_reload.records, 3);
}

static void calls_in_hand_are_waited_for(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.busy = 1;
  change(f, "2", "a@x");
  assert_int_equal(f->script->generation, 1);
  assert_true(world.slots[0].paused && world.frozen);
  assert_true(f->script->client.keeping);
  reload_turn_ended(f->script);
  pass(f, 1);
  assert_int_equal(f->script->generation, 1);
  world.busy = 0;
  reload_turn_ended(f->script);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  assert_false(f->script->client.keeping);
}

static void calls_that_do_not_end_in_time_are_left_behind(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.busy = 2;
  change(f, "2", "a@x");
  pass(f, 60);
  assert_int_equal(f->script->generation, 2);
  assert_true(logged("2 calls have not ended within 0.0 s"));
}

static void a_failed_hand_off_changes_nothing(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.save_fails = true;
  change(f, "2", "a@x");
  assert_int_equal(f->script->generation, 1);
  assert_false(world.slots[0].paused || world.frozen);
  assert_false(f->script->client.keeping);
  assert_true(logged("its state cannot be saved; still serving generation 1"));
  world.save_fails = false;
  world.restore_fails = true;
  change(f, "3", "a@x b@y");
  answer(&world.slots[3], NULL);
  pass(f, 1);
  assert_int_equal(f->script->generation, 1);
  assert_true(world.slots[3].closed);
  assert_false(world.slots[0].paused || world.frozen);
  assert_true(logged("the state cannot be restored; still serving"));
  assert_int_equal(world.snapshots, 0);
  world.restore_fails = false;
  change(f, "4", "a@x");
  assert_int_equal(f->script->generation, 2);
}

static void a_change_while_quiescing_begins_anew(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.busy = 1;
  change(f, "2", "a@x");
  change(f, "3", "a@x");
  assert_int_equal(world.frees, 1);
  assert_true(world.slots[0].paused && world.frozen);
  world.busy = 0;
  reload_turn_ended(f->script);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  assert_int_equal(world.loads, 3);
}

static void what_was_put_back_while_quiescing_goes_on(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.busy = 1;
  change(f, "2", "a@x");
  change(f, "1", "a@x");
  assert_null(f->script->reload);
  assert_false(world.slots[0].paused || world.frozen);
  assert_int_equal(f->script->generation, 1);
}

static void a_script_that_stops_while_quiescing_is_not_replaced(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  world.busy = 1;
  change(f, "2", "a@x");
  script_quiesce(f->script);
  pass(f, 60);
  assert_int_equal(f->script->generation, 1);
  assert_null(f->script->reload);
  assert_false(f->script->client.keeping);
}

/* ------------------------------------------------------------ probation -- */

/* Calls of the serving generation end, so many of them with an error. */
static void serve(fixture *f, unsigned calls, unsigned failed) {
  for (unsigned i = 0; i < calls; i++) {
    f->script->current->ended_calls++;
    if (i >= failed)
      continue;
    f->script->current->failed_calls++;
    probation_call_failed(f->script);
  }
}

static void a_version_that_mostly_fails_is_taken_back(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  serve(f, 4, 4);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  serve(f, 1, 1);
  pass(f, 1);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(world.restored, 1); /* what generation 1 had handed over */
  assert_int_equal(world.saves, 1);
  assert_int_equal(f->script->last_reload.outcome, RELOAD_ROLLED_BACK);
  assert_non_null(
      strstr(f->script->last_reload.message, "5 of its first 5 calls failed"));
  assert_int_equal(f->script->client.counters.rollbacks, 1);
  /* What has failed is not tried again, unless somebody says so. */
  script_consider(f->script, SCRIPT_LOOK_CONTENT);
  script_consider(f->script, SCRIPT_LOOK_FORCED);
  assert_int_equal(f->script->generation, 3);
  /* And there is no way back from the way back. */
  serve(f, 9, 9);
  pass(f, 1);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(script_rollback(f->script, NULL), -1);
  assert_int_equal(script_reload(f->script, NULL), 0);
  assert_int_equal(f->script->generation, 4);
}

static void few_errors_among_many_calls_are_borne_with(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  serve(f, 10, 0);
  serve(f, 10, 10);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  serve(f, 1, 1);
  pass(f, 1);
  assert_int_equal(f->script->generation, 3);
}

static void after_the_probation_nothing_is_taken_back(void **state) {
  fixture *f = *state;
  f->host.options.probation_ms = 20;
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  pass(f, 40);
  serve(f, 9, 9);
  pass(f, 1);
  assert_int_equal(f->script->generation, 2);
  /* By hand it is. */
  assert_int_equal(script_rollback(f->script, NULL), 0);
  assert_int_equal(f->script->generation, 3);
}

static void a_bad_version_does_not_become_the_last_good_one(void **state) {
  fixture *f = *state;
  change(f, "good", "a@x");
  change(f, "bad", "a@x");
  serve(f, 3, 3);
  change(f, "worse", "a@x");
  assert_int_equal(f->script->generation, 3);
  serve(f, 5, 5);
  pass(f, 1);
  assert_int_equal(f->script->generation, 4);
  assert_memory_equal(f->script->current->source.files[0].bytes, "good", 4);
}

static void a_remedy_that_cannot_be_loaded_does_not_keep_it(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  /* The remedy waits for a grant when the last error comes. */
  change(f, "3", "a@x b@y");
  serve(f, 5, 5);
  pass(f, 5);
  assert_int_equal(f->script->generation, 2);
  snprintf(world.declares, sizeof world.declares, "a@x");
  answer(&world.slots[3], "Not authorized");
  pass(f, 5);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(f->script->last_reload.outcome, RELOAD_ROLLED_BACK);
}

static void a_way_back_is_not_disturbed_by_what_the_files_hold(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "b@y");
  answer(&world.slots[1], NULL);
  pass(f, 5);
  assert_int_equal(f->script->generation, 2);
  snprintf(world.declares, sizeof world.declares, "a@x");
  serve(f, 5, 5);
  pass(f, 5);
  assert_non_null(f->script->reload);
  script_consider(f->script, SCRIPT_LOOK_CONTENT);
  script_consider(f->script, SCRIPT_LOOK_FORCED);
  assert_int_equal(world.loads, 3);
  /* A remedy that cannot be loaded is no reason to stay. */
  world.fails = true;
  change(f, "4", "");
  world.fails = false;
  snprintf(world.declares, sizeof world.declares, "a@x");
  pass(f, 5);
  answer(&world.slots[3], NULL);
  pass(f, 5);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(f->script->last_reload.outcome, RELOAD_ROLLED_BACK);
}

static void a_way_back_that_fails_is_not_tried_again(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "b@y");
  answer(&world.slots[1], NULL);
  pass(f, 5);
  snprintf(world.declares, sizeof world.declares, "a@x");
  serve(f, 5, 5);
  pass(f, 60);
  assert_null(f->script->reload);
  assert_true(logged("cannot go back; still serving generation 2"));
  serve(f, 5, 5);
  pass(f, 5);
  assert_int_equal(world.loads, 3);
}

static void a_state_of_the_same_layout_is_taken_back_by_hand(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  assert_int_equal(script_rollback(f->script, NULL), 0);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(world.restored, 2);
}

static void
a_state_that_cannot_be_read_gives_way_to_the_one_handed_over(void **state) {
  fixture *f = *state;
  hand_over();
  change(f, "1", "a@x");
  change(f, "2", "a@x");
  world.unreadable = 2;
  assert_int_equal(script_rollback(f->script, NULL), 0);
  assert_int_equal(f->script->generation, 3);
  assert_int_equal(world.restores, 3);
  assert_int_equal(world.restored, 1);
  assert_int_equal(f->script->last_reload.outcome, RELOAD_ROLLED_BACK);
  assert_true(logged("the last one that was handed over is taken"));
  assert_false(world.slots[2].paused);
}

static void a_script_that_stops_while_it_waits_for_grants_stays(void **state) {
  fixture *f = *state;
  change(f, "1", "a@x");
  change(f, "2", "a@x b@y");
  script_quiesce(f->script);
  assert_null(f->script->reload);
  answer(&world.slots[2], NULL);
  pass(f, 5);
  assert_int_equal(f->script->generation, 1);
  assert_true(world.slots[2].closed);
}

static void two_scripts_do_not_answer_one_command(void **state) {
  fixture *f = *state;
  char path[80];
  change(f, "1", "C@fan/set a@x");
  snprintf(path, sizeof path, "%s.other", f->path);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("1", file);
  fclose(file);
  script *other = script_new(&f->host, path, false);
  assert_non_null(other);
  f->host.scripts = f->script;
  f->script->next = other;
  script_consider(other, SCRIPT_LOOK_CONTENT);
  assert_null(other->current);
  assert_true(logged("answers the command fan/set already"));
  /* The same telemetry may go to both, and a group shares its requests. */
  snprintf(world.declares, sizeof world.declares, "%s",
           "a@x C@$share/g/fan/set");
  script_consider(other, SCRIPT_LOOK_FORCED);
  assert_non_null(other->current);
  script_close(other);
  for (size_t i = 0; i < world.used; i++)
    if (world.slots[i].done != NULL)
      answer(&world.slots[i], NULL);
  f->script->next = NULL;
  script_free(other);
  unlink(path);
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
      TEST(a_state_is_handed_over_at_once_when_nothing_is_in_hand),
      TEST(calls_in_hand_are_waited_for),
      TEST(calls_that_do_not_end_in_time_are_left_behind),
      TEST(a_failed_hand_off_changes_nothing),
      TEST(a_change_while_quiescing_begins_anew),
      TEST(what_was_put_back_while_quiescing_goes_on),
      TEST(a_script_that_stops_while_quiescing_is_not_replaced),
      TEST(a_version_that_mostly_fails_is_taken_back),
      TEST(few_errors_among_many_calls_are_borne_with),
      TEST(after_the_probation_nothing_is_taken_back),
      TEST(a_bad_version_does_not_become_the_last_good_one),
      TEST(a_remedy_that_cannot_be_loaded_does_not_keep_it),
      TEST(a_way_back_is_not_disturbed_by_what_the_files_hold),
      TEST(a_way_back_that_fails_is_not_tried_again),
      TEST(a_state_of_the_same_layout_is_taken_back_by_hand),
      TEST(a_state_that_cannot_be_read_gives_way_to_the_one_handed_over),
      TEST(a_script_that_stops_while_it_waits_for_grants_stays),
      TEST(two_scripts_do_not_answer_one_command),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
