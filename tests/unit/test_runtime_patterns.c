/*
** Our pattern functions against Lua's own, on random patterns and texts, and
** what only ours do: they can be stopped.  PATTERN_SEED=N replays the seed that
** a failure prints; PATTERN_CASES=N tries more.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lualib.h>

#include "runtime/patterns.h"

/* ----------------------------------------------------------- the states -- */

typedef struct world {
  lua_State *L; /* globals: `string`, which is Lua's, and `ours` */
  unsigned looks, limit;
} world;

static void look(lua_State *L, void *user) {
  world *looked = user;
  if (++looked->looks == looked->limit)
    luaL_error(L, "stopped at a look");
}

static int set_up(void **state) {
  world *made = calloc(1, sizeof *made);
  made->L = luaL_newstate();
  luaL_openlibs(made->L);
  lua_newtable(made->L);
  patterns_open(made->L, look, made);
  lua_setglobal(made->L, "ours");
  *state = made;
  return 0;
}

static int tear_down(void **state) {
  world *used = *state;
  lua_close(used->L);
  free(used);
  return 0;
}

static void run(world *in, const char *text) {
  if (luaL_dostring(in->L, text) != LUA_OK)
    fail_msg("%s", lua_tostring(in->L, -1));
}

/* --------------------------------------------------------------- random -- */

static uint64_t dice;

static uint32_t roll(uint32_t sides) {
  dice += 0x9E3779B97F4A7C15U;
  uint64_t z = dice;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return (uint32_t)(((z ^ (z >> 31)) >> 32) % sides);
}

typedef struct bytes {
  char at[96];
  size_t size;
} bytes;

static void add(bytes *to, const char *from, size_t size) {
  if (to->size + size > sizeof to->at)
    return;
  memcpy(to->at + to->size, from, size);
  to->size += size;
}

static void add_one(bytes *to, char c) {
  add(to, &c, 1);
}

static char any_byte(void) {
  static const char common[] = "aaabbbc1 -.]^%[\n";
  return roll(12) == 0 ? (char)roll(256) : common[roll(sizeof common)];
}

static void add_class(bytes *to) {
  static const char letters[] = "acdglpsuwxzACDGLPSUWXZ.%]^b";
  add_one(to, '%');
  add_one(to, letters[roll(sizeof letters - 1)]);
}

static void add_set(bytes *to) {
  add_one(to, '[');
  if (roll(3) == 0)
    add_one(to, '^');
  if (roll(8) == 0)
    add_one(to, ']');
  for (uint32_t left = roll(4); left > 0; left--)
    switch (roll(4)) {
    case 0:
      add_class(to);
      break;
    case 1:
      add_one(to, any_byte());
      add_one(to, '-');
      add_one(to, any_byte());
      break;
    default:
      add_one(to, any_byte());
    }
  if (roll(30) != 0)
    add_one(to, ']');
}

static void add_item(bytes *to) {
  static const char suffixes[] = "*+-?";
  switch (roll(16)) {
  case 0:
  case 1:
    add_one(to, '.');
    break;
  case 2:
  case 3:
    add_class(to);
    break;
  case 4:
    add_set(to);
    break;
  case 5:
    add(to, "(", 1);
    return;
  case 6:
    add(to, ")", 1);
    return;
  case 7:
    add(to, "()", roll(2) + 1);
    return;
  case 8:
    add_one(to, '%');
    add_one(to, (char)('0' + roll(4)));
    return;
  case 9:
    add(to, "%b", 2);
    add_one(to, any_byte());
    add_one(to, any_byte());
    return;
  case 10:
    add(to, "%f", 2);
    add_set(to);
    return;
  case 11:
    add_one(to, "^$%["[roll(4)]);
    break;
  default:
    add_one(to, any_byte());
  }
  if (roll(2) == 0)
    add_one(to, suffixes[roll(4)]);
}

static void random_pattern(bytes *to) {
  to->size = 0;
  if (roll(6) == 0)
    add_one(to, '^');
  if (roll(20) == 0) { /* nothing but bytes */
    for (uint32_t left = roll(10); left > 0; left--)
      add_one(to, any_byte());
    return;
  }
  bool open = false;
  for (uint32_t left = roll(7); left > 0; left--) {
    if (!open && roll(4) == 0) {
      add_one(to, '(');
      open = true;
    }
    add_item(to);
    if (open && roll(2) == 0) {
      add_one(to, ')');
      open = false;
    }
  }
  if (open && roll(10) != 0)
    add_one(to, ')');
  if (roll(6) == 0)
    add_one(to, '$');
}

static void random_text(bytes *to) {
  to->size = 0;
  for (uint32_t left = roll(14); left > 0; left--)
    add_one(to, any_byte());
}

static void random_replacement(bytes *to) {
  to->size = 0;
  for (uint32_t left = roll(5); left > 0; left--)
    switch (roll(4)) {
    case 0:
      add_one(to, '%');
      add_one(to, (char)('0' + roll(3)));
      break;
    case 1:
      add(to, "%%", 2);
      break;
    case 2:
      add_one(to, any_byte());
      break;
    default:
      add_one(to, 'x');
    }
}

/* ----------------------------------------------------------- comparison -- */

static const char compare_text[] =
    "local theirs, ours = string, ours\n"
    "local function called(...)\n"
    "  local n = select('#', ...)\n"
    "  local first = ...\n"
    "  if n % 2 == 0 then return nil end\n"
    "  return type(first) == 'number' and first or ('<' .. first .. n .. '>')\n"
    "end\n"
    "local named = setmetatable({ a = 'A', b = 2, [1] = 'one', [''] = false "
    "},\n"
    "  { __index = function(_, key) return #tostring(key) > 1 and '*' end })\n"
    "local function all(library, text, pattern, init)\n"
    "  local found = {}\n"
    "  for a, b, c in library.gmatch(text, pattern, init) do\n"
    "    found[#found + 1] = tostring(a) .. '|' .. tostring(b) .. '|' .. "
    "tostring(c)\n"
    "  end\n"
    "  return table.concat(found, ';')\n"
    "end\n"
    "local function same(name, text, pattern, a, b)\n"
    "  local function try(library)\n"
    "    if name == 'gmatch' then\n"
    "      return table.pack(pcall(all, library, text, pattern, a))\n"
    "    end\n"
    "    return table.pack(pcall(library[name], text, pattern, a, b))\n"
    "  end\n"
    "  local wanted, got = try(theirs), try(ours)\n"
    "  local equal = wanted.n == got.n\n"
    "  for i = 1, wanted.n do\n"
    "    equal = equal and wanted[i] == got[i]\n"
    "      and math.type(wanted[i]) == math.type(got[i])\n"
    "  end\n"
    "  if equal then return end\n"
    "  local function show(values)\n"
    "    for i = 1, values.n do values[i] = ('%q'):format(values[i]) end\n"
    "    return table.concat(values, ', ')\n"
    "  end\n"
    "  error(('%s(%q, %q, %s, %s): %s, not %s'):format(name, text, pattern,\n"
    "    tostring(a), tostring(b), show(got), show(wanted)), 0)\n"
    "end\n"
    "return function(text, pattern, replacement, init, most, plain)\n"
    "  same('find', text, pattern, init, plain)\n"
    "  same('match', text, pattern, init)\n"
    "  same('gmatch', text, pattern, init)\n"
    "  same('gsub', text, pattern, replacement, most)\n"
    "  same('gsub', text, pattern, called, most)\n"
    "  same('gsub', text, pattern, named, most)\n"
    "end\n";

static uint64_t number_of(const char *name, uint64_t otherwise) {
  const char *value = getenv(name);
  return value != NULL ? strtoull(value, NULL, 0) : otherwise;
}

static void they_do_what_luas_own_do_on_random_patterns(void **state) {
  lua_State *L = ((world *)*state)->L;
  uint64_t seed = number_of("PATTERN_SEED", (uint64_t)time(NULL));
  uint64_t cases = number_of("PATTERN_CASES", 12000);
  if (luaL_dostring(L, compare_text) != LUA_OK)
    fail_msg("%s", lua_tostring(L, -1));
  for (uint64_t i = 0; i < cases; i++) {
    bytes text, pattern, replacement;
    dice = seed * 1000003U + i;
    random_text(&text);
    random_pattern(&pattern);
    random_replacement(&replacement);
    lua_pushvalue(L, -1);
    lua_pushlstring(L, text.at, text.size);
    lua_pushlstring(L, pattern.at, pattern.size);
    lua_pushlstring(L, replacement.at, replacement.size);
    lua_pushinteger(L, roll(3) != 0 ? 1 : (lua_Integer)roll(40) - 20);
    lua_pushinteger(L, roll(2) != 0 ? 100 : (lua_Integer)roll(5) - 1);
    lua_pushboolean(L, roll(8) == 0);
    if (lua_pcall(L, 6, 0, 0) != LUA_OK)
      fail_msg("PATTERN_SEED=%llu, case %llu: %s", (unsigned long long)seed,
               (unsigned long long)i, lua_tostring(L, -1));
  }
  lua_settop(L, 0);
}

/* What random patterns are unlikely to hit. */
static void they_do_what_luas_own_do_at_the_edges(void **state) {
  run(*state,
      "local cases = {\n"
      "  {'find'}, {'find', 'x'}, {'match', {}, 'x'}, {'gmatch', 'x'},\n"
      "  {'gsub', 'x', 'x'}, {'gsub', 'x', 'x', true},\n"
      "  {'gsub', 'x', 'x', 'y', {}}, {'gsub', 'x', 'x', true, {}},\n"
      "  {'find', 'x', 'x', 'y'}, {'gmatch', 'x', 'x', {}},\n"
      "  {'gsub', 12, 1, 3}, {'find', 121, 2}, {'gsub', 'hello', 'l', 5},\n"
      "  {'gsub', 'x', 'x', {x = print}}, {'gsub', 'x', 'x', {x = {}}},\n"
      "  {'gsub', 'x', 'x', function() error('raised', 0) end},\n"
      "  {'gsub', 'x', 'x', function() error() end},\n"
      "  {'find', 'x', ('()'):rep(32)}, {'find', 'x', ('()'):rep(33)},\n"
      "  {'find', ('a'):rep(300), ('a?'):rep(199)},\n"
      "  {'find', ('a'):rep(300), ('a?'):rep(200)},\n"
      "  {'find', ('a'):rep(9), ('a-'):rep(150) .. '$'},\n"
      "  {'find', 'x', '', 2}, {'find', 'x', '', 3}, {'find', '', ''},\n"
      "  {'find', 'x', 'x', math.mininteger}, {'find', 'x', 'x', "
      "math.maxinteger},\n"
      "  {'gsub', 'abc', '', '-', math.mininteger},\n"
      "  {'find', 'a\\0b\\0', '\\0b\\0', 1, true}, {'find', 'a\\0b', "
      "'[\\0]b'},\n"
      "  {'match', 'x)', 'x)'}, {'match', '', ')'}, {'gsub', 'x', '(', ''},\n"
      "  {'match', '%f', '%f'}, {'match', 'THE (quick) fox', "
      "'%f[%a]%a+%f[%A]', 6},\n"
      "  {'match', 'a(b(c)d)e', '%b()'}, {'match', 'xx', '%bxx'},\n"
      "  {'match', 'key = value', '^(%w+)%s*=%s*(%w+)$'},\n"
      "}\n"
      "for b = 0, 255 do\n"
      "  for c = 32, 126 do\n"
      "    cases[#cases + 1] = {'find', string.char(b), '%' .. "
      "string.char(c)}\n"
      "  end\n"
      "end\n"
      "for i, case in ipairs(cases) do\n"
      "  local wanted = table.pack(pcall(string[case[1]], "
      "table.unpack(case, 2)))\n"
      "  local got = table.pack(pcall(ours[case[1]], "
      "table.unpack(case, 2)))\n"
      "  assert(wanted.n == got.n, i)\n"
      "  for at = 1, wanted.n do\n"
      "    local a, b = wanted[at], got[at]\n"
      "    if type(a) == 'string' then\n"
      "      a, b = a:gsub('string%.', '?.'), b:gsub('string%.', '?.')\n"
      "      a, b = a:gsub(\"'%?%.?%w*'\", '?'), b:gsub(\"'%?%.?%w*'\", "
      "'?')\n"
      "    end\n"
      "    assert(type(a) == 'function' or a == b,\n"
      "      ('%d: %s, not %s'):format(i, tostring(b), tostring(a)))\n"
      "  end\n"
      "end");
}

static void a_match_that_backtracks_without_end_can_be_stopped(void **state) {
  world *in = *state;
  static const char *const texts[] = {
      "return ours.find(('a'):rep(30000), '.-.-.-.-x')",
      "return ours.match(('a'):rep(30000), 'a*a*a*a*b')",
      "return ours.gsub(('a'):rep(30000), 'a-a-a-b', '')",
      "for _ in ours.gmatch(('a'):rep(30000), '(.-)(.-)%1x') do end",
      "return ours.find(('('):rep(300000), '%b()')",
      "return ours.find(('a'):rep(300000), '%f[' .. ('b'):rep(9000) .. ']')",
      "return ours.find(('a'):rep(300000), '[' .. ('b'):rep(90000) .. ']')",
      "return ours.find(('ab'):rep(9000), '(.+).%1c')",
      "return ours.gsub(('a'):rep(90000), '', ('b'):rep(9000))",
      "return ours.gsub(('a'):rep(9000), '()', ('%0'):rep(9000))",
  };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    in->looks = 0;
    in->limit = 200;
    if (luaL_dostring(in->L, texts[i]) == LUA_OK)
      fail_msg("ended after %u looks: %s", in->looks, texts[i]);
    assert_non_null(strstr(lua_tostring(in->L, -1), "stopped at a look"));
    assert_int_equal(in->looks, in->limit);
    lua_settop(in->L, 0);
    in->limit = 0;
  }
}

static void one_that_is_short_is_not_looked_at(void **state) {
  world *in = *state;
  in->looks = 0;
  run(in, "assert(ours.find(('a'):rep(5000) .. 'b', 'a*b') == 1)\n"
          "assert(ours.gsub(('a'):rep(1000), 'a', 'b') == ('b'):rep(1000))");
  assert_int_equal(in->looks, 0);
  run(in, "assert(ours.find(('a'):rep(50000) .. 'b', 'a*b') == 1)");
  assert_in_range(in->looks, 4, 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(
          they_do_what_luas_own_do_on_random_patterns, set_up, tear_down),
      cmocka_unit_test_setup_teardown(they_do_what_luas_own_do_at_the_edges,
                                      set_up, tear_down),
      cmocka_unit_test_setup_teardown(
          a_match_that_backtracks_without_end_can_be_stopped, set_up,
          tear_down),
      cmocka_unit_test_setup_teardown(one_that_is_short_is_not_looked_at,
                                      set_up, tear_down),
  };
  return cmocka_run_group_tests_name("patterns", tests, NULL, NULL);
}
