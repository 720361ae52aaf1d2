#include "runtime/held.h"

#include <stdio.h>
#include <stdlib.h>

#include "runtime/host.h"

enum {
  LONGEST_PAUSE_MS = 1000,
  FULL_PERCENT = 90 /* of the receive window */
};

/* One look at a script. */
typedef struct glance {
  const script *script;
  const script_state *state;
  uint64_t now_ms;
  uint64_t oldest_ms; /* the `since_ms` of `oldest` */
  bool holds_only;    /* handlers that wait are passed over */
  iotops_lua_held oldest;
  char source[LUA_IDSIZE]; /* of `oldest` */
  const script_state *oldest_in;
  size_t holds; /* of message:hold() */
} glance;

static uint64_t age_of(const glance *at, const iotops_lua_held *held) {
  return at->now_ms > held->since_ms ? at->now_ms - held->since_ms : 0;
}

/* ----------------------------------------------------------- reporting -- */

static void report(const glance *at, const iotops_lua_held *held) {
  char text[512], packet[8], generation[24], where[LUA_IDSIZE + 32] = "";
  if (held->line > 0)
    snprintf(where, sizeof where, " at %s:%d", held->source, held->line);
  snprintf(text, sizeof text,
           held->in_handler
               ? "a message's handler has waited%s for %.3g s: messages behind "
                 "it are not acknowledged"
               : "a message that was held%s is not acknowledged after %.3g s: "
                 "nor are those behind it",
           where, (double)age_of(at, held) / 1000);
  snprintf(packet, sizeof packet, "%u", held->packet_id);
  snprintf(generation, sizeof generation, "%llu",
           (unsigned long long)at->state->generation);
  iotops_log_field fields[4] = {
      {"script", iotops_text_of(at->script->name), false},
      {"generation", iotops_text_of(generation), true},
  };
  iotops_log_record record = {.level = IOTOPS_LOG_WARN,
                              .component = "host",
                              .message = iotops_text_of(text),
                              .fields = fields,
                              .field_count = 2};
  if (held->topic.size > 0)
    fields[record.field_count++] =
        (iotops_log_field){"topic", held->topic, false};
  if (held->packet_id != 0)
    fields[record.field_count++] =
        (iotops_log_field){"packet", iotops_text_of(packet), true};
  iotops_log_fields(at->script->host->context, &record);
}

static void glance_at(void *user, iotops_lua_held *held) {
  glance *at = user;
  uint64_t limit = at->script->host->options.held_age_ms;
  if (!held->in_handler)
    at->holds++;
  if (limit != 0 && !held->reported && age_of(at, held) > limit) {
    held->reported = true;
    report(at, held);
  }
  if (held->in_handler && at->holds_only)
    return;
  if (at->oldest_in == NULL || held->since_ms < at->oldest_ms) {
    at->oldest = *held;
    snprintf(at->source, sizeof at->source, "%s", held->source);
    at->oldest.source = at->source;
    at->oldest_ms = held->since_ms;
    at->oldest_in = at->state;
  }
}

/* How many messages the generations of a script have in hand. */
static size_t glance_through(glance *at) {
  size_t count = 0;
  at->now_ms = iotops_mono_ms(at->script->host->context);
  at->holds = 0;
  at->oldest_in = NULL;
  if ((at->state = at->script->current) != NULL)
    count += iotops_lua_each_held(at->state->L, glance_at, at);
  for (at->state = at->script->draining; at->state != NULL;
       at->state = at->state->next)
    count += iotops_lua_each_held(at->state->L, glance_at, at);
  return count;
}

void script_held(const script *script, size_t *count, uint64_t *oldest_age_ms) {
  glance at = {.script = script};
  *count = glance_through(&at);
  *oldest_age_ms = at.oldest_in != NULL ? age_of(&at, &at.oldest) : 0;
}

/* ------------------------------------------------------------ settling -- */

static void settle(const glance *at, const char *why) {
  const iotops_lua_held *held = &at->oldest;
  char text[512];
  if (held->in_handler && held->line > 0) {
    snprintf(text, sizeof text, "%s:%d: stopped: %s", held->source, held->line,
             why);
    why = text;
  }
  iotops_lua_forget(held, why);
}

static size_t window_of(const host *host) {
  iotops_text text = iotops_settings_get(host->settings, "receive_max");
  return text.data != NULL ? (size_t)strtoul(text.data, NULL, 10) : 0;
}

/* Whether it holds so much of the receive window, and has for long enough. */
static bool is_full(script *script, const glance *at, size_t window) {
  const host_options *options = &script->host->options;
  held_record *held = &script->held;
  if (options->held_share == 0)
    return false;
  size_t percent = at->holds * 100 / window;
  if (percent >= options->held_share && !held->crowded) {
    held->crowded = true;
    script_log(script, script->generation, IOTOPS_LOG_WARN,
               "it holds %zu of the %zu messages that may be unacknowledged; "
               "the oldest since %s:%d, %.3g s ago",
               at->holds, window, at->oldest.source, at->oldest.line,
               (double)age_of(at, &at->oldest) / 1000);
  } else if (percent < options->held_share / 2 + 1) {
    held->crowded = false;
  }
  if (percent < FULL_PERCENT) {
    held->filled_ms = 0;
    return false;
  }
  if (held->filled_ms == 0)
    held->filled_ms = at->now_ms;
  return at->now_ms - held->filled_ms >= options->held_age_ms / 10;
}

/* Whether the script has messages in hand. */
static bool look_at(script *script) {
  const host_options *options = &script->host->options;
  size_t window = window_of(script->host);
  uint64_t longest_ms = 2 * options->held_age_ms;
  char why[64];
  glance at = {.script = script};
  if (glance_through(&at) == 0) {
    script->held = (held_record){0};
    return false;
  }
  while (options->forgotten == HELD_ACKNOWLEDGE && longest_ms != 0 &&
         at.oldest_in != NULL && age_of(&at, &at.oldest) > longest_ms) {
    snprintf(why, sizeof why, "%s for longer than %.3g s",
             at.oldest.in_handler ? "has waited" : "was held",
             (double)longest_ms / 1000);
    settle(&at, why);
    glance_through(&at);
  }
  at.holds_only = true;
  size_t left = glance_through(&at);
  if (window > 0 && is_full(script, &at, window))
    while (options->forgotten == HELD_ACKNOWLEDGE && at.oldest_in != NULL &&
           at.holds * 100 / window >= FULL_PERCENT) {
      settle(&at, "was among too many");
      left = glance_through(&at);
    }
  return left > 0;
}

/* --------------------------------------------------------------- watch -- */

static void start(held_watch *watch) {
  uint64_t pause_ms = watch->host->options.held_age_ms / 10;
  watch->looks = true;
  iotops_timer_start(watch->host->context, &watch->timer,
                     pause_ms == 0 || pause_ms > LONGEST_PAUSE_MS
                         ? LONGEST_PAUSE_MS
                         : pause_ms);
}

static void look(iotops_timer *timer) {
  held_watch *watch = timer->user;
  bool any = false;
  watch->looks = false;
  for (script *at = watch->host->scripts; at != NULL; at = at->next)
    any |= look_at(at);
  if (any)
    held_touch(watch);
}

void held_start(held_watch *watch, host *host) {
  watch->host = host;
  watch->timer.fire = look;
  watch->timer.user = watch;
}

void held_touch(held_watch *watch) {
  if (watch->host == NULL || watch->looks)
    return;
  const host_options *options = &watch->host->options;
  if (options->held_age_ms != 0 || options->held_share != 0)
    start(watch);
}

void held_stop(held_watch *watch) {
  if (watch->host == NULL)
    return;
  iotops_timer_stop(watch->host->context, &watch->timer);
  watch->looks = false;
  watch->host = NULL;
}
