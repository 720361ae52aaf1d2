#include "iotops/cloud_event.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "protocol/cloud_event_write.h"
#include "protocol/text_check.h"
#include "protocol/uri.h"

enum { ATTRIBUTE_COUNT = 7 };

/* The attributes that are user properties, in the order they are checked. */
typedef struct attribute {
  const char *name;
  size_t at; /* of its text in iotops_cloud_event */
  bool required;
} attribute;

static const attribute attributes[ATTRIBUTE_COUNT] = {
    {"source", offsetof(iotops_cloud_event, source), true},
    {"type", offsetof(iotops_cloud_event, type), true},
    {"specversion", offsetof(iotops_cloud_event, spec_version), true},
    {"id", offsetof(iotops_cloud_event, id), true},
    {"time", offsetof(iotops_cloud_event, time), false},
    {"subject", offsetof(iotops_cloud_event, subject), false},
    {"dataschema", offsetof(iotops_cloud_event, data_schema), false}};

static iotops_text *text_at(iotops_cloud_event *event,
                            const attribute *attribute) {
  return (iotops_text *)(void *)((char *)event + attribute->at);
}

static const attribute *find(iotops_text name) {
  for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
    if (iotops_text_equal(iotops_text_of(attributes[i].name), name))
      return &attributes[i];
  return NULL;
}

bool iotops_cloud_event_is_attribute(iotops_text name) {
  return find(name) != NULL;
}

/* ---------------------------------------------------------------- checks -- */

static bool is_any_of(char c, const char *more) {
  return (c >= 'a' && c <= 'z') || (c != '\0' && strchr(more, c) != NULL);
}

/* Characters a to z and `more` from `at` on; returns where they end. */
static size_t run(iotops_text text, size_t at, const char *more) {
  while (at < text.size && is_any_of(text.data[at], more))
    at++;
  return at;
}

/* type "/" subtype ["+" suffix] [";" anything] */
static bool is_content_type(iotops_text text) {
  static const char name[] = "0123456789.-";
  size_t at = run(text, 0, "-");
  if (at == 0 || at == text.size || text.data[at] != '/')
    return false;
  size_t from = at + 1;
  at = run(text, from, name);
  if (at == from)
    return false;
  if (at < text.size && text.data[at] == '+') {
    from = at + 1;
    at = run(text, from, name);
    if (at == from)
      return false;
  }
  return at == text.size || text.data[at] == ';';
}

/* What is wrong with an attribute that is there; NULL: nothing. */
static const char *fault_of(const attribute *attribute, iotops_text text) {
  int64_t ms;
  if (text.size == 0)
    return "is empty";
  if (!property_text_valid(text) || text.size > PROPERTY_TEXT_MAX)
    return "is not UTF-8 without control characters";
  if (attribute->at == offsetof(iotops_cloud_event, source) &&
      !uri_is_reference(text))
    return "is not a URI reference";
  if (attribute->at == offsetof(iotops_cloud_event, data_schema) &&
      !uri_is_absolute(text))
    return "is not an absolute URI";
  if (attribute->at == offsetof(iotops_cloud_event, time) &&
      !rfc3339_parse(text, &ms))
    return "is not an RFC 3339 time";
  return NULL;
}

/* ------------------------------------------------------------- receiving -- */

static int header_error(iotops_error *err, const char *name, iotops_text value,
                        const char *fault) {
  iotops_error_set(err, IOTOPS_INVALID_HEADER,
                   "the CloudEvents attribute %s %s", name, fault);
  if (err != NULL) {
    iotops_error_name(err->header_name, iotops_text_of(name));
    iotops_error_header_value(err, value);
  }
  return -1;
}

int iotops_cloud_event_from(const iotops_user_property *properties,
                            size_t count, iotops_text content_type,
                            iotops_cloud_event *event, iotops_error *err) {
  iotops_cloud_event found = IOTOPS_CLOUD_EVENT_INIT;
  for (size_t i = 0; i < count; i++) {
    const attribute *attribute = find(properties[i].name);
    if (attribute != NULL) /* the last of a name wins */
      *text_at(&found, attribute) = properties[i].value;
  }
  for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
    const attribute *attribute = &attributes[i];
    iotops_text text = *text_at(&found, attribute);
    if (text.data == NULL && !attribute->required)
      continue;
    const char *fault =
        text.data == NULL ? "is missing" : fault_of(attribute, text);
    if (fault == NULL && text.data == found.spec_version.data &&
        !iotops_text_equal(text, iotops_text_of("1.0")))
      fault = "is not 1.0";
    if (fault != NULL)
      return header_error(err, attribute->name, text, fault);
  }
  if (content_type.size > 0) { /* some peers send it empty for absent */
    if (!is_content_type(content_type))
      return header_error(err, "datacontenttype", content_type,
                          "is not a content type");
    found.data_content_type = content_type;
  }
  *event = found;
  return 0;
}

/* --------------------------------------------------------------- sending -- */

static int send_error(iotops_error *err, const char *name, iotops_text value,
                      const char *fault) {
  return iotops_error_configuration(err, "cloud_event", value,
                                    "the CloudEvents attribute %s %s", name,
                                    fault);
}

/* The event as this version of the library knows it. */
static iotops_cloud_event known(const iotops_cloud_event *given) {
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  memcpy(&event, given,
         given->size < sizeof event ? given->size : sizeof event);
  return event;
}

int iotops_cloud_event_check(const iotops_cloud_event *given,
                             iotops_text content_type, iotops_error *err) {
  iotops_cloud_event event = known(given);
  if (event.source.data == NULL)
    return send_error(err, "source", event.source, "is missing");
  for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
    iotops_text text = *text_at(&event, &attributes[i]);
    const char *fault =
        text.data == NULL ? NULL : fault_of(&attributes[i], text);
    if (fault != NULL)
      return send_error(err, attributes[i].name, text, fault);
  }
  if (content_type.size == 0)
    return send_error(err, "datacontenttype", (iotops_text){NULL, 0},
                      "is missing: the message has no content type");
  if (!is_content_type(content_type))
    return send_error(err, "datacontenttype", content_type,
                      "is not a content type");
  return 0;
}

int cloud_event_check_user_data(const iotops_user_property *pairs, size_t count,
                                iotops_error *err) {
  for (size_t i = 0; i < count; i++) {
    const attribute *attribute = find(pairs[i].name);
    if (attribute != NULL)
      return iotops_error_configuration(
          err, "metadata", pairs[i].name,
          "the user data has a pair called %s, which belongs to the "
          "CloudEvent of the message",
          attribute->name);
  }
  return 0;
}

/* Every attribute that is not given takes its default, if it has one. */
static void complete(iotops_cloud_event *event, iotops_context *context,
                     const char *type, iotops_text topic,
                     cloud_event_texts *texts) {
  int64_t ms = iotops_wall_ms(context);
  if (event->type.data == NULL)
    event->type = iotops_text_of(type);
  if (event->spec_version.data == NULL)
    event->spec_version = iotops_text_of("1.0");
  if (event->id.data == NULL) {
    uint8_t bytes[16];
    iotops_uuid(context, bytes);
    iotops_uuid_text(bytes, texts->id);
    event->id = iotops_text_of(texts->id);
  }
  /* Whatever offset it was given with, it is written as UTC. */
  bool given = event->time.data != NULL && rfc3339_parse(event->time, &ms);
  if (event->no_time)
    event->time = (iotops_text){NULL, 0};
  else if (rfc3339_format(ms, texts->time))
    event->time = iotops_text_of(texts->time);
  else if (!given)
    event->time = (iotops_text){NULL, 0};
  if (event->no_subject)
    event->subject = (iotops_text){NULL, 0};
  else if (event->subject.data == NULL)
    event->subject = topic;
}

static void add_attributes(iotops_cloud_event *event, property_list *list) {
  for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
    iotops_text text = *text_at(event, &attributes[i]);
    if (text.data != NULL)
      property_list_add(list, attributes[i].name, text);
  }
}

int cloud_event_write(const iotops_cloud_event *given, const char *type,
                      iotops_text topic, iotops_text content_type,
                      cloud_event_texts *texts, property_list *list,
                      iotops_error *err) {
  if (iotops_cloud_event_check(given, content_type, err) != 0)
    return -1;
  iotops_cloud_event event = known(given);
  complete(&event, list->context, type, topic, texts);
  add_attributes(&event, list);
  return 0;
}

iotops_message *iotops_cloud_event_set(iotops_context *context,
                                       const iotops_message *message,
                                       const iotops_cloud_event *given,
                                       iotops_error *err) {
  iotops_cloud_event event = known(given);
  iotops_message changed = *message;
  iotops_message *copy = NULL;
  cloud_event_texts texts;
  property_list list;

  property_list_init(&list, context);
  if (event.data_content_type.data != NULL)
    changed.content_type = event.data_content_type;
  if (event.type.data == NULL) {
    send_error(err, "type", event.type, "is missing");
    goto done;
  }
  if (iotops_cloud_event_check(&event, changed.content_type, err) != 0)
    goto done;
  complete(&event, context, NULL, (iotops_text){NULL, 0}, &texts);
  add_attributes(&event, &list);
  /* An event that the message carried already is replaced. */
  for (size_t i = 0; i < message->user_property_count; i++) {
    const iotops_user_property *pair = &message->user_properties[i];
    if (!iotops_cloud_event_is_attribute(pair->name))
      property_list_add_user_data(&list, pair, 1, "cloud_event");
  }
  changed.user_properties = list.pairs;
  changed.user_property_count = list.count;
  if (!list.failed)
    copy = iotops_message_copy(context, &changed);
  if (copy == NULL)
    iotops_error_memory(err);

done:
  property_list_clear(&list);
  return copy;
}
