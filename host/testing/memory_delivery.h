/*
** memory_delivery.h -- what a client of the broker in memory is given: its
** receivers, the messages on their way to them, and their acknowledgements.
*/
#ifndef TESTING_MEMORY_DELIVERY_H
#define TESTING_MEMORY_DELIVERY_H

#include "testing/memory_client.h"

/* Operations of the client; see mqtt_client.h. */
int memory_add_receiver(iotops_mqtt_client *base, iotops_text filter,
                        iotops_on_message on_message, void *user,
                        iotops_receiver **receiver, iotops_error *err);
void memory_remove_receiver(iotops_mqtt_client *base,
                            iotops_receiver *receiver);
bool memory_settle(iotops_mqtt_client *base, iotops_ack ack);

/* The client's task: hands out what waits, in order. */
void memory_deliver(iotops_task *task);

/*
** The connection is gone: what was not acknowledged is to be delivered once
** more, before the rest.
*/
void memory_delivery_lose(memory_client *client);

/* Frees receivers and deliveries. */
void memory_delivery_free(memory_client *client);

#endif
