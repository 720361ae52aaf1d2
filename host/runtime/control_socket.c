#include "runtime/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/private_folder.h"

enum { NAME_MAX_KEPT = 64 };

static int refuse(iotops_error *err, const char *path, const char *format, ...)
    IOTOPS_PRINTF(3, 4);

static int refuse(iotops_error *err, const char *path, const char *format,
                  ...) {
  char why[256];
  va_list args;
  va_start(args, format);
  vsnprintf(why, sizeof why, format, args);
  va_end(args);
  return iotops_error_configuration(err, "control", iotops_text_of(path),
                                    "control socket %s: %s", path, why);
}

/*
** A file name for the host `name`: what is not plain becomes `_`, and a number
** made of the whole name then tells it from others.
*/
static void plain_name(const char *name, char *plain, size_t size) {
  static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  uint32_t hash = 2166136261U;
  size_t length = strlen(name);
  bool changed = length == 0 || length > NAME_MAX_KEPT || name[0] == '.';
  size_t kept = length > NAME_MAX_KEPT ? NAME_MAX_KEPT : length;
  for (size_t i = 0; i < length; i++) {
    hash = (hash ^ (unsigned char)name[i]) * 16777619U;
    bool is_plain =
        strchr(allowed, name[i]) != NULL && (i > 0 || name[0] != '.');
    changed = changed || !is_plain;
    if (i < kept)
      plain[i] = (char)(is_plain ? name[i] : '_');
  }
  if (changed)
    snprintf(plain + kept, size - kept, "-%08x.sock", (unsigned)hash);
  else
    snprintf(plain + kept, size - kept, ".sock");
}

/* Finds the folder that the socket is to be in, and its name there. */
static int find_folder(control_socket *made, const char *path, const char *name,
                       iotops_error *err) {
  char folder[PRIVATE_FOLDER_SIZE];
  const char *why = NULL;
  if (path == NULL) {
    plain_name(name, made->name, sizeof made->name);
    made->folder = private_folder_open(true, folder, &why);
    snprintf(made->path, sizeof made->path, "%s/%s", folder, made->name);
    return made->folder < 0 ? refuse(err, folder, "%s", why) : 0;
  }
  const char *slash = strrchr(path, '/');
  const char *base = slash != NULL ? slash + 1 : path;
  size_t size = slash != NULL ? (size_t)(slash - path) + 1 : 0;
  if (strlen(path) >= sizeof made->path || size >= sizeof folder ||
      strlen(base) >= sizeof made->name || base[0] == '\0')
    return refuse(err, path, "not a name that a socket can have");
  snprintf(made->path, sizeof made->path, "%s", path);
  snprintf(made->name, sizeof made->name, "%s", base);
  snprintf(folder, sizeof folder, "%.*s", (int)size, path);
  made->folder =
      open(size > 0 ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return made->folder < 0 ? refuse(err, path, "%s", strerror(errno)) : 0;
}

/*
** Takes the lock.  One that was removed while we waited for it guards nothing:
** then a new one is made.
*/
static int take_lock(control_socket *made, iotops_error *err) {
  struct stat mine, there;
  snprintf(made->lock_name, sizeof made->lock_name, "%s.lock", made->name);
  for (int attempt = 0; attempt < 100; attempt++) {
    int fd = openat(made->folder, made->lock_name,
                    O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
      return refuse(err, made->path, "%s: %s", made->lock_name,
                    strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      int cause = errno;
      close(fd);
      return cause == EWOULDBLOCK
                 ? refuse(err, made->path, "another host listens there")
                 : refuse(err, made->path, "%s", strerror(cause));
    }
    if (fstat(fd, &mine) == 0 &&
        fstatat(made->folder, made->lock_name, &there, AT_SYMLINK_NOFOLLOW) ==
            0 &&
        mine.st_dev == there.st_dev && mine.st_ino == there.st_ino) {
      made->lock = fd;
      return 0;
    }
    close(fd);
  }
  return refuse(err, made->path, "another host comes and goes there");
}

/*
** The address of `name` in an open folder: by its descriptor, since a path may
** be longer than an address, and may change what it leads to.
*/
static bool address_of(int folder, const char *name,
                       struct sockaddr_un *address) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  int size = folder < 0 ? snprintf(address->sun_path, sizeof address->sun_path,
                                   "%s", name)
                        : snprintf(address->sun_path, sizeof address->sun_path,
                                   "/proc/self/fd/%d/%s", folder, name);
  return size > 0 && (size_t)size < sizeof address->sun_path;
}

/*
** Whether nobody listens on the socket: it may be that of a program which knows
** nothing of our lock.
*/
static bool is_dead(const control_socket *made) {
  struct sockaddr_un address;
  if (!address_of(made->folder, made->name, &address))
    return false;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return false;
  bool dead = connect(fd, (struct sockaddr *)&address, sizeof address) != 0 &&
              errno == ECONNREFUSED;
  close(fd);
  return dead;
}

/* What a dead host has left; anything else is not ours to remove. */
static int clear_place(const control_socket *made, iotops_error *err) {
  struct stat info;
  if (fstatat(made->folder, made->name, &info, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? 0 : refuse(err, made->path, "%s", strerror(errno));
  if (!S_ISSOCK(info.st_mode))
    return refuse(err, made->path, "there is something else of that name");
  if (!is_dead(made))
    return refuse(err, made->path, "another program listens there");
  if (unlinkat(made->folder, made->name, 0) != 0)
    return refuse(err, made->path, "%s", strerror(errno));
  return 0;
}

int control_socket_bind(control_socket *made, const char *path,
                        const char *name, iotops_error *err) {
  struct sockaddr_un address;
  struct stat info;
  *made = (control_socket){.fd = -1, .folder = -1, .lock = -1};
  if (find_folder(made, path, name, err) != 0 || take_lock(made, err) != 0 ||
      clear_place(made, err) != 0)
    goto failed;
  if (!address_of(made->folder, made->name, &address)) {
    refuse(err, made->path, "its name is too long");
    goto failed;
  }
  made->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  /* The mode of the descriptor is what the file will have, less the mask. */
  if (made->fd < 0 || fchmod(made->fd, 0600) != 0 ||
      bind(made->fd, (struct sockaddr *)&address, sizeof address) != 0) {
    refuse(err, made->path, "%s", strerror(errno));
    goto failed;
  }
  if (fstatat(made->folder, made->name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
      (info.st_mode & 077) != 0) {
    refuse(err, made->path, "others could connect to it");
    unlinkat(made->folder, made->name, 0);
    goto failed;
  }
  made->device = info.st_dev;
  made->node = info.st_ino;
  return 0;
failed:
  control_socket_remove(made);
  return -1;
}

void control_socket_remove(control_socket *made) {
  struct stat info;
  if (made->node != 0 &&
      fstatat(made->folder, made->name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
      info.st_dev == made->device && info.st_ino == made->node)
    unlinkat(made->folder, made->name, 0);
  if (made->lock >= 0) {
    unlinkat(made->folder, made->lock_name, 0);
    close(made->lock);
  }
  if (made->fd >= 0)
    close(made->fd);
  if (made->folder >= 0)
    close(made->folder);
  *made = (control_socket){.fd = -1, .folder = -1, .lock = -1};
}

int control_socket_connect(int folder, const char *name) {
  struct sockaddr_un address;
  if (!address_of(folder, name, &address)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
    return fd;
  int cause = errno;
  close(fd);
  errno = cause;
  return -1;
}

bool control_socket_is_ours(int fd) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         size == sizeof peer && (peer.uid == geteuid() || peer.uid == 0);
}
