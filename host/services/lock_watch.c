#include "services/lock_watch.h"

#include <string.h>

struct iotops_lock_watch {
  iotops_context *context; /* borrowed */
  iotops_store_observation *observation;
  iotops_lock_changed changed;
  iotops_store_on_end on_end; /* may be NULL */
  iotops_store_done done;     /* of the observation; may be NULL */
  void *user;
  iotops_store_done ended; /* of unobserve; may be NULL */
  void *ended_user;

  bool once;
  bool told;        /* something, so that `last` says what */
  iotops_text last; /* owned; absent: nobody */
};

static bool is_repeat(const iotops_lock_watch *watch, iotops_text holder) {
  if (!watch->once || !watch->told ||
      (watch->last.data == NULL) != (holder.data == NULL))
    return false;
  return holder.data == NULL || iotops_text_equal(watch->last, holder);
}

/* Short of memory, the next repeat is told once more than needed. */
static void remember(iotops_lock_watch *watch, iotops_text holder) {
  iotops_free(watch->context, (char *)watch->last.data);
  watch->last = (iotops_text){NULL, 0};
  watch->told = true;
  if (holder.data == NULL)
    return;
  char *copy = iotops_resize(watch->context, NULL, holder.size + 1);
  watch->told = copy != NULL;
  if (copy == NULL)
    return;
  memcpy(copy, holder.data, holder.size);
  watch->last = (iotops_text){copy, holder.size};
}

static void changed(void *user, iotops_store_change *change,
                    const iotops_store_notification *notification) {
  iotops_lock_watch *watch = user;
  iotops_lock_change what = {.version = notification->version};
  if (!notification->deleted)
    what.holder = notification->value;
  if (!is_repeat(watch, what.holder)) {
    if (watch->once)
      remember(watch, what.holder);
    watch->changed(watch->user, &what);
  }
  iotops_store_change_done(change);
}

static void ended_by_itself(void *user) {
  iotops_lock_watch *watch = user;
  if (watch->on_end != NULL)
    watch->on_end(watch->user);
}

static void observed(void *user, const iotops_store_result *result,
                     const iotops_error *err) {
  iotops_lock_watch *watch = user;
  if (watch->done != NULL)
    watch->done(watch->user, result, err);
}

static void unobserved(void *user, const iotops_store_result *result,
                       const iotops_error *err) {
  iotops_lock_watch *watch = user;
  iotops_store_done done = watch->ended;
  void *done_user = watch->ended_user;
  iotops_free(watch->context, (char *)watch->last.data);
  iotops_free(watch->context, watch);
  if (done != NULL)
    done(done_user, result, err);
}

int lock_watch_new(iotops_state_store *store, iotops_text key, bool once,
                   int64_t timeout_us, iotops_lock_changed on_change,
                   iotops_store_on_end on_end, iotops_store_done done,
                   void *user, iotops_lock_watch **watch, iotops_error *err) {
  iotops_context *context = iotops_state_store_context(store);
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.timeout_us = timeout_us;
  iotops_lock_watch *self = iotops_zalloc(context, sizeof *self);
  if (self == NULL)
    return iotops_error_memory(err);
  self->context = context;
  self->changed = on_change;
  self->on_end = on_end;
  self->done = done;
  self->user = user;
  self->once = once;
  if (iotops_store_observe(store, key, &options, changed, ended_by_itself,
                           observed, self, &self->observation, err) != 0) {
    iotops_free(context, self);
    return -1;
  }
  *watch = self;
  return 0;
}

int iotops_lock_unobserve(iotops_lock_watch *watch, int64_t timeout_us,
                          iotops_store_done done, void *user,
                          iotops_error *err) {
  iotops_store_options options = IOTOPS_STORE_OPTIONS_INIT;
  options.timeout_us = timeout_us;
  watch->ended = done;
  watch->ended_user = user;
  return iotops_store_unobserve(watch->observation, &options, unobserved, watch,
                                err);
}
