/*
** ca_directory.h -- the files of a mounted trust bundle.
**
** Every regular file counts, links followed, whose name does not begin with
** ".." (a Kubernetes volume keeps its versions under such names), in order of
** their names.
*/
#ifndef SESSION_CA_DIRECTORY_H
#define SESSION_CA_DIRECTORY_H

#include "session/settings_fields.h"

typedef struct ca_directory {
  struct dirent **entries; /* owned */
  int count, next;
  const char *path; /* borrowed */
} ca_directory;

/*
** Lists the folder named by ca_directory.  Fails with invalid configuration
** when it cannot be read or holds no such file.
*/
int ca_directory_open(ca_directory *directory, const iotops_settings *settings,
                      iotops_error *err);

/* The path of the next file in `path`; false after the last. */
bool ca_directory_next(ca_directory *directory, char *path, size_t size);

void ca_directory_close(ca_directory *directory);

#endif
