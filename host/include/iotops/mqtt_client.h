/*
** mqtt_client.h -- what the protocol layer needs of a session (protocol.md
** section 1, S1 to S8).
**
** The session implements it; so does the stub that the conformance tests use.
** Everything above the session talks to this table of functions alone.
*/
#ifndef IOTOPS_MQTT_CLIENT_H
#define IOTOPS_MQTT_CLIENT_H

#include "iotops/message.h"

typedef struct iotops_mqtt_client iotops_mqtt_client;

/* Names an accepted operation, for iotops_mqtt_cancel(); 0: none. */
typedef uint64_t iotops_operation;

/* How a publish, subscribe or unsubscribe ended. */
typedef struct iotops_mqtt_result {
  /*
  ** NULL: the broker answered (or, with QoS 0, the bytes were handed to the
  ** transport), and `reason_code` says what; a refusal (>= 0x80) is an
  ** answer.  Otherwise why there was no answer.
  */
  const iotops_error *error; /* borrowed */
  uint8_t reason_code;       /* PUBACK, SUBACK or UNSUBACK reason code */
  iotops_text reason_string; /* borrowed; absent when not given */
  const iotops_user_property *user_properties; /* borrowed */
  size_t user_property_count;
} iotops_mqtt_result;

/* Called exactly once for each accepted operation, never from inside it. */
typedef void (*iotops_mqtt_done)(void *user, const iotops_mqtt_result *result);

typedef struct iotops_subscribe_options {
  uint8_t qos; /* 0 or 1 */
  bool no_local;
  bool retain_as_published;
  uint8_t retain_handling; /* 0, 1, 2 */
} iotops_subscribe_options;

#define IOTOPS_SUBSCRIBE_OPTIONS_INIT                                          \
  { .qos = 1 }

/*
** One receiver's duty to acknowledge one message.  Stale after the connection
** it came on has ended: settling it then does nothing (S7).
*/
typedef struct iotops_ack {
  uint32_t epoch; /* connection; 0: nothing to acknowledge (QoS 0) */
  uint32_t seq;   /* position in the connection's order of arrival */
  uint32_t share; /* which of the message's receivers */
} iotops_ack;

/*
** A message for a receiver.  `message` is a view that dies on return; the
** receiver must settle `ack` exactly once, now or later, unless epoch is 0.
*/
typedef void (*iotops_on_message)(void *user, const iotops_message *message,
                                  iotops_ack ack);

typedef struct iotops_receiver iotops_receiver;

/* Connection state; see session.md section 12. */
typedef struct iotops_mqtt_observer iotops_mqtt_observer;
struct iotops_mqtt_observer {
  void (*connected)(iotops_mqtt_observer *observer);
  void (*disconnected)(iotops_mqtt_observer *observer);
  void (*ended)(iotops_mqtt_observer *observer, const iotops_error *err);
  /*
  ** A queue that refused an operation as full has room again.  Told once for
  ** each time a queue was full, not once for each refusal: whoever waits tries
  ** again, and waits again when others were quicker.
  */
  void (*writable)(iotops_mqtt_observer *observer);
  void *user;                            /* the owner's */
  iotops_mqtt_observer *next, *previous; /* private to the client */
};

typedef struct iotops_mqtt_client_ops {
  const char *(*client_id)(iotops_mqtt_client *client);
  int (*publish)(iotops_mqtt_client *client, const iotops_message *message,
                 iotops_mqtt_done done, void *user, iotops_operation *op,
                 iotops_error *err);
  int (*subscribe)(iotops_mqtt_client *client, iotops_text filter,
                   const iotops_subscribe_options *options,
                   iotops_mqtt_done done, void *user, iotops_operation *op,
                   iotops_error *err);
  int (*unsubscribe)(iotops_mqtt_client *client, iotops_text filter,
                     iotops_mqtt_done done, void *user, iotops_operation *op,
                     iotops_error *err);
  void (*cancel)(iotops_mqtt_client *client, iotops_operation op);
  int (*add_receiver)(iotops_mqtt_client *client, iotops_text filter,
                      iotops_on_message on_message, void *user,
                      iotops_receiver **receiver, iotops_error *err);
  void (*remove_receiver)(iotops_mqtt_client *client,
                          iotops_receiver *receiver);
  bool (*settle)(iotops_mqtt_client *client, iotops_ack ack);
  void (*observe)(iotops_mqtt_client *client, iotops_mqtt_observer *observer);
  void (*unobserve)(iotops_mqtt_client *client, iotops_mqtt_observer *observer);
  bool (*is_connected)(iotops_mqtt_client *client);
} iotops_mqtt_client_ops;

/* An implementation starts with this. */
struct iotops_mqtt_client {
  const iotops_mqtt_client_ops *ops; /* borrowed */
  iotops_context *context;           /* borrowed */
};

#ifdef __cplusplus
extern "C" {
#endif

/* The MQTT client identifier: never empty, known before connecting (S1). */
IOTOPS_API const char *iotops_mqtt_client_id(iotops_mqtt_client *client);

/*
** Publishes a copy of `message` (S2).  May be called in any state but after
** the end.  QoS 1 survives reconnects.  Fails with invalid configuration for
** arguments that MQTT forbids (session.md section 8.4) and with invalid state
** when the queue is full (property_name names the queue) or the session has
** ended.  `op` may be NULL.
*/
IOTOPS_API int iotops_mqtt_publish(iotops_mqtt_client *client,
                                   const iotops_message *message,
                                   iotops_mqtt_done done, void *user,
                                   iotops_operation *op, iotops_error *err);

/*
** Subscribes to one filter or drops one subscription (S3).  Retried over
** reconnects.  Equal filters of several owners are counted: one SUBSCRIBE at
** the first, one UNSUBSCRIBE at the last.  Errors as for publish.  A subscribe
** that was refused, failed or was cancelled owns nothing: it must not be
** followed by an unsubscribe.
*/
IOTOPS_API int iotops_mqtt_subscribe(iotops_mqtt_client *client,
                                     iotops_text filter,
                                     const iotops_subscribe_options *options,
                                     iotops_mqtt_done done, void *user,
                                     iotops_operation *op, iotops_error *err);
IOTOPS_API int iotops_mqtt_unsubscribe(iotops_mqtt_client *client,
                                       iotops_text filter,
                                       iotops_mqtt_done done, void *user,
                                       iotops_operation *op, iotops_error *err);

/*
** Gives an operation up: it completes with a cancellation, exactly once.
** Queued, it is never sent; in flight, its answer is swallowed (session.md
** section 8.3).  An operation that has completed is left alone.
*/
IOTOPS_API void iotops_mqtt_cancel(iotops_mqtt_client *client,
                                   iotops_operation op);

/*
** From the next message on, messages that match `filter` go to `on_message`
** (S4; session.md section 9.1).  Subscribes to nothing: make the receiver
** first, then subscribe.  `$share/<group>/<filter>` matches as `<filter>`; an
** absent filter takes what no other receiver takes.
** Removing a receiver takes effect at once; acknowledgements that it has not
** settled remain its duty.
*/
IOTOPS_API int iotops_mqtt_add_receiver(iotops_mqtt_client *client,
                                        iotops_text filter,
                                        iotops_on_message on_message,
                                        void *user, iotops_receiver **receiver,
                                        iotops_error *err);
IOTOPS_API void iotops_mqtt_remove_receiver(iotops_mqtt_client *client,
                                            iotops_receiver *receiver);

/*
** The receiver has finished with the message (S5, S6).  The PUBACK leaves
** once all receivers have settled, in order of receipt.  False when the
** acknowledgement is stale or was settled before; that is harmless.
*/
IOTOPS_API bool iotops_mqtt_settle(iotops_mqtt_client *client, iotops_ack ack);

/*
** Tells `observer` of each change of the connection.  It must outlive its
** registration.  Callbacks that are NULL are not called.
*/
IOTOPS_API void iotops_mqtt_observe(iotops_mqtt_client *client,
                                    iotops_mqtt_observer *observer);
IOTOPS_API void iotops_mqtt_unobserve(iotops_mqtt_client *client,
                                      iotops_mqtt_observer *observer);
IOTOPS_API bool iotops_mqtt_is_connected(iotops_mqtt_client *client);

#ifdef __cplusplus
}
#endif

#endif
