#include "session/file_read.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(char reason[FILE_REASON_SIZE], const char *why) {
  snprintf(reason, FILE_REASON_SIZE, "%s", why);
  return -1;
}

/* Reads until the end or `size` bytes; -1 with errno. */
static ssize_t read_all(int fd, char *bytes, size_t size) {
  size_t length = 0;
  while (length < size) {
    ssize_t got = read(fd, bytes + length, size - length);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return -1;
    if (got == 0)
      break;
    length += (size_t)got;
  }
  return (ssize_t)length;
}

int file_read(iotops_context *context, const char *path, size_t limit,
              iotops_text *content, char reason[FILE_REASON_SIZE]) {
  struct stat status;
  char *bytes = NULL;
  size_t size = 0;
  ssize_t length;
  int rc = -1;

  content->data = NULL;
  content->size = 0;
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0)
    return refuse(reason, strerror(errno));
  if (fstat(fd, &status) != 0) {
    refuse(reason, strerror(errno));
    goto done;
  }
  if (!S_ISREG(status.st_mode)) {
    refuse(reason,
           S_ISDIR(status.st_mode) ? strerror(EISDIR) : "not a regular file");
    goto done;
  }
  if (status.st_size < 0 || (uintmax_t)status.st_size > limit) {
    snprintf(reason, FILE_REASON_SIZE, "larger than %zu bytes", limit);
    goto done;
  }
  /* One byte more than it has, to see whether it grows meanwhile. */
  size = (size_t)status.st_size + 1;
  bytes = iotops_zalloc(context, size + 1);
  if (bytes == NULL) {
    refuse(reason, "out of memory");
    goto done;
  }
  length = read_all(fd, bytes, size);
  if (length < 0) {
    refuse(reason, strerror(errno));
  } else if ((size_t)length == size) {
    refuse(reason, "it changed while it was read");
  } else {
    bytes[length] = '\0';
    content->data = bytes;
    content->size = (size_t)length;
    bytes = NULL;
    rc = 0;
  }

done:
  if (bytes != NULL) {
    OPENSSL_cleanse(bytes, size);
    iotops_free(context, bytes);
  }
  close(fd);
  return rc;
}

void file_wipe(iotops_context *context, iotops_text *content) {
  if (content->data != NULL) {
    OPENSSL_cleanse((char *)content->data, content->size);
    iotops_free(context, (char *)content->data);
  }
  content->data = NULL;
  content->size = 0;
}
