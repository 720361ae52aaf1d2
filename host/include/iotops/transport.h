/*
** transport.h -- a byte stream to the broker, as an interface.
**
** The session opens a new stream for each connection attempt.  The one over
** TCP and TLS is the library's; a test hands in another one.  All calls are
** non-blocking, all callbacks come from the loop and never from inside a call.
*/
#ifndef IOTOPS_TRANSPORT_H
#define IOTOPS_TRANSPORT_H

#include "iotops/settings.h"

typedef struct iotops_stream iotops_stream;

typedef struct iotops_stream_events {
  void (*opened)(void *user); /* TCP and TLS are up */
  /*
  ** Bytes may be read, or the end may be met.  Who does not read until it
  ** would block is called again on the loop's next turn.
  */
  void (*readable)(void *user);
  void (*writable)(void *user); /* after write took less than it was given */
  /*
  ** The attempt failed, the stream broke or the peer closed it; once, last.
  ** Read or write may have told it before; close prevents it.
  */
  void (*failed)(void *user, const iotops_error *err);
  void *user;
} iotops_stream_events;

enum {
  IOTOPS_STREAM_AGAIN = -1, /* nothing now; an event will follow */
  IOTOPS_STREAM_END = -2,   /* the peer closed its side */
  IOTOPS_STREAM_BROKEN = -3 /* error; see last_error */
};

typedef struct iotops_stream_ops {
  /* Bytes read (> 0) or one of the codes. */
  ptrdiff_t (*read)(iotops_stream *stream, void *bytes, size_t size);
  /*
  ** Bytes taken (>= 0, 0 when it would block) or IOTOPS_STREAM_BROKEN.  When
  ** it took less than it was given, the next write begins with the bytes left
  ** over and is no shorter than they were.
  */
  ptrdiff_t (*write)(iotops_stream *stream, const void *bytes, size_t size);
  /* Reading stops or goes on; a paused stream gives no readable events. */
  void (*pause)(iotops_stream *stream, bool paused);
  /* Why it broke; valid after a code or `failed`. */
  const iotops_error *(*last_error)(iotops_stream *stream);
  /*
  ** Closes and frees; no callback follows.  Bytes that write took are still
  ** sent (graceful), or thrown away.
  */
  void (*close)(iotops_stream *stream, bool graceful);
} iotops_stream_ops;

/* An implementation starts with this. */
struct iotops_stream {
  const iotops_stream_ops *ops;
};

typedef struct iotops_transport {
  /*
  ** Begins to open a stream as `settings` say: reads every credential file
  ** afresh, resolves, connects, shakes hands.  `settings` outlive the stream.
  */
  int (*open)(void *user, iotops_context *context,
              const iotops_settings *settings,
              const iotops_stream_events *events, iotops_stream **stream,
              iotops_error *err);
  void *user; /* borrowed; passed to open */
} iotops_transport;

#ifdef __cplusplus
extern "C" {
#endif

/* TCP and TLS by libuv and OpenSSL (session.md section 3). */
IOTOPS_API const iotops_transport *iotops_transport_tcp(void);

#ifdef __cplusplus
}
#endif

#endif
