#include "testing/recording.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

#include "runtime/message_line.h"
#include "testing/world_lua.h"

static int recording_next(lua_State *L);
static int recording_close(lua_State *L);

static const luaL_Reg methods[] = {
    {"next", recording_next}, {"close", recording_close}, {NULL, NULL}};
static const luaL_Reg meta[] = {
    {"__gc", recording_close}, {"__close", recording_close}, {NULL, NULL}};
static const class_info recording_info = {"iotops.recording", methods, meta};

typedef struct recording { /* a userdata; user value 1 is the path */
  iotops_context *context; /* owned; for memory alone */
  FILE *file;              /* owned */
  message_lines lines;
  iotops_message *message; /* owned; while it is pushed */
} recording;

void recording_push_message(lua_State *L, const iotops_message *message) {
  lua_createtable(L, 0, 12);
  world_set_text(L, "topic", message->topic);
  lua_pushlstring(L, message->payload.data != NULL ? message->payload.data : "",
                  message->payload.size);
  lua_setfield(L, -2, "raw");
  world_set_text(L, "content_type", message->content_type);
  world_set_text(L, "response_topic", message->response_topic);
  world_set_text(L, "correlation_data", message->correlation_data);
  world_set_integer(L, "qos", message->qos);
  if (message->has_expiry)
    world_set_integer(L, "message_expiry", message->expiry_s);
  if (message->format_indicator >= 0)
    world_set_integer(L, "format_indicator", message->format_indicator);
  lua_pushboolean(L, message->retain);
  lua_setfield(L, -2, "retain");
  lua_createtable(L, (int)message->user_property_count, 0);
  for (size_t i = 0; i < message->user_property_count; i++) {
    const iotops_user_property *property = &message->user_properties[i];
    lua_createtable(L, 2, 0);
    lua_pushlstring(L, property->name.data, property->name.size);
    lua_rawseti(L, -2, 1);
    lua_pushlstring(L, property->value.data, property->value.size);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "user_data");
}

static int recording_close(lua_State *L) {
  recording *self = luaL_checkudata(L, 1, recording_info.name);
  if (self->context == NULL)
    return 0;
  iotops_free(self->context, self->message);
  message_lines_clear(&self->lines);
  if (self->file != NULL)
    fclose(self->file);
  iotops_context_free(self->context);
  *self = (recording){0};
  return 0;
}

int recording_open(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  iotops_error err;
  recording *made = lua_newuserdatauv(L, sizeof *made, 1);
  *made = (recording){0};
  class_set(L, &recording_info);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (iotops_context_new(NULL, &made->context, &err) != 0)
    return luaL_error(L, "%s", err.message);
  if ((made->file = fopen(path, "rbe")) == NULL) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", path, strerror(errno));
    return 2;
  }
  message_lines_init(&made->lines, made->context, made->file, path);
  return 1;
}

/*
** next(): the next message with `time_ms`, `direction`, `script` and `line`
** where they are known; nil at the end; nil and why the line cannot be read
*/
static int recording_next(lua_State *L) {
  recording *self = luaL_checkudata(L, 1, recording_info.name);
  message_line line;
  iotops_error err;
  if (self->context == NULL)
    return luaL_error(L, "the recording is closed");
  iotops_free(self->context, self->message);
  self->message = NULL;
  int result = message_lines_next(&self->lines, &self->message, &line, &err);
  if (result <= 0) {
    lua_pushnil(L);
    if (result < 0)
      lua_pushstring(L, err.message);
    return result < 0 ? 2 : 1;
  }
  recording_push_message(L, self->message);
  if (line.has_time)
    world_set_integer(L, "time_ms", line.time_ms);
  if (line.direction != MESSAGE_NO_DIRECTION) {
    lua_pushstring(L, line.direction == MESSAGE_OUT ? "out" : "in");
    lua_setfield(L, -2, "direction");
  }
  if (line.script[0] != '\0')
    world_set_text(L, "script", iotops_text_of(line.script));
  if (line.outcome[0] != '\0')
    world_set_text(L, "outcome", iotops_text_of(line.outcome));
  world_set_integer(L, "line", (lua_Integer)self->lines.number);
  return 1;
}
