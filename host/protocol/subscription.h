/*
** subscription.h -- one envoy's subscription: subscribed once however many
** ask for it at a time, asked for again after a failure, and dropped at the
** end (protocol.md sections 8.2 and 14).
**
** It is on the heap by itself: an answer of the broker may come after its
** envoy has gone.  Completions never run inside the call that asked.
*/
#ifndef PROTOCOL_SUBSCRIPTION_H
#define PROTOCOL_SUBSCRIPTION_H

#include "iotops/telemetry.h"

typedef struct subscription subscription;

/*
** Makes one for `filter` (copied), not yet subscribed.  `label` (copied;
** absent: none) is the command name of its errors.  NULL when memory is
** short.
*/
subscription *subscription_new(iotops_mqtt_client *client, iotops_text filter,
                               iotops_text label);

/*
** Subscribes; when it is subscribed already, completes with success.  `done`
** may be NULL.  Fails at once with cancellation after subscription_stop(),
** with invalid state when memory is short, and with what the client says.
** Completes with NULL or an mqtt error, after which it may be started again.
*/
int subscription_start(subscription *subscription, iotops_envoy_done done,
                       void *user, iotops_error *err);

/*
** Unsubscribes; when not subscribed, completes with success.  Terminal, but
** may be called again after a failure.  Fails and completes as start.
*/
int subscription_stop(subscription *subscription, iotops_envoy_done done,
                      void *user, iotops_error *err);

/* True once the broker has granted it, until it is stopped. */
bool subscription_active(const subscription *subscription);

/* True once subscription_stop() has been called. */
bool subscription_stopped(const subscription *subscription);

/*
** Lets go of it: unsubscribes without waiting, if need be.  Those who wait
** are told a cancellation, later.  NULL is allowed.
*/
void subscription_free(subscription *subscription);

#endif
