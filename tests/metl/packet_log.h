/*
** packet_log.h -- every packet that passed between stub and client, in order.
**
** The checks of a case and the trace of a failure are read from here.  PUBLISH
** and PUBACK packets of the client are also two queues: an await takes the
** oldest that none has taken yet.  Memory is malloc's, so that the context's
** allocator counts the product alone; running out of it aborts the test.
*/
#ifndef METL_PACKET_LOG_H
#define METL_PACKET_LOG_H

#include "iotops/message.h"

typedef enum metl_packet_kind {
  METL_CONNECT,
  METL_PUBLISH,
  METL_PUBACK,
  METL_SUBSCRIBE,
  METL_UNSUBSCRIBE,
  METL_ANSWER, /* CONNACK, SUBACK, UNSUBACK: what the stub said */
  METL_DISCONNECT,
  METL_OTHER
} metl_packet_kind;

typedef struct metl_packet {
  metl_packet_kind kind;
  bool from_client;
  uint64_t at_ms;          /* on mono_ms */
  uint16_t packet_id;      /* 0: none */
  int reason_code;         /* -1: none */
  const char *name;        /* static; the packet's name in a trace */
  char *filter;            /* owned; NULL: none */
  iotops_message *message; /* owned; NULL unless PUBLISH */
} metl_packet;

typedef struct metl_packet_log {
  metl_packet **packets; /* owned, each too: a packet stays where it is */
  size_t count, capacity;
  size_t next_publish; /* where the search for an untaken one begins */
  size_t next_puback;
} metl_packet_log;

/* A copy that owns everything; free() gives it back. */
iotops_message *metl_message_copy(const iotops_message *message);

/*
** Appends a packet of the log's own, to be filled in by the caller.
*/
metl_packet *metl_log_add(metl_packet_log *log, metl_packet_kind kind,
                          bool from_client, const char *name, uint64_t at_ms);

/* The same with copies of a message or filter. */
metl_packet *metl_log_publish(metl_packet_log *log, bool from_client,
                              const iotops_message *message, uint64_t at_ms);
metl_packet *metl_log_filter(metl_packet_log *log, metl_packet_kind kind,
                             iotops_text filter, uint64_t at_ms);

/* Take the oldest untaken packet of the client's; NULL: none. */
const metl_packet *metl_log_take_publish(metl_packet_log *log);
const metl_packet *metl_log_take_puback(metl_packet_log *log);

/* How many of `kind` the client sent. */
size_t metl_log_count(const metl_packet_log *log, metl_packet_kind kind);

/* True when the client has sent a SUBSCRIBE for exactly `filter`. */
bool metl_log_subscribed(const metl_packet_log *log, iotops_text filter);

void metl_log_free(metl_packet_log *log);

#endif
