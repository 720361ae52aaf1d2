/*
** outbox.h -- operations between the call that made them and their end
** (session.md sections 8.2 and 8.3).
**
** An operation waits in the queue of its class, is handed to the engine, and
** ends: answered by the broker, written (QoS 0), cancelled, dropped by a full
** queue, or failed with the session.  When the connection is lost, what the
** table of section 8.3 says is done to each: QoS 1 in flight stays with the
** engine, which sends it again; SUBSCRIBE and UNSUBSCRIBE in flight and QoS 0
** that was not written go back to the front of their queue, in order.
**
** The outbox never calls anybody.  An operation that has ended without a
** packet from the broker is put on the list `ended`, from which the session
** reports it, so that nobody is called from inside a call.
*/
#ifndef IOTOPS_SESSION_OUTBOX_H
#define IOTOPS_SESSION_OUTBOX_H

#include "session/dispatcher.h"

typedef enum outbox_kind {
  OUTBOX_PUBLISH,
  OUTBOX_SUBSCRIBE,
  OUTBOX_UNSUBSCRIBE
} outbox_kind;

typedef enum outbox_class { /* in order of service */
                            OUTBOX_CONTROL,
                            OUTBOX_QOS0,
                            OUTBOX_QOS1,
                            OUTBOX_CLASSES
} outbox_class;

typedef enum outbox_end {
  OUTBOX_ANSWERED, /* with `reason_code` */
  OUTBOX_CANCELLED,
  OUTBOX_DROPPED, /* by a full queue */
  OUTBOX_FAILED,  /* with `error` */
  OUTBOX_STOPPED  /* the session has ended */
} outbox_end;

typedef enum outbox_full {
  OUTBOX_WAIT, /* refuse; the caller waits for room */
  OUTBOX_DROP_NEWEST,
  OUTBOX_DROP_OLDEST
} outbox_full;

typedef struct outbox_op outbox_op;

typedef struct outbox_list {
  outbox_op *first, *last;
  size_t count;
} outbox_list;

struct outbox_op {
  id_node by_id;     /* under its number */
  id_node by_packet; /* under its packet id while in flight */
  outbox_op *next, *previous;
  outbox_list *list; /* where it is linked; NULL: nowhere */
  outbox_kind kind;
  outbox_class class;
  iotops_mqtt_done done;   /* NULL: nobody asks any more */
  void *user;              /* borrowed */
  iotops_message *message; /* owned; publish: until the engine has it */
  size_t size;             /* bytes of the packet, about */
  dispatch_filter *filter; /* held; subscribe, unsubscribe */
  uint8_t options;         /* subscribe */
  bool owns;               /* subscribe: counted among the filter's owners */
  bool abandoned;          /* its caller has been released */
  outbox_list followers;   /* subscribes that share this one's answer */
  uint16_t packet_id;
  bool repeats;    /* handed to the engine on an earlier connection */
  bool unwritten;  /* QoS 1: the engine has not sent it on this connection */
  bool placed;     /* QoS 0: `end_at` is known */
  uint64_t end_at; /* QoS 0: count of written bytes at which it has left */
  outbox_end end;
  uint8_t reason_code;
  iotops_error *error; /* owned; may be NULL also when failed */
};

typedef struct outbox {
  iotops_context *context; /* borrowed */
  dispatcher *dispatcher;  /* borrowed; releases held filters */
  size_t limits[OUTBOX_CLASSES];
  outbox_full when_full; /* of the publish queues */
  bool was_full;         /* somebody was refused since room was told */
  outbox_list queues[OUTBOX_CLASSES];
  outbox_list in_flight[OUTBOX_CLASSES]; /* QoS 0: handed on, not written */
  outbox_list ended;
  outbox_op *unplaced; /* borrowed; first of in_flight QoS 0 not placed */
  id_map ids, packets;
  size_t unwritten; /* operations in flight that are */
  uint64_t last_id;
} outbox;

void outbox_init(outbox *outbox, iotops_context *context,
                 dispatcher *dispatcher);

/* Frees all that is left, without a word. */
void outbox_free(outbox *outbox);

/* A new operation in no list; NULL when memory is short. */
outbox_op *outbox_new(outbox *outbox, outbox_kind kind, outbox_class class,
                      iotops_mqtt_done done, void *user);

/* Frees an operation in whatever list it is. */
void outbox_delete(outbox *outbox, outbox_op *op);

/*
** Queues `op`.  False when its queue is full and its callers wait: the caller
** still has `op` then.  In the other modes the operation that is dropped goes
** to `ended`.
*/
bool outbox_put(outbox *outbox, outbox_op *op);

bool outbox_is_full(const outbox *outbox, outbox_class class);

/* True when all queues have room. */
bool outbox_has_room(const outbox *outbox);

/* What a queue is called in errors. */
const char *outbox_class_name(outbox_class class);

/* The engine took the first of a queue under `packet_id`. */
void outbox_sent(outbox *outbox, outbox_op *op, uint16_t packet_id);

/* True when `packet_id` names an operation in flight. */
bool outbox_uses(const outbox *outbox, uint16_t packet_id);

/* True when it names one that was in flight on an earlier connection. */
bool outbox_repeats(const outbox *outbox, uint16_t packet_id);

/*
** The broker answered: takes the operation in flight out of the outbox; NULL
** when there is none of that kind.  The caller reports and deletes it.
*/
outbox_op *outbox_answered(outbox *outbox, outbox_kind kind,
                           uint16_t packet_id);

/*
** The engine sent the publish with `packet_id`; false when it names none in
** flight.
*/
bool outbox_wrote(outbox *outbox, uint16_t packet_id);

/* The next QoS 0 packet's last byte is the `end_at`th. */
void outbox_placed(outbox *outbox, uint64_t end_at);

/* Takes out a QoS 0 publish that has left when `written` bytes have. */
outbox_op *outbox_written(outbox *outbox, uint64_t written);

/* The connection is lost. */
void outbox_lost(outbox *outbox);

/* `op` is over without an answer: moves it and its followers to `ended`. */
void outbox_end_op(outbox *outbox, outbox_op *op, outbox_end end,
                   const iotops_error *error);

/* The session is over: everything is. */
void outbox_end_all(outbox *outbox);

/*
** Cancels one operation.  Queued, it is over; in flight, a twin that nobody
** asks for stays behind in its place.
*/
void outbox_cancel(outbox *outbox, iotops_operation id);

/* The next one to report, taken out; NULL: none. */
outbox_op *outbox_next_ended(outbox *outbox);

/* Lets `op` share the answer of `leader`. */
void outbox_follow(outbox *outbox, outbox_op *leader, outbox_op *op);

/* A subscribe of `filter` that is queued or in flight; NULL: none. */
outbox_op *outbox_subscribing(const outbox *outbox,
                              const dispatch_filter *filter);

#endif
