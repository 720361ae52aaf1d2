#include "runtime/operator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/guest.h"
#include "runtime/metrics.h"
#include "runtime/status.h"

/* ------------------------------------------------------------- answers -- */

void guest_answer(guest *guest, json_t *json) {
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

void guest_refuse(guest *guest, const char *format, ...) {
  char why[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(why, sizeof why, format, args);
  va_end(args);
  guest_answer(guest,
               json_pack("{s:b, s:o}", "ok", 0, "error", status_text(why)));
}

/* ------------------------------------------------------------ requests -- */

const char *guest_member(const json_t *request, const char *name) {
  return json_string_value(json_object_get(request, name));
}

static script *find(const host *host, const char *name) {
  script *at = host->scripts;
  while (at != NULL && strcmp(at->name, name) != 0)
    at = at->next;
  return at;
}

script *guest_script(guest *guest, const json_t *request) {
  const host *host = guest->desk->host;
  const char *name = guest_member(request, "script");
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
    guest_refuse(guest, "a script must be named, out of: %s", names);
  else
    guest_refuse(guest,
                 "there is no script \"%.200s\" in this host; it has: %s", name,
                 names);
  return NULL;
}

static void answer_status(guest *guest, const json_t *request) {
  (void)request;
  guest_answer(guest, status_of(guest->desk->host));
}

static void answer_metrics(guest *guest, const json_t *request) {
  text_buffer buffer;
  (void)request;
  text_buffer_init(&buffer, guest->desk->host->context);
  metrics_write(guest->desk->host, &buffer);
  iotops_text text = text_buffer_text(&buffer);
  guest_answer(guest, buffer.failed ? NULL
                                    : json_pack("{s:b, s:s%}", "ok", 1, "text",
                                                text.data, text.size));
  text_buffer_clear(&buffer);
}

/* --------------------------------------------------------------- guests -- */

static const struct verb {
  const char *name;
  void (*answer)(guest *guest, const json_t *request);
} verbs[] = {
    {"status", answer_status},    {"reload", guest_reload},
    {"rollback", guest_rollback}, {"metrics", answer_metrics},
    {"logs", guest_logs},         {"tap", guest_tap},
    {"eval", guest_eval},
};

static void asked(void *user, iotops_text line) {
  guest *guest = user;
  json_error_t failure;
  if (guest->follows || guest->tapped != NULL) {
    control_end(guest->client);
    return;
  }
  json_t *request = json_loadb(line.data, line.size, JSON_ALLOW_NUL, &failure);
  const char *name = guest_member(request, "verb");
  const struct verb *verb = NULL;
  for (size_t i = 0; name != NULL && i < sizeof verbs / sizeof verbs[0]; i++)
    if (strcmp(verbs[i].name, name) == 0)
      verb = &verbs[i];
  if (verb != NULL)
    verb->answer(guest, request);
  else if (name != NULL)
    guest_refuse(guest, "there is no verb \"%.40s\"", name);
  else
    guest_refuse(guest, "a request is a JSON object with a verb");
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
  guest_hear_no_more(gone);
  guest_close_console(gone);
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
  desk->look.fire = guest_look_at_reloads;
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
