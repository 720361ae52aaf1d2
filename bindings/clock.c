/* clock.c -- hybrid logical clocks of services, and reading their texts. */
#include <string.h>

#include "error.h"
#include "iotops/hlc.h"

static const char class_name[] = "iotops.clock";
static const class_info clock_class;

typedef struct clock { /* a userdata */
  iotops_lua *state;
  iotops_hlc hlc;
} clock;

static iotops_text check_text(lua_State *L, int index) {
  iotops_text text;
  text.data = luaL_checklstring(L, index, &text.size);
  return text;
}

static int push_hlc(lua_State *L, const iotops_hlc *hlc) {
  char text[IOTOPS_HLC_TEXT_SIZE];
  size_t size = iotops_hlc_format(hlc, text);
  lua_pushlstring(L, text, size);
  return 1;
}

/* clock.new(node) */
static int clock_new(lua_State *L) {
  iotops_lua *state = state_of(L);
  iotops_text node = check_text(L, 1);
  luaL_argcheck(L,
                node.size > 0 && node.size < IOTOPS_HLC_NODE_SIZE &&
                    memchr(node.data, ':', node.size) == NULL,
                1, "a short name without a colon expected");
  clock *made = lua_newuserdatauv(L, sizeof *made, 0);
  memset(made, 0, sizeof *made);
  made->state = state;
  memcpy(made->hlc.node, node.data, node.size);
  class_set(L, &clock_class);
  return 1;
}

/* Drift is the caller's to judge: a clock alone cannot know who is wrong. */
static int clock_now(lua_State *L) {
  clock *self = luaL_checkudata(L, 1, class_name);
  iotops_error err;
  int64_t wall = (int64_t)iotops_wall_ms(self->state->context);
  if (iotops_hlc_advance(&self->hlc, wall, UINT64_MAX, &err) != 0)
    return push_failure(L, &err);
  return push_hlc(L, &self->hlc);
}

/* receive(text): past both clocks. */
static int clock_receive(lua_State *L) {
  clock *self = luaL_checkudata(L, 1, class_name);
  iotops_hlc remote;
  iotops_error err;
  int64_t wall = (int64_t)iotops_wall_ms(self->state->context);
  if (iotops_hlc_parse(check_text(L, 2), &remote, &err) != 0 ||
      iotops_hlc_merge(&self->hlc, &remote, wall, UINT64_MAX, &err) != 0)
    return push_failure(L, &err);
  return push_hlc(L, &self->hlc);
}

/* clock.parse(text): milliseconds, counter and node. */
static int clock_parse(lua_State *L) {
  iotops_hlc hlc;
  iotops_error err;
  if (iotops_hlc_parse(check_text(L, 1), &hlc, &err) != 0)
    return push_failure(L, &err);
  lua_pushinteger(L, (lua_Integer)hlc.ms);
  lua_pushinteger(L, (lua_Integer)hlc.counter);
  lua_pushstring(L, hlc.node);
  return 3;
}

/* clock.compare(a, b): below, at or above 0. */
static int clock_compare(lua_State *L) {
  iotops_hlc a, b;
  iotops_error err;
  if (iotops_hlc_parse(check_text(L, 1), &a, &err) != 0 ||
      iotops_hlc_parse(check_text(L, 2), &b, &err) != 0)
    return raise_error(L, &err);
  lua_pushinteger(L, iotops_hlc_compare(&a, &b));
  return 1;
}

/* clock.monotonic(): milliseconds that never go back. */
static int clock_monotonic(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)iotops_mono_ms(state_of(L)->context));
  return 1;
}

/* clock.wall(): Unix time, milliseconds. */
static int clock_wall(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)iotops_wall_ms(state_of(L)->context));
  return 1;
}

static const luaL_Reg methods[] = {
    {"now", clock_now}, {"receive", clock_receive}, {NULL, NULL}};
static const class_info clock_class = {class_name, methods, NULL};

static int make_clock(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"new", clock_new},         {"parse", clock_parse},
      {"compare", clock_compare}, {"monotonic", clock_monotonic},
      {"wall", clock_wall},       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}

const core_field clock_fields[] = {{"clock", make_clock, true}, {0}};
