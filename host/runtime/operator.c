#include "runtime/operator.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/control.h"
#include "runtime/host.h"
#include "runtime/metrics.h"
#include "runtime/reload.h"
#include "runtime/status.h"
#include "runtime/tap.h"

enum { LOOK_MS = 10 };

/* A reload that is waited for. */
typedef struct awaited {
  script *script;  /* borrowed: scripts last as long as the host */
  uint64_t number; /* of attempts that had ended before; see outcome */
  bool unchanged;  /* there was nothing to do */
  bool refused;    /* it was not begun; `why` */
  char why[256];
} awaited;

typedef struct guest guest;

/* Code that runs; outlives who asked for it. */
typedef struct asked_code {
  iotops_context *context; /* borrowed */
  guest *guest;            /* NULL: he has gone */
} asked_code;

struct guest {
  operator_desk *desk;
  control_client *client;
  uint64_t number; /* of the console, too */
  /* Waits for reloads. */
  awaited *awaited; /* owned */
  size_t awaited_count;
  /* Follows the log. */
  bool follows;
  log_listener listener;
  iotops_log_level level;
  char *filter; /* owned; NULL: all scripts */
  /* Taps a script. */
  script *tapped;
  tap tap;
  /* Evaluates. */
  asked_code *code;
  script *console; /* where it has globals; NULL: nowhere */
  uint64_t console_generation;
  guest *next;
};

struct operator_desk {
  host *host;
  control *control; /* owned */
  guest *guests;
  uint64_t numbers;
  iotops_timer look; /* at reloads that are waited for */
};

/* ------------------------------------------------------------- answers -- */

/* Answers with the object, which it frees. */
static void answer(guest *guest, json_t *json) {
  char *text = json != NULL
                   ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(10))
                   : NULL;
  if (text == NULL) {
    control_answer(guest->client,
                   iotops_text_of("{\"ok\":false,\"error\":\"out of "
                                  "memory\"}\n"));
  } else {
    control_answer(guest->client, iotops_text_of(text));
    control_answer(guest->client, iotops_text_of("\n"));
  }
  free(text);
  json_decref(json);
}

static void refuse(guest *guest, const char *format, ...) IOTOPS_PRINTF(2, 3);

static void refuse(guest *guest, const char *format, ...) {
  char why[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(why, sizeof why, format, args);
  va_end(args);
  answer(guest, json_pack("{s:b, s:o}", "ok", 0, "error", status_text(why)));
}

/* ------------------------------------------------------------ requests -- */

static const char *text_member(const json_t *request, const char *name) {
  return json_string_value(json_object_get(request, name));
}

static script *find(const host *host, const char *name) {
  script *at = host->scripts;
  while (at != NULL && strcmp(at->name, name) != 0)
    at = at->next;
  return at;
}

/* The script that the request names, which must be; NULL: was refused. */
static script *named_script(guest *guest, const json_t *request) {
  const host *host = guest->desk->host;
  const char *name = text_member(request, "script");
  script *found = name != NULL ? find(host, name) : NULL;
  char names[512] = "";
  if (found != NULL)
    return found;
  for (const script *at = host->scripts; at != NULL; at = at->next) {
    size_t size = strlen(names);
    snprintf(names + size, sizeof names - size, "%s%s", size > 0 ? ", " : "",
             at->name);
  }
  if (name == NULL)
    refuse(guest, "a script must be named, out of: %s", names);
  else
    refuse(guest, "there is no script \"%.200s\" in this host; it has: %s",
           name, names);
  return NULL;
}

static void answer_status(guest *guest, const json_t *request) {
  (void)request;
  answer(guest, status_of(guest->desk->host));
}

static void answer_metrics(guest *guest, const json_t *request) {
  text_buffer buffer;
  (void)request;
  text_buffer_init(&buffer, guest->desk->host->context);
  metrics_write(guest->desk->host, &buffer);
  iotops_text text = text_buffer_text(&buffer);
  answer(guest, buffer.failed ? NULL
                              : json_pack("{s:b, s:s%}", "ok", 1, "text",
                                          text.data, text.size));
  text_buffer_clear(&buffer);
}

/* ------------------------------------------------------------- reloads -- */

static const char *outcome_of(const awaited *one) {
  if (one->refused)
    return "failed";
  if (one->unchanged || one->script->last_reload.number == one->number)
    return "unchanged";
  return reload_outcome_name(one->script->last_reload.outcome);
}

static json_t *outcome_json(const awaited *one) {
  const char *outcome = outcome_of(one);
  json_t *json = status_of_reload(one->script, outcome);
  if (one->refused)
    json_object_set_new(json, "message", status_text(one->why));
  else if (strcmp(outcome, "unchanged") == 0)
    json_object_set_new(json, "message",
                        json_string("its files are what serves already"));
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
    const awaited *one = &guest->awaited[i];
    ok = ok && strcmp(outcome_of(one), "failed") != 0;
    json_array_append_new(list, outcome_json(one));
  }
  json = json_pack("{s:b, s:o}", "ok", ok, "scripts", list);
  if (!ok)
    json_object_set_new(json, "error", json_string("a reload has failed"));
  iotops_free(guest->desk->host->context, guest->awaited);
  guest->awaited = NULL;
  guest->awaited_count = 0;
  answer(guest, json);
  control_hold(guest->client, false);
  return true;
}

static void look_at_reloads(iotops_timer *timer) {
  operator_desk *desk = timer->user;
  bool waiting = false;
  for (guest *at = desk->guests; at != NULL; at = at->next)
    waiting = (at->awaited != NULL && !answer_reloads(at)) || waiting;
  if (waiting)
    iotops_timer_start(desk->host->context, &desk->look, LOOK_MS);
}

static void begin(awaited *one, script *script,
                  int (*act)(struct script *script, iotops_error *err)) {
  iotops_error err = {0};
  one->script = script;
  one->number = script->last_reload.number;
  int result = act(script, &err);
  one->unchanged = result > 0;
  one->refused = result < 0;
  snprintf(one->why, sizeof one->why, "%.255s", err.message);
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
    answer(guest, NULL);
    return;
  }
  guest->awaited_count = 0;
  for (script *at = host->scripts; at != NULL; at = at->next)
    if (only == NULL || at == only)
      begin(&guest->awaited[guest->awaited_count++], at, act);
  control_hold(guest->client, true);
  if (!answer_reloads(guest))
    iotops_timer_start(host->context, &guest->desk->look, LOOK_MS);
}

static void answer_reload(guest *guest, const json_t *request) {
  script *only = NULL;
  if (text_member(request, "script") != NULL &&
      (only = named_script(guest, request)) == NULL)
    return;
  begin_reloads(guest, request, only, script_reload);
}

static void answer_rollback(guest *guest, const json_t *request) {
  script *only = named_script(guest, request);
  if (only != NULL)
    begin_reloads(guest, request, only, script_rollback);
}

/* ---------------------------------------------------------------- logs -- */

static bool wants(const guest *guest, const log_entry *entry) {
  return entry->level >= guest->level &&
         (guest->filter == NULL ||
          strcmp(guest->filter, log_entry_script(entry)) == 0);
}

/* The entry as a line; of a stream, it may be dropped. */
static void send_entry(guest *guest, const log_entry *entry, bool stream) {
  text_buffer line;
  text_buffer_init(&line, guest->desk->host->context);
  text_buffer_add(&line, iotops_text_of("{\"log\":"));
  text_buffer_add(&line, (iotops_text){entry->json, entry->size});
  text_buffer_add(&line, iotops_text_of("}\n"));
  if (line.failed)
    ;
  else if (stream)
    control_stream(guest->client, text_buffer_text(&line));
  else
    control_answer(guest->client, text_buffer_text(&line));
  text_buffer_clear(&line);
}

static void heard(log_listener *listener, const log_entry *entry) {
  guest *guest = listener->user;
  if (wants(guest, entry))
    send_entry(guest, entry, true);
}

/* Those that are kept, the last `limit` of them. */
static void send_kept(guest *guest, const log_ring *ring, uint64_t limit) {
  uint64_t count = 0;
  for (const log_entry *at = log_ring_first(ring); at != NULL;
       at = log_ring_after(ring, at))
    count += wants(guest, at);
  for (const log_entry *at = log_ring_first(ring); at != NULL;
       at = log_ring_after(ring, at))
    if (wants(guest, at) && count-- <= limit)
      send_entry(guest, at, false);
}

static void answer_logs(guest *guest, const json_t *request) {
  log_ring *ring = &guest->desk->host->records;
  iotops_context *context = guest->desk->host->context;
  const char *level = text_member(request, "level");
  const char *name = text_member(request, "script");
  const json_t *count = json_object_get(request, "count");
  int found = IOTOPS_LOG_TRACE;
  if (level != NULL)
    found = iotops_log_level_from(iotops_text_of(level));
  if (found < 0) {
    refuse(guest,
           "there is no level \"%.40s\": trace, debug, info, warn, error",
           level);
    return;
  }
  if (name != NULL && named_script(guest, request) == NULL)
    return;
  guest->level = (iotops_log_level)found;
  iotops_free(context, guest->filter);
  guest->filter = NULL;
  if (name != NULL) {
    size_t size = strlen(name) + 1;
    if ((guest->filter = iotops_zalloc(context, size)) == NULL) {
      answer(guest, NULL);
      return;
    }
    memcpy(guest->filter, name, size);
  }
  send_kept(guest, ring,
            json_is_integer(count) && json_integer_value(count) >= 0
                ? (uint64_t)json_integer_value(count)
                : UINT64_MAX);
  if (!json_is_true(json_object_get(request, "follow"))) {
    answer(guest, json_pack("{s:b}", "ok", 1));
    return;
  }
  guest->follows = true;
  guest->listener = (log_listener){.heard = heard, .user = guest};
  log_ring_listen(ring, &guest->listener);
}

/* ----------------------------------------------------------------- tap -- */

static void tapped(tap *tap, iotops_text message) {
  guest *guest = tap->user;
  text_buffer line;
  text_buffer_init(&line, guest->desk->host->context);
  text_buffer_add(&line, iotops_text_of("{\"message\":"));
  text_buffer_add(&line, (iotops_text){message.data, message.size - 1});
  text_buffer_add(&line, iotops_text_of("}\n"));
  control_stream(guest->client,
                 line.failed ? (iotops_text){"", 0} : text_buffer_text(&line));
  text_buffer_clear(&line);
}

static void answer_tap(guest *guest, const json_t *request) {
  script *script = named_script(guest, request);
  if (script == NULL)
    return;
  guest->tapped = script;
  guest->tap = (tap){.tapped = tapped, .user = guest, .script = script->name};
  tap_begin(&script->client.taps, &guest->tap);
  answer(guest,
         json_pack("{s:b, s:o}", "ok", 1, "script", status_text(script->name)));
}

/* ---------------------------------------------------------------- eval -- */

static void evaluated(void *user, iotops_lua_verdict verdict,
                      iotops_text text) {
  asked_code *code = user;
  guest *guest = code->guest;
  if (guest != NULL) {
    bool ok = verdict == IOTOPS_LUA_EVALUATED;
    json_t *shown = json_stringn(text.data, text.size);
    if (shown == NULL) { /* bytes that are no text, or cut in one */
      char *plain = malloc(text.size + 1);
      size_t size = 0;
      for (size_t i = 0; plain != NULL && i < text.size; i++)
        if (text.data[i] != '\0')
          plain[size++] = text.data[i];
      if (plain != NULL)
        plain[size] = '\0';
      shown = plain != NULL ? status_text(plain) : NULL;
      free(plain);
    }
    json_t *json =
        json_pack("{s:b, s:o}", "ok", ok, ok ? "text" : "error", shown);
    if (verdict == IOTOPS_LUA_INCOMPLETE)
      json_object_set_new(json, "incomplete", json_true());
    guest->code = NULL;
    answer(guest, json);
    control_hold(guest->client, false);
  }
  iotops_free(code->context, code);
}

/* The globals of the guest's console, wherever it was. */
static void forget_console(guest *guest) {
  script *script = guest->console;
  if (script != NULL && script->current != NULL &&
      script->current->generation == guest->console_generation)
    iotops_lua_forget_console(script->current->L, guest->number);
  guest->console = NULL;
}

static void answer_eval(guest *guest, const json_t *request) {
  iotops_context *context = guest->desk->host->context;
  const json_t *code = json_object_get(request, "code");
  script *script = named_script(guest, request);
  iotops_error err;
  if (script == NULL)
    return;
  if (!json_is_string(code)) {
    refuse(guest, "there is no code");
    return;
  }
  if (script->current == NULL) {
    refuse(guest, "the script %s does not serve", script->name);
    return;
  }
  asked_code *asked = iotops_zalloc(context, sizeof *asked);
  if (asked == NULL) {
    answer(guest, NULL);
    return;
  }
  if (guest->console != script ||
      guest->console_generation != script->generation) {
    forget_console(guest);
    script_log(script, script->generation, IOTOPS_LOG_INFO,
               "an operator evaluates code in it");
  }
  *asked = (asked_code){context, guest};
  guest->code = asked;
  guest->console = script;
  guest->console_generation = script->generation;
  control_hold(guest->client, true);
  if (iotops_lua_evaluate(
          script->current->L, guest->number,
          (iotops_text){json_string_value(code), json_string_length(code)},
          evaluated, asked, &err) != 0) {
    guest->code = NULL;
    iotops_free(context, asked);
    refuse(guest, "%s", err.message);
    control_hold(guest->client, false);
  }
}

/* --------------------------------------------------------------- guests -- */

static const struct verb {
  const char *name;
  void (*answer)(guest *guest, const json_t *request);
} verbs[] = {
    {"status", answer_status},     {"reload", answer_reload},
    {"rollback", answer_rollback}, {"metrics", answer_metrics},
    {"logs", answer_logs},         {"tap", answer_tap},
    {"eval", answer_eval},
};

static void asked(void *user, iotops_text line) {
  guest *guest = user;
  json_error_t failure;
  if (guest->follows || guest->tapped != NULL) {
    control_end(guest->client);
    return;
  }
  json_t *request = json_loadb(line.data, line.size, JSON_ALLOW_NUL, &failure);
  const char *name = text_member(request, "verb");
  const struct verb *verb = NULL;
  for (size_t i = 0; name != NULL && i < sizeof verbs / sizeof verbs[0]; i++)
    if (strcmp(verbs[i].name, name) == 0)
      verb = &verbs[i];
  if (verb != NULL)
    verb->answer(guest, request);
  else if (name != NULL)
    refuse(guest, "there is no verb \"%.40s\"", name);
  else
    refuse(guest, "a request is a JSON object with a verb");
  json_decref(request);
}

static void *came(void *user, control_client *client) {
  operator_desk *desk = user;
  guest *guest = iotops_zalloc(desk->host->context, sizeof *guest);
  if (guest == NULL)
    return NULL;
  guest->desk = desk;
  guest->client = client;
  guest->number = ++desk->numbers;
  guest->next = desk->guests;
  desk->guests = guest;
  return guest;
}

static void went(void *user) {
  guest *gone = user;
  operator_desk *desk = gone->desk;
  iotops_context *context = desk->host->context;
  guest **at = &desk->guests;
  while (*at != gone)
    at = &(*at)->next;
  *at = gone->next;
  if (gone->follows)
    log_ring_ignore(&desk->host->records, &gone->listener);
  if (gone->tapped != NULL)
    tap_end(&gone->tapped->client.taps, &gone->tap);
  if (gone->code != NULL)
    gone->code->guest = NULL;
  forget_console(gone);
  iotops_free(context, gone->awaited);
  iotops_free(context, gone->filter);
  iotops_free(context, gone);
}

int operator_new(host *host, const char *path, operator_desk **made,
                 iotops_error *err) {
  operator_desk *desk = iotops_zalloc(host->context, sizeof *desk);
  if (desk == NULL)
    return iotops_error_memory(err);
  const control_events events = {
      .came = came, .asked = asked, .went = went, .user = desk};
  desk->host = host;
  desk->look.fire = look_at_reloads;
  desk->look.user = desk;
  if (control_new(host->context, path, iotops_mqtt_client_id(host->client),
                  &events, &desk->control, err) != 0) {
    iotops_free(host->context, desk);
    return -1;
  }
  iotops_log(host->context, IOTOPS_LOG_DEBUG, "host",
             "`iotops ctl` reaches this host at %s",
             control_path(desk->control));
  *made = desk;
  return 0;
}

void operator_free(operator_desk *desk) {
  if (desk == NULL)
    return;
  control_close(desk->control);
  iotops_timer_stop(desk->host->context, &desk->look);
  iotops_free(desk->host->context, desk);
}
