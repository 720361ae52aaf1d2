#include "runtime/probes.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "runtime/metrics.h"

enum { OK = 200, NOT_FOUND = 404, UNAVAILABLE = 503 };

/* ---------------------------------------------------------- readiness -- */

/* Takes the reasons why the host is not ready; `script` NULL: of the host. */
typedef void (*reason_found)(void *user, const char *script,
                             const char *reason);

static void look_at_script(const script *script, reason_found found,
                           void *user) {
  char reason[64];
  size_t refused = 0;
  if (script->current == NULL) {
    /* One whose file has left the folder is none of the host's any more. */
    if (!(script->from_folder && script->missing))
      found(user, script->name, "not loaded: the log says why");
    return;
  }
  for (size_t i = 0; i < script->current->endpoint_count; i++)
    refused += script->current->refused[i];
  if (refused > 0) {
    snprintf(reason, sizeof reason, "%zu subscription%s refused by the broker",
             refused, refused == 1 ? "" : "s");
    found(user, script->name, reason);
  }
  if (script->ungranted > 0) {
    snprintf(reason, sizeof reason, "%zu subscription%s awaited",
             script->ungranted, script->ungranted == 1 ? "" : "s");
    found(user, script->name, reason);
  }
}

static void look_for_reasons(const host *host, reason_found found, void *user) {
  char reason[64], when[32];
  if (host->phase == HOST_STARTING)
    found(user, NULL, "starting");
  else if (host->phase != HOST_SERVING)
    found(user, NULL, "stopping");
  if (host->client == NULL || !iotops_mqtt_is_connected(host->client)) {
    time_t since = (time_t)(host->offline_ms / 1000);
    struct tm parts;
    gmtime_r(&since, &parts);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
    snprintf(reason, sizeof reason, "not connected since %s", when);
    found(user, NULL, reason);
  }
  for (const script *at = host->scripts; at != NULL; at = at->next)
    look_at_script(at, found, user);
}

static void count_reason(void *user, const char *script, const char *reason) {
  size_t *count = user;
  (void)script;
  (void)reason;
  (*count)++;
}

bool probes_are_ready(const host *host) {
  size_t reasons = 0;
  look_for_reasons(host, count_reason, &reasons);
  return reasons == 0;
}

/* Not every file name is UTF-8: what is not is left out of the answer. */
static void add_reason(void *user, const char *script, const char *reason) {
  json_t *reasons = user, *entry = json_object();
  if (script != NULL) {
    json_t *name = json_string(script);
    json_object_set_new(entry, "script", name != NULL ? name : json_null());
  }
  json_object_set_new(entry, "reason", json_string(reason));
  json_array_append_new(reasons, entry);
}

static void write_readiness(const host *host, http_answer *answer) {
  json_t *reasons = json_array(), *root = json_object();
  bool is_ready = probes_are_ready(host);
  look_for_reasons(host, add_reason, reasons);
  json_object_set_new(root, "ready", json_boolean(is_ready));
  if (is_ready)
    json_decref(reasons);
  else
    json_object_set_new(root, "reasons", reasons);
  char *text = json_dumps(root, JSON_COMPACT);
  json_decref(root);
  answer->status = is_ready ? OK : UNAVAILABLE;
  answer->type = "application/json";
  answer->body.failed = text == NULL;
  text_buffer_add(&answer->body, iotops_text_of(text));
  text_buffer_add_char(&answer->body, '\n');
  free(text);
}

/* -------------------------------------------------------------- pages -- */

void probes_serve(void *user, const char *path, http_answer *answer) {
  const host *host = user;
  if (strcmp(path, "/metrics") == 0) {
    answer->type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_write(host, &answer->body);
  } else if (strcmp(path, "/readyz") == 0) {
    write_readiness(host, answer);
  } else if (strcmp(path, "/livez") == 0) {
    bool lives = host->phase != HOST_ENDED;
    answer->status = lives ? OK : UNAVAILABLE;
    text_buffer_add(&answer->body, iotops_text_of(lives ? "ok\n" : "ended\n"));
  } else {
    answer->status = NOT_FOUND;
  }
}
