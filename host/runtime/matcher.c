#include "runtime/matcher.h"

#include <lauxlib.h>
#include <string.h>

/* -------------------------------------------------------------- classes -- */

enum {
  ALPHA = 1,
  CONTROL = 2,
  DIGIT = 4,
  GRAPH = 8,
  LOWER = 16,
  PUNCT = 32,
  SPACE = 64,
  UPPER = 128,
  HEX = 256,
  ZERO = 512
};

static const uint16_t traits[256] = {
    [0] = CONTROL | ZERO,
    [1 ... 8] = CONTROL,
    [9 ... 13] = CONTROL | SPACE,
    [14 ... 31] = CONTROL,
    [' '] = SPACE,
    ['!' ... '/'] = GRAPH | PUNCT,
    ['0' ... '9'] = GRAPH | DIGIT | HEX,
    [':' ... '@'] = GRAPH | PUNCT,
    ['A' ... 'F'] = GRAPH | ALPHA | UPPER | HEX,
    ['G' ... 'Z'] = GRAPH | ALPHA | UPPER,
    ['[' ... '`'] = GRAPH | PUNCT,
    ['a' ... 'f'] = GRAPH | ALPHA | LOWER | HEX,
    ['g' ... 'z'] = GRAPH | ALPHA | LOWER,
    ['{' ... '~'] = GRAPH | PUNCT,
    [127] = CONTROL,
};

/* The traits that the class of a letter asks for; 0: it names none. */
static uint16_t class_of(unsigned char letter) {
  static const uint16_t classes[26] = {
      ['a' - 'a'] = ALPHA, ['c' - 'a'] = CONTROL, ['d' - 'a'] = DIGIT,
      ['g' - 'a'] = GRAPH, ['l' - 'a'] = LOWER,   ['p' - 'a'] = PUNCT,
      ['s' - 'a'] = SPACE, ['u' - 'a'] = UPPER,   ['w' - 'a'] = ALPHA | DIGIT,
      ['x' - 'a'] = HEX,   ['z' - 'a'] = ZERO,
  };
  unsigned index = (letter | 0x20U) - 'a';
  return (traits[letter] & ALPHA) != 0 ? classes[index] : 0;
}

/* Whether `c` is in the class, or is the byte, that `letter` escaped means. */
static bool escape_takes(unsigned char letter, unsigned char c) {
  uint16_t class = class_of(letter);
  if (class == 0)
    return letter == c;
  return ((traits[c] & class) != 0) == ((traits[letter] & LOWER) != 0);
}

/* ---------------------------------------------------------------- items -- */

/* One element of a pattern that stands for one byte. */
typedef enum item_kind { ITEM_ANY, ITEM_BYTE, ITEM_CLASS, ITEM_SET } item_kind;

typedef struct item {
  item_kind kind;
  bool negated;    /* all but ANY */
  uint16_t traits; /* CLASS */
  unsigned char byte;
  const char *set, *set_end; /* SET: what is between the brackets */
  const char *next;          /* what follows in the pattern */
} item;

static void set_read(matcher *m, const char *p, item *to) {
  const char *end = m->pattern_end;
  to->kind = ITEM_SET;
  p++;
  to->negated = p < end && *p == '^';
  if (to->negated)
    p++;
  to->set = p;
  /* A bracket that comes first is one of the set. */
  for (bool first = true; p < end && (first || *p != ']'); first = false)
    p += *p == '%' && p + 1 < end ? 2 : 1;
  if (p >= end)
    luaL_error(m->L, "malformed pattern (missing ']')");
  to->set_end = p;
  to->next = p + 1;
  if (to->set_end - to->set == 1) {
    to->kind = ITEM_BYTE;
    to->byte = (unsigned char)*to->set;
  }
}

static inline void item_read(matcher *m, const char *p, item *to) {
  to->next = p + 1;
  to->negated = false;
  switch (*p) {
  case '.':
    to->kind = ITEM_ANY;
    return;
  case '[':
    set_read(m, p, to);
    return;
  case '%':
    if (to->next == m->pattern_end)
      luaL_error(m->L, "malformed pattern (ends with '%%')");
    to->next = p + 2;
    to->byte = (unsigned char)p[1];
    to->traits = class_of(to->byte);
    to->kind = to->traits != 0 ? ITEM_CLASS : ITEM_BYTE;
    to->negated = to->traits != 0 && (traits[to->byte] & UPPER) != 0;
    return;
  default:
    to->byte = (unsigned char)*p;
    to->kind = ITEM_BYTE;
  }
}

static bool set_takes(const item *set, unsigned char c) {
  const char *p = set->set, *end = set->set_end;
  while (p < end) {
    unsigned char from = (unsigned char)*p++;
    if (from == '%') {
      if (escape_takes((unsigned char)*p++, c))
        return !set->negated;
    } else if (end - p >= 2 && *p == '-') {
      if (from <= c && c <= (unsigned char)p[1])
        return !set->negated;
      p += 2;
    } else if (from == c) {
      return !set->negated;
    }
  }
  return set->negated;
}

static inline bool takes(const item *one, unsigned char c) {
  switch (one->kind) {
  case ITEM_ANY:
    return true;
  case ITEM_BYTE:
    return (one->byte == c) != one->negated;
  case ITEM_CLASS:
    return ((traits[c] & one->traits) != 0) != one->negated;
  case ITEM_SET:
    break;
  }
  return set_takes(one, c);
}

/* ---------------------------------------------------------------- steps -- */

static void look(matcher *m) {
  m->left = MATCHER_STEPS;
  m->watch->look(m->L, m->watch->user);
}

void matcher_count(matcher *m, size_t steps) {
  if (steps < m->left)
    m->left -= (uint32_t)steps;
  else
    look(m);
}

/* What looking at one byte costs: a set may be as long as a text. */
static inline size_t cost(const item *one) {
  return one->kind == ITEM_SET ? 1 + (size_t)(one->set_end - one->set) / 4 : 1;
}

/* ---------------------------------------------------------------- match -- */

static const char *go(matcher *m, const char *s, const char *p);

/* Where the longest run of bytes that `one` takes ends. */
static const char *run(matcher *m, const item *one, const char *s) {
  const char *end = m->text_end;
  if (one->kind == ITEM_ANY)
    return end;
  size_t each = cost(one);
  for (;;) {
    size_t most = m->left / each + 1;
    const char *begin = s;
    const char *stop = (size_t)(end - s) > most ? s + most : end;
    if (one->kind == ITEM_BYTE)
      while (s < stop && ((unsigned char)*s == one->byte) != one->negated)
        s++;
    else if (one->kind == ITEM_CLASS)
      while (s < stop &&
             ((traits[(unsigned char)*s] & one->traits) != 0) != one->negated)
        s++;
    else
      while (s < stop && set_takes(one, (unsigned char)*s))
        s++;
    matcher_count(m, (size_t)(s - begin) * each);
    if (s < stop || s == end)
      return s;
  }
}

static const char *most_of(matcher *m, const item *one, const char *s,
                           const char *rest) {
  const char *least = s;
  s = run(m, one, s);
  if (rest == m->pattern_end)
    return s;
  for (;; s--) {
    const char *end = go(m, s, rest);
    if (end != NULL || s == least)
      return end;
  }
}

/*
** Reads the item that takes the first byte of every match from `p` on; false
** when there is none, or it is not looked for.  Raises what each of those
** matches would raise.
*/
static bool first_item(matcher *m, const char *p, item *to) {
  const char *end = m->pattern_end;
  int opened = m->captures;
  if (p < end && *p == ')' && opened > 0 &&
      m->capture[opened - 1].size == CAPTURE_OPEN)
    p++;
  for (; p + 1 < end && p[0] == '(' && p[1] != ')'; p++)
    if (opened++ == MATCHER_CAPTURES)
      return false;
  if (p == end || *p == '(' || *p == ')' || *p == '.' || *p == '$')
    return false;
  if (*p == '%' && p + 1 < end &&
      (p[1] == 'b' || p[1] == 'f' || (p[1] >= '0' && p[1] <= '9')))
    return false;
  item_read(m, p, to);
  p = to->next;
  return p == end || (*p != '*' && *p != '?' && *p != '-');
}

static const char *least_of(matcher *m, const item *one, const char *s,
                            const char *rest) {
  size_t each = cost(one);
  item next;
  bool skips = first_item(m, rest, &next);
  for (;; s++) {
    if (!skips || (s < m->text_end && takes(&next, (unsigned char)*s))) {
      const char *end = go(m, s, rest);
      if (end != NULL)
        return end;
    }
    matcher_count(m, each);
    if (s == m->text_end || !takes(one, (unsigned char)*s))
      return NULL;
  }
}

static const char *open_capture(matcher *m, const char *s, const char *p) {
  ptrdiff_t size = CAPTURE_OPEN;
  p++;
  if (p < m->pattern_end && *p == ')') {
    size = CAPTURE_POSITION;
    p++;
  }
  if (m->captures >= MATCHER_CAPTURES)
    luaL_error(m->L, "too many captures");
  m->capture[m->captures].start = s;
  m->capture[m->captures].size = size;
  m->captures++;
  const char *end = go(m, s, p);
  if (end == NULL)
    m->captures--;
  return end;
}

static const char *close_capture(matcher *m, const char *s, const char *p) {
  int last = m->captures - 1;
  while (last >= 0 && m->capture[last].size != CAPTURE_OPEN)
    last--;
  if (last < 0)
    luaL_error(m->L, "invalid pattern capture");
  m->capture[last].size = s - m->capture[last].start;
  const char *end = go(m, s, p + 1);
  if (end == NULL)
    m->capture[last].size = CAPTURE_OPEN;
  return end;
}

/* `%1` to `%9`; what follows the capture's text at `s`, or NULL. */
static const char *again(matcher *m, const char *s, char digit) {
  int index = digit - '1';
  if (index < 0 || index >= m->captures ||
      m->capture[index].size == CAPTURE_OPEN) {
    luaL_error(m->L, "invalid capture index %%%d", index + 1);
    return NULL;
  }
  ptrdiff_t size = m->capture[index].size;
  if (size < 0 || size > m->text_end - s)
    return NULL;
  matcher_count(m, (size_t)size / 8);
  return memcmp(m->capture[index].start, s, (size_t)size) == 0 ? s + size
                                                               : NULL;
}

/* `%bxy`, with `p` at x; what follows the closing y, or NULL. */
static const char *balanced(matcher *m, const char *s, const char *p) {
  if (m->pattern_end - p < 2)
    luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
  if (s == m->text_end || *s != p[0])
    return NULL;
  size_t open = 1;
  const char *counted = s;
  for (s++; s < m->text_end; s++) {
    if (s - counted == MATCHER_STEPS / 2) {
      matcher_count(m, MATCHER_STEPS / 2);
      counted = s;
    }
    if (*s == p[1]) {
      if (--open == 0)
        break;
    } else if (*s == p[0]) {
      open++;
    }
  }
  matcher_count(m, (size_t)(s - counted));
  return s < m->text_end ? s + 1 : NULL;
}

/* `%f[set]`, with `p` at the bracket; what follows it, or NULL. */
static const char *frontier(matcher *m, const char *s, const char *p) {
  item set;
  if (p >= m->pattern_end || *p != '[')
    luaL_error(m->L, "missing '[' after '%%f' in pattern");
  set_read(m, p, &set);
  matcher_count(m, 2 * cost(&set));
  unsigned char before = s > m->text ? (unsigned char)s[-1] : '\0';
  unsigned char after = s < m->text_end ? (unsigned char)*s : '\0';
  return !takes(&set, before) && takes(&set, after) ? set.next : NULL;
}

/* Matches from `p` on at `s`, or NULL with the captures as they were. */
static const char *go_on(matcher *m, const char *s, const char *p) {
  const char *end = m->pattern_end;
  while (p < end) {
    item one;
    switch (*p) {
    case '(':
      return open_capture(m, s, p);
    case ')':
      return close_capture(m, s, p);
    case '$':
      if (p + 1 == end)
        return s == m->text_end ? s : NULL;
      break;
    case '%':
      if (p + 1 == end)
        break;
      if (p[1] == 'b') {
        if ((s = balanced(m, s, p + 2)) == NULL)
          return NULL;
        p += 4;
        continue;
      }
      if (p[1] == 'f') {
        if ((p = frontier(m, s, p + 2)) == NULL)
          return NULL;
        continue;
      }
      if (p[1] >= '0' && p[1] <= '9') {
        if ((s = again(m, s, p[1])) == NULL)
          return NULL;
        p += 2;
        continue;
      }
      break;
    default:
      break;
    }
    item_read(m, p, &one);
    matcher_count(m, cost(&one));
    char suffix = one.next < end ? *one.next : '\0';
    bool fits = s < m->text_end && takes(&one, (unsigned char)*s);
    switch (suffix) {
    case '*':
    case '-':
      p = one.next + 1;
      if (!fits)
        continue;
      return suffix == '*' ? most_of(m, &one, s, p) : least_of(m, &one, s, p);
    case '+':
      return fits ? most_of(m, &one, s + 1, one.next + 1) : NULL;
    case '?':
      p = one.next + 1;
      if (fits) {
        const char *found = go(m, s + 1, p);
        if (found != NULL)
          return found;
      }
      continue;
    default:
      if (!fits)
        return NULL;
      s++;
      p = one.next;
    }
  }
  return s;
}

static const char *go(matcher *m, const char *s, const char *p) {
  if (++m->depth > MATCHER_DEPTH)
    luaL_error(m->L, "pattern too complex");
  s = go_on(m, s, p);
  m->depth--;
  return s;
}

/* ------------------------------------------------------------- outside -- */

void matcher_init(matcher *m, lua_State *L, const matcher_watch *watch,
                  const char *text, size_t text_size, const char *pattern,
                  size_t pattern_size) {
  m->L = L;
  m->watch = watch;
  m->text = text;
  m->text_end = text + text_size;
  m->pattern = pattern;
  m->pattern_end = pattern + pattern_size;
  m->left = MATCHER_STEPS;
  m->depth = 0;
  m->captures = 0;
}

const char *matcher_match(matcher *m, const char *at) {
  m->depth = 0;
  m->captures = 0;
  return go(m, at, m->pattern);
}

/* The first byte from `s` on that `one` takes; the text's end: none. */
static const char *first_taken(matcher *m, const item *one, const char *s) {
  const char *end = m->text_end;
  if (one->kind == ITEM_BYTE && !one->negated) {
    const char *found = memchr(s, one->byte, (size_t)(end - s));
    found = found != NULL ? found : end;
    matcher_count(m, (size_t)(found - s) / 16);
    return found;
  }
  size_t each = cost(one);
  for (;;) {
    size_t most = m->left / each + 1;
    const char *begin = s;
    const char *stop = (size_t)(end - s) > most ? s + most : end;
    while (s < stop && !takes(one, (unsigned char)*s))
      s++;
    matcher_count(m, (size_t)(s - begin) * each);
    if (s < stop || s == end)
      return s;
  }
}

const char *matcher_find(matcher *m, const char *at, const char **end) {
  item first;
  m->captures = 0;
  bool skips = first_item(m, m->pattern, &first);
  for (;; at++) {
    if (skips) {
      at = first_taken(m, &first, at);
      if (at == m->text_end)
        return NULL;
    }
    if ((*end = matcher_match(m, at)) != NULL)
      return at;
    if (at == m->text_end)
      return NULL;
  }
}

const char *matcher_search(const char *text, size_t size, const char *wanted,
                           size_t wanted_size) {
  /* A rare first byte is found fastest by itself. */
  for (int tries = 8; tries > 0 && wanted_size <= size; tries--) {
    if (wanted_size == 0)
      return text;
    const char *found = memchr(text, *wanted, size - wanted_size + 1);
    if (found == NULL || memcmp(found, wanted, wanted_size) == 0)
      return found;
    size -= (size_t)(found + 1 - text);
    text = found + 1;
  }
  return memmem(text, size, wanted, wanted_size);
}

void matcher_push(matcher *m, int index, const char *begin, const char *end) {
  if (index >= m->captures) {
    if (index != 0)
      luaL_error(m->L, "invalid capture index %%%d", index + 1);
    lua_pushlstring(m->L, begin, (size_t)(end - begin));
    return;
  }
  const char *start = m->capture[index].start;
  ptrdiff_t size = m->capture[index].size;
  if (size == CAPTURE_POSITION) {
    lua_pushinteger(m->L, start - m->text + 1);
    return;
  }
  if (size == CAPTURE_OPEN)
    luaL_error(m->L, "unfinished capture");
  lua_pushlstring(m->L, start, (size_t)size);
}

int matcher_push_all(matcher *m, const char *begin, const char *end) {
  int count = m->captures > 0 ? m->captures : 1;
  luaL_checkstack(m->L, count, "too many captures");
  for (int i = 0; i < count; i++)
    matcher_push(m, i, begin, end);
  return count;
}
