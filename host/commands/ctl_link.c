#include "commands/ctl_link.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "commands/command.h"
#include "runtime/control_socket.h"
#include "runtime/private_folder.h"

enum { HOSTS_MAX = 64, LINE_MAX_SIZE = 64 * 1024 * 1024 };

static volatile sig_atomic_t interrupted;

static void interrupt(int number) {
  (void)number;
  interrupted = 1;
}

/* What is let through while a line is waited for, and only then. */
static sigset_t awaiting;
static bool heeds;

void ctl_link_heed_signals(void) {
  struct sigaction action = {.sa_handler = interrupt};
  sigset_t both;
  sigemptyset(&both);
  sigaddset(&both, SIGINT);
  sigaddset(&both, SIGTERM);
  heeds = sigprocmask(SIG_BLOCK, &both, &awaiting) == 0;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

/* ------------------------------------------------------------- finding -- */

static int say(const ctl_link *link, int status, const char *format, ...)
    IOTOPS_PRINTF(3, 4);

static int say(const ctl_link *link, int status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "iotops %s: ", link->command);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  return status;
}

static int is_socket_name(const struct dirent *entry) {
  size_t size = strlen(entry->d_name);
  return size > 5 && strcmp(entry->d_name + size - 5, ".sock") == 0;
}

/* A host is what its socket is called. */
static bool is_called(const char *file, const char *host) {
  size_t size = strlen(host);
  return strncmp(file, host, size) == 0 && strcmp(file + size, ".sock") == 0;
}

typedef struct found {
  int fd; /* of the first; -1: none */
  size_t count;
  char names[1024];
} found;

/* Those that can be connected to are alive. */
static void look(const ctl_link *link, int folder, const char *path,
                 found *found) {
  struct dirent **entries = NULL;
  int count = scandir(path, &entries, is_socket_name, alphasort);
  for (int i = 0; i < count; i++) {
    const char *name = entries[i]->d_name;
    size_t used = strlen(found->names);
    int fd = -1;
    if ((link->host == NULL || is_called(name, link->host)) &&
        (fd = control_socket_connect(folder, name)) >= 0) {
      snprintf(found->names + used, sizeof found->names - used, "%s%.*s",
               used > 0 ? ", " : "", (int)(strlen(name) - 5), name);
      if (found->count++ == 0)
        found->fd = fd;
      else
        close(fd);
    }
    free(entries[i]);
  }
  free(entries);
}

static int find(ctl_link *link) {
  char path[PRIVATE_FOLDER_SIZE];
  const char *why = NULL;
  found found = {.fd = -1};
  int folder = private_folder_open(false, path, &why);
  if (folder < 0 && errno != ENOENT)
    return say(link, COMMAND_UNREACHABLE, "%s: %s; it is not used", path, why);
  if (folder >= 0) {
    look(link, folder, path, &found);
    close(folder);
  }
  if (found.count == 1) {
    link->fd = found.fd;
    return COMMAND_DONE;
  }
  if (found.count > 1) {
    close(found.fd);
    return say(link, COMMAND_USAGE,
               "several hosts run: %s.  Say which with --host NAME",
               found.names);
  }
  if (link->host != NULL)
    return say(link, COMMAND_UNREACHABLE,
               "no host \"%s\" runs here: there is no socket of it in %s",
               link->host, path);
  return say(link, COMMAND_UNREACHABLE,
             "no running host was found: `iotops run` and `iotops dev` of "
             "this user leave a socket in %s.  One elsewhere is named by "
             "--socket PATH",
             path);
}

int ctl_link_open(ctl_link *link) {
  link->fd = -1;
  if (link->socket == NULL) {
    int status = find(link);
    if (status != COMMAND_DONE)
      return status;
  } else {
    char folder[CONTROL_PATH_SIZE];
    const char *slash = strrchr(link->socket, '/');
    size_t size = slash != NULL ? (size_t)(slash - link->socket) + 1 : 0;
    snprintf(folder, sizeof folder, "%.*s",
             size < sizeof folder ? (int)size : 0, link->socket);
    int at = open(size > 0 ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at >= 0)
      link->fd = control_socket_connect(at, link->socket + size);
    int cause = errno;
    if (at >= 0)
      close(at);
    if (link->fd < 0)
      return say(link, COMMAND_UNREACHABLE, "cannot reach a host at %s: %s",
                 link->socket, strerror(cause));
  }
  /* Root may look after the hosts of all users. */
  if (geteuid() != 0 && !control_socket_is_ours(link->fd)) {
    ctl_link_close(link);
    return say(link, COMMAND_UNREACHABLE,
               "the socket is another user's: what it says is not believed");
  }
  return COMMAND_DONE;
}

void ctl_link_close(ctl_link *link) {
  if (link->fd >= 0)
    close(link->fd);
  link->fd = -1;
  free(link->bytes);
  link->bytes = NULL;
  link->size = link->capacity = link->taken = 0;
}

/* --------------------------------------------------------------- lines -- */

int ctl_link_send(ctl_link *link, json_t *request) {
  char *text = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
  size_t size = text != NULL ? strlen(text) : 0;
  json_decref(request);
  if (text == NULL)
    return say(link, COMMAND_USAGE, "out of memory");
  text[size] = '\n'; /* the terminator's place */
  for (size_t at = 0; at <= size;) {
    ssize_t sent = send(link->fd, text + at, size + 1 - at, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent <= 0) {
      free(text);
      return say(link, COMMAND_UNREACHABLE, "the host has gone: %s",
                 strerror(errno));
    }
    at += (size_t)sent;
  }
  free(text);
  return COMMAND_DONE;
}

uint64_t ctl_link_clock_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Waits for bytes until `due_ms`; 0: without end. */
static ctl_answer await(const ctl_link *link, uint64_t due_ms) {
  for (;;) {
    struct pollfd state = {.fd = link->fd, .events = POLLIN};
    uint64_t now = ctl_link_clock_ms();
    uint64_t left = due_ms <= now ? 0 : due_ms - now;
    struct timespec limit = {.tv_sec = (time_t)(left / 1000),
                             .tv_nsec = (long)(left % 1000) * 1000000};
    if (interrupted)
      return CTL_INTERRUPTED;
    int count =
        ppoll(&state, 1, due_ms == 0 ? NULL : &limit, heeds ? &awaiting : NULL);
    if (count > 0)
      return CTL_LINE;
    if (count == 0)
      return CTL_LATE;
    if (errno != EINTR) {
      say(link, 0, "%s", strerror(errno));
      return CTL_FAILED;
    }
  }
}

static ctl_answer receive(ctl_link *link) {
  if (link->capacity - link->size < 65536) {
    size_t capacity = link->capacity * 2 + 65537;
    char *bytes =
        capacity > LINE_MAX_SIZE ? NULL : realloc(link->bytes, capacity);
    if (bytes == NULL) {
      say(link, 0, "a line of the host is too long");
      return CTL_FAILED;
    }
    link->bytes = bytes;
    link->capacity = capacity;
  }
  ssize_t size =
      recv(link->fd, link->bytes + link->size, link->capacity - link->size, 0);
  if (size < 0 && errno == EINTR)
    return CTL_LINE;
  if (size <= 0)
    return CTL_END;
  link->size += (size_t)size;
  return CTL_LINE;
}

ctl_answer ctl_link_line(ctl_link *link, bool patient, iotops_text *line) {
  uint64_t due_ms = patient ? 0 : ctl_link_clock_ms() + link->timeout_ms;
  size_t looked_at = 0;
  if (link->taken > 0) {
    link->size -= link->taken;
    memmove(link->bytes, link->bytes + link->taken, link->size);
    link->taken = 0;
  }
  for (;;) {
    char *end = link->size > looked_at ? memchr(link->bytes + looked_at, '\n',
                                                link->size - looked_at)
                                       : NULL;
    if (end != NULL) {
      *end = '\0';
      *line = (iotops_text){link->bytes, (size_t)(end - link->bytes)};
      link->taken = line->size + 1;
      return CTL_LINE;
    }
    looked_at = link->size;
    ctl_answer answer = await(link, due_ms);
    if (answer == CTL_LINE)
      answer = receive(link);
    if (answer != CTL_LINE)
      return answer;
  }
}

int ctl_link_answer(ctl_link *link, json_t **answer) {
  iotops_text line;
  switch (ctl_link_line(link, false, &line)) {
  case CTL_LINE:
    break;
  case CTL_LATE:
    return say(link, COMMAND_TIMEOUT, "the host has not answered within %.1f s",
               (double)link->timeout_ms / 1000.0);
  case CTL_END:
    return say(link, COMMAND_UNREACHABLE, "the host has closed the connection");
  case CTL_INTERRUPTED:
    return COMMAND_INTERRUPTED;
  case CTL_FAILED:
    return COMMAND_UNREACHABLE;
  }
  *answer = json_loadb(line.data, line.size, JSON_ALLOW_NUL, NULL);
  if (!json_is_object(*answer)) {
    json_decref(*answer);
    return say(link, COMMAND_UNREACHABLE,
               "what listens there does not answer like a host");
  }
  return COMMAND_DONE;
}

int ctl_link_verdict(const ctl_link *link, const json_t *answer) {
  const char *why = json_string_value(json_object_get(answer, "error"));
  if (json_is_true(json_object_get(answer, "ok")))
    return COMMAND_DONE;
  return say(link, COMMAND_REFUSED, "%s", why != NULL ? why : "refused");
}
