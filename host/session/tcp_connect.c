#include "session/tcp_stream.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "context/context_fields.h"

struct tcp_lookup {
  uv_getaddrinfo_t request;
  iotops_context *context; /* held */
  tcp_stream *owner;       /* borrowed; NULL once let go */
};

static const char *host(const tcp_stream *s) {
  return settings_string(s->settings, SETTING_HOSTNAME);
}

static unsigned port(const tcp_stream *s) {
  return (unsigned)settings_number(s->settings, SETTING_TCP_PORT);
}

/* ----------------------------------------------------------- connecting -- */

static void try_next(tcp_stream *s);

static void cannot_connect(tcp_stream *s, int system_error) {
  char address[64] = "";
  getnameinfo(s->trying->ai_addr, s->trying->ai_addrlen, address,
              sizeof address, NULL, 0, NI_NUMERICHOST);
  iotops_error_set(&s->error, IOTOPS_MQTT_ERROR,
                   "cannot connect to %s:%u (%s): %s; is the broker running "
                   "there, and is tcp_port its port?",
                   host(s), port(s), address, strerror(system_error));
}

static void set_options(const tcp_stream *s, int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#ifdef TCP_USER_TIMEOUT
  /* Bytes that stay unacknowledged for as long as a ping may take to be sent
  ** and answered will not arrive. */
  uint64_t timeout = 1000 * (settings_number(s->settings, SETTING_KEEP_ALIVE) +
                             settings_ping_timeout_s(s->settings));
  unsigned timeout_ms = (unsigned)timeout;
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
#else
  (void)s;
#endif
}

/* An address that swallows packets must leave time for those after it. */
static void arm_give_up(tcp_stream *s) {
  uint64_t whole_ms =
      1000 * settings_number(s->settings, SETTING_CONNECTION_TIMEOUT);
  if (s->next != NULL)
    iotops_timer_start(s->context, &s->give_up, whole_ms / s->address_count);
}

/* 0 when it is under way or done, else an errno. */
static int begin(tcp_stream *s) {
  const struct addrinfo *a = s->trying;
  int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return errno;
  set_options(s, fd);
  if (connect(fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS &&
      errno != EINTR) {
    int system_error = errno;
    close(fd);
    return system_error;
  }
  return tcp_watch_start(s, fd, UV_WRITABLE);
}

static void try_next(tcp_stream *s) {
  while (s->next != NULL) {
    s->trying = s->next;
    s->next = s->next->ai_next;
    int system_error = begin(s);
    if (system_error == 0) {
      arm_give_up(s);
      return;
    }
    cannot_connect(s, system_error);
  }
  tcp_fail(s);
}

static void abandon_this_one(tcp_stream *s, int system_error) {
  iotops_timer_stop(s->context, &s->give_up);
  cannot_connect(s, system_error);
  close(tcp_watch_stop(s));
  try_next(s);
}

static void on_give_up(iotops_timer *timer) {
  abandon_this_one(timer->user, ETIMEDOUT);
}

void tcp_connect_polled(tcp_stream *s, int status) {
  int system_error = 0;
  socklen_t size = sizeof system_error;
  if (getsockopt(s->watch->fd, SOL_SOCKET, SO_ERROR, &system_error, &size) != 0)
    system_error = errno;
  if (system_error == 0 && status != 0)
    system_error = EIO;
  if (system_error != 0) {
    abandon_this_one(s, system_error);
    return;
  }
  tcp_connect_stop(s);
  tcp_connected(s);
}

static void use_addresses(tcp_stream *s, struct addrinfo *addresses) {
  s->addresses = addresses;
  s->next = addresses;
  s->address_count = 0;
  for (const struct addrinfo *a = addresses; a != NULL; a = a->ai_next)
    s->address_count++;
  s->state = TCP_CONNECTING;
  try_next(s);
}

/* ------------------------------------------------------------ resolving -- */

static void cannot_resolve(tcp_stream *s, const char *reason) {
  iotops_error_set(&s->error, IOTOPS_MQTT_ERROR,
                   "cannot find the address of \"%s\": %s; check hostname and "
                   "the name service of this machine",
                   host(s), reason);
  tcp_fail(s);
}

static void on_resolved(uv_getaddrinfo_t *request, int status,
                        struct addrinfo *addresses) {
  tcp_lookup *lookup = request->data;
  iotops_context *context = lookup->context;
  tcp_stream *s = lookup->owner;
  iotops_free(context, lookup);
  if (s == NULL) {
    uv_freeaddrinfo(addresses);
  } else {
    s->lookup = NULL;
    if (status == 0 && addresses != NULL) {
      use_addresses(s, addresses);
    } else {
      uv_freeaddrinfo(addresses);
      cannot_resolve(s, status != 0 ? uv_strerror(status) : "no address");
    }
  }
  context_release(context);
}

static void look_up(tcp_stream *s, const char *service,
                    const struct addrinfo *hints) {
  tcp_lookup *lookup = iotops_zalloc(s->context, sizeof *lookup);
  if (lookup == NULL) {
    iotops_error_memory(&s->error);
    tcp_fail(s);
    return;
  }
  lookup->request.data = lookup;
  lookup->context = s->context;
  lookup->owner = s;
  int rc = uv_getaddrinfo(iotops_context_loop(s->context), &lookup->request,
                          on_resolved, host(s), service, hints);
  if (rc != 0) {
    iotops_free(s->context, lookup);
    cannot_resolve(s, uv_strerror(rc));
    return;
  }
  context_hold(s->context);
  s->lookup = lookup;
}

void tcp_connect_start(tcp_stream *s) {
  struct addrinfo hints = {.ai_family = AF_UNSPEC,
                           .ai_socktype = SOCK_STREAM,
                           .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST};
  struct addrinfo *literal = NULL;
  char service[8];
  snprintf(service, sizeof service, "%u", port(s) & 0xFFFF);
  s->give_up.fire = on_give_up;
  s->give_up.user = s;
  /* A literal address needs no name service, and so no thread. */
  if (getaddrinfo(host(s), service, &hints, &literal) == 0) {
    use_addresses(s, literal);
    return;
  }
  hints.ai_flags = AI_NUMERICSERV;
  look_up(s, service, &hints);
}

void tcp_connect_stop(tcp_stream *s) {
  iotops_timer_stop(s->context, &s->give_up);
  if (s->lookup != NULL) {
    s->lookup->owner = NULL; /* freed by its callback, cancelled or not */
    uv_cancel((uv_req_t *)&s->lookup->request);
    s->lookup = NULL;
  }
  uv_freeaddrinfo(s->addresses);
  s->addresses = NULL;
  s->next = s->trying = NULL;
}
