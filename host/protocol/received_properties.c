#include "protocol/received_properties.h"

#include <string.h>

#include "protocol/property_names.h"

enum { /* which kinds of message a protocol name belongs to */
       IN_TELEMETRY = 1 << MESSAGE_TELEMETRY,
       IN_REQUEST = 1 << MESSAGE_REQUEST,
       IN_RESPONSE = 1 << MESSAGE_RESPONSE,
       IN_COMMAND = IN_REQUEST | IN_RESPONSE,
       IN_ANY = IN_TELEMETRY | IN_COMMAND
};

typedef enum field { NOWHERE, VERSION, SOURCE, TIMESTAMP } field;

typedef struct known_name {
  const char *name;
  size_t size;
  unsigned kinds;
  field field; /* where its value goes */
} known_name;

#define KNOWN(name, kinds, field)                                              \
  { (name), sizeof(name) - 1, (kinds), (field) }

static const known_name underscored[] = {
    KNOWN(PROPERTY_VERSION, IN_ANY, VERSION),
    KNOWN(PROPERTY_SOURCE, IN_ANY, SOURCE),
    KNOWN(PROPERTY_TIMESTAMP, IN_ANY, TIMESTAMP),
    KNOWN(PROPERTY_INVOKER, IN_ANY, NOWHERE),
    KNOWN(PROPERTY_STATUS, IN_RESPONSE, NOWHERE),
    KNOWN(PROPERTY_STATUS_MESSAGE, IN_RESPONSE, NOWHERE),
    KNOWN(PROPERTY_APP_ERROR, IN_RESPONSE, NOWHERE),
    KNOWN(PROPERTY_NAME, IN_RESPONSE, NOWHERE),
    KNOWN(PROPERTY_VALUE, IN_RESPONSE, NOWHERE),
    KNOWN(PROPERTY_REQUEST_VERSION, IN_RESPONSE, NOWHERE),
    KNOWN(PROPERTY_SUPPORTED_MAJORS, IN_RESPONSE, NOWHERE)};

/* Left out of commands alone; telemetry has no such names of ours. */
static const known_name others[] = {
    KNOWN(PROPERTY_PARTITION, IN_ANY, NOWHERE),
    KNOWN(PROPERTY_HIGH_PRIORITY, IN_ANY, NOWHERE),
    KNOWN(PROPERTY_PERSISTENCE, IN_ANY, NOWHERE)};

static const known_name *among(const known_name *names, size_t count,
                               iotops_text name) {
  for (size_t i = 0; i < count; i++)
    if (names[i].size == name.size &&
        memcmp(names[i].name, name.data, name.size) == 0)
      return &names[i];
  return NULL;
}

static const known_name *find(iotops_text name, message_kind kind) {
  if (name.size < 4)
    return NULL;
  if (name.data[0] == '_' && name.data[1] == '_')
    return among(underscored, sizeof underscored / sizeof *underscored, name);
  if (kind != MESSAGE_TELEMETRY && (name.data[0] == '$' || name.data[0] == 'a'))
    return among(others, sizeof others / sizeof *others, name);
  return NULL;
}

void received_properties_init(received_properties *properties,
                              iotops_context *context) {
  *properties = (received_properties){.context = context};
}

void received_properties_clear(received_properties *properties) {
  iotops_free(properties->context, properties->user_data);
  received_properties_init(properties, properties->context);
}

static bool reserve(received_properties *properties, size_t count) {
  if (count <= properties->capacity)
    return true;
  if (count > SIZE_MAX / sizeof *properties->user_data)
    return false;
  iotops_user_property *user_data = iotops_resize(
      properties->context, properties->user_data, count * sizeof *user_data);
  if (user_data == NULL)
    return false;
  properties->user_data = user_data;
  properties->capacity = count;
  return true;
}

int received_properties_read(received_properties *properties,
                             const iotops_message *message, message_kind kind,
                             const char *component) {
  const iotops_text absent = {NULL, 0};
  properties->version = properties->source = properties->timestamp = absent;
  properties->user_data_count = 0;
  if (!reserve(properties, message->user_property_count))
    return -1;
  for (size_t i = 0; i < message->user_property_count; i++) {
    const iotops_user_property *pair = &message->user_properties[i];
    const known_name *known = find(pair->name, kind);
    if (known != NULL && properties->keeps_service && pair->name.data[0] != '_')
      known = NULL;
    if (known == NULL) {
      properties->user_data[properties->user_data_count++] = *pair;
      continue;
    }
    if ((known->kinds & 1U << kind) == 0)
      iotops_log(properties->context, IOTOPS_LOG_WARN, component,
                 "a message carries the property %s, which does not belong "
                 "there and is ignored",
                 known->name);
    if (known->field == VERSION)
      properties->version = pair->value;
    else if (known->field == SOURCE)
      properties->source = pair->value;
    else if (known->field == TIMESTAMP)
      properties->timestamp = pair->value;
  }
  return 0;
}
