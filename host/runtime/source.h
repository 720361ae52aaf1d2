/*
** source.h -- the files that a generation of a script was made from.
**
** The first is the script itself, the others are the modules that it required
** out of its own folder.  A change is a change of content: a file that was
** written anew with the same bytes, or replaced by an equal one, is the same.
*/
#ifndef RUNTIME_SOURCE_H
#define RUNTIME_SOURCE_H

#include <sys/types.h>

#include "iotops/context.h"

enum {
  SOURCE_DIGEST_SIZE = 32,
  SOURCE_HASH_SIZE = 17, /* 16 digits and a terminator */
  SOURCE_FILE_LIMIT = 16 * 1024 * 1024
};

typedef struct source_stamp { /* looks the same: is taken to be the same */
  dev_t device;
  ino_t node;
  off_t size;
  int64_t modified_ns;
} source_stamp;

typedef struct source_file {
  char *path; /* owned */
  char
      *bytes; /* owned; the content; NULL: it could not be read, or forgotten */
  size_t size;
  source_stamp stamp;
  uint8_t digest[SOURCE_DIGEST_SIZE]; /* SHA-256 of the content */
} source_file;

typedef struct source source;
struct source {
  iotops_context *context; /* borrowed */
  source_file *files;      /* owned */
  size_t count;
  size_t size; /* bytes of all files that are kept */
};

/*
** Reads `path` and notes it as one of the files, with its content, which stays
** where it is until source_clear().  Fails with invalid configuration: the file
** cannot be read, is empty, or makes the files larger than SOURCE_FILE_LIMIT
** together.
*/
int source_read(source *source, const char *path, const char **bytes,
                size_t *size, iotops_error *err);

/*
** The same out of `from`, as if the files were still what they were when that
** was read.  Fails with invalid configuration: it has no such file.
*/
int source_recall(source *source, const struct source *from, const char *path,
                  const char **bytes, size_t *size, iotops_error *err);

/* True when `path` is one of its files and its content is known. */
bool source_has(const source *source, const char *path);

/* A copy that owns its own; -1 when memory is short. */
int source_copy(source *to, const source *from);

/* Gives up the contents; whether a file has changed is known still. */
void source_forget_bytes(source *source);

/*
** Names the content: 16 hexadecimal digits, the same for the same bytes in the
** same files, wherever their folder is.
*/
void source_hash(const source *source, char text[SOURCE_HASH_SIZE]);

/* True when a file looks different from when it was read. */
bool source_looks_changed(const source *source);

/*
** True when a file has other content than when it was read, or cannot be read
** any more.
*/
bool source_is_changed(source *source);

/* Frees what it holds; may be used again. */
void source_clear(source *source);

#endif
