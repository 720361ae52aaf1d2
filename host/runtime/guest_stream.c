/* guest_stream.c -- what an operator follows: the log, or a script's messages.
 */
#include <string.h>

#include "runtime/guest.h"
#include "runtime/status.h"

/* ---------------------------------------------------------------- logs -- */

static bool wants(const guest *guest, const log_entry *entry) {
  return entry->level >= guest->level &&
         (guest->filter == NULL ||
          strcmp(guest->filter, log_entry_script(entry)) == 0);
}

/* The entry as a line; of a stream, it may be dropped. */
static void send_entry(guest *guest, const log_entry *entry, bool stream) {
  text_buffer line;
  text_buffer_init(&line, guest->desk->host->context);
  text_buffer_add(&line, iotops_text_of("{\"log\":"));
  text_buffer_add(&line, (iotops_text){entry->json, entry->size});
  text_buffer_add(&line, iotops_text_of("}\n"));
  if (line.failed)
    ;
  else if (stream)
    control_stream(guest->client, text_buffer_text(&line));
  else
    control_answer(guest->client, text_buffer_text(&line));
  text_buffer_clear(&line);
}

static void heard(log_listener *listener, const log_entry *entry) {
  guest *guest = listener->user;
  if (wants(guest, entry))
    send_entry(guest, entry, true);
}

/* Those that are kept, the last `limit` of them. */
static void send_kept(guest *guest, const log_ring *ring, uint64_t limit) {
  uint64_t count = 0;
  for (const log_entry *at = log_ring_first(ring); at != NULL;
       at = log_ring_after(ring, at))
    count += wants(guest, at);
  for (const log_entry *at = log_ring_first(ring); at != NULL;
       at = log_ring_after(ring, at))
    if (wants(guest, at) && count-- <= limit)
      send_entry(guest, at, false);
}

void guest_logs(guest *guest, const json_t *request) {
  log_ring *ring = &guest->desk->host->records;
  iotops_context *context = guest->desk->host->context;
  const char *level = guest_member(request, "level");
  const char *name = guest_member(request, "script");
  const json_t *count = json_object_get(request, "count");
  int found = IOTOPS_LOG_TRACE;
  if (level != NULL)
    found = iotops_log_level_from(iotops_text_of(level));
  if (found < 0) {
    guest_refuse(guest,
                 "there is no level \"%.40s\": trace, debug, info, warn, error",
                 level);
    return;
  }
  if (name != NULL && guest_script(guest, request) == NULL)
    return;
  guest->level = (iotops_log_level)found;
  iotops_free(context, guest->filter);
  guest->filter = NULL;
  if (name != NULL) {
    size_t size = strlen(name) + 1;
    if ((guest->filter = iotops_zalloc(context, size)) == NULL) {
      guest_answer(guest, NULL);
      return;
    }
    memcpy(guest->filter, name, size);
  }
  send_kept(guest, ring,
            json_is_integer(count) && json_integer_value(count) >= 0
                ? (uint64_t)json_integer_value(count)
                : UINT64_MAX);
  if (!json_is_true(json_object_get(request, "follow"))) {
    guest_answer(guest, json_pack("{s:b}", "ok", 1));
    return;
  }
  guest->follows = true;
  guest->listener = (log_listener){.heard = heard, .user = guest};
  log_ring_listen(ring, &guest->listener);
}

/* ----------------------------------------------------------------- tap -- */

static void tapped(tap *tap, iotops_text message) {
  guest *guest = tap->user;
  text_buffer line;
  text_buffer_init(&line, guest->desk->host->context);
  text_buffer_add(&line, iotops_text_of("{\"message\":"));
  text_buffer_add(&line, (iotops_text){message.data, message.size - 1});
  text_buffer_add(&line, iotops_text_of("}\n"));
  control_stream(guest->client,
                 line.failed ? (iotops_text){"", 0} : text_buffer_text(&line));
  text_buffer_clear(&line);
}

void guest_tap(guest *guest, const json_t *request) {
  script *script = guest_script(guest, request);
  if (script == NULL)
    return;
  guest->tapped = script;
  guest->tap = (tap){.tapped = tapped, .user = guest, .script = script->name};
  tap_begin(&script->client.taps, &guest->tap);
  guest_answer(guest, json_pack("{s:b, s:o}", "ok", 1, "script",
                                status_text(script->name)));
}

void guest_hear_no_more(guest *guest) {
  if (guest->follows)
    log_ring_ignore(&guest->desk->host->records, &guest->listener);
  if (guest->tapped != NULL)
    tap_end(&guest->tapped->client.taps, &guest->tap);
  guest->follows = false;
  guest->tapped = NULL;
}
