/*
** mounted.h -- the connection's configuration where an operator mounts it
** (session.md section 1.4), while the host runs.
**
** A change is logged with what it changes, and takes effect at the next
** connection; one that cannot be used is logged and changes nothing.  What the
** process is called and how it authenticates are not looked at again.
*/
#ifndef RUNTIME_MOUNTED_H
#define RUNTIME_MOUNTED_H

#include <sys/types.h>

#include "iotops/settings.h"

struct host;

typedef struct mounted {
  const char *folder; /* borrowed, of the environment; NULL: none is mounted */
  dev_t device;       /* of the file that was looked at last */
  ino_t node;
  off_t size;
  int64_t modified_ns;
} mounted;

/* Remembers the file as it is, and has its folder watched. */
void mounted_begin(struct host *host);

/* Looks whether the file is another one. */
void mounted_look(struct host *host);

#endif
