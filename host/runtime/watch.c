#include "runtime/watch.h"

#include <string.h>
#include <sys/stat.h>
#include <uv.h>

typedef struct watched_folder watched_folder;
struct watched_folder {
  uv_fs_event_t events;
  watch *watch; /* borrowed; NULL once closed */
  iotops_context *context;
  char *path; /* owned */
  dev_t device;
  ino_t node; /* what is watched; a folder may be replaced by another */
  watched_folder *next;
};

struct watch {
  iotops_context *context;
  watch_told told;
  void *user;
  watched_folder *folders; /* owned */
  iotops_timer settle;
  uint64_t burst_ms; /* when the burst began that is settling */
  iotops_timer poll;
};

/*
** Whether an event can be about a script: what scripts write beside them is
** not.  Names that begin with `..` are links of a mounted ConfigMap.
*/
static bool matters(const char *name) {
  size_t size = name != NULL ? strlen(name) : 0;
  return size == 0 || strncmp(name, "..", 2) == 0 ||
         (size > 4 && strcmp(name + size - 4, ".lua") == 0);
}

static void happened(uv_fs_event_t *handle, const char *name, int events,
                     int status) {
  watched_folder *folder = handle->data;
  (void)events;
  (void)status;
  watch *watch = folder->watch;
  if (watch == NULL || !matters(name))
    return;
  uint64_t now = iotops_mono_ms(watch->context);
  if (!watch->settle.running)
    watch->burst_ms = now;
  /* One that never settles is looked at all the same. */
  if (now - watch->burst_ms < WATCH_BURST_MS)
    iotops_timer_start(watch->context, &watch->settle, WATCH_SETTLE_MS);
}

static void freed(uv_handle_t *handle) {
  watched_folder *folder = handle->data;
  iotops_free(folder->context, folder->path);
  iotops_free(folder->context, folder);
}

static void drop(watched_folder *folder) {
  folder->watch = NULL;
  uv_close((uv_handle_t *)&folder->events, freed);
}

static bool is_replaced(const watched_folder *folder) {
  struct stat info;
  return stat(folder->path, &info) != 0 || info.st_dev != folder->device ||
         info.st_ino != folder->node;
}

static void add(watch *watch, const char *path, bool first) {
  struct stat info = {0};
  size_t size = strlen(path) + 1;
  watched_folder *folder = iotops_zalloc(watch->context, sizeof *folder);
  char *copied = iotops_zalloc(watch->context, size);
  if (folder == NULL || copied == NULL ||
      uv_fs_event_init(iotops_context_loop(watch->context), &folder->events) !=
          0) {
    iotops_free(watch->context, folder);
    iotops_free(watch->context, copied);
    return;
  }
  memcpy(copied, path, size);
  folder->events.data = folder;
  folder->watch = watch;
  folder->context = watch->context;
  folder->path = copied;
  if (stat(path, &info) == 0) {
    folder->device = info.st_dev;
    folder->node = info.st_ino;
  }
  int status = uv_fs_event_start(&folder->events, happened, path, 0);
  if (status != 0 && first)
    iotops_log(watch->context, IOTOPS_LOG_WARN, "host",
               "cannot watch %s (%s); changes are looked for every %d s", path,
               uv_strerror(status), WATCH_POLL_MS / 1000);
  folder->next = watch->folders;
  watch->folders = folder;
}

static void settled(iotops_timer *timer) {
  watch *watch = timer->user;
  watch->told(watch->user, true);
}

static void polled(iotops_timer *timer) {
  watch *watch = timer->user;
  bool replaced = false;
  for (watched_folder **at = &watch->folders; *at != NULL;) {
    watched_folder *folder = *at;
    if (!is_replaced(folder)) {
      at = &folder->next;
      continue;
    }
    struct stat info;
    if (stat(folder->path, &info) != 0) {
      at = &folder->next; /* gone; what comes after it is waited for */
      continue;
    }
    *at = folder->next;
    add(watch, folder->path, false);
    drop(folder);
    replaced = true;
    /* The new one is at the front: begin again. */
    at = &watch->folders;
  }
  iotops_timer_start(watch->context, &watch->poll, WATCH_POLL_MS);
  watch->told(watch->user, replaced);
}

watch *watch_new(iotops_context *context, watch_told told, void *user) {
  watch *watch = iotops_zalloc(context, sizeof *watch);
  if (watch == NULL)
    return NULL;
  watch->context = context;
  watch->told = told;
  watch->user = user;
  watch->settle.fire = settled;
  watch->settle.user = watch;
  watch->poll.fire = polled;
  watch->poll.user = watch;
  iotops_timer_start(context, &watch->poll, WATCH_POLL_MS);
  return watch;
}

void watch_folder(watch *watch, const char *path) {
  for (watched_folder *at = watch->folders; at != NULL; at = at->next)
    if (strcmp(at->path, path) == 0)
      return;
  add(watch, path, true);
}

void watch_close(watch *watch) {
  if (watch == NULL)
    return;
  iotops_timer_stop(watch->context, &watch->settle);
  iotops_timer_stop(watch->context, &watch->poll);
  while (watch->folders != NULL) {
    watched_folder *folder = watch->folders;
    watch->folders = folder->next;
    drop(folder);
  }
  iotops_free(watch->context, watch);
}
