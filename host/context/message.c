#include "iotops/message.h"

#include <string.h>

/* Where the next copied text goes; sizes were added up before. */
static iotops_text put(char **at, iotops_text text) {
  if (text.data == NULL)
    return text;
  iotops_text copy = {*at, text.size};
  if (text.size > 0)
    memcpy(*at, text.data, text.size);
  *at += text.size;
  /* Terminated besides, so that C callers may read it as a string; this also
  ** gives a present, empty text an address of its own. */
  *(*at)++ = '\0';
  return copy;
}

/* Adds `more` to `*total`; false when it does not fit. */
static bool add(size_t *total, size_t more) {
  if (more > SIZE_MAX - *total)
    return false;
  *total += more;
  return true;
}

static bool add_text(size_t *total, iotops_text text) {
  return text.data == NULL || (add(total, text.size) && add(total, 1));
}

static bool add_array(size_t *total, size_t count, size_t size) {
  return count <= SIZE_MAX / size && add(total, count * size);
}

static bool copy_size(const iotops_message *message, size_t *size) {
  *size = sizeof *message;
  bool fits = add_array(size, message->user_property_count,
                        sizeof *message->user_properties) &&
              add_array(size, message->subscription_id_count,
                        sizeof *message->subscription_ids) &&
              add_text(size, message->topic) &&
              add_text(size, message->payload) &&
              add_text(size, message->content_type) &&
              add_text(size, message->response_topic) &&
              add_text(size, message->correlation_data);
  for (size_t i = 0; fits && i < message->user_property_count; i++)
    fits = add_text(size, message->user_properties[i].name) &&
           add_text(size, message->user_properties[i].value);
  return fits;
}

iotops_message *iotops_message_copy(iotops_context *context,
                                    const iotops_message *message) {
  size_t size;
  if (!copy_size(message, &size))
    return NULL;
  iotops_message *copy = iotops_resize(context, NULL, size);
  if (copy == NULL)
    return NULL;
  *copy = *message;
  /* By falling alignment: properties, numbers, bytes. */
  iotops_user_property *properties = (iotops_user_property *)(copy + 1);
  uint32_t *ids = (uint32_t *)(properties + message->user_property_count);
  char *at = (char *)(ids + message->subscription_id_count);

  copy->topic = put(&at, message->topic);
  copy->payload = put(&at, message->payload);
  copy->content_type = put(&at, message->content_type);
  copy->response_topic = put(&at, message->response_topic);
  copy->correlation_data = put(&at, message->correlation_data);
  for (size_t i = 0; i < message->user_property_count; i++) {
    properties[i].name = put(&at, message->user_properties[i].name);
    properties[i].value = put(&at, message->user_properties[i].value);
  }
  copy->user_properties = message->user_property_count > 0 ? properties : NULL;
  if (message->subscription_id_count > 0)
    memcpy(ids, message->subscription_ids,
           message->subscription_id_count * sizeof *ids);
  copy->subscription_ids = message->subscription_id_count > 0 ? ids : NULL;
  return copy;
}

iotops_text iotops_message_property(const iotops_message *message,
                                    const char *name) {
  iotops_text wanted = iotops_text_of(name);
  for (size_t i = message->user_property_count; i-- > 0;)
    if (iotops_text_equal(message->user_properties[i].name, wanted))
      return message->user_properties[i].value;
  return iotops_text_of(NULL);
}
