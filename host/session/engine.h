/*
** engine.h -- libmosquitto behind a loopback stream (session.md section 19.1).
**
** libmosquitto numbers packets, encodes what we publish, keeps unacknowledged
** QoS 1 messages and sends them again, first and with DUP, after a reconnect.
** It never sees the broker: it talks to a TCP stream over 127.0.0.1 whose
** other end is ours.  The listener for it lives for one accept, and the peer is
** taken only when its address is the one libmosquitto's own socket has.
**
** The pump is synchronous: it returns when libmosquitto has consumed every
** byte it was given and every byte it wrote has been read, counted by the
** kernel.  So the engine needs no handle on the loop, no timer and no clock.
** While it is not open nothing may be published: libmosquitto would keep such
** a message and send it as a duplicate later.
**
** libmosquitto's own initialisation is the one process-wide state of the core:
** it counts its users itself, and a mutex makes that count safe for contexts
** on several threads.
*/
#ifndef IOTOPS_SESSION_ENGINE_H
#define IOTOPS_SESSION_ENGINE_H

#include "session/packet_filter.h"

typedef struct engine engine;

/* `version` is 5 or 4.  Fails with invalid state; `client_id` is copied. */
int engine_new(iotops_context *context, const char *client_id, int version,
               uint16_t receive_max, engine **result, iotops_error *err);
void engine_free(engine *engine);

/*
** Connects libmosquitto to a new loopback stream, over which it will then want
** to send its CONNECT.  Fails with invalid state.
*/
int engine_open(engine *engine, iotops_error *err);

/* Ends the stream; messages in flight stay in libmosquitto. */
void engine_close(engine *engine);
bool engine_is_open(const engine *engine);

/*
** Hand one packet over; it leaves with the next pump.  The texts must be
** terminated, as those of iotops_message_copy() are.  `*packet_id` is set also
** for QoS 0.  Fail with the kind that the caller of the session shall see.
*/
int engine_publish(engine *engine, const iotops_message *message,
                   uint16_t *packet_id, iotops_error *err);
int engine_subscribe(engine *engine, const char *filter, uint8_t options,
                     uint32_t subscription_id, uint16_t *packet_id,
                     iotops_error *err);
int engine_unsubscribe(engine *engine, const char *filter, uint16_t *packet_id,
                       iotops_error *err);

/* The packet id that was given out last. */
uint16_t engine_last_id(const engine *engine);

/*
** Gives libmosquitto all that the filter has for it, and the filter all that
** libmosquitto has for the broker.  Fails with invalid state when
** libmosquitto gives up its stream; the engine must be closed then.
*/
int engine_pump(engine *engine, packet_filter *filter, iotops_error *err);

/* The halves of it: to libmosquitto, and from it. */
int engine_give(engine *engine, packet_filter *filter, iotops_error *err);
int engine_take(engine *engine, packet_filter *filter, iotops_error *err);

/* True when libmosquitto has something for the broker. */
bool engine_wants_take(const engine *engine);

#endif
