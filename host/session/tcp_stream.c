#include "session/tcp_stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "context/context_fields.h"
#include "session/socket_linger.h"

/* ------------------------------------------------------------- the watch -- */

static void on_poll(uv_poll_t *handle, int status, int events);

static void on_watch_closed(uv_handle_t *handle) {
  tcp_watch *watch = handle->data;
  iotops_context *context = watch->context;
  iotops_free(context, watch);
  context_release(context);
}

int tcp_watch_start(tcp_stream *s, int fd, int events) {
  tcp_watch *watch = iotops_zalloc(s->context, sizeof *watch);
  if (watch == NULL) {
    close(fd);
    return ENOMEM;
  }
  int rc = uv_poll_init(iotops_context_loop(s->context), &watch->handle, fd);
  if (rc != 0) {
    iotops_free(s->context, watch);
    close(fd);
    return -rc; /* libuv's codes are negated errnos */
  }
  watch->handle.data = watch;
  watch->context = s->context;
  watch->owner = s;
  watch->fd = fd;
  context_hold(s->context);
  s->watch = watch;
  tcp_watch_events(s, events);
  return 0;
}

void tcp_watch_events(tcp_stream *s, int events) {
  if (s->watch == NULL || events == s->watch->events || s->poll_failed)
    return;
  s->watch->events = events;
  if (events == 0)
    uv_poll_stop(&s->watch->handle);
  else
    uv_poll_start(&s->watch->handle, events, on_poll);
}

int tcp_watch_stop(tcp_stream *s) {
  int fd = s->watch->fd;
  s->watch->owner = NULL;
  uv_close((uv_handle_t *)&s->watch->handle, on_watch_closed);
  s->watch = NULL;
  return fd;
}

/* --------------------------------------------------------------- failing -- */

void tcp_fail(tcp_stream *s) {
  s->state = TCP_ENDED;
  iotops_timer_stop(s->context, &s->again);
  tcp_watch_events(s, 0);
  iotops_task_soon(s->context, &s->fail);
}

static void on_fail(iotops_task *task) {
  tcp_stream *s = task->user;
  s->events.failed(s->events.user, &s->error);
}

static void broken(tcp_stream *s, int system_error) {
  iotops_error_set(&s->error, IOTOPS_MQTT_ERROR,
                   "the connection to %s:%u broke: %s",
                   settings_string(s->settings, SETTING_HOSTNAME),
                   (unsigned)settings_number(s->settings, SETTING_TCP_PORT),
                   strerror(system_error));
  tcp_fail(s);
}

static void left(tcp_stream *s) {
  iotops_error_set(&s->error, IOTOPS_MQTT_ERROR, "%s:%u closed the connection",
                   settings_string(s->settings, SETTING_HOSTNAME),
                   (unsigned)settings_number(s->settings, SETTING_TCP_PORT));
  tcp_fail(s);
}

/* ---------------------------------------------------------------- events -- */

static void update_events(tcp_stream *s) {
  int events = 0;
  if (s->state != TCP_OPEN)
    return;
  if (!s->paused || s->write_wants_read)
    events |= UV_READABLE;
  if (s->wants_writable || s->read_wants_write)
    events |= UV_WRITABLE;
  tcp_watch_events(s, events);
}

/* Bytes that no event of the socket will tell of. */
static bool has_hidden_bytes(const tcp_stream *s) {
  return s->poll_failed || s->write_error != 0 ||
         (s->ssl != NULL && SSL_has_pending(s->ssl));
}

/*
** Without this the kernel puts acknowledgements off by 40 ms as soon as it
** takes the connection for an interactive one, and the peer's Nagle waits.
** What the event has us write goes first and carries the acknowledgement: one
** by itself is sent only when there was nothing to write.
*/
static void acknowledge(iotops_task *task) {
  tcp_stream *s = task->user;
#ifdef TCP_QUICKACK
  int on = 1;
  if (s->has_read && s->state == TCP_OPEN)
    setsockopt(s->watch->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
#endif
  s->has_read = false;
}

/* What failed before counts once everything has been read. */
static void check_broken(tcp_stream *s) {
  int system_error = s->write_error;
  socklen_t size = sizeof system_error;
  if ((!s->poll_failed && s->write_error == 0) || s->state != TCP_OPEN ||
      (!s->drained && !s->paused))
    return;
  if (system_error == 0)
    getsockopt(s->watch->fd, SOL_SOCKET, SO_ERROR, &system_error, &size);
  broken(s, system_error != 0 ? system_error : ECONNRESET);
}

/* True when the stream is still there and open. */
static bool raise_readable(tcp_stream *s) {
  tcp_watch *watch = s->watch;
  s->drained = false;
  s->read_wants_write = false;
  s->events.readable(s->events.user);
  if (watch->owner == NULL || s->state != TCP_OPEN)
    return false;
  if (s->has_read)
    iotops_task_late(s->context, &s->acknowledge);
  check_broken(s);
  if (s->state != TCP_OPEN)
    return false;
  /* The reader had enough for one turn. */
  if (!s->drained && !s->paused && has_hidden_bytes(s))
    iotops_timer_start(s->context, &s->again, 0);
  return true;
}

static void on_again(iotops_timer *timer) {
  tcp_stream *s = timer->user;
  if (s->state != TCP_OPEN)
    return;
  if (s->paused)
    check_broken(s);
  else if (raise_readable(s))
    update_events(s);
}

static void opened(tcp_stream *s) {
  tcp_watch *watch = s->watch;
  s->state = TCP_OPEN;
  update_events(s);
  s->events.opened(s->events.user);
  if (watch->owner == NULL || s->state != TCP_OPEN)
    return;
  /* The peer's first bytes may have come along with its last handshake. */
  if (!s->paused && has_hidden_bytes(s))
    iotops_timer_start(s->context, &s->again, 0);
}

static void shake_hands(tcp_stream *s) {
  ERR_clear_error();
  errno = 0;
  int rc = SSL_do_handshake(s->ssl);
  int system_error = errno;
  if (rc == 1) {
    opened(s);
    return;
  }
  int result = SSL_get_error(s->ssl, rc);
  if (result == SSL_ERROR_WANT_READ && !s->poll_failed) {
    tcp_watch_events(s, UV_READABLE);
  } else if (result == SSL_ERROR_WANT_WRITE && !s->poll_failed) {
    tcp_watch_events(s, UV_WRITABLE);
  } else {
    tls_explain(s->ssl, result, system_error, s->settings, &s->report,
                &s->error);
    tcp_fail(s);
  }
}

void tcp_connected(tcp_stream *s) {
  if (s->tls == NULL) {
    opened(s);
    return;
  }
  s->state = TCP_SHAKING_HANDS;
  s->ssl =
      tls_client_new(s->tls, s->watch->fd, s->settings, &s->report, &s->error);
  if (s->ssl == NULL)
    tcp_fail(s);
  else
    shake_hands(s);
}

static void carry(tcp_stream *s, int events) {
  bool can_read = (events & UV_READABLE) != 0 ||
                  ((events & UV_WRITABLE) != 0 && s->read_wants_write);
  bool can_write = (events & UV_WRITABLE) != 0 ||
                   ((events & UV_READABLE) != 0 && s->write_wants_read);
  if (can_read && !s->paused && !raise_readable(s))
    return;
  if (can_write && (s->wants_writable || s->write_wants_read)) {
    tcp_watch *watch = s->watch;
    s->wants_writable = s->write_wants_read = false;
    s->events.writable(s->events.user);
    if (watch->owner == NULL || s->state != TCP_OPEN)
      return;
  }
  check_broken(s);
  update_events(s);
}

static void on_poll(uv_poll_t *handle, int status, int events) {
  tcp_watch *watch = handle->data;
  tcp_stream *s = watch->owner;
  if (s == NULL)
    return;
  if (s->state == TCP_CONNECTING) {
    tcp_connect_polled(s, status);
    return;
  }
  if (status != 0) {
    /* libuv has stopped the poll.  Bytes may have come before the error, and
    ** reading is what tells which error it was. */
    s->poll_failed = true;
    watch->events = 0;
    events = UV_READABLE | UV_WRITABLE;
  }
  if (s->state == TCP_SHAKING_HANDS)
    shake_hands(s);
  else if (s->state == TCP_OPEN)
    carry(s, events);
}

/* --------------------------------------------------------- its operations --
 */

static ptrdiff_t read_plain(tcp_stream *s, void *bytes, size_t size) {
  ssize_t got;
  /* What comes now is another event's; an error is for reading to find. */
  if (s->drained && !s->poll_failed && s->write_error == 0)
    return IOTOPS_STREAM_AGAIN;
  do
    got = recv(s->watch->fd, bytes, size, 0);
  while (got < 0 && errno == EINTR);
  if (got > 0) {
    s->has_read = true;
    s->drained = (size_t)got < size;
    return got;
  }
  s->drained = true;
  if (got == 0) {
    left(s);
    return IOTOPS_STREAM_END;
  }
  if (errno == EAGAIN)
    return IOTOPS_STREAM_AGAIN;
  broken(s, errno);
  return IOTOPS_STREAM_BROKEN;
}

static ptrdiff_t read_tls(tcp_stream *s, void *bytes, size_t size) {
  size_t got = 0;
  ERR_clear_error();
  errno = 0;
  int rc = SSL_read_ex(s->ssl, bytes, size, &got);
  int system_error = errno;
  if (rc == 1) {
    s->has_read = true;
    return (ptrdiff_t)got;
  }
  s->drained = true;
  int result = SSL_get_error(s->ssl, rc);
  if (result == SSL_ERROR_WANT_READ)
    return IOTOPS_STREAM_AGAIN;
  if (result == SSL_ERROR_WANT_WRITE) {
    s->read_wants_write = true;
    update_events(s);
    return IOTOPS_STREAM_AGAIN;
  }
  /* MQTT marks its own ends, so a close without TLS's farewell is a close. */
  if (tls_peer_left(result, system_error)) {
    ERR_clear_error();
    left(s);
    return IOTOPS_STREAM_END;
  }
  tls_explain(s->ssl, result, system_error, s->settings, &s->report, &s->error);
  tcp_fail(s);
  return IOTOPS_STREAM_BROKEN;
}

static ptrdiff_t tcp_read(iotops_stream *stream, void *bytes, size_t size) {
  tcp_stream *s = (tcp_stream *)stream;
  if (s->state == TCP_ENDED)
    return IOTOPS_STREAM_BROKEN;
  if (s->state != TCP_OPEN || size == 0)
    return IOTOPS_STREAM_AGAIN;
  return s->ssl == NULL ? read_plain(s, bytes, size) : read_tls(s, bytes, size);
}

/*
** A peer that leaves says why before it does, and what it said may still be
** unread when writing fails: reading comes first, then the failure.
*/
static ptrdiff_t write_failed(tcp_stream *s, int system_error) {
  if (s->paused) {
    broken(s, system_error);
    return IOTOPS_STREAM_BROKEN;
  }
  s->write_error = system_error;
  iotops_timer_start(s->context, &s->again, 0);
  return 0;
}

static ptrdiff_t write_plain(tcp_stream *s, const void *bytes, size_t size) {
  ssize_t taken;
  do
    taken = send(s->watch->fd, bytes, size, MSG_NOSIGNAL);
  while (taken < 0 && errno == EINTR);
  if (taken < 0 && errno != EAGAIN)
    return write_failed(s, errno);
  return taken < 0 ? 0 : taken;
}

static ptrdiff_t write_tls(tcp_stream *s, const void *bytes, size_t size) {
  size_t total = 0;
  while (total < size) { /* a record at a time */
    size_t taken = 0;
    ERR_clear_error();
    errno = 0;
    int rc =
        SSL_write_ex(s->ssl, (const char *)bytes + total, size - total, &taken);
    int system_error = errno;
    if (rc == 1) {
      total += taken;
      continue;
    }
    int result = SSL_get_error(s->ssl, rc);
    if (result == SSL_ERROR_WANT_WRITE)
      break;
    if (result == SSL_ERROR_WANT_READ) {
      s->write_wants_read = true;
      break;
    }
    if (result == SSL_ERROR_SYSCALL && system_error != 0) {
      ERR_clear_error();
      return write_failed(s, system_error);
    }
    tls_explain(s->ssl, result, system_error, s->settings, &s->report,
                &s->error);
    tcp_fail(s);
    return IOTOPS_STREAM_BROKEN;
  }
  return (ptrdiff_t)total;
}

static ptrdiff_t tcp_write(iotops_stream *stream, const void *bytes,
                           size_t size) {
  tcp_stream *s = (tcp_stream *)stream;
  if (s->state == TCP_ENDED)
    return IOTOPS_STREAM_BROKEN;
  if (s->state != TCP_OPEN || size == 0 || s->write_error != 0)
    return 0;
  ptrdiff_t taken =
      s->ssl == NULL ? write_plain(s, bytes, size) : write_tls(s, bytes, size);
  if (taken >= 0 && (size_t)taken < size && s->write_error == 0) {
    s->wants_writable = !s->write_wants_read;
    update_events(s);
  }
  return taken;
}

static void tcp_pause(iotops_stream *stream, bool paused) {
  tcp_stream *s = (tcp_stream *)stream;
  if (s->paused == paused)
    return;
  s->paused = paused;
  update_events(s);
  if (s->state == TCP_OPEN && !paused && has_hidden_bytes(s))
    iotops_timer_start(s->context, &s->again, 0);
}

static const iotops_error *tcp_last_error(iotops_stream *stream) {
  return &((tcp_stream *)stream)->error;
}

static void tcp_close(iotops_stream *stream, bool graceful) {
  tcp_stream *s = (tcp_stream *)stream;
  bool was_open = s->state == TCP_OPEN;
  iotops_task_cancel(s->context, &s->fail);
  iotops_task_cancel(s->context, &s->acknowledge);
  iotops_timer_stop(s->context, &s->again);
  tcp_connect_stop(s);
  if (s->ssl != NULL && was_open && graceful) {
    ERR_clear_error();
    SSL_shutdown(s->ssl); /* says farewell if there is room for it */
    ERR_clear_error();
  }
  SSL_free(s->ssl);
  SSL_CTX_free(s->tls);
  if (s->watch != NULL) {
    int fd = tcp_watch_stop(s);
    if (graceful)
      socket_linger(s->context, fd);
    else
      socket_abort(fd);
  }
  iotops_free(s->context, s);
}

static const iotops_stream_ops operations = {tcp_read, tcp_write, tcp_pause,
                                             tcp_last_error, tcp_close};

/* ---------------------------------------------------------- the transport --
 */

/* OpenSSL writes to sockets without a way to say "no signal". */
static void ignore_broken_pipes(void) {
  struct sigaction action;
  if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
    signal(SIGPIPE, SIG_IGN);
}

static int tcp_open(void *user, iotops_context *context,
                    const iotops_settings *settings,
                    const iotops_stream_events *events, iotops_stream **stream,
                    iotops_error *err) {
  (void)user;
  *stream = NULL;
  if (!settings_has(settings, SETTING_HOSTNAME))
    return iotops_error_configuration(
        err, settings_written_as(settings, SETTING_HOSTNAME),
        iotops_text_of(""), "hostname is required");
  tcp_stream *s = iotops_zalloc(context, sizeof *s);
  if (s == NULL)
    return iotops_error_memory(err);
  s->stream.ops = &operations;
  s->context = context;
  s->settings = settings;
  s->events = *events;
  s->fail.run = on_fail;
  s->fail.user = s;
  s->acknowledge.run = acknowledge;
  s->acknowledge.user = s;
  s->again.fire = on_again;
  s->again.user = s;
  if (settings_bool(settings, SETTING_USE_TLS)) {
    ignore_broken_pipes();
    s->tls = tls_context_new(settings, err);
    if (s->tls == NULL) {
      iotops_free(context, s);
      return -1;
    }
  }
  tcp_connect_start(s);
  *stream = &s->stream;
  return 0;
}

const iotops_transport *iotops_transport_tcp(void) {
  static const iotops_transport transport = {tcp_open, NULL};
  return &transport;
}
