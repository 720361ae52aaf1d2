/* guest_eval.c -- code that an operator evaluates in a running script. */
#include <stdlib.h>
#include <string.h>

#include "runtime/guest.h"
#include "runtime/status.h"

/* Code that runs; outlives who asked for it. */
typedef struct asked_code {
  iotops_context *context; /* borrowed */
  guest *guest;            /* NULL: he has gone */
} asked_code;

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
    guest_answer(guest, json);
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

void guest_eval(guest *guest, const json_t *request) {
  iotops_context *context = guest->desk->host->context;
  const json_t *code = json_object_get(request, "code");
  script *script = guest_script(guest, request);
  iotops_error err;
  if (script == NULL)
    return;
  if (!json_is_string(code)) {
    guest_refuse(guest, "there is no code");
    return;
  }
  if (script->current == NULL) {
    guest_refuse(guest, "the script %s does not serve", script->name);
    return;
  }
  asked_code *asked = iotops_zalloc(context, sizeof *asked);
  if (asked == NULL) {
    guest_answer(guest, NULL);
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
    guest_refuse(guest, "%s", err.message);
    control_hold(guest->client, false);
  }
}

void guest_close_console(guest *guest) {
  if (guest->code != NULL)
    guest->code->guest = NULL;
  guest->code = NULL;
  forget_console(guest);
}
