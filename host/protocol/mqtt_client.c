/* mqtt_client.c -- calls through the table of whoever implements the client. */
#include "iotops/mqtt_client.h"

const char *iotops_mqtt_client_id(iotops_mqtt_client *client) {
  return client->ops->client_id(client);
}

int iotops_mqtt_publish(iotops_mqtt_client *client,
                        const iotops_message *message, iotops_mqtt_done done,
                        void *user, iotops_operation *op, iotops_error *err) {
  return client->ops->publish(client, message, done, user, op, err);
}

int iotops_mqtt_subscribe(iotops_mqtt_client *client, iotops_text filter,
                          const iotops_subscribe_options *options,
                          iotops_mqtt_done done, void *user,
                          iotops_operation *op, iotops_error *err) {
  return client->ops->subscribe(client, filter, options, done, user, op, err);
}

int iotops_mqtt_unsubscribe(iotops_mqtt_client *client, iotops_text filter,
                            iotops_mqtt_done done, void *user,
                            iotops_operation *op, iotops_error *err) {
  return client->ops->unsubscribe(client, filter, done, user, op, err);
}

void iotops_mqtt_cancel(iotops_mqtt_client *client, iotops_operation op) {
  client->ops->cancel(client, op);
}

int iotops_mqtt_add_receiver(iotops_mqtt_client *client, iotops_text filter,
                             iotops_on_message on_message, void *user,
                             iotops_receiver **receiver, iotops_error *err) {
  return client->ops->add_receiver(client, filter, on_message, user, receiver,
                                   err);
}

void iotops_mqtt_remove_receiver(iotops_mqtt_client *client,
                                 iotops_receiver *receiver) {
  client->ops->remove_receiver(client, receiver);
}

bool iotops_mqtt_settle(iotops_mqtt_client *client, iotops_ack ack) {
  return client->ops->settle(client, ack);
}

void iotops_mqtt_observe(iotops_mqtt_client *client,
                         iotops_mqtt_observer *observer) {
  client->ops->observe(client, observer);
}

void iotops_mqtt_unobserve(iotops_mqtt_client *client,
                           iotops_mqtt_observer *observer) {
  client->ops->unobserve(client, observer);
}

bool iotops_mqtt_is_connected(iotops_mqtt_client *client) {
  return client->ops->is_connected(client);
}
