#include "session/socket_linger.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "context/context_fields.h"

enum { LINGER_MS = 1000, LINGER_BYTES = 4 * 1024 * 1024 };

typedef struct lingering {
  uv_poll_t poll;
  uv_timer_t limit;
  iotops_context *context; /* held */
  int fd;
  int handles;
  size_t dropped;
} lingering;

static void on_closed(uv_handle_t *handle) {
  lingering *l = handle->data;
  if (--l->handles > 0)
    return;
  iotops_context *context = l->context;
  iotops_free(context, l);
  context_release(context);
}

static void finish(lingering *l) {
  if (uv_is_closing((uv_handle_t *)&l->limit))
    return;
  uv_close((uv_handle_t *)&l->poll, on_closed);
  uv_close((uv_handle_t *)&l->limit, on_closed);
  close(l->fd);
}

static void on_limit(uv_timer_t *limit) {
  finish(limit->data);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  lingering *l = poll->data;
  char bytes[16384];
  (void)events;
  for (;;) {
    ssize_t got = recv(l->fd, bytes, sizeof bytes, 0);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0 && errno == EAGAIN && status == 0)
      return;
    if (got <= 0)
      break;
    l->dropped += (size_t)got;
    if (l->dropped > LINGER_BYTES) /* it does not mean to stop */
      break;
  }
  finish(l);
}

void socket_linger(iotops_context *context, int fd) {
  uv_loop_t *loop = iotops_context_loop(context);
  lingering *l = NULL;
  if (shutdown(fd, SHUT_WR) == 0)
    l = iotops_zalloc(context, sizeof *l);
  if (l == NULL) {
    close(fd);
    return;
  }
  if (uv_poll_init(loop, &l->poll, fd) != 0) {
    iotops_free(context, l);
    close(fd);
    return;
  }
  uv_timer_init(loop, &l->limit);
  l->context = context;
  l->fd = fd;
  l->handles = 2;
  l->poll.data = l->limit.data = l;
  context_hold(context);
  uv_update_time(loop);
  uv_timer_start(&l->limit, on_limit, LINGER_MS, 0);
  if (uv_poll_start(&l->poll, UV_READABLE, on_poll) != 0)
    finish(l);
}

void socket_abort(int fd) {
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(fd);
}
