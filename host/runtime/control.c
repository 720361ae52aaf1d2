#include "runtime/control.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "runtime/control_socket.h"

enum { BACKLOG = 16, CHUNK = 16 * 1024, KEPT = 64 * 1024 };

struct control_client {
  control *control; /* borrowed; NULL: it was closed */
  uv_pipe_t pipe;
  uv_write_t write;
  iotops_task work; /* looks at requests, and writes */
  text_buffer in;   /* what was received and not looked at */
  text_buffer out;  /* what is to be written */
  text_buffer away; /* what is being written */
  uint64_t dropped; /* lines of a stream, not said yet */
  bool writing;
  bool held;    /* the answer to a request comes later */
  bool ended;   /* the peer says no more */
  bool leaving; /* to be closed once all was written */
  bool closing;
  void *guest;
  control_client *next;
};

struct control {
  iotops_context *context;
  control_events events;
  control_socket socket;
  uv_pipe_t listener;
  control_client *clients; /* owned */
  size_t count;
  char chunk[CHUNK]; /* what libuv reads into */
};

/* -------------------------------------------------------------- ending -- */

static void client_freed(uv_handle_t *handle) {
  control_client *client = handle->data;
  text_buffer_clear(&client->in);
  text_buffer_clear(&client->out);
  text_buffer_clear(&client->away);
  iotops_free(client->in.context, client);
}

static void client_close(control_client *client) {
  control *control = client->control;
  control_client **at = &control->clients;
  if (client->closing)
    return;
  client->closing = true;
  while (*at != client)
    at = &(*at)->next;
  *at = client->next;
  control->count--;
  iotops_task_cancel(control->context, &client->work);
  if (client->guest != NULL)
    control->events.went(client->guest);
  client->control = NULL;
  uv_close((uv_handle_t *)&client->pipe, client_freed);
}

/* ------------------------------------------------------------- writing -- */

static void add(text_buffer *buffer, const char *text) {
  text_buffer_add(buffer, iotops_text_of(text));
}

static void say_dropped(control_client *client) {
  char line[48];
  if (client->dropped == 0)
    return;
  snprintf(line, sizeof line, "{\"dropped\":%llu}\n",
           (unsigned long long)client->dropped);
  client->dropped = 0;
  add(&client->out, line);
}

static void wake(control_client *client) {
  if (!client->closing)
    iotops_task_late(client->control->context, &client->work);
}

static void written(uv_write_t *write, int status) {
  control_client *client = write->data;
  client->writing = false;
  if (client->closing)
    return;
  if (status != 0) {
    client_close(client);
    return;
  }
  text_buffer_reset(&client->away);
  if (client->away.capacity > KEPT)
    text_buffer_clear(&client->away);
  wake(client);
}

static void write_on(control_client *client) {
  if (client->writing)
    return;
  if (client->out.size == 0)
    say_dropped(client);
  if (client->out.failed) {
    client_close(client);
    return;
  }
  if (client->out.size == 0) {
    if (client->leaving)
      client_close(client);
    return;
  }
  text_buffer away = client->out;
  client->out = client->away;
  client->away = away;
  uv_buf_t bytes = uv_buf_init(away.data, (unsigned)away.size);
  client->write.data = client;
  client->writing = true;
  if (uv_write(&client->write, (uv_stream_t *)&client->pipe, &bytes, 1,
               written) != 0) {
    client->writing = false;
    client_close(client);
  }
}

void control_answer(control_client *client, iotops_text lines) {
  if (client->closing || client->leaving)
    return;
  text_buffer_add(&client->out, lines);
  wake(client);
}

void control_stream(control_client *client, iotops_text line) {
  if (client->closing || client->leaving)
    return;
  size_t waiting = client->out.size + (client->writing ? client->away.size : 0);
  if (waiting >= CONTROL_STREAM_SIZE) {
    client->dropped++;
    return;
  }
  say_dropped(client);
  control_answer(client, line);
}

void control_hold(control_client *client, bool held) {
  client->held = held;
  wake(client);
}

void control_end(control_client *client) {
  client->leaving = true;
  wake(client);
}

/* ------------------------------------------------------------- reading -- */

static void refuse(control_client *client, const char *why) {
  char line[128];
  snprintf(line, sizeof line, "{\"ok\":false,\"error\":\"%s\"}\n", why);
  control_answer(client, iotops_text_of(line));
  client->in.size = 0;
  control_end(client);
}

/* Whether nobody is left to read what we would write. */
static bool has_hung_up(const control_client *client) {
  struct pollfd state = {.events = POLLOUT};
  return uv_fileno((const uv_handle_t *)&client->pipe, &state.fd) == 0 &&
         poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0;
}

/* Looks at the requests that came, one after the other. */
static void answer_requests(control_client *client) {
  while (!client->held && !client->leaving && !client->closing &&
         client->out.size == 0 && !client->writing) {
    text_buffer *in = &client->in;
    const char *end = in->size > 0 ? memchr(in->data, '\n', in->size) : NULL;
    if (end == NULL) {
      if (in->size > CONTROL_REQUEST_SIZE)
        refuse(client, "the request is too long");
      else if (client->ended)
        client->leaving = true;
      break;
    }
    size_t size = (size_t)(end - in->data);
    if (size > CONTROL_REQUEST_SIZE) {
      refuse(client, "the request is too long");
      break;
    }
    size_t line = size > 0 && in->data[size - 1] == '\r' ? size - 1 : size;
    client->control->events.asked(client->guest, (iotops_text){in->data, line});
    if (client->closing)
      return;
    in->size -= size + 1;
    memmove(in->data, in->data + size + 1, in->size);
  }
}

static void allocate(uv_handle_t *handle, size_t size, uv_buf_t *buffer) {
  control_client *client = handle->data;
  (void)size;
  *buffer = uv_buf_init(client->control->chunk, CHUNK);
}

static void received(uv_stream_t *stream, ssize_t size,
                     const uv_buf_t *buffer) {
  control_client *client = stream->data;
  if (client->closing || size == 0)
    return;
  if (size < 0) {
    client->ended = true;
    uv_read_stop(stream);
    if (size != UV_EOF || has_hung_up(client)) {
      client_close(client);
      return;
    }
    wake(client);
    return;
  }
  text_buffer_add(&client->in, (iotops_text){buffer->base, (size_t)size});
  if (client->in.failed) {
    client_close(client);
    return;
  }
  /* It has sent more than a request while it waits for an answer. */
  if (client->in.size > CONTROL_REQUEST_SIZE + CHUNK)
    uv_read_stop(stream);
  wake(client);
}

static void work(iotops_task *task) {
  control_client *client = task->user;
  answer_requests(client);
  if (client->closing)
    return;
  if (!client->ended && client->in.size <= CONTROL_REQUEST_SIZE &&
      uv_is_active((uv_handle_t *)&client->pipe) == 0 &&
      uv_read_start((uv_stream_t *)&client->pipe, allocate, received) != 0) {
    client_close(client);
    return;
  }
  write_on(client);
}

/* ----------------------------------------------------------- listening -- */

static bool may_enter(const control_client *client) {
  uv_os_fd_t fd = -1;
  return uv_fileno((const uv_handle_t *)&client->pipe, &fd) == 0 &&
         control_socket_is_ours(fd);
}

static void connected(uv_stream_t *listener, int status) {
  control *control = listener->data;
  iotops_context *context = control->context;
  control_client *client =
      status == 0 ? iotops_zalloc(context, sizeof *client) : NULL;
  if (client == NULL)
    return;
  if (uv_pipe_init(iotops_context_loop(context), &client->pipe, 0) != 0) {
    iotops_free(context, client);
    return;
  }
  client->pipe.data = client;
  client->control = control;
  text_buffer_init(&client->in, context);
  text_buffer_init(&client->out, context);
  text_buffer_init(&client->away, context);
  client->work.run = work;
  client->work.user = client;
  client->next = control->clients;
  control->clients = client;
  control->count++;
  if (uv_accept(listener, (uv_stream_t *)&client->pipe) != 0 ||
      !may_enter(client)) {
    client_close(client);
    return;
  }
  if (control->count > CONTROL_CLIENTS) {
    refuse(client, "too many are connected");
    return;
  }
  client->guest = control->events.came(control->events.user, client);
  if (client->guest == NULL ||
      uv_read_start((uv_stream_t *)&client->pipe, allocate, received) != 0)
    client_close(client);
}

static void control_freed(uv_handle_t *handle) {
  control *control = handle->data;
  iotops_free(control->context, control);
}

int control_new(iotops_context *context, const char *path, const char *name,
                const control_events *events, control **made,
                iotops_error *err) {
  control *control = iotops_zalloc(context, sizeof *control);
  if (control == NULL)
    return iotops_error_memory(err);
  control->context = context;
  control->events = *events;
  if (control_socket_bind(&control->socket, path, name, err) != 0) {
    iotops_free(context, control);
    return -1;
  }
  control->listener.data = control;
  int status =
      uv_pipe_init(iotops_context_loop(context), &control->listener, 0);
  if (status != 0) {
    control_socket_remove(&control->socket);
    iotops_free(context, control);
    return iotops_error_set(err, IOTOPS_INVALID_STATE, "%s",
                            uv_strerror(status));
  }
  status = uv_pipe_open(&control->listener, control->socket.fd);
  if (status == 0) {
    control->socket.fd = -1; /* the handle's */
    status = uv_listen((uv_stream_t *)&control->listener, BACKLOG, connected);
  }
  if (status != 0) {
    iotops_error_configuration(
        err, "control", iotops_text_of(control->socket.path),
        "control socket %s: %s", control->socket.path, uv_strerror(status));
    control_close(control);
    return -1;
  }
  *made = control;
  return 0;
}

const char *control_path(const control *control) {
  return control->socket.path;
}

void control_close(control *control) {
  if (control == NULL)
    return;
  while (control->clients != NULL)
    client_close(control->clients);
  control_socket_remove(&control->socket);
  uv_close((uv_handle_t *)&control->listener, control_freed);
}
