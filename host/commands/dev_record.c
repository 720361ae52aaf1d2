#include "commands/dev_record.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/private_folder.h"

static int distrust(iotops_error *err, const char *path, const char *why) {
  return iotops_error_configuration(err, "dev.json", iotops_text_of(path),
                                    "%s: %s; it is not used", path, why);
}

static int none_runs(iotops_error *err, const char *path) {
  return iotops_error_configuration(
      err, "dev.json", iotops_text_of(path),
      "none has left word in %s; start one in another terminal", path);
}

/* The folder, or -1 with `err` set. */
static int open_folder(char path[PRIVATE_FOLDER_SIZE], iotops_error *err) {
  const char *why = NULL;
  int folder = private_folder_open(false, path, &why);
  if (folder < 0 && errno == ENOENT)
    none_runs(err, path);
  else if (folder < 0)
    distrust(err, path, why);
  return folder;
}

static int load(dev_record *record, iotops_error *err) {
  char path[PRIVATE_FOLDER_SIZE];
  struct stat info;
  json_error_t failure;
  json_t *json = NULL;
  int result = -1;
  int folder = open_folder(path, err);
  if (folder < 0)
    return -1;
  int file = openat(folder, "dev.json",
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  int cause = errno;
  close(folder);
  if (file < 0)
    return cause == ENOENT ? none_runs(err, path)
                           : distrust(err, path, strerror(cause));
  if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode) ||
      info.st_uid != geteuid() || (info.st_mode & 077) != 0 ||
      info.st_size > 65536) {
    distrust(err, path, "its dev.json is not yours alone");
    goto done;
  }
  json = json_loadfd(file, 0, &failure);
  json_t *pid = json_object_get(json, "pid");
  json_t *port = json_object_get(json, "port");
  const char *kept = json_string_value(json_object_get(json, "folder"));
  if (json_integer_value(pid) <= 0 || json_integer_value(port) <= 0 ||
      json_integer_value(port) > 65535) {
    distrust(err, path, "its dev.json cannot be read");
    goto done;
  }
  memset(record, 0, sizeof *record);
  record->pid = (pid_t)json_integer_value(pid);
  record->port = (uint16_t)json_integer_value(port);
  if (kept != NULL)
    snprintf(record->folder, sizeof record->folder, "%s", kept);
  result = 0;
done:
  json_decref(json);
  close(file);
  return result;
}

static bool lives(pid_t pid) {
  return kill(pid, 0) == 0 || errno == EPERM;
}

int dev_record_read(dev_record *record, iotops_error *err) {
  if (load(record, err) != 0)
    return -1;
  if (!lives(record->pid))
    return iotops_error_set(err, IOTOPS_INVALID_CONFIGURATION,
                            "the `iotops dev` of process %ld has ended",
                            (long)record->pid);
  return 0;
}

int dev_record_write(const broker *broker, iotops_error *err) {
  char path[PRIVATE_FOLDER_SIZE];
  int result = -1;
  int file = -1;
  json_t *json = NULL;
  const char *why = NULL;
  int folder = private_folder_open(true, path, &why);
  if (folder < 0)
    return distrust(err, path, why);
  json = json_pack("{s:i, s:s, s:i, s:s}", "pid", (int)getpid(), "host",
                   "127.0.0.1", "port", (int)broker->port, "folder",
                   broker->temporary ? broker->folder : "");
  unlinkat(folder, "dev.json.new", 0);
  file = openat(folder, "dev.json.new",
                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (json == NULL || file < 0 || json_dumpfd(json, file, JSON_COMPACT) != 0 ||
      renameat(folder, "dev.json.new", folder, "dev.json") != 0) {
    iotops_error_set(err, IOTOPS_INVALID_STATE, "cannot write %s/dev.json: %s",
                     path, strerror(errno));
    goto done;
  }
  result = 0;
done:
  json_decref(json);
  if (file >= 0)
    close(file);
  close(folder);
  return result;
}

static void remove_record(void) {
  char path[PRIVATE_FOLDER_SIZE];
  int folder = open_folder(path, NULL);
  if (folder < 0)
    return;
  unlinkat(folder, "dev.json", 0);
  close(folder);
}

void dev_record_remove(void) {
  dev_record record = {0};
  if (load(&record, NULL) == 0 && record.pid == getpid())
    remove_record();
}

void dev_record_clean(void) {
  dev_record record = {0};
  if (load(&record, NULL) != 0 || lives(record.pid))
    return;
  /* Only what we would have made ourselves: the record is data. */
  const char *name = strrchr(record.folder, '/');
  if (name != NULL && strncmp(name, "/iotops-dev-", 12) == 0 &&
      strstr(record.folder, "..") == NULL)
    broker_remove_folder(record.folder);
  remove_record();
}
