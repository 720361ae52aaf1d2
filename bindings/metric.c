/* metric.c -- iotops.counter and gauge. */
#include "metric.h"

#include <math.h>
#include <string.h>

#include "misuse.h"

enum { NAME_MAX_SIZE = 100, HELP_MAX_SIZE = 500 };

typedef struct metric metric;
struct metric { /* a userdata, kept in the table under `names_key` */
  iotops_lua *state;
  iotops_lua_kept_metric *kept; /* the embedder's; NULL: `value` counts */
  double value; /* while nothing is kept: all of it, or what was added */
  bool was_set; /* a gauge's value is no addition */
  bool is_gauge;
  metric *next;     /* in state->metrics */
  const char *help; /* within `name`, behind its end */
  char name[];
};

static const char counter_class[] = "iotops.counter";
static const char gauge_class[] = "iotops.gauge";
static const char names_key;

/* ------------------------------------------------------------- keeping -- */

static iotops_lua_kept_metric *ask(const metric *asked, bool claims) {
  const iotops_lua_embedder *embedder = &asked->state->embedder;
  iotops_lua_metric meant = {.name = asked->name,
                             .help = asked->help,
                             .is_gauge = asked->is_gauge,
                             .claims = claims};
  return embedder->keep_metric != NULL
             ? embedder->keep_metric(embedder->user, &meant)
             : NULL;
}

/* What was done before there was a record goes into it. */
static void claim(metric *claimed) {
  const iotops_lua *state = claimed->state;
  iotops_lua_kept_metric *kept = ask(claimed, true);
  if (kept == NULL) {
    if (state->embedder.keep_metric != NULL)
      iotops_log(state->context, IOTOPS_LOG_ERROR, "script",
                 "out of memory: %s will not survive a reload", claimed->name);
    return;
  }
  kept->value =
      claimed->was_set ? claimed->value : kept->value + claimed->value;
  kept->users++;
  claimed->kept = kept;
}

void metrics_start(iotops_lua *state) {
  for (metric *each = state->metrics; each != NULL; each = each->next)
    claim(each);
}

static double value_of(const metric *read) {
  if (read->kept != NULL)
    return read->kept->value;
  if (!read->state->registering || read->was_set)
    return read->value;
  const iotops_lua_kept_metric *before = ask(read, false);
  return read->value + (before != NULL ? before->value : 0);
}

/* ---------------------------------------------------------------- using -- */

static metric *check_metric(lua_State *L) {
  metric *given = luaL_testudata(L, 1, gauge_class);
  return given != NULL ? given : luaL_checkudata(L, 1, counter_class);
}

static int metric_add(lua_State *L) {
  metric *added = check_metric(L);
  double amount = luaL_optnumber(L, 2, 1);
  luaL_argcheck(L, isfinite(amount), 2, "a finite number expected");
  luaL_argcheck(L, amount >= 0 || added->is_gauge, 2,
                "a counter does not go down");
  *(added->kept != NULL ? &added->kept->value : &added->value) += amount;
  return 0;
}

static int gauge_set(lua_State *L) {
  metric *set = luaL_checkudata(L, 1, gauge_class);
  double value = luaL_checknumber(L, 2);
  luaL_argcheck(L, isfinite(value), 2, "a finite number expected");
  set->was_set = true;
  *(set->kept != NULL ? &set->kept->value : &set->value) = value;
  return 0;
}

static int metric_get(lua_State *L) {
  double value = value_of(check_metric(L));
  lua_Integer whole;
  if (lua_numbertointeger(value, &whole) && (double)whole == value)
    lua_pushinteger(L, whole);
  else
    lua_pushnumber(L, value);
  return 1;
}

static int metric_tostring(lua_State *L) {
  const metric *shown = check_metric(L);
  lua_pushfstring(L, "%s %s (%f)", shown->is_gauge ? "gauge" : "counter",
                  shown->name, (lua_Number)value_of(shown));
  return 1;
}

/* The state closes: until then the table of names has it. */
static int metric_gc(lua_State *L) {
  metric *dead = lua_touserdata(L, 1);
  if (dead->kept != NULL)
    dead->kept->users--;
  dead->kept = NULL;
  return 0;
}

static const luaL_Reg counter_methods[] = {
    {"add", metric_add}, {"get", metric_get}, {NULL, NULL}};
static const luaL_Reg gauge_methods[] = {
    {"add", metric_add}, {"set", gauge_set}, {"get", metric_get}, {NULL, NULL}};
static const luaL_Reg meta[] = {
    {"__gc", metric_gc}, {"__tostring", metric_tostring}, {NULL, NULL}};
static const class_info counter_info = {counter_class, counter_methods, meta};
static const class_info gauge_info = {gauge_class, gauge_methods, meta};

/* --------------------------------------------------------------- making -- */

static const char *check_name(lua_State *L, const char *form) {
  size_t size;
  const char *name = luaL_checklstring(L, 1, &size);
  size_t good = strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789"
                             "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
  if (size == 0 || good != size || (name[0] >= '0' && name[0] <= '9'))
    misuse(L, "%s: a name of letters, digits and _ expected", form);
  if (size > NAME_MAX_SIZE)
    misuse(L, "%s: a name of at most %d characters expected", form,
           NAME_MAX_SIZE);
  return name;
}

/* Pushes the table of names, made when there is a first one. */
static void push_names(lua_State *L) {
  push_anchored(L, &names_key);
  if (!lua_isnil(L, -1))
    return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  anchor(L, &names_key);
}

static int make(lua_State *L, bool is_gauge) {
  const char *form = is_gauge ? "gauge" : "counter";
  iotops_lua *state = state_of(L);
  size_t help_size = 0;
  const char *name = check_name(L, form);
  const char *help = luaL_optlstring(L, 2, "", &help_size);
  if (help_size > HELP_MAX_SIZE || strlen(help) != help_size)
    return misuse(L, "%s: a help text of at most %d bytes expected", form,
                  HELP_MAX_SIZE);
  lua_settop(L, 2);
  push_names(L);
  lua_pushvalue(L, 1);
  if (lua_rawget(L, 3) != LUA_TNIL) {
    const metric *known = lua_touserdata(L, -1);
    if (known->is_gauge != is_gauge)
      return misuse(L, "%s: %s is a %s already", form, name,
                    known->is_gauge ? "gauge" : "counter");
    return 1;
  }
  if (state->metric_count >= IOTOPS_LUA_METRICS_MAX)
    return misuse(L, "%s: a script has at most %d counters and gauges", form,
                  IOTOPS_LUA_METRICS_MAX);
  size_t name_size = strlen(name) + 1;
  metric *made =
      lua_newuserdatauv(L, sizeof *made + name_size + help_size + 1, 0);
  *made = (metric){.state = state, .is_gauge = is_gauge};
  memcpy(made->name, name, name_size);
  made->help = memcpy(made->name + name_size, help, help_size + 1);
  class_set(L, is_gauge ? &gauge_info : &counter_info);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, -2);
  lua_rawset(L, 3);
  made->next = state->metrics;
  state->metrics = made;
  state->metric_count++;
  if (!state->registering)
    claim(made);
  return 1;
}

static int metric_counter(lua_State *L) {
  return make(L, false);
}

static int metric_gauge(lua_State *L) {
  return make(L, true);
}

const core_field metric_fields[] = {
    {"counter", metric_counter, false}, {"gauge", metric_gauge, false}, {0}};
