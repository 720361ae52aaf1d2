#include "runtime/private_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void name_folder(char path[PRIVATE_FOLDER_SIZE]) {
  const char *runtime = getenv("XDG_RUNTIME_DIR");
  const char *temporary = getenv("TMPDIR");
  if (runtime != NULL && runtime[0] == '/')
    snprintf(path, PRIVATE_FOLDER_SIZE, "%.400s/iotops", runtime);
  else
    snprintf(path, PRIVATE_FOLDER_SIZE, "%.400s/iotops-%lu",
             temporary != NULL && temporary[0] == '/' ? temporary : "/tmp",
             (unsigned long)geteuid());
}

int private_folder_open(bool make, char path[PRIVATE_FOLDER_SIZE],
                        const char **why) {
  struct stat info;
  name_folder(path);
  if (make && mkdir(path, 0700) != 0 && errno != EEXIST) {
    *why = strerror(errno);
    return -1;
  }
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    *why = strerror(errno);
    return -1;
  }
  if (fstat(fd, &info) != 0 || info.st_uid != geteuid() ||
      (info.st_mode & 077) != 0) {
    close(fd);
    *why = "not a folder of yours alone";
    errno = EPERM;
    return -1;
  }
  return fd;
}
