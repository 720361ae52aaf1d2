/*
** private_folder.h -- the folder in which a user's hosts and tools find each
** other: where `iotops dev` listens, the sockets of running hosts.
**
** It is iotops in $XDG_RUNTIME_DIR, else iotops-UID in the temporary folder.
** It is believed only when it belongs to the user, nobody else may read or
** write it, and it is no link: else another user of the machine could send our
** messages elsewhere.
*/
#ifndef RUNTIME_PRIVATE_FOLDER_H
#define RUNTIME_PRIVATE_FOLDER_H

#include <stdbool.h>

enum { PRIVATE_FOLDER_SIZE = 512 };

/*
** Opens the folder, whose name goes to `path`; with `make` it is made when
** there is none.  The descriptor is the caller's.  -1 with errno (ENOENT: there
** is none) and `*why`.
*/
int private_folder_open(bool make, char path[PRIVATE_FOLDER_SIZE],
                        const char **why);

#endif
