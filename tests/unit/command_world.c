#include "command_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

command_world world;

int command_world_open(void) {
  memset(&world, 0, sizeof world);
  world.time = virtual_time_new();
  if (!world.time)
    return -1;
  world.stub = stub_client_new(world.time->context, "me");
  return 0;
}

int command_world_close(void) {
  settle_down();
  for (size_t i = 0; i < world.stub->operation_count; i++)
    if (!world.stub->operations[i]->ended)
      stub_fail(world.stub->operations[i], IOTOPS_INVALID_STATE, "ended");
  settle_down();
  stub_client_free(world.stub);
  return virtual_time_free(world.time) == 0 ? 0 : -1;
}

void settle_down(void) {
  iotops_context_drain(world.time->context);
}

void note_end(void *user, const iotops_error *err) {
  (void)user;
  if (world.outcome_count == OUTCOMES_MAX)
    abort();
  outcome *made = &world.outcomes[world.outcome_count++];
  made->failed = err != NULL;
  if (err)
    made->err = *err;
}

const iotops_message *published(size_t n) {
  stub_operation *operation = stub_nth(world.stub, STUB_PUBLISH, n);
  if (!operation)
    abort();
  return operation->message;
}

size_t publish_count(void) {
  return stub_count(world.stub, STUB_PUBLISH);
}

const char *property_of(const iotops_message *message, const char *name) {
  static char texts[8][2048];
  static unsigned next;
  iotops_text value = stub_property(message, name, 0);
  if (!value.data)
    return NULL;
  char *text = texts[next++ % 8];
  snprintf(text, sizeof texts[0], "%.*s", (int)value.size, value.data);
  return text;
}

void answer_nth(stub_kind kind, size_t n, uint8_t reason_code) {
  stub_operation *operation = stub_nth(world.stub, kind, n);
  if (!operation)
    abort();
  stub_answer(operation, reason_code);
  settle_down();
}

const char *acks(void) {
  static char text[512];
  size_t size = 0;
  text[0] = '\0';
  for (size_t i = 0; i < world.stub->ack_count && size < sizeof text - 8; i++)
    size += (size_t)snprintf(text + size, sizeof text - size, "%u,",
                             world.stub->acks[i]);
  return text;
}
