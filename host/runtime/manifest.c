#include "runtime/manifest.h"

#include <string.h>

#include "runtime/host.h"
#include "runtime/reload.h"

static bool answers(const script_state *state, const char *filter) {
  for (size_t i = 0; state != NULL && i < state->endpoint_count; i++)
    if (iotops_lua_endpoint_is_command(state->endpoints[i]) &&
        strcmp(iotops_lua_endpoint_filter(state->endpoints[i]), filter) == 0)
      return true;
  return false;
}

/* Another script that answers the command, or is about to; or NULL. */
static const script *who_answers(const script *except, const char *filter) {
  for (const script *at = except->host->scripts; at != NULL; at = at->next)
    if (at != except &&
        (answers(at->current, filter) ||
         (at->reload != NULL && answers(at->reload->staged, filter))))
      return at;
  return NULL;
}

void manifest_forget(script *script) {
  iotops_free(script->host->context, script->awaited_command);
  script->awaited_command = NULL;
}

int manifest_check(const script_state *staged, iotops_error *err) {
  script *script = staged->script;
  manifest_forget(script);
  for (size_t i = 0; i < staged->endpoint_count; i++) {
    const char *filter = iotops_lua_endpoint_filter(staged->endpoints[i]);
    if (!iotops_lua_endpoint_is_command(staged->endpoints[i]) ||
        strncmp(filter, "$share/", 7) == 0)
      continue;
    const struct script *other = who_answers(script, filter);
    if (other == NULL)
      continue;
    size_t size = strlen(filter) + 1;
    script->awaited_command = iotops_zalloc(script->host->context, size);
    if (script->awaited_command != NULL)
      memcpy(script->awaited_command, filter, size);
    return iotops_error_set(err, IOTOPS_INVALID_CONFIGURATION,
                            "the script %s answers the command %s already; "
                            "give both a service_group_id, or remove one",
                            other->name, filter);
  }
  return 0;
}

bool manifest_is_free(const script *script) {
  return script->awaited_command != NULL &&
         who_answers(script, script->awaited_command) == NULL;
}
