#include "session/credentials.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <string.h>
#include <uv.h>

#include "context/context_fields.h"
#include "session/file_read.h"

enum { CREDENTIAL_SIZE_MAX = 65535, LOOK_EVERY_MS = 60000 };

/*
** The directory watch lives on after credentials_close(), until libuv has let
** go of its handle.
*/
typedef struct directory_watch {
  uv_fs_event_t handle;
  iotops_context *context; /* held */
  credentials *owner;      /* borrowed; NULL once closed */
} directory_watch;

struct credentials {
  iotops_context *context;         /* borrowed */
  const iotops_settings *settings; /* borrowed */
  void (*changed)(void *user);
  void *user;
  directory_watch *watch; /* owned; NULL: nothing is watched */
  iotops_timer debounce, poll;
  iotops_text presented; /* owned; absent: no CONNECT was asked for yet */
  iotops_text password;  /* owned; what credentials_for_connect() gave */
  bool warned;           /* about a file that cannot be read */
};

/* --------------------------------------------------------------- files -- */

static int cannot_read(const iotops_settings *settings, setting_id id,
                       const char *reason, iotops_error *err) {
  const char *path = settings_string(settings, id);
  return iotops_error_configuration(
      err, settings_written_as(settings, id), iotops_text_of(path),
      "cannot read %s \"%s\": %s", settings_name(id, SOURCE_API), path, reason);
}

int credentials_read_file(const iotops_settings *settings, setting_id id,
                          iotops_text *content, iotops_error *err) {
  char reason[FILE_REASON_SIZE];
  if (file_read(settings->context, settings_string(settings, id),
                CREDENTIAL_SIZE_MAX, content, reason) != 0)
    return cannot_read(settings, id, reason, err);
  if (id != SETTING_SAT_FILE)
    return 0;
  char *bytes = (char *)content->data; /* ours, see file_read() */
  while (content->size > 0 &&
         memchr("\r\n ", bytes[content->size - 1], 3) != NULL)
    bytes[--content->size] = '\0';
  if (content->size > 0)
    return 0;
  file_wipe(settings->context, content);
  return cannot_read(settings, id, "it is empty", err);
}

/* Reads a token that differs from the one presented; false: there is none. */
static bool read_other_token(credentials *c, iotops_text *token) {
  iotops_error err;
  if (!settings_has(c->settings, SETTING_SAT_FILE) || c->presented.data == NULL)
    return false;
  if (credentials_read_file(c->settings, SETTING_SAT_FILE, token, &err) != 0) {
    if (!c->warned)
      iotops_log(c->context, IOTOPS_LOG_WARN, "session",
                 "%s; the token presented last stays in use", err.message);
    c->warned = true;
    return false;
  }
  c->warned = false;
  if (!iotops_text_equal(*token, c->presented))
    return true;
  file_wipe(c->context, token);
  return false;
}

static void look(credentials *c) {
  iotops_text token;
  if (!read_other_token(c, &token))
    return;
  file_wipe(c->context, &token);
  c->changed(c->user);
}

/* ------------------------------------------------------------- watching -- */

static void on_debounced(iotops_timer *timer) {
  look(timer->user);
}

static void on_poll(iotops_timer *timer) {
  credentials *c = timer->user;
  iotops_timer_start(c->context, &c->poll, LOOK_EVERY_MS);
  look(c); /* last: the owner may close us in there */
}

static void on_event(uv_fs_event_t *handle, const char *name, int events,
                     int status) {
  directory_watch *watch = handle->data;
  credentials *c = watch->owner;
  (void)name;
  (void)events;
  (void)status;
  /* Collected from the first event on: a stream of them must not put the
  ** look off for ever. */
  if (c != NULL && !c->debounce.running)
    iotops_timer_start(c->context, &c->debounce,
                       settings_number(c->settings, SETTING_SAT_DEBOUNCE));
}

static void on_watch_closed(uv_handle_t *handle) {
  directory_watch *watch = handle->data;
  iotops_context *context = watch->context;
  iotops_free(context, watch);
  context_release(context);
}

static void watch_folder_of(credentials *c, const char *path) {
  char folder[PATH_MAX] = ".";
  const char *slash = strrchr(path, '/');
  size_t length = slash == NULL ? 0 : (size_t)(slash - path);
  if (slash != NULL && length == 0)
    length = 1; /* "/token" */
  if (length >= sizeof folder)
    return; /* reading the file fails as well, and says so */
  if (length > 0) {
    memcpy(folder, path, length);
    folder[length] = '\0';
  }
  int rc = uv_fs_event_start(&c->watch->handle, on_event, folder, 0);
  if (rc != 0)
    iotops_log(c->context, IOTOPS_LOG_WARN, "session",
               "cannot watch \"%s\" for a new token: %s; looking once a "
               "minute instead",
               folder, uv_strerror(rc));
}

int credentials_open(iotops_context *context, const iotops_settings *settings,
                     void (*changed)(void *user), void *user,
                     credentials **result, iotops_error *err) {
  credentials *c = iotops_zalloc(context, sizeof *c);
  *result = NULL;
  if (c == NULL)
    return iotops_error_memory(err);
  c->context = context;
  c->settings = settings;
  c->changed = changed;
  c->user = user;
  c->debounce.fire = on_debounced;
  c->debounce.user = c;
  c->poll.fire = on_poll;
  c->poll.user = c;
  const char *path = settings_string(settings, SETTING_SAT_FILE);
  if (path != NULL) {
    c->watch = iotops_zalloc(context, sizeof *c->watch);
    if (c->watch == NULL) {
      iotops_free(context, c);
      return iotops_error_memory(err);
    }
    uv_fs_event_init(iotops_context_loop(context), &c->watch->handle);
    c->watch->handle.data = c->watch;
    c->watch->context = context;
    c->watch->owner = c;
    context_hold(context);
    watch_folder_of(c, path);
    iotops_timer_start(context, &c->poll, LOOK_EVERY_MS);
  }
  *result = c;
  return 0;
}

void credentials_close(credentials *c) {
  if (c == NULL)
    return;
  iotops_timer_stop(c->context, &c->debounce);
  iotops_timer_stop(c->context, &c->poll);
  if (c->watch != NULL) {
    c->watch->owner = NULL;
    uv_close((uv_handle_t *)&c->watch->handle, on_watch_closed);
  }
  file_wipe(c->context, &c->presented);
  file_wipe(c->context, &c->password);
  iotops_free(c->context, c);
}

/* ----------------------------------------------------------- presenting -- */

int credentials_for_connect(credentials *c, credentials_view *view,
                            iotops_error *err) {
  iotops_text token = {NULL, 0};
  memset(view, 0, sizeof *view);
  view->username = settings_text(c->settings, SETTING_USERNAME);
  view->password = settings_text(c->settings, SETTING_PASSWORD);
  if (settings_has(c->settings, SETTING_PASSWORD_FILE)) {
    file_wipe(c->context, &c->password);
    if (credentials_read_file(c->settings, SETTING_PASSWORD_FILE, &c->password,
                              err) != 0)
      return -1;
    view->password = c->password;
  }
  if (settings_has(c->settings, SETTING_SAT_FILE)) {
    if (credentials_read_file(c->settings, SETTING_SAT_FILE, &token, err) != 0)
      return -1;
    file_wipe(c->context, &c->presented);
    c->presented = token;
    view->token = token;
  }
  return 0;
}

bool credentials_next_token(credentials *c, iotops_text *token) {
  iotops_text other;
  if (!read_other_token(c, &other))
    return false;
  file_wipe(c->context, &c->presented);
  c->presented = other;
  *token = other;
  return true;
}
