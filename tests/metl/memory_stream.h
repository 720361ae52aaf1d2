/*
** memory_stream.h -- a connection without a network.
**
** An iotops_transport whose streams end in the same process.  What the client
** writes is handed to the owner at once; what the owner gives the client is
** read when the client's loop turns.  At most one stream is open.
*/
#ifndef METL_MEMORY_STREAM_H
#define METL_MEMORY_STREAM_H

#include "bytes.h"
#include "iotops/transport.h"

typedef struct metl_stream metl_stream;

typedef struct metl_wire {
  /* The owner's end; all three are called by the client's calls. */
  void (*opened)(void *user);
  void (*written)(void *user, const uint8_t *bytes, size_t size);
  void (*closed)(void *user); /* by the client */
  void *user;
  metl_stream *stream; /* owned by the client; NULL: none is open */
  /* The most bytes that one read gives, and one turn takes; 0: any. */
  size_t read_limit, write_limit;
  size_t moved; /* bytes, either way, of all streams */
} metl_wire;

/* The transport over `wire`, which must outlive its users. */
iotops_transport metl_wire_transport(metl_wire *wire);

/* Gives the client bytes to read; without a stream they are lost. */
void metl_wire_send(metl_wire *wire, const void *bytes, size_t size);

/*
** The client meets the end of the stream after at most `most` of the bytes
** that it has not read yet.
*/
void metl_wire_end(metl_wire *wire, size_t most);

#endif
