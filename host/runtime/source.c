#include "runtime/source.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static source_stamp stamp_of(const struct stat *info) {
  source_stamp stamp = {
      .device = info->st_dev, .node = info->st_ino, .size = info->st_size};
  stamp.modified_ns =
      (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec;
  return stamp;
}

static bool same_stamp(const source_stamp *a, const source_stamp *b) {
  return a->device == b->device && a->node == b->node && a->size == b->size &&
         a->modified_ns == b->modified_ns;
}

static int unreadable(iotops_error *err, const char *path, const char *why) {
  return iotops_error_configuration(err, "path", iotops_text_of(path),
                                    "cannot read %s: %s", path, why);
}

/* Fills `file` but for its path. */
static int read_whole(iotops_context *context, const char *path,
                      source_file *file, char **bytes, size_t *size,
                      iotops_error *err) {
  struct stat info;
  char *block = NULL;
  size_t have = 0, room = 0;
  int result = -1;
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0)
    return unreadable(err, path, strerror(errno));
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    unreadable(err, path, "it is not a file");
    goto done;
  }
  room = info.st_size < SOURCE_FILE_LIMIT ? (size_t)info.st_size + 1 : 1;
  if ((block = iotops_resize(context, NULL, room)) == NULL) {
    iotops_error_memory(err);
    goto done;
  }
  for (;;) {
    if (have == room) { /* it grows while we read */
      char *larger = iotops_resize(context, block, room *= 2);
      if (larger == NULL) {
        iotops_error_memory(err);
        goto done;
      }
      block = larger;
    }
    ssize_t got = read(fd, block + have, room - have);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0) {
      unreadable(err, path, strerror(errno));
      goto done;
    }
    if (got == 0)
      break;
    have += (size_t)got;
    if (have >= SOURCE_FILE_LIMIT) {
      unreadable(err, path, "it is larger than 16 MiB");
      goto done;
    }
  }
  if (have == 0) {
    unreadable(err, path, "it is empty");
    goto done;
  }
  file->stamp = stamp_of(&info);
  if (EVP_Digest(block, have, file->digest, NULL, EVP_sha256(), NULL) != 1) {
    iotops_error_memory(err);
    goto done;
  }
  *bytes = block;
  *size = have;
  block = NULL;
  result = 0;
done:
  iotops_free(context, block);
  close(fd);
  return result;
}

/* Makes room for one more file with a copy of its path. */
static source_file *add_file(source *source, const char *path,
                             iotops_error *err) {
  iotops_context *context = source->context;
  size_t length = strlen(path) + 1;
  source_file *files = iotops_resize(context, source->files,
                                     (source->count + 1) * sizeof *files);
  if (files == NULL) {
    iotops_error_memory(err);
    return NULL;
  }
  source->files = files;
  source_file *added = &files[source->count];
  *added = (source_file){.path = iotops_zalloc(context, length)};
  if (added->path == NULL) {
    iotops_error_memory(err);
    return NULL;
  }
  memcpy(added->path, path, length);
  source->count++;
  return added;
}

int source_read(source *source, const char *path, const char **bytes,
                size_t *size, iotops_error *err) {
  /* One that cannot be read is noted too: it may become readable. */
  source_file *file = add_file(source, path, err);
  if (file == NULL || read_whole(source->context, path, file, &file->bytes,
                                 &file->size, err) != 0)
    return -1;
  if (file->size > SOURCE_FILE_LIMIT - source->size) {
    iotops_free(source->context, file->bytes);
    file->bytes = NULL;
    return unreadable(err, path, "the script's files are larger than 16 MiB");
  }
  source->size += file->size;
  *bytes = file->bytes;
  *size = file->size;
  return 0;
}

static const source_file *find(const source *source, const char *path) {
  for (size_t i = 0; i < source->count; i++)
    if (source->files[i].bytes != NULL &&
        strcmp(source->files[i].path, path) == 0)
      return &source->files[i];
  return NULL;
}

bool source_has(const source *source, const char *path) {
  return find(source, path) != NULL;
}

static int add_copy(source *source, const source_file *from,
                    iotops_error *err) {
  source_file *file = add_file(source, from->path, err);
  if (file == NULL)
    return -1;
  file->stamp = from->stamp;
  memcpy(file->digest, from->digest, sizeof file->digest);
  if (from->bytes == NULL)
    return 0;
  if ((file->bytes = iotops_resize(source->context, NULL, from->size)) == NULL)
    return iotops_error_memory(err);
  memcpy(file->bytes, from->bytes, from->size);
  file->size = from->size;
  source->size += from->size;
  return 0;
}

int source_recall(source *source, const struct source *from, const char *path,
                  const char **bytes, size_t *size, iotops_error *err) {
  const source_file *known = find(from, path);
  if (known == NULL)
    return unreadable(err, path, "it was not part of that version");
  if (add_copy(source, known, err) != 0)
    return -1;
  *bytes = source->files[source->count - 1].bytes;
  *size = known->size;
  return 0;
}

int source_copy(source *to, const source *from) {
  for (size_t i = 0; i < from->count; i++)
    if (add_copy(to, &from->files[i], NULL) != 0) {
      source_clear(to);
      return -1;
    }
  return 0;
}

void source_forget_bytes(source *source) {
  for (size_t i = 0; i < source->count; i++) {
    iotops_free(source->context, source->files[i].bytes);
    source->files[i].bytes = NULL;
  }
  source->size = 0;
}

void source_hash(const source *source, char text[SOURCE_HASH_SIZE]) {
  static const char digits[] = "0123456789abcdef";
  uint8_t digest[SOURCE_DIGEST_SIZE] = {0};
  EVP_MD_CTX *sum = EVP_MD_CTX_new();
  bool ok = sum != NULL && EVP_DigestInit_ex(sum, EVP_sha256(), NULL) == 1;
  for (size_t i = 0; ok && i < source->count; i++)
    ok =
        EVP_DigestUpdate(sum, source->files[i].digest, SOURCE_DIGEST_SIZE) == 1;
  if (ok)
    EVP_DigestFinal_ex(sum, digest, NULL);
  EVP_MD_CTX_free(sum);
  for (size_t i = 0; i < SOURCE_HASH_SIZE - 1; i++)
    text[i] = digits[(digest[i / 2] >> (i % 2 == 0 ? 4 : 0)) & 15];
  text[SOURCE_HASH_SIZE - 1] = '\0';
}

bool source_looks_changed(const source *source) {
  for (size_t i = 0; i < source->count; i++) {
    struct stat info;
    source_stamp stamp = {0};
    if (stat(source->files[i].path, &info) == 0 && S_ISREG(info.st_mode))
      stamp = stamp_of(&info);
    if (!same_stamp(&stamp, &source->files[i].stamp))
      return true;
  }
  return false;
}

bool source_is_changed(source *source) {
  bool changed = false;
  for (size_t i = 0; i < source->count && !changed; i++) {
    source_file *file = &source->files[i];
    source_file now = {0};
    char *bytes = NULL;
    size_t size = 0;
    /* Unreadable then and now is no change: `now` stays zero as well. */
    (void)read_whole(source->context, file->path, &now, &bytes, &size, NULL);
    iotops_free(source->context, bytes);
    changed = memcmp(now.digest, file->digest, sizeof now.digest) != 0;
    if (!changed)
      file->stamp = now.stamp;
  }
  return changed;
}

void source_clear(source *source) {
  source_forget_bytes(source);
  for (size_t i = 0; i < source->count; i++)
    iotops_free(source->context, source->files[i].path);
  iotops_free(source->context, source->files);
  source->files = NULL;
  source->count = 0;
}
