#include "runtime/tap.h"

#include <stdio.h>

void tap_begin(tap **taps, tap *begun) {
  begun->next = *taps;
  *taps = begun;
}

void tap_end(tap **taps, tap *ended) {
  tap **at = taps;
  while (*at != NULL && *at != ended)
    at = &(*at)->next;
  if (*at != NULL)
    *at = ended->next;
}

void tap_tell(tap *taps, iotops_context *context, const iotops_message *message,
              message_direction direction, int64_t time_ms,
              const char *outcome) {
  message_line line = {
      .has_time = true, .time_ms = time_ms, .direction = direction};
  text_buffer buffer;
  text_buffer_init(&buffer, context);
  snprintf(line.outcome, sizeof line.outcome, "%s", outcome);
  /* All taps of a list are of one script. */
  snprintf(line.script, sizeof line.script, "%s", taps->script);
  message_line_write(&buffer, message, &line);
  for (tap *next = NULL, *at = taps; at != NULL && !buffer.failed; at = next) {
    next = at->next;
    at->tapped(at, text_buffer_text(&buffer));
  }
  text_buffer_clear(&buffer);
}
