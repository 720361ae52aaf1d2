#include "lease.h"

static void take_out(lease *noted) {
  lease **at = &noted->leases->first;
  while (*at != noted)
    at = &(*at)->next;
  *at = noted->next;
}

lease *lease_note(const iotops_lua *state, iotops_lock *lock, void *owner) {
  iotops_lua_leases *leases = state->embedder.leases;
  lease *noted =
      leases != NULL ? iotops_zalloc(state->context, sizeof *noted) : NULL;
  if (noted == NULL)
    return NULL;
  leases->context = state->context;
  *noted = (lease){.leases = leases,
                   .lock = lock,
                   .owner = owner,
                   .state = state,
                   .next = leases->first};
  leases->first = noted;
  return noted;
}

void lease_forget(lease *noted) {
  if (noted == NULL)
    return;
  iotops_context *context = noted->leases->context;
  iotops_timer_stop(context, &noted->let_go);
  take_out(noted);
  iotops_free(context, noted);
}

static void let_go(iotops_timer *timer) {
  lease *noted = timer->user;
  iotops_text name = iotops_lock_name(noted->lock);
  if (iotops_lock_token(noted->lock) != NULL)
    iotops_log(noted->leases->context, IOTOPS_LOG_WARN, "script",
               "the lease of %.*s runs out: the new version has not asked for "
               "it",
               (int)name.size, name.data);
  iotops_lock_free(noted->lock);
  lease_forget(noted);
}

void lease_take(lease *noted, void *owner, const iotops_lua *state) {
  iotops_timer_stop(noted->leases->context, &noted->let_go);
  noted->owner = owner;
  noted->state = state;
}

void lease_leave(lease *noted) {
  int64_t left_ms = iotops_lock_lease_left_ms(noted->lock);
  noted->owner = NULL;
  noted->state = NULL;
  iotops_lock_set_lost(noted->lock, NULL, NULL);
  noted->let_go.fire = let_go;
  noted->let_go.user = noted;
  iotops_timer_start(noted->leases->context, &noted->let_go, (uint64_t)left_ms);
}

lease *lease_find(const iotops_lua *state, const iotops_lock *lock) {
  const iotops_lua_leases *leases = state->embedder.leases;
  iotops_text name = iotops_lock_name(lock);
  iotops_text holder = iotops_lock_holder_name(lock);
  for (lease *at = leases != NULL ? leases->first : NULL; at != NULL;
       at = at->next)
    if ((at->owner == NULL || (at->state != state && at->state->quiet)) &&
        iotops_lock_is_renewing(at->lock) &&
        iotops_text_equal(iotops_lock_name(at->lock), name) &&
        iotops_text_equal(iotops_lock_holder_name(at->lock), holder))
      return at;
  return NULL;
}

void iotops_lua_leases_clear(iotops_lua_leases *leases) {
  while (leases->first != NULL) {
    lease *left = leases->first;
    if (left->owner == NULL)
      iotops_lock_free(left->lock);
    lease_forget(left);
  }
}
