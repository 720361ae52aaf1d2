#include "commands/message_show.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "commands/tool.h"

static void put_base64(iotops_text bytes) {
  size_t size = (bytes.size + 2) / 3 * 4 + 1;
  unsigned char *text = malloc(size);
  if (text == NULL)
    return;
  EVP_EncodeBlock(text, (const unsigned char *)bytes.data, (int)bytes.size);
  fputs((const char *)text, stdout);
  free(text);
}

static void print_field(const char *name, iotops_text text) {
  if (text.data == NULL)
    return;
  printf("  %s: ", name);
  tool_print_text(text);
  putchar('\n');
}

void message_show(const iotops_message *message) {
  tool_print_text(message->topic);
  printf("  (QoS %u%s)\n  ", message->qos, message->retain ? ", retained" : "");
  if (message->payload.data == NULL || message->payload.size == 0) {
    fputs("no payload", stdout);
  } else if (tool_is_text(message->payload)) {
    tool_print_text(message->payload);
  } else {
    printf("%zu bytes, base64: ", message->payload.size);
    put_base64(message->payload);
  }
  putchar('\n');
  print_field("content type", message->content_type);
  print_field("response topic", message->response_topic);
  if (message->correlation_data.data != NULL) {
    fputs("  correlation data: ", stdout);
    put_base64(message->correlation_data);
    putchar('\n');
  }
  if (message->has_expiry)
    printf("  expires in: %u s\n", (unsigned)message->expiry_s);
  for (size_t i = 0; i < message->user_property_count; i++) {
    fputs("  ", stdout);
    tool_print_text(message->user_properties[i].name);
    fputs(" = ", stdout);
    tool_print_text(message->user_properties[i].value);
    putchar('\n');
  }
}
