/*
** control_socket.h -- a socket in the file system that one process at a time
** listens on, and nobody but its user (and root) connects to.
*/
#ifndef RUNTIME_CONTROL_SOCKET_H
#define RUNTIME_CONTROL_SOCKET_H

#include <sys/types.h>

#include "iotops/error.h"
#include "runtime/control.h"

typedef struct control_socket {
  int fd;     /* owned until the caller takes it; listens not yet */
  int folder; /* owned; -1: none */
  int lock;   /* owned; -1: none */
  char name[256], lock_name[272]; /* in the folder */
  char path[CONTROL_PATH_SIZE];
  dev_t device;
  ino_t node; /* of the socket that was made */
} control_socket;

/* As control_new() says. */
int control_socket_bind(control_socket *made, const char *path,
                        const char *name, iotops_error *err);

/* Removes what was made, if it is still there, and closes the rest. */
void control_socket_remove(control_socket *made);

/*
** Connects to the socket `name` in `folder`, or to the path `name` when it is
** -1.  The descriptor, which is the caller's; or -1 with errno.
*/
int control_socket_connect(int folder, const char *name);

/* Whether the peer of a connection is our user or root. */
bool control_socket_is_ours(int fd);

#endif
