/*
** fuzz_cloud_event.c -- events read from user properties hold views of them
** and pass the check for sending; what is put on a message is read back.
**
** Lines: the content type, then names and values in turn.
*/
#include "fuzz.h"

#include "iotops/cloud_event.h"

enum { PROPERTIES = 24 };

static void put_and_read(const iotops_cloud_event *event,
                         iotops_text content_type) {
  iotops_message message = IOTOPS_MESSAGE_INIT, *with;
  iotops_cloud_event sent = *event, read = IOTOPS_CLOUD_EVENT_INIT;
  iotops_error err;

  message.topic = iotops_text_of("t");
  message.content_type = content_type;
  with = iotops_cloud_event_set(fuzz_context(), &message, &sent, &err);
  if (!with)
    return;
  FUZZ_CHECK(iotops_cloud_event_from(with->user_properties,
                                     with->user_property_count,
                                     with->content_type, &read, &err) == 0);
  FUZZ_CHECK(iotops_text_equal(read.source, sent.source));
  FUZZ_CHECK(iotops_text_equal(read.type, sent.type));
  if (sent.subject.data && !sent.no_subject)
    FUZZ_CHECK(iotops_text_equal(read.subject, sent.subject));
  iotops_free(fuzz_context(), with);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_input input = {data, data + size};
  iotops_user_property properties[PROPERTIES];
  iotops_cloud_event event = IOTOPS_CLOUD_EVENT_INIT;
  iotops_text content_type = fuzz_line(&input);
  iotops_error err;
  size_t count = 0;

  while (count < PROPERTIES && input.at < input.end) {
    properties[count].name = fuzz_line(&input);
    properties[count].value = fuzz_line(&input);
    (void)iotops_cloud_event_is_attribute(properties[count].name);
    count++;
  }
  if (iotops_cloud_event_from(properties, count, content_type, &event, &err) !=
      0)
    return 0;
  FUZZ_CHECK(fuzz_within(event.source, data, size));
  FUZZ_CHECK(fuzz_within(event.type, data, size));
  FUZZ_CHECK(fuzz_within(event.id, data, size));
  FUZZ_CHECK(fuzz_within(event.time, data, size));
  FUZZ_CHECK(fuzz_within(event.subject, data, size));
  FUZZ_CHECK(fuzz_within(event.data_schema, data, size));
  FUZZ_CHECK(event.source.size > 0 && event.type.size > 0 && event.id.size > 0);
  put_and_read(&event, content_type);
  return 0;
}
