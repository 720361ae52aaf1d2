#include "stub_client.h"

#include <stdlib.h>
#include <string.h>

#include "iotops/topic.h"

static stub_client *stub_of(iotops_mqtt_client *client) {
  return (stub_client *)client;
}

/* Room for one more of `size` bytes in a grown array. */
static void *grow(void *array, size_t count, size_t *capacity, size_t size) {
  if (count < *capacity)
    return array;
  *capacity = *capacity == 0 ? 16 : *capacity * 2;
  array = realloc(array, *capacity * size);
  if (array == NULL)
    abort();
  return array;
}

static char *copy_text(iotops_text text) {
  char *copy = malloc(text.size + 1);
  if (copy == NULL)
    abort();
  if (text.size > 0)
    memcpy(copy, text.data, text.size);
  copy[text.size] = '\0';
  return copy;
}

/* ------------------------------------------------------------ operations -- */

static void end_operation(iotops_task *task) {
  stub_operation *operation = task->user;
  iotops_mqtt_result result = {.reason_code = operation->reason_code};
  if (operation->failed)
    result.error = &operation->error;
  operation->done(operation->user, &result);
}

static void end_soon(stub_operation *operation) {
  operation->ended = true;
  operation->task.run = end_operation;
  operation->task.user = operation;
  iotops_task_soon(operation->client->client.context, &operation->task);
}

void stub_answer(stub_operation *operation, uint8_t reason_code) {
  if (operation->ended)
    abort(); /* the test lets one operation end twice */
  operation->reason_code = reason_code;
  end_soon(operation);
}

void stub_fail(stub_operation *operation, iotops_error_kind kind,
               const char *message) {
  if (operation->ended)
    abort();
  operation->failed = true;
  iotops_error_set(&operation->error, kind, "%s", message);
  end_soon(operation);
}

/* NULL when the test wants the next one refused. */
static stub_operation *add_operation(stub_client *stub, stub_kind kind,
                                     iotops_mqtt_done done, void *user,
                                     iotops_operation *op, iotops_error *err) {
  if (stub->refuse.kind != IOTOPS_NO_ERROR) {
    if (err != NULL)
      *err = stub->refuse;
    stub->refuse.kind = IOTOPS_NO_ERROR;
    return NULL;
  }
  stub_operation *made = calloc(1, sizeof *made);
  if (made == NULL)
    abort();
  made->kind = kind;
  made->done = done;
  made->user = user;
  made->client = stub;
  stub->operations = grow(stub->operations, stub->operation_count,
                          &stub->operation_capacity, sizeof(stub_operation *));
  stub->operations[stub->operation_count++] = made;
  if (op != NULL)
    *op = stub->operation_count; /* never 0 */
  return made;
}

static const char *client_id(iotops_mqtt_client *client) {
  return stub_of(client)->id;
}

static int publish(iotops_mqtt_client *client, const iotops_message *message,
                   iotops_mqtt_done done, void *user, iotops_operation *op,
                   iotops_error *err) {
  stub_client *stub = stub_of(client);
  stub_operation *made = add_operation(stub, STUB_PUBLISH, done, user, op, err);
  if (made == NULL)
    return -1;
  made->message = iotops_message_copy(client->context, message);
  if (made->message == NULL) {
    stub->operation_count--;
    free(made);
    return iotops_error_memory(err);
  }
  if (stub->automatic)
    stub_answer(made, 0);
  return 0;
}

static int subscribe(iotops_mqtt_client *client, iotops_text filter,
                     const iotops_subscribe_options *options,
                     iotops_mqtt_done done, void *user, iotops_operation *op,
                     iotops_error *err) {
  stub_client *stub = stub_of(client);
  stub_operation *made =
      add_operation(stub, STUB_SUBSCRIBE, done, user, op, err);
  if (made == NULL)
    return -1;
  made->filter = copy_text(filter);
  made->options = *options;
  if (stub->automatic)
    stub_answer(made, 1); /* granted QoS 1 */
  return 0;
}

static int unsubscribe(iotops_mqtt_client *client, iotops_text filter,
                       iotops_mqtt_done done, void *user, iotops_operation *op,
                       iotops_error *err) {
  stub_client *stub = stub_of(client);
  stub_operation *made =
      add_operation(stub, STUB_UNSUBSCRIBE, done, user, op, err);
  if (made == NULL)
    return -1;
  made->filter = copy_text(filter);
  if (stub->automatic)
    stub_answer(made, 0);
  return 0;
}

static void cancel(iotops_mqtt_client *client, iotops_operation op) {
  stub_client *stub = stub_of(client);
  if (op == 0 || op > stub->operation_count)
    return;
  stub_operation *operation = stub->operations[op - 1];
  if (operation->ended)
    return;
  operation->cancelled = true;
  stub_fail(operation, IOTOPS_CANCELLATION, "cancelled");
}

size_t stub_count(const stub_client *stub, stub_kind kind) {
  size_t count = 0;
  for (size_t i = 0; i < stub->operation_count; i++)
    count += stub->operations[i]->kind == kind;
  return count;
}

stub_operation *stub_nth(const stub_client *stub, stub_kind kind, size_t n) {
  for (size_t i = 0; i < stub->operation_count; i++)
    if (stub->operations[i]->kind == kind && n-- == 0)
      return stub->operations[i];
  return NULL;
}

/* -------------------------------------------------------------- messages -- */

struct iotops_receiver {
  stub_receiver receiver;
};

static int add_receiver(iotops_mqtt_client *client, iotops_text filter,
                        iotops_on_message on_message, void *user,
                        iotops_receiver **receiver, iotops_error *err) {
  stub_client *stub = stub_of(client);
  (void)err;
  stub_receiver *made = calloc(1, sizeof *made);
  if (made == NULL)
    abort();
  made->filter = copy_text(filter);
  made->on_message = on_message;
  made->user = user;
  stub->receivers = grow(stub->receivers, stub->receiver_count,
                         &stub->receiver_capacity, sizeof(stub_receiver *));
  stub->receivers[stub->receiver_count++] = made;
  *receiver = (iotops_receiver *)made;
  return 0;
}

static void remove_receiver(iotops_mqtt_client *client,
                            iotops_receiver *receiver) {
  (void)client;
  receiver->receiver.removed = true;
}

size_t stub_deliver(stub_client *stub, const iotops_message *message) {
  size_t matched = 0, count = stub->receiver_count;
  for (size_t i = 0; i < count; i++) {
    stub_receiver *receiver = stub->receivers[i];
    iotops_ack ack = {0, 0, 0};
    if (receiver->removed ||
        !iotops_topic_filter_matches(iotops_text_of(receiver->filter),
                                     message->topic))
      continue;
    if (message->qos > 0) {
      stub->deliveries = grow(stub->deliveries, stub->delivery_count,
                              &stub->delivery_capacity, sizeof(stub_delivery));
      stub->deliveries[stub->delivery_count++] =
          (stub_delivery){message->packet_id, 0};
      ack = (iotops_ack){stub->epoch, (uint32_t)stub->delivery_count,
                         (uint32_t)matched};
    }
    matched++;
    /* A copy that dies with the call, so that late reads are found. */
    iotops_message *copy = iotops_message_copy(stub->client.context, message);
    if (copy == NULL)
      continue; /* lost on the way, and not acknowledged */
    receiver->on_message(receiver->user, copy, ack);
    iotops_free(stub->client.context, copy);
  }
  return matched;
}

static bool settle(iotops_mqtt_client *client, iotops_ack ack) {
  stub_client *stub = stub_of(client);
  if (ack.epoch != stub->epoch)
    return false;
  if (ack.seq == 0 || ack.seq > stub->delivery_count)
    abort(); /* nobody was given this */
  stub_delivery *delivery = &stub->deliveries[ack.seq - 1];
  if (delivery->settled++ > 0)
    return false;
  stub->acks = grow(stub->acks, stub->ack_count, &stub->ack_capacity,
                    sizeof *stub->acks);
  stub->acks[stub->ack_count++] = delivery->packet_id;
  return true;
}

void stub_disconnect(stub_client *stub) {
  stub->epoch++;
}

iotops_text stub_property(const iotops_message *message, const char *name,
                          size_t n) {
  for (size_t i = 0; i < message->user_property_count; i++)
    if (iotops_text_equal(message->user_properties[i].name,
                          iotops_text_of(name)) &&
        n-- == 0)
      return message->user_properties[i].value;
  return iotops_text_of(NULL);
}

size_t stub_property_count(const iotops_message *message, const char *name) {
  size_t count = 0;
  while (stub_property(message, name, count).data != NULL)
    count++;
  return count;
}

/* ------------------------------------------------------------- connection --
 */

static void observe(iotops_mqtt_client *client,
                    iotops_mqtt_observer *observer) {
  stub_client *stub = stub_of(client);
  observer->previous = NULL;
  observer->next = stub->observers;
  if (observer->next != NULL)
    observer->next->previous = observer;
  stub->observers = observer;
}

static void unobserve(iotops_mqtt_client *client,
                      iotops_mqtt_observer *observer) {
  stub_client *stub = stub_of(client);
  if (observer->next != NULL)
    observer->next->previous = observer->previous;
  if (observer->previous != NULL)
    observer->previous->next = observer->next;
  else
    stub->observers = observer->next;
}

static bool is_connected(iotops_mqtt_client *client) {
  return stub_of(client)->connected;
}

static const iotops_mqtt_client_ops ops = {
    client_id,       publish, subscribe, unsubscribe, cancel,      add_receiver,
    remove_receiver, settle,  observe,   unobserve,   is_connected};

stub_client *stub_client_new(iotops_context *context, const char *id) {
  stub_client *stub = calloc(1, sizeof *stub);
  if (stub == NULL)
    abort();
  stub->client.ops = &ops;
  stub->client.context = context;
  stub->id = id;
  stub->connected = true;
  stub->epoch = 1;
  return stub;
}

void stub_client_free(stub_client *stub) {
  iotops_context *context = stub->client.context;
  iotops_context_drain(context);
  for (size_t i = 0; i < stub->operation_count; i++) {
    stub_operation *operation = stub->operations[i];
    iotops_task_cancel(context, &operation->task);
    iotops_free(context, operation->message);
    free(operation->filter);
    free(operation);
  }
  for (size_t i = 0; i < stub->receiver_count; i++) {
    free(stub->receivers[i]->filter);
    free(stub->receivers[i]);
  }
  free(stub->operations);
  free(stub->receivers);
  free(stub->deliveries);
  free(stub->acks);
  free(stub);
}
