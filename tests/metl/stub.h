/*
** stub.h -- the broker of a case, as the checks see it.
**
** Two implementations: the stub session stands in for the whole session
** behind iotops_mqtt_client (level 1); the stub broker speaks MQTT v5 to the
** real session over an in-memory transport (level 2).  What both share is
** here: the log of packets, the answers ordered by `push-acks`, the packet
** ids, and what must be left at the end: nothing.
*/
#ifndef METL_STUB_H
#define METL_STUB_H

#include "bytes.h"
#include "iotops/mqtt_client.h"
#include "packet_log.h"
#include "virtual_clock.h"

typedef enum metl_push_ack {
  METL_SUCCESS,
  METL_FAIL, /* reason code 0x80 */
  METL_DROP  /* no answer at all */
} metl_push_ack;

/* Answers in the order of the packets; success once they are used up. */
typedef struct metl_push_acks {
  metl_push_ack *answers; /* owned */
  size_t count, next;
} metl_push_acks;

typedef struct metl_stub metl_stub;

typedef struct metl_stub_ops {
  iotops_mqtt_client *(*client)(metl_stub *stub);
  /* Begins to connect; connected once the work it causes is drained. */
  int (*connect)(metl_stub *stub, iotops_error *err);
  /* Runs everything that can run without time passing. */
  void (*drain)(metl_stub *stub);
  /* Hands the client a message, once it is connected; copies it. */
  void (*deliver)(metl_stub *stub, const iotops_message *message);
  /*
  ** Ends the connection, with a DISCONNECT where `say` asks for one, after at
  ** most `most` of the bytes that are on their way to the client; a new
  ** connection is accepted at once.
  */
  void (*disconnect)(metl_stub *stub, bool say, size_t most);
  /* The most bytes that a read gives and a turn takes; 0: any. */
  void (*throttle)(metl_stub *stub, size_t in, size_t out);
  /* Acknowledges the publishes that were left unanswered on purpose. */
  void (*relent)(metl_stub *stub);
  /* What is left over, as text added to `report`. */
  void (*leftovers)(metl_stub *stub, metl_bytes *report);
  /* Ends the session and frees the stub; adds to `report` as leftovers. */
  void (*free)(metl_stub *stub, metl_bytes *report);
} metl_stub_ops;

struct metl_stub {
  const metl_stub_ops *ops;
  iotops_context *context; /* borrowed */
  metl_clock *clock;       /* borrowed */
  char *client_id;         /* owned */
  metl_packet_log log;
  metl_push_acks publish_acks, subscribe_acks, unsubscribe_acks;
  uint16_t last_packet_id; /* of the messages to the client */
};

/* The implementations; NULL with `err` when one cannot be made. */
metl_stub *metl_stub_session_new(iotops_context *context, metl_clock *clock,
                                 const char *client_id, iotops_error *err);
metl_stub *metl_stub_broker_new(iotops_context *context, metl_clock *clock,
                                const char *client_id, iotops_error *err);

/* ------------------------------------------------- for both of them -- */

void metl_stub_init(metl_stub *stub, const metl_stub_ops *ops,
                    iotops_context *context, metl_clock *clock,
                    const char *client_id);
void metl_stub_release(metl_stub *stub);

/* The answer for the next packet of a kind. */
metl_push_ack metl_push_acks_take(metl_push_acks *acks);
void metl_push_acks_add(metl_push_acks *acks, metl_push_ack answer);

/* Adds one formatted line to a report. */
void metl_report(metl_bytes *report, const char *format, ...)
    IOTOPS_PRINTF(2, 3);

#endif
