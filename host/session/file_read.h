/*
** file_read.h -- a whole small file in memory.
**
** Only regular files are read, so that a pipe or device cannot hold the loop,
** and none larger than the caller allows.
*/
#ifndef SESSION_FILE_READ_H
#define SESSION_FILE_READ_H

#include "iotops/context.h"

enum { FILE_REASON_SIZE = 128 };

/*
** Reads at most `limit` bytes of `path` into `*content`, owned by the caller
** (file_wipe) and terminated besides.  -1 with what went wrong in `reason`.
*/
int file_read(iotops_context *context, const char *path, size_t limit,
              iotops_text *content, char reason[FILE_REASON_SIZE]);

/* Overwrites what was read and frees it; an absent text is allowed. */
void file_wipe(iotops_context *context, iotops_text *content);

#endif
