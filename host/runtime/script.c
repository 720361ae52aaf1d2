#include "runtime/script.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/host.h"
#include "runtime/manifest.h"
#include "runtime/reload.h"

static char *copy(iotops_context *context, const char *text, size_t size) {
  char *copied = iotops_zalloc(context, size + 1);
  if (copied != NULL)
    memcpy(copied, text, size);
  return copied;
}

script *script_new(host *host, const char *path, bool from_folder) {
  const char *base = strrchr(path, '/');
  size_t folder_size = base != NULL ? (size_t)(base - path) : 0;
  script *script = iotops_zalloc(host->context, sizeof *script);
  if (script == NULL)
    return NULL;
  base = base != NULL ? base + 1 : path;
  size_t size = strlen(base);
  if (size > 4 && strcmp(base + size - 4, ".lua") == 0)
    size -= 4;
  script->host = host;
  script->from_folder = from_folder;
  script->refused.context = host->context;
  script->name = copy(host->context, base, size);
  script->path = copy(host->context, path, strlen(path));
  script->folder = copy(host->context, path, folder_size);
  script_client_init(&script->client, host->client);
  keepsakes_init(&script->kept, host->context);
  probation_init(script);
  if (script->name == NULL || script->path == NULL || script->folder == NULL) {
    script_free(script);
    return NULL;
  }
  return script;
}

/*
** Whether the files differ from those that the running, staged or refused
** generation was made from.
*/
static bool is_news(script *script, script_look look) {
  source *known = script->current != NULL ? &script->current->source : NULL;
  /* A way back is not what the files hold. */
  if (script->reload != NULL && !script->reload->back)
    known = &script->reload->staged->source;
  else if (script->refused.count > 0) {
    if (look == SCRIPT_LOOK_ASKED ||
        (look == SCRIPT_LOOK_FORCED && !script->rolled_back))
      return true;
    if (manifest_is_free(script))
      return true;
    known = &script->refused;
  }
  if (known == NULL || known->count == 0)
    return true;
  if (look == SCRIPT_LOOK_STAMPS && !source_looks_changed(known))
    return false;
  return source_is_changed(known);
}

void script_consider(script *script, script_look look) {
  script->missing = false;
  if (is_news(script, look)) {
    /*
    ** What was refused may have been put back to what serves: then there is
    ** nothing to do but to forget it.
    */
    if (script->current != NULL && look < SCRIPT_LOOK_FORCED &&
        (script->refused.count > 0 || script->reload != NULL) &&
        !source_is_changed(&script->current->source)) {
      reload_cancel(script);
      source_clear(&script->refused);
      script->retry = false;
      script_log(script, script->generation, IOTOPS_LOG_INFO,
                 "its file is again what generation %llu was made from",
                 (unsigned long long)script->generation);
      return;
    }
    reload_begin(script);
  }
}

int script_reload(script *script, iotops_error *err) {
  uint64_t number = script->last_reload.number;
  if (script->host->phase != HOST_SERVING)
    return iotops_error_set(err, IOTOPS_INVALID_STATE, "the host is stopping");
  if (access(script->path, R_OK) != 0)
    return iotops_error_configuration(err, "path", iotops_text_of(script->path),
                                      "cannot read %s: %s", script->path,
                                      strerror(errno));
  script_consider(script, SCRIPT_LOOK_ASKED);
  return script->reload == NULL && script->last_reload.number == number;
}

int script_rollback(script *script, iotops_error *err) {
  if (script->host->phase != HOST_SERVING)
    return iotops_error_set(err, IOTOPS_INVALID_STATE, "the host is stopping");
  if (script->current == NULL || script->probation.good.count == 0)
    return iotops_error_set(
        err, IOTOPS_INVALID_STATE,
        "the script %s has no earlier version to go back to", script->name);
  return reload_back(script, true, "as was asked for", err);
}

void script_vanished(script *script) {
  if (script->missing)
    return;
  script->missing = true;
  if (script->from_folder) {
    script->retry = false;
    reload_cancel(script);
    probation_clear(script);
    source_clear(&script->refused);
    if (script->current == NULL)
      return;
    script_log(script, script->generation, IOTOPS_LOG_INFO,
               "%s is gone: the script stops", script->path);
    script_state *old = script->current;
    for (size_t i = 0; i < old->endpoint_count; i++)
      iotops_lua_endpoint_close(old->endpoints[i]);
    script->current = NULL;
    old->next = script->draining;
    script->draining = old;
    state_drain(old, script->host->options.drain_ms);
    return;
  }
  if (script->current != NULL)
    script_log(script, script->generation, IOTOPS_LOG_WARN,
               "%s is gone; still serving generation %llu", script->path,
               (unsigned long long)script->generation);
}

size_t script_calls(const script *script) {
  size_t calls = 0;
  if (script->current != NULL)
    calls += iotops_lua_calls(script->current->L);
  for (script_state *state = script->draining; state != NULL;
       state = state->next)
    calls += iotops_lua_calls(state->L);
  return calls;
}

void script_took(script *script, script_work work, uint64_t spent_ns,
                 uint64_t now_ns) {
  latency **took = &script->took[work];
  /* What cannot be noted for want of memory is not worth a failure. */
  if (*took == NULL &&
      (*took = iotops_zalloc(script->host->context, sizeof **took)) == NULL)
    return;
  latency_record(*took, spent_ns, now_ns);
}

void script_quiesce(script *script) {
  /* What a reload holds is the next start's. */
  script_client_shut(&script->client);
  reload_cancel(script);
  probation_clear(script);
  if (script->current != NULL)
    state_drain(script->current, 0);
}

void script_close(script *script) {
  reload_cancel(script);
  probation_clear(script);
  while (script->draining != NULL)
    state_free(script->draining);
  if (script->current != NULL)
    state_free(script->current);
  script->current = NULL;
  iotops_lua_leases_clear(&script->kept.leases);
}

void script_free(script *script) {
  iotops_context *context = script->host->context;
  script_client_close(&script->client);
  keepsakes_clear(&script->kept);
  source_clear(&script->refused);
  for (size_t i = 0; i < SCRIPT_WORKS; i++)
    iotops_free(context, script->took[i]);
  iotops_free(context, script->name);
  iotops_free(context, script->path);
  iotops_free(context, script->folder);
  iotops_free(context, script->awaited_command);
  iotops_free(context, script);
}

void script_log(const script *script, uint64_t generation,
                iotops_log_level level, const char *format, ...) {
  const iotops_context *context = script->host->context;
  char message[2048], number[24];
  va_list args;
  if (!iotops_log_enabled(context, level))
    return;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  snprintf(number, sizeof number, "%llu", (unsigned long long)generation);
  iotops_log_field fields[] = {
      {"script", iotops_text_of(script->name), false},
      {"generation", iotops_text_of(number), true},
  };
  iotops_log_record record = {
      .level = level,
      .component = "host",
      .message = iotops_text_of(message),
      .fields = fields,
      .field_count = generation != 0 ? 2 : 1,
  };
  iotops_log_fields(context, &record);
}

void script_log_counters(const script *script) {
  const script_counters *c = &script->client.counters;
  const struct {
    const char *name;
    uint64_t value;
  } values[] = {
      {"generation", script->generation},
      {"received", c->received},
      {"handled", c->handled},
      {"commands", c->commands},
      {"calls", c->calls},
      {"errors", c->errors},
      {"stopped", c->stopped},
      {"sent", c->sent},
      {"refused", c->refused},
      {"acknowledged", c->acknowledged},
      {"stale", c->stale},
      {"dropped", c->dropped},
      {"forgotten", c->forgotten},
      {"cut", c->cut},
      {"reloads", c->reloads},
      {"failed_reloads", c->failed_reloads},
      {"rollbacks", c->rollbacks},
      {"busy_us", c->busy_us},
      {"longest_us", c->longest_us},
      {"stopped_us", c->stopped_us},
      {"memory", script->current != NULL ? script->current->memory : 0},
  };
  enum { COUNT = sizeof values / sizeof values[0] };
  char texts[COUNT][24];
  iotops_log_field fields[COUNT + 1] = {
      {"script", iotops_text_of(script->name), false}};
  for (size_t i = 0; i < COUNT; i++) {
    snprintf(texts[i], sizeof texts[i], "%llu",
             (unsigned long long)values[i].value);
    fields[i + 1].name = values[i].name;
    fields[i + 1].is_number = true;
    fields[i + 1].value = iotops_text_of(texts[i]);
  }
  iotops_log_record record = {
      .level = IOTOPS_LOG_INFO,
      .component = "host",
      .message = iotops_text_of("counters"),
      .fields = fields,
      .field_count = COUNT + 1,
  };
  iotops_log_fields(script->host->context, &record);
  keepsakes_log(&script->kept, script->name);
}
