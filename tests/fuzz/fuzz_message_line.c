/*
** fuzz_message_line.c -- a line that is taken for a message is one that MQTT
** carries, and is written and read again as the same.
*/
#include "fuzz.h"

#include "iotops/topic.h"
#include "runtime/message_line.h"

static void write_line(text_buffer *buffer, const iotops_message *message,
                       const message_line *line) {
  text_buffer_init(buffer, fuzz_context());
  message_line_write(buffer, message, line);
  FUZZ_CHECK(!buffer->failed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  iotops_context *context = fuzz_context();
  iotops_message *message = NULL, *again = NULL;
  message_line line, line_again;
  text_buffer first, second;
  iotops_error err;

  memset(&err, 0, sizeof err);
  if (message_line_read(context, (iotops_text){(const char *)data, size},
                        &message, &line, &err) != 0) {
    FUZZ_CHECK(err.kind == IOTOPS_INVALID_PAYLOAD && err.message[0] != '\0');
    return 0;
  }
  FUZZ_CHECK(iotops_topic_name_valid(message->topic));
  FUZZ_CHECK(message->qos <= 1);
  FUZZ_CHECK(message->format_indicator >= -1 && message->format_indicator <= 1);
  FUZZ_CHECK(message->user_property_count <= MESSAGE_LINE_PROPERTIES);
  line.readable = false;
  write_line(&first, message, &line);
  FUZZ_CHECK(message_line_read(context, text_buffer_text(&first), &again,
                               &line_again, &err) == 0);
  FUZZ_CHECK(iotops_text_equal(message->topic, again->topic));
  FUZZ_CHECK(iotops_text_equal(message->payload, again->payload) ||
             message->payload.size + again->payload.size == 0);
  FUZZ_CHECK(message->user_property_count == again->user_property_count);
  line_again.readable = false;
  write_line(&second, again, &line_again);
  FUZZ_CHECK(
      iotops_text_equal(text_buffer_text(&first), text_buffer_text(&second)));
  text_buffer_clear(&first);
  text_buffer_clear(&second);
  iotops_free(context, message);
  iotops_free(context, again);
  return 0;
}
