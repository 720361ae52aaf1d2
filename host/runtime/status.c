#include "runtime/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "context/text.h"
#include "protocol/rfc3339.h"
#include "runtime/metrics.h"
#include "runtime/reload.h"

json_t *status_text(const char *text) {
  size_t size = strlen(text);
  json_t *string = json_stringn(text, size);
  if (string != NULL)
    return string;
  char *plain = malloc(size + 1);
  if (plain == NULL)
    return NULL;
  for (size_t i = 0; i < size; i++)
    plain[i] = (char)((unsigned char)text[i] < 0x80 ? text[i] : '?');
  string = json_stringn(plain, size);
  free(plain);
  return string;
}

static json_t *status_time(int64_t wall_ms) {
  char text[RFC3339_TEXT_SIZE];
  return wall_ms > 0 && rfc3339_format(wall_ms, text) ? json_string(text)
                                                      : json_null();
}

static void set_number(json_t *object, const char *name, uint64_t value) {
  json_object_set_new(object, name, json_integer((json_int_t)value));
}

static void set_text(json_t *object, const char *name, const char *value) {
  json_object_set_new(object, name, status_text(value));
}

static json_t *milliseconds(uint64_t ns) {
  uint64_t us = ns / 1000;
  return json_real((double)us / 1000.0);
}

static json_t *status_latency(latency *took) {
  json_t *object = json_object();
  latency_recent recent = latency_get_recent(took, uv_hrtime());
  set_number(object, "count", recent.count);
  json_object_set_new(object, "p50_ms", milliseconds(recent.p50_ns));
  json_object_set_new(object, "p99_ms", milliseconds(recent.p99_ns));
  json_object_set_new(object, "longest_ms", milliseconds(recent.longest_ns));
  return object;
}

static json_t *last_reload(const script *script) {
  const reload_report *last = &script->last_reload;
  json_t *object = json_object();
  set_text(object, "outcome", reload_outcome_name(last->outcome));
  if (last->outcome == RELOAD_NONE)
    return object;
  json_object_set_new(object, "when", status_time((int64_t)last->wall_ms));
  json_object_set_new(object, "took_ms", json_real(last->took_ms));
  set_number(object, "records", last->records);
  set_text(object, "message", last->message);
  return object;
}

static const char *state_of_script(const script *script) {
  if (script->current != NULL)
    return script->rolled_back ? "rolled back" : "serving";
  return script->refused.count > 0 && !script->missing ? "failed" : "stopped";
}

static void set_version(json_t *object, const script *script) {
  char hash[SOURCE_HASH_SIZE] = "";
  set_number(object, "generation", script->generation);
  if (script->current == NULL)
    return;
  source_hash(&script->current->source, hash);
  set_text(object, "hash", hash);
  json_object_set_new(object, "since", status_time(script->current->born_ms));
}

static json_t *status_of_script(const script *script) {
  const script_counters *counters = &script->client.counters;
  json_t *object = json_object();
  size_t memory = 0, held = 0;
  uint64_t oldest_ms = 0;
  set_text(object, "script", script->name);
  set_text(object, "path", script->path);
  set_text(object, "state", state_of_script(script));
  json_object_set_new(object, "reloading",
                      json_boolean(script->reload != NULL));
  json_object_set_new(object, "probation",
                      json_boolean(script->probation.watching));
  json_object_set_new(object, "refused",
                      json_boolean(script->refused.count > 0));
  set_version(object, script);
  if (script->current != NULL) {
    set_number(object, "endpoints", script->current->endpoint_count);
    memory += script->current->memory;
  }
  for (const script_state *old = script->draining; old != NULL; old = old->next)
    memory += old->memory;
  set_number(object, "awaited", script->ungranted);
  set_number(object, "calls", counters->calls);
  set_number(object, "running", script_calls(script));
  set_number(object, "errors", counters->errors);
  set_number(object, "stopped", counters->stopped);
  set_number(object, "received", counters->received);
  set_number(object, "sent", counters->sent);
  set_number(object, "refused_publishes", counters->refused);
  script_held(script, &held, &oldest_ms);
  set_number(object, "held", held);
  set_number(object, "oldest_held_ms", oldest_ms);
  set_number(object, "memory", memory);
  json_object_set_new(object, "telemetry",
                      status_latency(script->took[SCRIPT_TELEMETRY]));
  json_object_set_new(object, "command",
                      status_latency(script->took[SCRIPT_COMMAND]));
  json_object_set_new(object, "last_reload", last_reload(script));
  return object;
}

static const char *state_of_host(const host *host) {
  if (host->phase != HOST_SERVING)
    return "stopping";
  return iotops_mqtt_is_connected(host->client) ? "connected" : "disconnected";
}

static json_t *status_of_host(const host *host) {
  json_t *object = json_object();
  iotops_session_metrics metrics = {0};
  iotops_text name = iotops_settings_get(host->settings, "hostname");
  iotops_text port = iotops_settings_get(host->settings, "tcp_port");
  int64_t up_ms = iotops_wall_ms(host->context) - host->started_ms;
  char broker[512];
  snprintf(broker, sizeof broker, "%s:%s", name.data != NULL ? name.data : "",
           port.data != NULL ? port.data : "");
  if (host->session != NULL)
    iotops_session_get_metrics(host->session, &metrics);
  set_text(object, "version", iotops_version());
  set_number(object, "pid", (uint64_t)getpid());
  json_object_set_new(object, "since", status_time(host->started_ms));
  json_object_set_new(object, "uptime_s", json_real((double)up_ms / 1000.0));
  set_text(object, "state", state_of_host(host));
  set_text(object, "client_id", iotops_mqtt_client_id(host->client));
  set_text(object, "broker", broker);
  set_number(object, "messages", metrics.unacked);
  set_number(object, "oldest_message_ms", metrics.oldest_unacked_ms);
  set_number(object, "memory", metrics_resident_bytes());
  return object;
}

json_t *status_of(const host *host) {
  json_t *status = json_object();
  json_t *scripts = json_array();
  json_object_set_new(status, "ok", json_true());
  json_object_set_new(status, "host", status_of_host(host));
  for (const script *at = host->scripts; at != NULL; at = at->next)
    json_array_append_new(scripts, status_of_script(at));
  json_object_set_new(status, "scripts", scripts);
  return status;
}

json_t *status_of_reload(const script *script, const char *outcome) {
  json_t *object = last_reload(script);
  set_text(object, "script", script->name);
  set_text(object, "outcome", outcome);
  json_object_set_new(object, "serving", json_boolean(script->current != NULL));
  set_version(object, script);
  return object;
}
