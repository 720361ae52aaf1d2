#include "runtime/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

enum { BACKLOG = 16, WHERE_SIZE = INET6_ADDRSTRLEN + 16 };

typedef struct connection connection;
struct connection {
  int fd; /* of libmicrohttpd's */
  uint64_t end_ms;
  bool over;                   /* was closed for its age; in no list */
  connection *next, *previous; /* in order of end_ms */
};

struct http {
  iotops_context *context; /* borrowed */
  struct MHD_Daemon *daemon;
  http_serve serve;
  void *user;
  uv_poll_t poll;     /* of the daemon's epoll descriptor */
  iotops_timer timer; /* what the daemon has to do by itself */
  iotops_timer limit; /* of the oldest connection */
  connection *oldest, *newest;
  size_t count; /* of those in the list */
  char where[WHERE_SIZE];
};

/* ------------------------------------------------------------ address -- */

typedef struct http_address {
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } socket;
  bool is_v6;
  bool both; /* IPv6 and IPv4 */
} http_address;

static bool read_port(const char *text, in_port_t *port) {
  char *end = NULL;
  unsigned long value = strtoul(text, &end, 10);
  if (text[0] < '0' || text[0] > '9' || *end != '\0' || value > 65535)
    return false;
  *port = htons((uint16_t)value);
  return true;
}

static bool read_address(const char *text, http_address *address) {
  char name[INET6_ADDRSTRLEN + 2] = "127.0.0.1";
  in_port_t port = 0;
  const char *colon = strrchr(text, ':');
  memset(address, 0, sizeof *address);
  if (colon != NULL) {
    size_t size = (size_t)(colon - text);
    if (size == 0 || size >= sizeof name)
      return false;
    memcpy(name, text, size);
    name[size] = '\0';
  }
  if (!read_port(colon != NULL ? colon + 1 : text, &port))
    return false;
  size_t size = strlen(name);
  address->both = strcmp(name, "*") == 0 || strcmp(name, "[::]") == 0;
  address->is_v6 = address->both || name[0] == '[';
  if (!address->is_v6) {
    address->socket.v4.sin_family = AF_INET;
    address->socket.v4.sin_port = port;
    return inet_pton(AF_INET, name, &address->socket.v4.sin_addr) == 1;
  }
  address->socket.v6.sin6_family = AF_INET6;
  address->socket.v6.sin6_port = port;
  if (address->both)
    return true; /* all zero */
  if (name[size - 1] != ']')
    return false;
  name[size - 1] = '\0';
  return inet_pton(AF_INET6, name + 1, &address->socket.v6.sin6_addr) == 1;
}

bool http_is_address(const char *address) {
  http_address read;
  return read_address(address, &read);
}

/*
** A socket that listens; -1 with errno.  libmicrohttpd could make it, but does
** not say what went wrong.
*/
static int listen_on(const http_address *address) {
  socklen_t size =
      address->is_v6 ? sizeof address->socket.v6 : sizeof address->socket.v4;
  const int yes = 1, v6_only = !address->both;
  int fd = socket(address->socket.any.sa_family,
                  SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return -1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (address->is_v6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only);
  if (bind(fd, &address->socket.any, size) == 0 && listen(fd, BACKLOG) == 0)
    return fd;
  int failure = errno;
  close(fd);
  errno = failure;
  return -1;
}

static void note_where(http *http, int fd) {
  http_address address = {0};
  char name[INET6_ADDRSTRLEN] = "";
  socklen_t size = sizeof address.socket;
  if (getsockname(fd, &address.socket.any, &size) != 0)
    return;
  if (address.socket.any.sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &address.socket.v6.sin6_addr, name, sizeof name);
    snprintf(http->where, sizeof http->where, "[%s]:%u", name,
             ntohs(address.socket.v6.sin6_port));
  } else {
    inet_ntop(AF_INET, &address.socket.v4.sin_addr, name, sizeof name);
    snprintf(http->where, sizeof http->where, "%s:%u", name,
             ntohs(address.socket.v4.sin_port));
  }
}

/* ------------------------------------------------------------- answers -- */

static enum MHD_Result send_answer(struct MHD_Connection *connection,
                                   unsigned status, const char *type,
                                   const char *allow, iotops_text body) {
  /* It wants its copy as if it were going to write to it. */
  struct MHD_Response *response = MHD_create_response_from_buffer(
      body.size, (void *)(uintptr_t)body.data, MHD_RESPMEM_MUST_COPY);
  enum MHD_Result result = MHD_NO;
  if (response == NULL)
    return MHD_NO;
  if (MHD_add_response_header(response, "Content-Type", type) == MHD_YES &&
      MHD_add_response_header(response, "Cache-Control", "no-store") ==
          MHD_YES &&
      MHD_add_response_header(response, "Connection", "close") == MHD_YES &&
      (allow == NULL ||
       MHD_add_response_header(response, "Allow", allow) == MHD_YES))
    result = MHD_queue_response(connection, status, response);
  MHD_destroy_response(response);
  return result;
}

static enum MHD_Result send_text(struct MHD_Connection *connection,
                                 unsigned status, const char *allow,
                                 const char *text) {
  return send_answer(connection, status, "text/plain; charset=utf-8", allow,
                     iotops_text_of(text));
}

/* Its parameters are libmicrohttpd's. */
static enum MHD_Result asked(void *user, struct MHD_Connection *connection,
                             const char *path, const char *method,
                             const char *version, const char *upload,
                             size_t *upload_size, void **request) {
  const http *http = user;
  (void)version;
  (void)upload;
  (void)upload_size;
  (void)request;
  if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
    return send_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET, HEAD",
                     "only GET and HEAD are answered\n");
  http_answer answer = {.status = MHD_HTTP_OK,
                        .type = "text/plain; charset=utf-8"};
  text_buffer_init(&answer.body, http->context);
  http->serve(http->user, path, &answer);
  enum MHD_Result result =
      answer.status == MHD_HTTP_NOT_FOUND
          ? send_text(connection, MHD_HTTP_NOT_FOUND, NULL, "not found\n")
      : answer.body.failed
          ? send_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL,
                      "out of memory\n")
          : send_answer(connection, answer.status, answer.type, NULL,
                        text_buffer_text(&answer.body));
  text_buffer_clear(&answer.body);
  return result;
}

/* -------------------------------------------------------- connections -- */

static void await_oldest(http *http) {
  const connection *oldest = http->oldest;
  uint64_t now = iotops_mono_ms(http->context);
  if (oldest == NULL)
    iotops_timer_stop(http->context, &http->limit);
  else
    iotops_timer_start(http->context, &http->limit,
                       oldest->end_ms > now ? oldest->end_ms - now : 0);
}

static void unlink_connection(http *http, connection *gone) {
  *(gone->previous != NULL ? &gone->previous->next : &http->oldest) =
      gone->next;
  *(gone->next != NULL ? &gone->next->previous : &http->newest) =
      gone->previous;
  http->count--;
}

/* Who has it finds it closed. */
static void cut(http *http, connection *old) {
  unlink_connection(http, old);
  old->over = true;
  shutdown(old->fd, SHUT_RDWR); /* the daemon sees it, and closes it */
}

static void begun(http *http, struct MHD_Connection *connection,
                  struct connection **kept) {
  const union MHD_ConnectionInfo *info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  struct connection *added = iotops_zalloc(http->context, sizeof *added);
  if (info == NULL || added == NULL) {
    /* Nothing would end it. */
    if (info != NULL)
      shutdown(info->connect_fd, SHUT_RDWR);
    iotops_free(http->context, added);
    return;
  }
  added->fd = info->connect_fd;
  added->end_ms = iotops_mono_ms(http->context) + HTTP_CONNECTION_MS;
  added->previous = http->newest;
  *(http->newest != NULL ? &http->newest->next : &http->oldest) = added;
  http->newest = added;
  *kept = added;
  if (++http->count > HTTP_CONNECTIONS)
    cut(http, http->oldest);
  if (!http->limit.running)
    await_oldest(http);
}

static void ended(http *http, connection *gone) {
  if (!gone->over)
    unlink_connection(http, gone);
  iotops_free(http->context, gone);
}

static void notified(void *user, struct MHD_Connection *connection,
                     void **socket_context,
                     enum MHD_ConnectionNotificationCode code) {
  if (code == MHD_CONNECTION_NOTIFY_STARTED)
    begun(user, connection, (struct connection **)socket_context);
  else if (*socket_context != NULL)
    ended(user, *socket_context);
}

/* ---------------------------------------------------------------- loop -- */

/* Has the daemon do what it can, and be called when it can do more. */
static void turn(http *http) {
  MHD_UNSIGNED_LONG_LONG wait_ms = 0;
  MHD_run(http->daemon);
  if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES)
    iotops_timer_start(http->context, &http->timer, wait_ms);
  else
    iotops_timer_stop(http->context, &http->timer);
}

static void ready(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  turn(poll->data);
}

static void due(iotops_timer *timer) {
  turn(timer->user);
}

/* Who has had a connection for too long finds it closed. */
static void too_long(iotops_timer *timer) {
  http *http = timer->user;
  uint64_t now = iotops_mono_ms(http->context);
  while (http->oldest != NULL && http->oldest->end_ms <= now)
    cut(http, http->oldest);
  turn(http);
  await_oldest(http);
}

static void log_line(void *user, const char *format, va_list args) {
  const http *http = user;
  char line[512];
  vsnprintf(line, sizeof line, format, args);
  line[strcspn(line, "\n")] = '\0';
  iotops_log(http->context, IOTOPS_LOG_DEBUG, "http", "%s", line);
}

/* ---------------------------------------------------------------- life -- */

static void closed(uv_handle_t *handle) {
  http *http = handle->data;
  iotops_free(http->context, http);
}

int http_new(iotops_context *context, const char *address, http_serve serve,
             void *user, http **made, iotops_error *err) {
  http_address where;
  int fd = -1;
  http *http = NULL;
  const char *why = "it is not of the form [ADDRESS:]PORT";
  if (!read_address(address, &where))
    goto refused;
  if ((http = iotops_zalloc(context, sizeof *http)) == NULL)
    return iotops_error_memory(err);
  http->context = context;
  http->serve = serve;
  http->user = user;
  http->timer.fire = due;
  http->limit.fire = too_long;
  http->timer.user = http->limit.user = http;
  if ((fd = listen_on(&where)) < 0) {
    why = strerror(errno);
    goto refused;
  }
  note_where(http, fd);
  const unsigned flags = MHD_USE_EPOLL | MHD_USE_ERROR_LOG;
  http->daemon = MHD_start_daemon(
      flags, 0, NULL, NULL, asked, http, MHD_OPTION_EXTERNAL_LOGGER, log_line,
      http, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
      (unsigned)(2 * HTTP_CONNECTIONS), MHD_OPTION_CONNECTION_TIMEOUT,
      (unsigned)(HTTP_CONNECTION_MS / 1000), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      (size_t)HTTP_REQUEST_SIZE, MHD_OPTION_NOTIFY_CONNECTION, notified, http,
      MHD_OPTION_END);
  why = "the HTTP server cannot be started";
  if (http->daemon == NULL)
    goto refused;
  const union MHD_DaemonInfo *info =
      MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
  if (info == NULL || uv_poll_init(iotops_context_loop(context), &http->poll,
                                   info->epoll_fd) != 0) {
    MHD_stop_daemon(http->daemon);
    fd = -1;
    goto refused;
  }
  http->poll.data = http;
  uv_poll_start(&http->poll, UV_READABLE, ready);
  *made = http;
  return 0;
refused:
  if (fd >= 0)
    close(fd);
  iotops_free(context, http);
  return iotops_error_configuration(err, "--http", iotops_text_of(address),
                                    "--http %s: %s", address, why);
}

const char *http_where(const http *http) {
  return http->where;
}

void http_close(http *http) {
  if (http == NULL)
    return;
  iotops_timer_stop(http->context, &http->timer);
  uv_poll_stop(&http->poll);
  MHD_stop_daemon(http->daemon);
  iotops_timer_stop(http->context, &http->limit);
  uv_close((uv_handle_t *)&http->poll, closed);
}
