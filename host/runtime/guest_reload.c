/* guest_reload.c -- reloads that an operator asks for, and waits for. */
#include <stdio.h>
#include <string.h>

#include "runtime/guest.h"
#include "runtime/reload.h"
#include "runtime/status.h"

enum { LOOK_MS = 10 };

/* A reload that is waited for. */
typedef struct awaited_reload {
  script *script;      /* borrowed: scripts last as long as the host */
  uint64_t number;     /* of attempts that had ended before */
  uint64_t generation; /* that served, or had */
  bool unchanged;      /* there was nothing to do */
  bool refused;        /* it was not begun; `why` */
  char why[256];
} awaited_reload;

static const char *outcome_of(const awaited_reload *one) {
  if (one->refused)
    return "failed";
  if (one->script->generation != one->generation &&
      one->script->last_reload.number == one->number)
    return "committed"; /* the first that could be loaded: replaces none */
  if (one->unchanged || one->script->last_reload.number == one->number)
    return "unchanged";
  return reload_outcome_name(one->script->last_reload.outcome);
}

static json_t *outcome_json(const awaited_reload *one) {
  const char *outcome = outcome_of(one);
  json_t *json = status_of_reload(one->script, outcome);
  if (one->refused)
    json_object_set_new(json, "message", status_text(one->why));
  else if (strcmp(outcome, "unchanged") == 0)
    json_object_set_new(json, "message",
                        json_string("its files are what serves already"));
  else if (one->script->last_reload.number == one->number)
    json_object_set_new(json, "message",
                        json_string("it is the first version that serves"));
  return json;
}

/* Answers once all have ended.  False: not yet. */
static bool answer_reloads(guest *guest) {
  json_t *list = NULL, *json = NULL;
  bool ok = true;
  for (size_t i = 0; i < guest->awaited_count; i++)
    if (guest->awaited[i].script->reload != NULL)
      return false;
  list = json_array();
  for (size_t i = 0; i < guest->awaited_count; i++) {
    const awaited_reload *one = &guest->awaited[i];
    ok = ok && strcmp(outcome_of(one), "failed") != 0;
    json_array_append_new(list, outcome_json(one));
  }
  json = json_pack("{s:b, s:o}", "ok", ok, "scripts", list);
  if (!ok)
    json_object_set_new(json, "error", json_string("a reload has failed"));
  iotops_free(guest->desk->host->context, guest->awaited);
  guest->awaited = NULL;
  guest->awaited_count = 0;
  guest_answer(guest, json);
  control_hold(guest->client, false);
  return true;
}

void guest_look_at_reloads(iotops_timer *timer) {
  operator_desk *desk = timer->user;
  bool waiting = false;
  for (guest *at = desk->guests; at != NULL; at = at->next)
    waiting = (at->awaited != NULL && !answer_reloads(at)) || waiting;
  if (waiting)
    iotops_timer_start(desk->host->context, &desk->look, LOOK_MS);
}

static void begin(awaited_reload *one, script *script,
                  int (*act)(struct script *script, iotops_error *err)) {
  iotops_error err = {0};
  one->script = script;
  one->number = script->last_reload.number;
  one->generation = script->generation;
  int result = act(script, &err);
  one->unchanged = result > 0;
  one->refused = result < 0;
  snprintf(one->why, sizeof one->why, "%.255s", err.message);
}

/* Out of a folder, and gone: until its file comes back there is none. */
static bool is_gone(const script *script) {
  return script->from_folder && script->missing && script->current == NULL;
}

static void begin_reloads(guest *guest, const json_t *request, script *only,
                          int (*act)(script *script, iotops_error *err)) {
  host *host = guest->desk->host;
  size_t count = 0;
  (void)request;
  for (script *at = host->scripts; at != NULL; at = at->next)
    count++;
  guest->awaited =
      iotops_zalloc(host->context, (count + 1) * sizeof *guest->awaited);
  if (guest->awaited == NULL) {
    guest_answer(guest, NULL);
    return;
  }
  guest->awaited_count = 0;
  for (script *at = host->scripts; at != NULL; at = at->next)
    if (only == NULL ? !is_gone(at) : at == only)
      begin(&guest->awaited[guest->awaited_count++], at, act);
  control_hold(guest->client, true);
  if (!answer_reloads(guest))
    iotops_timer_start(host->context, &guest->desk->look, LOOK_MS);
}

void guest_reload(guest *guest, const json_t *request) {
  script *only = NULL;
  if (guest_member(request, "script") != NULL &&
      (only = guest_script(guest, request)) == NULL)
    return;
  begin_reloads(guest, request, only, script_reload);
}

void guest_rollback(guest *guest, const json_t *request) {
  script *only = guest_script(guest, request);
  if (only != NULL)
    begin_reloads(guest, request, only, script_rollback);
}
