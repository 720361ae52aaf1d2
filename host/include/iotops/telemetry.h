/*
** telemetry.h -- telemetry sender and receiver (protocol.md sections 9, 10).
*/
#ifndef IOTOPS_TELEMETRY_H
#define IOTOPS_TELEMETRY_H

#include "iotops/cloud_event.h"
#include "iotops/hlc.h"
#include "iotops/mqtt_client.h"
#include "iotops/payload.h"
#include "iotops/topic.h"

/* ------------------------------------------------------------- sender -- */

typedef struct iotops_telemetry_sender iotops_telemetry_sender;

typedef struct iotops_telemetry_sender_options {
  size_t size;                 /* IOTOPS_TELEMETRY_SENDER_OPTIONS_INIT */
  iotops_text topic_pattern;   /* copied; so is all else */
  iotops_text topic_namespace; /* absent: none */
  const iotops_token *tokens;  /* constructor tokens */
  size_t token_count;
} iotops_telemetry_sender_options;

#define IOTOPS_TELEMETRY_SENDER_OPTIONS_INIT                                   \
  { .size = sizeof(iotops_telemetry_sender_options) }

typedef struct iotops_telemetry_send_options {
  size_t size; /* IOTOPS_TELEMETRY_SEND_OPTIONS_INIT */
  iotops_payload payload;
  int64_t message_expiry_us; /* rounded up to seconds; default 10 s */
  int qos;                   /* 0 or 1; default 1 */
  int retain;                /* 0, 1; -1 (default): not said */
  bool persist;              /* aio-persistence; implies retain */
  const iotops_user_property *user_data;
  size_t user_data_count;
  const iotops_token *tokens; /* call tokens */
  size_t token_count;
  const iotops_cloud_event *cloud_event; /* NULL: none */
} iotops_telemetry_send_options;

#define IOTOPS_TELEMETRY_SEND_OPTIONS_INIT                                     \
  {                                                                            \
    .size = sizeof(iotops_telemetry_send_options),                             \
    .message_expiry_us = 10000000, .qos = 1, .retain = -1                      \
  }

/* How a send ended; `err` is NULL on success. */
typedef void (*iotops_send_done)(void *user, const iotops_error *err);

/* ----------------------------------------------------------- receiver -- */

typedef struct iotops_telemetry_receiver iotops_telemetry_receiver;

/* A message that the handler has; settle it exactly once with _done(). */
typedef struct iotops_telemetry_delivery iotops_telemetry_delivery;

/* What a handler is given; a view that dies when the callback returns. */
typedef struct iotops_telemetry {
  iotops_text topic;
  iotops_payload payload;
  const iotops_user_property *user_data; /* protocol.md section 3.3 */
  size_t user_data_count;
  iotops_text sender_id;       /* `__srcId`; absent when not given */
  const iotops_hlc *timestamp; /* NULL when not given */
  const iotops_token *tokens;  /* section 2.4 */
  size_t token_count;
  uint8_t qos;
  bool retain;
  bool dup;
  uint16_t packet_id; /* 0 with QoS 0 */
} iotops_telemetry;

/*
** Handles one message.  The handler may end within the callback or later; it
** ends with iotops_telemetry_delivery_done().
*/
typedef void (*iotops_telemetry_handler)(void *user,
                                         iotops_telemetry_delivery *delivery,
                                         const iotops_telemetry *telemetry);

typedef struct iotops_telemetry_receiver_options {
  size_t size;               /* IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT */
  iotops_text topic_pattern; /* copied; so is all else */
  iotops_text topic_namespace;
  const iotops_token *tokens;
  size_t token_count;
  iotops_text service_group_id; /* absent: not shared */
  bool manual_ack;              /* default false: acked when done */
  /*
  ** Handlers at a time; default 1, in order of arrival.  Messages beyond it
  ** wait as copies: QoS 1 is bounded by the session's Receive Maximum, QoS 0
  ** by 10 000, past which the newest is dropped, counted and logged.
  */
  uint32_t concurrency;
  iotops_telemetry_handler handler;
  void *user; /* borrowed; passed to handler */
} iotops_telemetry_receiver_options;

#define IOTOPS_TELEMETRY_RECEIVER_OPTIONS_INIT                                 \
  { .size = sizeof(iotops_telemetry_receiver_options), .concurrency = 1 }

/* How a start or stop ended; `err` is NULL on success. */
typedef void (*iotops_envoy_done)(void *user, const iotops_error *err);

#ifdef __cplusplus
extern "C" {
#endif

/*
** Makes a sender.  Fails with invalid configuration: topic_namespace,
** topic_pattern, or a token's name.
*/
IOTOPS_API int iotops_telemetry_sender_new(
    iotops_mqtt_client *client, const iotops_telemetry_sender_options *options,
    iotops_telemetry_sender **sender, iotops_error *err);

/*
** Sends one message; `done` is called once it is acknowledged (QoS 1) or
** written (QoS 0).  Fails at once, without calling `done`, with invalid
** configuration (message_expiry, qos, persist, metadata, cloud_event,
** content_type, a token), cancellation after close, invalid state (clock,
** full queue).  Publishes leave in the order of the calls.
*/
IOTOPS_API int
iotops_telemetry_send(iotops_telemetry_sender *sender,
                      const iotops_telemetry_send_options *options,
                      iotops_send_done done, void *user, iotops_error *err);

/* Sends in hand complete with a cancellation, later; NULL is allowed. */
IOTOPS_API void iotops_telemetry_sender_free(iotops_telemetry_sender *sender);

/*
** Makes a receiver; it receives from now on, and subscribes at start.  Fails
** with invalid configuration: topic_namespace, service_group_id,
** topic_pattern, a token's name, concurrency.
*/
IOTOPS_API int
iotops_telemetry_receiver_new(iotops_mqtt_client *client,
                              const iotops_telemetry_receiver_options *options,
                              iotops_telemetry_receiver **receiver,
                              iotops_error *err);

/*
** Subscribes (section 14).  Starting twice is a success.  After a failure
** (mqtt error) it may be started again.
*/
IOTOPS_API int
iotops_telemetry_receiver_start(iotops_telemetry_receiver *receiver,
                                iotops_envoy_done done, void *user,
                                iotops_error *err);

/*
** Unsubscribes.  New messages are not claimed any more; those in hand or
** waiting are finished.  Terminal; may be called again after a failure.
*/
IOTOPS_API int
iotops_telemetry_receiver_stop(iotops_telemetry_receiver *receiver,
                               iotops_envoy_done done, void *user,
                               iotops_error *err);

/*
** Frees the receiver: unsubscribes without waiting, drops waiting messages
** and acknowledges them, with a warning.  Deliveries in hand stay valid until
** done.  NULL is allowed.
*/
IOTOPS_API void
iotops_telemetry_receiver_free(iotops_telemetry_receiver *receiver);

/*
** While paused no handler begins: messages wait as if `concurrency` handlers
** ran.  Ends with the next turn of the loop after a call with false.
*/
IOTOPS_API void
iotops_telemetry_receiver_pause(iotops_telemetry_receiver *receiver,
                                bool paused);

/*
** Takes the message that has waited longest out of the receiver, with what it
** is to be settled by (epoch 0: nothing).  Owned by the caller (iotops_free);
** NULL: none waits.
*/
IOTOPS_API iotops_message *
iotops_telemetry_receiver_take(iotops_telemetry_receiver *receiver,
                               iotops_ack *ack);

/* Messages that wait for a handler. */
IOTOPS_API size_t
iotops_telemetry_receiver_waiting(const iotops_telemetry_receiver *receiver);

/* Messages that were never handled for want of room or memory. */
IOTOPS_API uint64_t
iotops_telemetry_receiver_dropped(const iotops_telemetry_receiver *receiver);

/* The handler has finished, well or not: frees its slot and, unless the
** receiver is manual_ack, acknowledges.  `delivery` is invalid afterwards
** unless manual_ack, where it lives until acknowledged. */
IOTOPS_API void
iotops_telemetry_delivery_done(iotops_telemetry_delivery *delivery);

/*
** manual_ack only: acknowledges.  Exactly once, with QoS 0 too (where it only
** gives the delivery up), before or after done.
*/
IOTOPS_API void
iotops_telemetry_delivery_ack(iotops_telemetry_delivery *delivery);

/*
** Why a payload was refused instead of handled (section 10 step 4): logged as
** a warning, acknowledged in both modes.  Ends the delivery like done + ack.
*/
IOTOPS_API void
iotops_telemetry_delivery_reject(iotops_telemetry_delivery *delivery,
                                 const iotops_error *err);

#ifdef __cplusplus
}
#endif

#endif
