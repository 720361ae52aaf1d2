/* stub.c -- see stub.h. */
#include "stub.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void metl_stub_init(metl_stub *stub, const metl_stub_ops *ops,
                    iotops_context *context, metl_clock *clock,
                    const char *client_id) {
  size_t size = strlen(client_id) + 1;
  stub->ops = ops;
  stub->context = context;
  stub->clock = clock;
  stub->client_id = metl_resize(NULL, size);
  memcpy(stub->client_id, client_id, size);
}

void metl_stub_release(metl_stub *stub) {
  free(stub->client_id);
  free(stub->publish_acks.answers);
  free(stub->subscribe_acks.answers);
  free(stub->unsubscribe_acks.answers);
  metl_log_free(&stub->log);
}

metl_push_ack metl_push_acks_take(metl_push_acks *acks) {
  return acks->next < acks->count ? acks->answers[acks->next++] : METL_SUCCESS;
}

void metl_push_acks_add(metl_push_acks *acks, metl_push_ack answer) {
  acks->answers =
      metl_resize(acks->answers, (acks->count + 1) * sizeof *acks->answers);
  acks->answers[acks->count++] = answer;
}

void metl_report(metl_bytes *report, const char *format, ...) {
  char line[512];
  va_list args;
  va_start(args, format);
  int size = vsnprintf(line, sizeof line, format, args);
  va_end(args);
  if (size >= (int)sizeof line) {
    size = (int)sizeof line - 1;
  }
  metl_bytes_add(report, line, (size_t)size);
  metl_bytes_add(report, "\n", 1);
}
