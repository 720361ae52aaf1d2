/*
** test_lua_plain_data.c -- values that go from one Lua state to another and
** come back the same, or are refused; with memory short at every point.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lualib.h>

#include "plain_data.h"

/* What is left to be allocated; negative: as much as is asked for. */
static long left;

static bool is_short(void) {
  if (left < 0)
    return false;
  if (left == 0)
    return true;
  left--;
  return false;
}

static void *core_memory(void *user, void *block, size_t size) {
  (void)user;
  if (size == 0) {
    free(block);
    return NULL;
  }
  return is_short() ? NULL : realloc(block, size);
}

static void *lua_memory(void *user, void *block, size_t old, size_t size) {
  (void)user;
  if (size == 0) {
    free(block);
    return NULL;
  }
  if ((block == NULL || size > old) && is_short())
    return NULL;
  return realloc(block, size);
}

/* Deep equality, of shared tables too; and random values. */
static const char helpers[] =
    "local function same(a, b, met)\n"
    "  if type(a) ~= 'table' or type(b) ~= 'table' then\n"
    "    return math.type(a) == math.type(b) and (a == b or a ~= a and b ~= "
    "b)\n"
    "  end\n"
    "  if met[a] then return met[a] == b end\n"
    "  met[a] = b\n"
    "  for k, v in next, a do\n"
    "    if not same(v, b[k], met) then return false end\n"
    "  end\n"
    "  for k in next, b do if a[k] == nil then return false end end\n"
    "  return true\n"
    "end\n"
    "function equal(a, b) return same(a, b, {}) end\n"
    "local function value(depth, tables)\n"
    "  local kind = math.random(depth > 5 and 6 or 9)\n"
    "  if kind == 1 then return math.random(0) end\n"
    "  if kind == 2 then return math.random() * 2 ^ math.random(-60, 60) end\n"
    "  if kind == 3 then return math.random(2) == 1 end\n"
    "  if kind == 4 then return ('\\0x'):rep(math.random(0, 40)) end\n"
    "  if kind == 5 then return math.random(3) == 1 and 0/0 or -1/0 end\n"
    "  if kind == 6 then return #tables > 0 and tables[math.random(#tables)] "
    "or 7 end\n"
    "  local t = {}\n"
    "  for i = 1, math.random(0, 6) do t[i] = value(depth + 1, tables) end\n"
    "  for _ = 1, math.random(0, 6) do\n"
    "    local k = value(9, {})\n"
    "    if k == k then t[k] = value(depth + 1, tables) end\n"
    "  end\n"
    "  tables[#tables + 1] = t\n"
    "  return t\n"
    "end\n"
    "function random(seed) math.randomseed(seed) return value(0, {}) end\n";

typedef struct fixture {
  iotops_context *context;
  lua_State *from, *to;
  plain_data data;
} fixture;

static lua_State *new_state(iotops_context *context) {
  iotops_lua_embedder embedder = {.size = sizeof embedder, .context = context};
  lua_State *L = lua_newstate(lua_memory, NULL);
  assert_non_null(L);
  luaL_openlibs(L);
  iotops_lua_embed(L, &embedder);
  luaL_requiref(L, "iotops.core", luaopen_iotops_core, 0);
  lua_pop(L, 1);
  assert_int_equal(luaL_dostring(L, helpers), LUA_OK);
  return L;
}

static int begin(void **state) {
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  static const iotops_allocator allocator = {.resize = core_memory};
  fixture *f = calloc(1, sizeof *f);
  left = -1;
  options.allocator = &allocator;
  if (f == NULL || iotops_context_new(&options, &f->context, NULL) != 0)
    return -1;
  f->from = new_state(f->context);
  f->to = new_state(f->context);
  f->data = (plain_data){.context = f->context,
                         .limit = 1024 * 1024,
                         .name = "what save returned"};
  *state = f;
  return 0;
}

static int end(void **state) {
  fixture *f = *state;
  left = -1;
  plain_data_clear(&f->data);
  lua_close(f->from);
  lua_close(f->to);
  iotops_context_free(f->context);
  free(f);
  return 0;
}

static int write_it(lua_State *L) {
  plain_data_write(L, 2, lua_touserdata(L, 1));
  return 0;
}

static int read_it(lua_State *L) {
  plain_data_read(L, lua_touserdata(L, 1));
  return 1;
}

/* Writes the value at the top, popped; on a failure the message is there. */
static int give(lua_State *L, plain_data *data) {
  plain_data_clear(data);
  lua_pushcfunction(L, write_it);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, data);
  lua_insert(L, -2);
  return lua_pcall(L, 2, 0, 0);
}

static int take(lua_State *L, const plain_data *data) {
  lua_pushcfunction(L, read_it);
  lua_pushlightuserdata(L, (void *)data);
  return lua_pcall(L, 1, 1, 0);
}

static void evaluate(lua_State *L, const char *text) {
  if (luaL_dostring(L, text) != LUA_OK)
    fail_msg("%s", lua_tostring(L, -1));
}

/* What is given to the other state and comes back equals what is at the top. */
static void comes_back(fixture *f) {
  lua_getglobal(f->from, "equal");
  lua_insert(f->from, -2);
  lua_pushvalue(f->from, -1);
  assert_int_equal(give(f->from, &f->data), LUA_OK);
  assert_int_equal(take(f->to, &f->data), LUA_OK);
  assert_int_equal(give(f->to, &f->data), LUA_OK);
  assert_int_equal(take(f->from, &f->data), LUA_OK);
  lua_call(f->from, 2, 1);
  assert_true(lua_toboolean(f->from, -1));
  lua_settop(f->from, 0);
  lua_settop(f->to, 0);
}

static void random_values_come_back_the_same(void **state) {
  fixture *f = *state;
  for (int seed = 1; seed <= 3000; seed++) {
    lua_getglobal(f->from, "random");
    lua_pushinteger(f->from, seed);
    lua_call(f->from, 1, 1);
    comes_back(f);
  }
}

static void each_kind_of_value_comes_back(void **state) {
  static const char *const texts[] = {
      "return nil",
      "return ''",
      "return math.mininteger",
      "return 2^53",
      "return {}",
      "return { [1.5] = 1, [true] = { [false] = '\\0' } }",
      "return { 1, nil, 3, n = 3 }",
      "local a = {} return { a, b = a, c = { a } }"};
  fixture *f = *state;
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    evaluate(f->from, texts[i]);
    if (lua_gettop(f->from) == 0)
      lua_pushnil(f->from);
    comes_back(f);
  }
}

static void null_and_marked_arrays_keep_what_they_are(void **state) {
  fixture *f = *state;
  evaluate(f->from, "local core = require 'iotops.core'\n"
                    "return { a = core.json_array {}, n = core.null }");
  assert_int_equal(give(f->from, &f->data), LUA_OK);
  assert_int_equal(take(f->to, &f->data), LUA_OK);
  lua_setglobal(f->to, "given");
  evaluate(f->to, "local core = require 'iotops.core'\n"
                  "assert(given.n == core.null)\n"
                  "return core.json_encode(given.a)");
  assert_string_equal(lua_tostring(f->to, -1), "[]");
}

static void what_is_not_plain_is_refused_with_its_path(void **state) {
  static const struct {
    const char *text, *says;
  } cases[] = {
      {"return print", "what save returned is a function"},
      {"return { rooms = { a = { cb = print } } }", "rooms.a.cb is a function"},
      {"return { { { io.stdout } } }", "[1][1][1] is a userdata"},
      {"return { ['a b\\n'] = { x = coroutine.create(print) } }",
       "[\"a b?\"].x is a coroutine"},
      {"local t = { a = {} } t.a.b = t return t",
       "a.b is a table that contains itself"},
      {"return { [{}] = 1 }", "what save returned has a table as a key"},
      {"return { x = { [print] = 1 } }", "is a function"},
      {"return { x = setmetatable({}, { __len = print }) }",
       "x has a metatable"},
      {"local t = 1 for _ = 1, 101 do t = { t } end return t",
       "is nested too deep"},
      {"return ('x'):rep(2000000)", "takes more than 1048576 bytes"},
  };
  fixture *f = *state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    evaluate(f->from, cases[i].text);
    assert_int_equal(give(f->from, &f->data), LUA_ERRRUN);
    if (strstr(lua_tostring(f->from, -1), cases[i].says) == NULL)
      fail_msg("\"%s\" does not say \"%s\"", lua_tostring(f->from, -1),
               cases[i].says);
    lua_settop(f->from, 0);
  }
}

static void what_is_nested_as_deep_as_may_be_passes(void **state) {
  fixture *f = *state;
  evaluate(f->from, "local t = 1 for _ = 1, 100 do t = { t } end return t");
  comes_back(f);
}

static void memory_may_be_short_at_any_point(void **state) {
  fixture *f = *state;
  evaluate(f->from, "local a = {} kept = { a, a }\n"
                    "for i = 1, 300 do kept[i + 2] = { i, s = 'x' .. i } end");
  bool given = false, taken = false;
  for (long limit = 0; !given; limit++) {
    lua_getglobal(f->from, "kept");
    left = limit;
    given = give(f->from, &f->data) == LUA_OK;
    left = -1;
    lua_settop(f->from, 0);
  }
  for (long limit = 0; !taken; limit++) {
    left = limit;
    taken = take(f->to, &f->data) == LUA_OK;
    left = -1;
    if (!taken)
      lua_settop(f->to, 0);
  }
  assert_int_equal(lua_rawlen(f->to, -1), 302);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
  const struct CMUnitTest tests[] = {
      TEST(random_values_come_back_the_same),
      TEST(each_kind_of_value_comes_back),
      TEST(null_and_marked_arrays_keep_what_they_are),
      TEST(what_is_not_plain_is_refused_with_its_path),
      TEST(what_is_nested_as_deep_as_may_be_passes),
      TEST(memory_may_be_short_at_any_point),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
