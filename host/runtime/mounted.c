#include "runtime/mounted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/host.h"
#include "runtime/watch.h"

/* Whether the file is another one than was seen last; notes which. */
static bool is_another(mounted *mounted) {
  struct stat info;
  char path[4096];
  int size = snprintf(path, sizeof path, "%s/MQTT_CONNECTION_CONFIGURATION",
                      mounted->folder);
  if (size < 0 || (size_t)size >= sizeof path || stat(path, &info) != 0)
    return false; /* it is being replaced, or gone: nothing to go by */
  int64_t modified_ns =
      (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
  bool same = info.st_dev == mounted->device && info.st_ino == mounted->node &&
              info.st_size == mounted->size &&
              modified_ns == mounted->modified_ns;
  mounted->device = info.st_dev;
  mounted->node = info.st_ino;
  mounted->size = info.st_size;
  mounted->modified_ns = modified_ns;
  return !same;
}

void mounted_begin(host *host) {
  const char *folder = getenv("CONNECTOR_CONFIGURATION_MOUNT_PATH");
  if (folder == NULL || folder[0] == '\0')
    return;
  host->mounted.folder = folder;
  is_another(&host->mounted);
  watch_folder(host->watch, folder);
}

/* Appends "NAME OLD -> NEW" for each that differs; how many bytes that is. */
static size_t differences(const iotops_settings *old,
                          const iotops_settings *now, char *text, size_t size) {
  static const char *const names[] = {
      "hostname",   "tcp_port",       "use_tls",    "ca_directory",
      "keep_alive", "session_expiry", "receive_max"};
  size_t used = 0;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    iotops_text was = iotops_settings_get(old, names[i]);
    iotops_text is = iotops_settings_get(now, names[i]);
    if ((was.data == NULL) == (is.data == NULL) && iotops_text_equal(was, is))
      continue;
    int more = snprintf(
        text + used, size - used, "%s%s %.*s -> %.*s", used > 0 ? ", " : "",
        names[i], was.data != NULL ? (int)was.size : 4,
        was.data != NULL ? was.data : "none",
        is.data != NULL ? (int)is.size : 4, is.data != NULL ? is.data : "none");
    used += more > 0 ? (size_t)more : 0;
    if (used >= size)
      used = size - 1;
  }
  return used;
}

static void refuse(const host *host, const iotops_error *err) {
  iotops_log(host->context, IOTOPS_LOG_ERROR, "host",
             "MQTT_CONNECTION_CONFIGURATION has changed and cannot be used; "
             "the connection stays as it was configured: %s",
             err->message);
}

void mounted_look(host *host) {
  iotops_settings *old = host->settings;
  char text[1024];
  iotops_error err;
  if (host->mounted.folder == NULL || !is_another(&host->mounted))
    return;
  host->settings = iotops_settings_new(host->context);
  if (host->settings == NULL) {
    host->settings = old;
    iotops_error_memory(&err);
    refuse(host, &err);
    return;
  }
  if (host_configure(host, &err) != 0 ||
      iotops_session_reconfigure(host->session, host->settings, &err) != 0) {
    iotops_settings_free(host->settings);
    host->settings = old;
    refuse(host, &err);
    return;
  }
  if (differences(old, host->settings, text, sizeof text) > 0)
    iotops_log(host->context, IOTOPS_LOG_INFO, "host",
               "MQTT_CONNECTION_CONFIGURATION has changed: %s; it takes effect "
               "at the next connection",
               text);
  iotops_settings_free(old);
}
