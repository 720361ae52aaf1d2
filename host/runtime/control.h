/*
** control.h -- the socket by which the operator reaches a running host, and
** the lines that pass over it; operator.h says what they mean.
**
** Who may connect: the user who runs the host, and root.  The socket's mode is
** 0600 before it can be connected to, and each peer's user is asked of the
** system besides.  A lock beside the socket, which the system gives up with the
** process, tells the socket of a dead host, which is replaced, from that of a
** live one, which is left alone, as is one that another program listens on.
**
** A connection carries lines: requests of the peer, answered one after the
** other, and lines of ours.  Nothing here waits for a peer or grows with it:
** there are CONTROL_CLIENTS of them; a request is CONTROL_REQUEST_SIZE at most,
** and the next is looked at when the answer to the last was taken; of a stream,
** lines that come while CONTROL_STREAM_SIZE are not taken yet are dropped, and
** a line `{"dropped":N}` says how many.
*/
#ifndef RUNTIME_CONTROL_H
#define RUNTIME_CONTROL_H

#include "protocol/text_buffer.h"

enum {
  CONTROL_CLIENTS = 16,
  CONTROL_REQUEST_SIZE = 1024 * 1024,
  CONTROL_STREAM_SIZE = 1024 * 1024,
  CONTROL_PATH_SIZE = 1024
};

typedef struct control control;
typedef struct control_client control_client;

typedef struct control_events {
  /* Somebody has connected: what `guest` is to be; NULL: he is sent away. */
  void *(*came)(void *user, control_client *client);
  /* A request, without its line end; dies with the call. */
  void (*asked)(void *guest, iotops_text line);
  /* The connection has ended; the client is used no more. */
  void (*went)(void *guest);
  void *user; /* borrowed */
} control_events;

/*
** Listens.  `path` NULL: NAME.sock in the user's private folder, characters of
** `name` that a file's name should not have replaced.  Fails with invalid
** configuration: another host listens there, something else is there, or the
** folder cannot be used.
*/
int control_new(iotops_context *context, const char *path, const char *name,
                const control_events *events, control **control,
                iotops_error *err);

/* Where it listens. */
const char *control_path(const control *control);

/*
** Ends all connections and removes the socket; the memory goes when the loop
** has turned.  NULL is allowed.
*/
void control_close(control *control);

/*
** Adds to what the client is sent; whole lines.  An answer is always kept, a
** part of a stream as long as there is room.  No callback runs inside.
*/
void control_answer(control_client *client, iotops_text lines);
void control_stream(control_client *client, iotops_text line);

/*
** Until it is told otherwise no further request of the client is looked at:
** the answer comes later.
*/
void control_hold(control_client *client, bool held);

/* Ends the connection once everything was sent. */
void control_end(control_client *client);

#endif
