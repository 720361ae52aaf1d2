#include "session/ca_directory.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

int ca_directory_open(ca_directory *directory, const iotops_settings *settings,
                      iotops_error *err) {
  char path[PATH_MAX];
  const char *name = settings_written_as(settings, SETTING_CA_DIRECTORY);
  memset(directory, 0, sizeof *directory);
  directory->path = settings_string(settings, SETTING_CA_DIRECTORY);
  directory->count =
      scandir(directory->path, &directory->entries, NULL, by_name);
  if (directory->count < 0) {
    directory->count = 0;
    return iotops_error_configuration(err, name,
                                      iotops_text_of(directory->path),
                                      "cannot read ca_directory \"%s\": %s",
                                      directory->path, strerror(errno));
  }
  if (!ca_directory_next(directory, path, sizeof path)) {
    iotops_error_configuration(err, name, iotops_text_of(directory->path),
                               "no CA certificate found in \"%s\"",
                               directory->path);
    ca_directory_close(directory);
    return -1;
  }
  directory->next = 0;
  return 0;
}

bool ca_directory_next(ca_directory *directory, char *path, size_t size) {
  while (directory->next < directory->count) {
    const char *name = directory->entries[directory->next++]->d_name;
    struct stat status;
    if (strncmp(name, "..", 2) == 0)
      continue;
    int length = snprintf(path, size, "%s/%s", directory->path, name);
    if (length > 0 && (size_t)length < size && stat(path, &status) == 0 &&
        S_ISREG(status.st_mode))
      return true;
  }
  return false;
}

void ca_directory_close(ca_directory *directory) {
  for (int i = 0; i < directory->count; i++)
    free(directory->entries[i]);
  free(directory->entries);
  directory->entries = NULL;
  directory->count = 0;
}
