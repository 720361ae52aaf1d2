/*
** faulty_client.c -- breaks between the envoys and the session.
**
** Takes the place of metl_case_client(), so that envoys talk to a client that
** is the stub's in all but the fault.
*/
#include <stdlib.h>
#include <string.h>

#include "../case_state.h"
#include "fault.h"

enum { MAX_PROPERTIES = 64 };

/* What stands between the stub and one callback of the product. */
typedef struct link {
  struct link *next; /* of all; freed with the next case */
  iotops_receiver *receiver;
  iotops_on_message on_message;
  iotops_mqtt_done done;
  void *user;
} link;

static struct {
  iotops_mqtt_client client;
  iotops_mqtt_client *inner; /* borrowed */
  link *links;               /* owned */
} faulty;

static link *new_link(void *user) {
  link *made = metl_resize(NULL, sizeof *made);
  *made = (link){.next = faulty.links, .user = user};
  faulty.links = made;
  return made;
}

/* ----------------------------------------------------------- outbound -- */

static bool is_protocol_name(iotops_text name) {
  return name.size > 0 && (name.data[0] == '_' || name.data[0] == '$');
}

static bool is_lost(iotops_text name) {
  static const struct {
    const char *fault, *name;
  } lost[] = {
      {"no-status", "__stat"},         {"no-version", "__protVer"},
      {"no-error-name", "__propName"}, {"no-application-error", "__apErr"},
      {"no-source", "__srcId"},        {"no-partition", "$partition"}};
  for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) {
    if (fault_is(lost[i].fault) &&
        iotops_text_equal(name, iotops_text_of(lost[i].name))) {
      return true;
    }
  }
  return fault_is("no-user-data") && !is_protocol_name(name);
}

static void drop_properties(iotops_message *message,
                            iotops_user_property *kept) {
  size_t count = 0;
  for (size_t i = 0; i < message->user_property_count; i++) {
    if (count < MAX_PROPERTIES && !is_lost(message->user_properties[i].name)) {
      kept[count++] = message->user_properties[i];
    }
  }
  message->user_properties = kept;
  message->user_property_count = count;
}

static void on_done(void *user, const iotops_mqtt_result *result) {
  const link *behind = user;
  iotops_mqtt_result changed = *result;
  if (fault_is("refusals-hidden")) {
    changed.reason_code = 0;
  }
  behind->done(behind->user, &changed);
}

static void ignore_done(void *user, const iotops_mqtt_result *result) {
  (void)user;
  (void)result;
}

static int publish(iotops_mqtt_client *client, const iotops_message *message,
                   iotops_mqtt_done done, void *user, iotops_operation *op,
                   iotops_error *err) {
  static const char other[] = "sixteen others..";
  iotops_user_property kept[MAX_PROPERTIES];
  iotops_message changed = *message;
  link *behind = new_link(user);
  (void)client;
  behind->done = done;
  drop_properties(&changed, kept);
  if (fault_is("no-expiry")) {
    changed.has_expiry = false;
  }
  if (fault_is("no-content-type")) {
    changed.content_type = (iotops_text){0};
  }
  if (fault_is("no-format-indicator")) {
    changed.format_indicator = -1;
  }
  if (fault_is("other-correlation") && changed.correlation_data.data) {
    changed.correlation_data = (iotops_text){other, sizeof other - 1};
  }
  if (fault_is("no-payload")) {
    changed.payload = (iotops_text){0};
  }
  if (fault_is("published-twice")) {
    iotops_mqtt_publish(faulty.inner, &changed, ignore_done, NULL, NULL, NULL);
  }
  return iotops_mqtt_publish(faulty.inner, &changed, on_done, behind, op, err);
}

static int subscribe(iotops_mqtt_client *client, iotops_text filter,
                     const iotops_subscribe_options *options,
                     iotops_mqtt_done done, void *user, iotops_operation *op,
                     iotops_error *err) {
  link *behind = new_link(user);
  (void)client;
  behind->done = done;
  return iotops_mqtt_subscribe(faulty.inner, filter, options, on_done, behind,
                               op, err);
}

static int unsubscribe(iotops_mqtt_client *client, iotops_text filter,
                       iotops_mqtt_done done, void *user, iotops_operation *op,
                       iotops_error *err) {
  link *behind = new_link(user);
  (void)client;
  behind->done = done;
  return iotops_mqtt_unsubscribe(faulty.inner, filter, on_done, behind, op,
                                 err);
}

static void cancel(iotops_mqtt_client *client, iotops_operation op) {
  (void)client;
  iotops_mqtt_cancel(faulty.inner, op);
}

/* ------------------------------------------------------------ inbound -- */

static void on_message(void *user, const iotops_message *message,
                       iotops_ack ack) {
  static const iotops_ack none = {0};
  const link *behind = user;
  iotops_message changed = *message;
  iotops_user_property kept[MAX_PROPERTIES];
  if (fault_is("no-metadata-received")) {
    changed.user_property_count = 0;
  }
  if (fault_is("no-sender-received")) {
    size_t count = 0;
    for (size_t i = 0; i < message->user_property_count; i++) {
      if (!iotops_text_equal(message->user_properties[i].name,
                             iotops_text_of("__srcId"))) {
        kept[count++] = message->user_properties[i];
      }
    }
    changed.user_properties = kept;
    changed.user_property_count = count;
  }
  if (fault_is("acked-before-the-handler")) {
    iotops_mqtt_settle(faulty.inner, ack);
    ack = none;
  }
  if (fault_is("delivered-twice")) {
    behind->on_message(behind->user, &changed, none);
  }
  behind->on_message(behind->user, &changed, ack);
}

static int add_receiver(iotops_mqtt_client *client, iotops_text filter,
                        iotops_on_message to, void *user,
                        iotops_receiver **receiver, iotops_error *err) {
  link *behind = new_link(user);
  (void)client;
  behind->on_message = to;
  return iotops_mqtt_add_receiver(faulty.inner, filter, on_message, behind,
                                  receiver, err);
}

static void remove_receiver(iotops_mqtt_client *client,
                            iotops_receiver *receiver) {
  (void)client;
  iotops_mqtt_remove_receiver(faulty.inner, receiver);
}

static bool settle(iotops_mqtt_client *client, iotops_ack ack) {
  (void)client;
  return fault_is("never-acked") ? true : iotops_mqtt_settle(faulty.inner, ack);
}

/* --------------------------------------------------------- connection -- */

static const char *client_id(iotops_mqtt_client *client) {
  (void)client;
  return iotops_mqtt_client_id(faulty.inner);
}

static void observe(iotops_mqtt_client *client,
                    iotops_mqtt_observer *observer) {
  (void)client;
  iotops_mqtt_observe(faulty.inner, observer);
}

static void unobserve(iotops_mqtt_client *client,
                      iotops_mqtt_observer *observer) {
  (void)client;
  iotops_mqtt_unobserve(faulty.inner, observer);
}

static bool is_connected(iotops_mqtt_client *client) {
  (void)client;
  return iotops_mqtt_is_connected(faulty.inner);
}

iotops_mqtt_client *__real_metl_case_client(metl_case *one);
iotops_mqtt_client *__wrap_metl_case_client(metl_case *one);

iotops_mqtt_client *__wrap_metl_case_client(metl_case *one) {
  static const iotops_mqtt_client_ops ops = {.client_id = client_id,
                                             .publish = publish,
                                             .subscribe = subscribe,
                                             .unsubscribe = unsubscribe,
                                             .cancel = cancel,
                                             .add_receiver = add_receiver,
                                             .remove_receiver = remove_receiver,
                                             .settle = settle,
                                             .observe = observe,
                                             .unobserve = unobserve,
                                             .is_connected = is_connected};
  while (faulty.links) {
    link *next = faulty.links->next;
    free(faulty.links);
    faulty.links = next;
  }
  faulty.inner = __real_metl_case_client(one);
  faulty.client =
      (iotops_mqtt_client){.ops = &ops, .context = faulty.inner->context};
  return &faulty.client;
}
