/*
** reload_scene.h -- a script whose states and endpoints only note what is done
** to them, for the tests of its reload.
**
** Defines what it fakes: one program, one include.
*/
#ifndef UNIT_RELOAD_SCENE_H
#define UNIT_RELOAD_SCENE_H

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

static inline bool is_connected(iotops_mqtt_client *client) {
  (void)client;
  return world.connected;
}

static inline void observe(iotops_mqtt_client *client,
                           iotops_mqtt_observer *observer) {
  (void)client;
  (void)observer;
}

static const iotops_mqtt_client_ops client_ops = {
    .is_connected = is_connected, .observe = observe, .unobserve = observe};

static inline void noted(void *user, const iotops_log_record *record) {
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

static inline void write_script(const fixture *f, const char *text) {
  FILE *file = fopen(f->path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
}

static inline int begin(void **state) {
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
static inline void answer(iotops_lua_endpoint *endpoint, const char *refusal) {
  iotops_envoy_done done = endpoint->done;
  iotops_error err;
  assert_non_null(done);
  endpoint->done = NULL;
  if (refusal != NULL)
    iotops_error_set(&err, IOTOPS_MQTT_ERROR, "%s", refusal);
  done(endpoint->done_user, refusal != NULL ? &err : NULL);
}

static inline int end(void **state) {
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
static inline void change(fixture *f, const char *text, const char *declares) {
  write_script(f, text);
  snprintf(world.declares, sizeof world.declares, "%s", declares);
  script_consider(f->script, SCRIPT_LOOK_CONTENT);
}

static inline void pass(fixture *f, unsigned milliseconds) {
  uint64_t until = iotops_mono_ms(f->host.context) + milliseconds;
  do {
    iotops_context_run_once(f->host.context, false);
    usleep(1000);
  } while (iotops_mono_ms(f->host.context) < until);
}

static inline bool logged(const char *text) {
  return strstr(world.log, text) != NULL;
}

#endif
