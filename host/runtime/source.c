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

int source_read(source *source, const char *path, char **bytes, size_t *size,
                iotops_error *err) {
  iotops_context *context = source->context;
  size_t length = strlen(path) + 1;
  source_file file = {0};
  source_file *files = iotops_resize(context, source->files,
                                     (source->count + 1) * sizeof *files);
  if (files == NULL)
    return iotops_error_memory(err);
  source->files = files;
  if ((file.path = iotops_zalloc(context, length)) == NULL)
    return iotops_error_memory(err);
  memcpy(file.path, path, length);
  int result = read_whole(context, path, &file, bytes, size, err);
  /* One that could not be read is noted too: it may become readable. */
  files[source->count++] = file;
  return result;
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
  for (size_t i = 0; i < source->count; i++)
    iotops_free(source->context, source->files[i].path);
  iotops_free(source->context, source->files);
  source->files = NULL;
  source->count = 0;
}
