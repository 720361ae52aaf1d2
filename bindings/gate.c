#include "gate.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "coroutine.h"
#include "error.h"
#include "luv.h"
#include "misuse.h"
#include "trace.h"
#include "wait.h"

enum { SPARE_CALLS = 64 };

/* --------------------------------------------------------------- pool -- */

static int make_thread(lua_State *L) {
  call *made = lua_touserdata(L, 1);
  made->co = lua_newthread(L);
  coroutine_mark(L, made->co, true);
  made->thread_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

call *call_new(iotops_lua *state, iotops_lua_call_kind kind) {
  call *made = state->spare;
  if (made != NULL) {
    state->spare = made->next;
    state->spare_count--;
    made->next = NULL;
  } else {
    if (!lua_checkstack(state->running, 4) ||
        (made = iotops_zalloc(state->context, sizeof *made)) == NULL)
      return NULL;
    made->state = state;
    lua_State *L = state->running;
    lua_pushcfunction(L, make_thread);
    lua_pushlightuserdata(L, made);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
      lua_pop(L, 1);
      iotops_free(state->context, made);
      return NULL;
    }
  }
  made->info = (iotops_lua_call){.kind = kind,
                                 .started_ms = iotops_mono_ms(state->context)};
  made->next = state->calls;
  if (made->next != NULL)
    made->next->previous = made;
  state->calls = made;
  state->call_count++;
  return made;
}

static void call_free(call *dead) {
  iotops_lua *state = dead->state;
  luaL_unref(state->L, LUA_REGISTRYINDEX, dead->thread_ref);
  iotops_free(state->context, dead);
}

/* The call has ended; its coroutine has been emptied. */
static void call_recycle(call *ended) {
  iotops_lua *state = ended->state;
  if (ended->previous != NULL)
    ended->previous->next = ended->next;
  else
    state->calls = ended->next;
  if (ended->next != NULL)
    ended->next->previous = ended->previous;
  state->call_count--;
  iotops_free(state->context, ended->topic);
  iotops_free(state->context, ended->trace);
  bool deaf = ended->deaf;
  call kept = {
      .state = state, .co = ended->co, .thread_ref = ended->thread_ref};
  *ended = kept;
  if (state->closing || deaf || state->spare_count >= SPARE_CALLS) {
    call_free(ended);
    return;
  }
  ended->next = state->spare;
  state->spare = ended;
  state->spare_count++;
}

static void free_list(call **list) {
  while (*list != NULL) {
    call *dead = *list;
    *list = dead->next;
    iotops_free(dead->state->context, dead->topic);
    iotops_free(dead->state->context, dead->trace);
    iotops_free(dead->state->context, dead);
  }
}

void calls_free(iotops_lua *state) {
  free_list(&state->spare);
  free_list(&state->calls);
  state->spare_count = state->call_count = 0;
}

/* ------------------------------------------------------------ logging -- */

void call_log(const call *call, iotops_log_level level, const char *format,
              ...) {
  const iotops_lua *state = call->state;
  if (!iotops_log_enabled(state->context, level))
    return;
  char message[2048], packet[8], generation[24], correlation[37];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  iotops_log_field fields[7];
  iotops_log_record record = {.level = level,
                              .component = "script",
                              .message = iotops_text_of(message),
                              .fields = fields};
  if (state->embedder.script != NULL) {
    snprintf(generation, sizeof generation, "%llu",
             (unsigned long long)state->embedder.generation);
    fields[record.field_count++] = (iotops_log_field){
        "script", iotops_text_of(state->embedder.script), false};
    fields[record.field_count++] =
        (iotops_log_field){"generation", iotops_text_of(generation), true};
  }
  if (call->info.topic.data != NULL)
    fields[record.field_count++] =
        (iotops_log_field){"topic", call->info.topic, false};
  if (call->info.packet_id != 0) {
    snprintf(packet, sizeof packet, "%u", call->info.packet_id);
    fields[record.field_count++] =
        (iotops_log_field){"packet", iotops_text_of(packet), true};
  }
  if (call->info.has_correlation_id) {
    iotops_uuid_text(call->info.correlation_id, correlation);
    fields[record.field_count++] =
        (iotops_log_field){"correlation", iotops_text_of(correlation), false};
  }
  if (call->trace != NULL) {
    const char *parent = call->trace->parent;
    fields[record.field_count++] = (iotops_log_field){
        "trace_id", {parent + TRACE_ID_AT, TRACE_ID_SIZE}, false};
    fields[record.field_count++] = (iotops_log_field){
        "span_id", {parent + TRACE_SPAN_AT, TRACE_SPAN_SIZE}, false};
  }
  iotops_log_fields(state->context, &record);
}

static const char *kind_name(iotops_lua_call_kind kind) {
  switch (kind) {
  case IOTOPS_CALL_MAIN:
    return "main chunk";
  case IOTOPS_CALL_START:
    return "on_start function";
  case IOTOPS_CALL_TELEMETRY:
    return "telemetry handler";
  case IOTOPS_CALL_COMMAND:
    return "command handler";
  case IOTOPS_CALL_TIMER:
    return "timer function";
  case IOTOPS_CALL_SPAWNED:
    return "spawned function";
  case IOTOPS_CALL_LUV:
    return "luv callback";
  case IOTOPS_CALL_HANDOFF:
    return "hand-off";
  case IOTOPS_CALL_CONSOLE:
    return "console's code";
  }
  return "call";
}

/* --------------------------------------------------------------- turn -- */

/*
** luaL_traceback walks a stack from its top for each level that it looks for,
** which takes long when there are hundreds of thousands: of such a stack only
** the innermost levels are shown.
*/
static void push_traceback(lua_State *L, lua_State *co, const char *text) {
  enum { DEEP = 10000, SHOWN = 10 };
  lua_Debug frame;
  if (!lua_getstack(co, DEEP, &frame)) {
    luaL_traceback(L, co, text, 0);
    return;
  }
  lua_pushfstring(L, "%s\nstack traceback:", text);
  for (int level = 0; level < SHOWN && lua_getstack(co, level, &frame);
       level++) {
    lua_getinfo(co, "Sl", &frame);
    lua_pushfstring(L, "\n\t%s:%d:", frame.short_src, frame.currentline);
    lua_concat(L, 2);
  }
  lua_pushfstring(L, "\n\t...\t(more than %d levels)", (int)DEEP);
  lua_concat(L, 2);
}

/* Runs protected: the error at the top of the call's stack, as text. */
static int describe_failure(lua_State *L) {
  call *failed = lua_touserdata(L, 1);
  if (!lua_checkstack(failed->co, 1))
    return luaL_error(L, "stack overflow");
  lua_pushvalue(failed->co, -1);
  lua_xmove(failed->co, L, 1);
  if (failed->state->quiet && is_error(L, -1)) {
    iotops_error cause;
    read_error(L, -1, IOTOPS_EXECUTION_ERROR, &cause);
    failed->cut_short = cause.kind == IOTOPS_CANCELLATION;
  }
  const char *text = luaL_tolstring(L, -1, NULL);
  const iotops_lua_embedder *embedder = &failed->state->embedder;
  if (embedder->explain != NULL) {
    const char *better = embedder->explain(embedder->user, failed->co, text);
    text = better != NULL ? better : text;
  }
  /* One that a script has caught and raised again tells where it was. */
  if (strstr(text, "\nstack traceback:\n") == NULL)
    push_traceback(L, failed->co, text);
  else
    lua_pushstring(L, text);
  return 1;
}

/* A topic points into the message; keep it while the call lives on. */
static void keep_topic(call *waiting) {
  iotops_text *topic = &waiting->info.topic;
  if (topic->data == NULL || waiting->topic != NULL)
    return;
  waiting->topic =
      iotops_resize(waiting->state->context, NULL, topic->size + 1);
  if (waiting->topic == NULL) {
    *topic = (iotops_text){0};
    return;
  }
  memcpy(waiting->topic, topic->data, topic->size);
  topic->data = waiting->topic;
}

static int call_turn(call *turned, int arguments, iotops_error *err) {
  iotops_lua *state = turned->state;
  const iotops_lua_embedder *embedder = &state->embedder;
  lua_State *from = state->running;
  call *outer = state->running_call;
  resume_frame *frames = state->frames;
  int count = 0;
  state->running = turned->co;
  state->running_call = turned;
  state->frames = NULL;
  if (embedder->enter != NULL)
    embedder->enter(embedder->user, turned->co, &turned->info);
  int status = lua_resume(turned->co, from, arguments, &count);
  bool waits = status == LUA_YIELD && wait_is_sentinel(turned->co, count);
  const char *failed = NULL;
  bool described = false;
  if (waits) {
    lua_pop(turned->co, count);
    keep_topic(turned);
    turned->view = NULL;
  } else if (status == LUA_YIELD) {
    failed = "attempt to yield outside a coroutine of the script's own";
  } else if (status != LUA_OK) {
    failed = "out of memory";
    turned->deaf = lua_gethook(turned->co) != NULL;
    state->running = from;
    if (lua_checkstack(from, 8)) {
      lua_pushcfunction(from, describe_failure);
      lua_pushlightuserdata(from, turned);
      described = true;
      /* A __tostring may have raised: then that is what has happened. */
      if (lua_pcall(from, 1, 1, 0) != LUA_ERRMEM &&
          lua_type(from, -1) == LUA_TSTRING)
        failed = lua_tostring(from, -1);
    }
    state->running = turned->co;
  }
  /* A deaf one is left to the collector: nothing would end its __close. */
  if (!waits && !turned->deaf) {
    if (status != LUA_OK)
      lua_resetthread(turned->co);
    lua_settop(turned->co, 0);
  }
  state->running = from;
  state->running_call = outer;
  state->frames = frames;
  if (embedder->leave != NULL)
    embedder->leave(embedder->user, turned->co, &turned->info, !waits, failed);
  if (state->luv != NULL)
    luv_touch(state);
  if (waits)
    return 0;
  int result = 0;
  if (failed != NULL || turned->waiting != NULL)
    waits_abandon(state, turned);
  if (failed != NULL) {
    result = iotops_error_set(err, IOTOPS_EXECUTION_ERROR, "%s", failed);
    if (turned->info.kind != IOTOPS_CALL_MAIN &&
        turned->info.kind != IOTOPS_CALL_HANDOFF &&
        turned->info.kind != IOTOPS_CALL_CONSOLE)
      call_log(turned, turned->cut_short ? IOTOPS_LOG_INFO : IOTOPS_LOG_ERROR,
               "the %s %s: %s", kind_name(turned->info.kind),
               turned->cut_short ? "was cut short" : "failed", failed);
  }
  if (turned->ended != NULL)
    turned->ended(turned, failed);
  call_recycle(turned);
  if (described)
    lua_pop(from, 1);
  return result;
}

int call_begin(call *begun, lua_CFunction body, iotops_error *err) {
  /* A coroutine that has ended has room for these. */
  lua_pushcfunction(begun->co, body);
  lua_pushlightuserdata(begun->co, begun);
  return call_turn(begun, 1, err);
}

int call_begin_function(call *begun, lua_State *L, int arguments,
                        iotops_error *err) {
  if (!lua_checkstack(begun->co, arguments + 1)) {
    lua_pop(L, arguments + 1);
    if (begun->ended != NULL)
      begun->ended(begun, "out of memory");
    call_recycle(begun);
    return iotops_error_memory(err);
  }
  lua_xmove(L, begun->co, arguments + 1);
  return call_turn(begun, arguments, err);
}

void call_go_on(call *waiting) {
  waiting->waiting = NULL;
  call_turn(waiting, 0, NULL);
}

/* Where the call waits, for people: " at FILE:LINE", or "". */
static void describe_place(const call *waiting, char *text, size_t size) {
  lua_Debug frame;
  text[0] = '\0';
  for (int level = 0; lua_getstack(waiting->co, level, &frame) != 0; level++) {
    lua_getinfo(waiting->co, "Sl", &frame);
    if (frame.currentline <= 0 || is_own_file(frame.source))
      continue;
    snprintf(text, size, " at %s:%d", frame.short_src, frame.currentline);
    return;
  }
}

/* What it was to do was asked for by somebody else. */
static bool has_message(const call *given) {
  return given->info.kind == IOTOPS_CALL_TELEMETRY ||
         given->info.kind == IOTOPS_CALL_COMMAND;
}

void call_give_up(call *given, const char *why) {
  iotops_lua *state = given->state;
  const iotops_lua_embedder *embedder = &state->embedder;
  lua_State *from = state->running;
  call *outer = state->running_call;
  resume_frame *frames = state->frames;
  waits_abandon(state, given);
  state->running = given->co;
  state->running_call = given;
  state->frames = NULL;
  if (embedder->enter != NULL)
    embedder->enter(embedder->user, given->co, &given->info);
  lua_resetthread(given->co); /* its __close runs */
  given->deaf = lua_gethook(given->co) != NULL;
  if (!given->deaf)
    lua_settop(given->co, 0);
  state->running = from;
  state->running_call = outer;
  state->frames = frames;
  if (embedder->leave != NULL)
    embedder->leave(embedder->user, given->co, &given->info, true, why);
  if (given->info.kind != IOTOPS_CALL_CONSOLE)
    call_log(given, IOTOPS_LOG_ERROR, "the %s failed: %s",
             kind_name(given->info.kind), why);
  if (given->ended != NULL)
    given->ended(given, why);
  call_recycle(given);
}

void calls_abandon(iotops_lua *state, const iotops_mqtt_client *client) {
  char place[LUA_IDSIZE + 32];
  for (call *next, *given = state->calls; given != NULL; given = next) {
    next = given->next;
    if (given->given_up || (client != NULL && given->client != client))
      continue;
    given->given_up = true;
    waits_abandon(state, given);
    describe_place(given, place, sizeof place);
    call_log(given, has_message(given) ? IOTOPS_LOG_ERROR : IOTOPS_LOG_WARN,
             "the %s has not ended; it is given up%s",
             kind_name(given->info.kind), place);
    if (given->ended != NULL)
      given->ended(given, "the script was stopped or replaced before it ended");
    given->ended = NULL;
    given->subject = NULL;
  }
}

/* ---------------------------------------------------------------- run -- */

int iotops_lua_run(lua_State *L, iotops_lua_call_kind kind, iotops_error *err) {
  iotops_error ignored;
  iotops_lua *state = state_of(L);
  call *begun = call_new(state, kind);
  if (begun == NULL) {
    lua_pop(L, 1);
    return iotops_error_memory(err);
  }
  return call_begin_function(begun, L, 0, err != NULL ? err : &ignored);
}
