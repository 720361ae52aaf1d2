/*
** tcp_stream.h -- one connection by TCP, with or without TLS, between the
** units that bring it up (tcp_connect.c) and carry it (tcp_stream.c).
**
** A stream goes through its states in order; `failed` may follow any of them.
** What libuv keeps after the stream is closed (a watch, a look-up) is
** allocated apart from it, holds the context and points back at its owner
** only until then.
*/
#ifndef SESSION_TCP_STREAM_H
#define SESSION_TCP_STREAM_H

#include <uv.h>

#include "iotops/transport.h"
#include "session/tls.h"

typedef enum tcp_state {
  TCP_RESOLVING,
  TCP_CONNECTING,
  TCP_SHAKING_HANDS,
  TCP_OPEN,
  TCP_ENDED /* `failed` was called or is about to be */
} tcp_state;

typedef struct tcp_stream tcp_stream;

/* A polled socket. */
typedef struct tcp_watch {
  uv_poll_t handle;
  iotops_context *context; /* held */
  tcp_stream *owner;       /* borrowed; NULL once let go */
  int fd;
  int events; /* polled for now */
} tcp_watch;

typedef struct tcp_lookup tcp_lookup;

struct tcp_stream {
  iotops_stream stream;
  iotops_context *context;         /* borrowed */
  const iotops_settings *settings; /* borrowed */
  iotops_stream_events events;
  tcp_state state;
  iotops_error error; /* the first thing that went wrong */
  iotops_task fail;   /* calls `failed` */

  /* Bringing it up. */
  tcp_lookup *lookup;            /* NULL: none runs */
  struct addrinfo *addresses;    /* owned */
  const struct addrinfo *next;   /* to be tried */
  const struct addrinfo *trying; /* being tried */
  unsigned address_count;
  iotops_timer give_up; /* on the address being tried */

  /* Carrying it. */
  tcp_watch *watch; /* owned; NULL: no socket */
  SSL_CTX *tls;     /* owned; NULL: plain TCP */
  SSL *ssl;         /* owned; NULL before the handshake */
  tls_report report;
  bool paused;
  bool wants_writable;   /* the last write took less than it was given */
  bool read_wants_write; /* TLS has to write before it can read, and back */
  bool write_wants_read;
  bool drained;     /* the last read left nothing, or found nothing */
  bool has_read;    /* bytes since TCP_QUICKACK was set last */
  bool poll_failed; /* libuv has stopped the poll: the socket is in error */
  int write_error;  /* errno of a write; told once all has been read */
  iotops_task acknowledge; /* late: sets TCP_QUICKACK */
  iotops_timer again;      /* readable once more, on the loop's next turn */
};

/* ---- tcp_connect.c: until the socket is connected */

/* Begins; failures are reported later. */
void tcp_connect_start(tcp_stream *s);

/* The socket being connected can be written or is in error. */
void tcp_connect_polled(tcp_stream *s, int status);

/* Lets go of all that only bringing it up needed. */
void tcp_connect_stop(tcp_stream *s);

/* ---- tcp_stream.c: from then on */

/* Watches `fd`, which it takes over in any case. */
int tcp_watch_start(tcp_stream *s, int fd, int events);
void tcp_watch_events(tcp_stream *s, int events);

/* Lets go of the watch and returns its socket, which the caller closes. */
int tcp_watch_stop(tcp_stream *s);

/* The socket is connected: shake hands or be open. */
void tcp_connected(tcp_stream *s);

/* `s->error` is set: calls `failed` soon. */
void tcp_fail(tcp_stream *s);

#endif
