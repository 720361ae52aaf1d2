/* dry_client.c -- a client that only notes the filter. */
#include <string.h>

#include "endpoint.h"

static const char *dry_client_id(iotops_mqtt_client *client) {
  return iotops_mqtt_client_id(((dry_client *)client)->real);
}

static int dry_publish(iotops_mqtt_client *client,
                       const iotops_message *message, iotops_mqtt_done done,
                       void *user, iotops_operation *op, iotops_error *err) {
  (void)client;
  (void)message;
  (void)done;
  (void)user;
  (void)op;
  return iotops_error_set(err, IOTOPS_INTERNAL_LOGIC_ERROR,
                          "nothing is published while declaring");
}

static int dry_subscribe(iotops_mqtt_client *client, iotops_text filter,
                         const iotops_subscribe_options *options,
                         iotops_mqtt_done done, void *user,
                         iotops_operation *op, iotops_error *err) {
  dry_client *dry = (dry_client *)client;
  (void)options;
  (void)done;
  (void)user;
  (void)op;
  dry->filter = iotops_resize(client->context, dry->filter, filter.size + 1);
  if (dry->filter == NULL)
    return iotops_error_memory(err);
  memcpy(dry->filter, filter.data, filter.size);
  dry->filter[filter.size] = '\0';
  return iotops_error_set(err, IOTOPS_CANCELLATION, "only declared");
}

static int dry_unsubscribe(iotops_mqtt_client *client, iotops_text filter,
                           iotops_mqtt_done done, void *user,
                           iotops_operation *op, iotops_error *err) {
  (void)client;
  (void)filter;
  (void)done;
  (void)user;
  (void)op;
  return iotops_error_set(err, IOTOPS_INVALID_STATE, "nothing is subscribed");
}

static void dry_cancel(iotops_mqtt_client *client, iotops_operation op) {
  (void)client;
  (void)op;
}

static int dry_add_receiver(iotops_mqtt_client *client, iotops_text filter,
                            iotops_on_message on_message, void *user,
                            iotops_receiver **receiver, iotops_error *err) {
  (void)filter;
  (void)on_message;
  (void)user;
  (void)err;
  *receiver = (iotops_receiver *)client; /* never looked into */
  return 0;
}

static void dry_remove_receiver(iotops_mqtt_client *client,
                                iotops_receiver *receiver) {
  (void)client;
  (void)receiver;
}

static bool dry_settle(iotops_mqtt_client *client, iotops_ack ack) {
  (void)client;
  (void)ack;
  return false;
}

static void dry_observe(iotops_mqtt_client *client,
                        iotops_mqtt_observer *observer) {
  (void)client;
  (void)observer;
}

static bool dry_is_connected(iotops_mqtt_client *client) {
  (void)client;
  return false;
}

static const iotops_mqtt_client_ops dry_ops = {
    .client_id = dry_client_id,
    .publish = dry_publish,
    .subscribe = dry_subscribe,
    .unsubscribe = dry_unsubscribe,
    .cancel = dry_cancel,
    .add_receiver = dry_add_receiver,
    .remove_receiver = dry_remove_receiver,
    .settle = dry_settle,
    .observe = dry_observe,
    .unobserve = dry_observe,
    .is_connected = dry_is_connected,
};

void dry_client_init(dry_client *dry, iotops_mqtt_client *real) {
  *dry = (dry_client){.base = {.ops = &dry_ops, .context = real->context},
                      .real = real};
}
