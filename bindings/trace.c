#include "trace.h"

#include <stdlib.h>
#include <string.h>

#include "gate.h"

/* Of tracestate: what everybody has to pass on, and most of its members. */
enum { STATE_SIZE = 512, STATE_MEMBERS = 32 };

static const char parent_name[] = "traceparent";
static const char state_name[] = "tracestate";

static bool is_named(const iotops_user_property *pair, const char *name) {
  return iotops_text_equal(pair->name, iotops_text_of(name));
}

/* ------------------------------------------------------------- reading -- */

/* `size` lower-case hexadecimal digits, not all of them 0. */
static bool is_id(const char *text, size_t size, bool may_be_zero) {
  bool is_zero = true;
  for (size_t i = 0; i < size; i++) {
    if (strchr("0123456789abcdef", text[i]) == NULL || text[i] == '\0')
      return false;
    is_zero = is_zero && text[i] == '0';
  }
  return may_be_zero || !is_zero;
}

/*
** version-trace-parent-flags.  A later version may have more behind another
** `-`; ff is none.
*/
static bool is_parent(iotops_text text) {
  const char *at = text.data;
  if (text.size < TRACE_PARENT_SIZE || !is_id(at, 2, true) ||
      memcmp(at, "ff", 2) == 0)
    return false;
  bool is_first = memcmp(at, "00", 2) == 0;
  if (text.size > TRACE_PARENT_SIZE &&
      (is_first || at[TRACE_PARENT_SIZE] != '-'))
    return false;
  return at[2] == '-' && is_id(at + TRACE_ID_AT, TRACE_ID_SIZE, false) &&
         at[35] == '-' && is_id(at + TRACE_SPAN_AT, TRACE_SPAN_SIZE, false) &&
         at[52] == '-' && is_id(at + 53, 2, true);
}

/* One `key=value`, without the blanks around it; an empty one is allowed. */
static bool is_member(const char *text, size_t size) {
  size_t key = 0, last = size;
  while (last > 0 && (text[last - 1] == ' ' || text[last - 1] == '\t'))
    last--;
  while (key < last && (text[key] == ' ' || text[key] == '\t'))
    key++;
  if (key == last)
    return true;
  const char *equals = memchr(text + key, '=', last - key);
  if (equals == NULL || equals == text + key || equals + 1 == text + last)
    return false;
  for (const char *at = text + key; at < equals; at++)
    if (*at == '\0' ||
        strchr("0123456789abcdefghijklmnopqrstuvwxyz_-*/@", *at) == NULL)
      return false;
  for (const char *at = equals + 1; at < text + last; at++)
    if (*at < ' ' || *at > '~' || *at == '=')
      return false;
  return true;
}

static bool is_state(const char *text, size_t size) {
  size_t members = 0;
  for (size_t at = 0; at <= size; members++) {
    const char *comma = memchr(text + at, ',', size - at);
    size_t length = comma != NULL ? (size_t)(comma - (text + at)) : size - at;
    if (!is_member(text + at, length))
      return false;
    at += length + 1;
  }
  return size > 0 && members <= STATE_MEMBERS;
}

/* All tracestates in their order, joined as one; 0: none that is valid. */
static size_t read_state(const iotops_user_property *pairs, size_t count,
                         char joined[STATE_SIZE]) {
  size_t size = 0;
  for (size_t i = 0; i < count; i++) {
    iotops_text value = pairs[i].value;
    if (!is_named(&pairs[i], state_name) || value.size == 0)
      continue;
    if (value.size + 1 > STATE_SIZE - size)
      return 0;
    if (size > 0)
      joined[size++] = ',';
    memcpy(joined + size, value.data, value.size);
    size += value.size;
  }
  return is_state(joined, size) ? size : 0;
}

/* Sampled and random; all others are to be sent as 0. */
static char known_flags(char digit) {
  int value = digit <= '9' ? digit - '0' : digit - 'a' + 10;
  return (char)('0' + (value & 3));
}

/* What is to be sent: the trace of `parent`, an operation of our own. */
static void write_parent(iotops_context *context, char text[],
                         const char *parent) {
  static const char digits[] = "0123456789abcdef";
  uint8_t own[8] = {0};
  iotops_random(context, own, sizeof own);
  own[7] |= 1; /* all zero is none */
  memcpy(text, "00-", TRACE_ID_AT);
  memcpy(text + TRACE_ID_AT, parent + TRACE_ID_AT, TRACE_ID_SIZE + 1);
  for (size_t i = 0; i < sizeof own; i++) {
    text[TRACE_SPAN_AT + 2 * i] = digits[own[i] >> 4];
    text[TRACE_SPAN_AT + 2 * i + 1] = digits[own[i] & 15];
  }
  text[52] = '-';
  text[53] = '0';
  text[54] = known_flags(parent[54]);
  text[TRACE_PARENT_SIZE] = '\0';
}

/* A plain Lua is told by its environment. */
static bool takes_part(const iotops_lua *state) {
  const char *named = NULL;
  if (state->embedded)
    return !state->embedder.no_trace_context;
  named = getenv("IOTOPS_TRACE_CONTEXT");
  return named == NULL || strcmp(named, "off") != 0;
}

trace *trace_from(iotops_lua *state, const iotops_user_property *pairs,
                  size_t count) {
  iotops_text parent = {0};
  char joined[STATE_SIZE] = "";
  for (size_t i = 0; i < count; i++) {
    if (!is_named(&pairs[i], parent_name))
      continue;
    if (parent.data != NULL || !is_parent(pairs[i].value))
      return NULL;
    parent = pairs[i].value;
  }
  if (parent.data == NULL || !takes_part(state))
    return NULL;
  size_t size = read_state(pairs, count, joined);
  trace *made = iotops_zalloc(state->context, sizeof *made + size + 1);
  if (made == NULL)
    return NULL;
  made->state_size = size;
  memcpy(made->state, joined, size);
  write_parent(state->context, made->parent, parent.data);
  return made;
}

void trace_push(lua_State *L, const trace *kept) {
  lua_pushlstring(L, (const char *)kept, sizeof *kept + kept->state_size);
}

trace *trace_copy(lua_State *L, int index, iotops_context *context) {
  size_t size = 0;
  const char *kept = lua_tolstring(L, index, &size);
  trace *made = kept != NULL ? iotops_zalloc(context, size + 1) : NULL;
  if (made != NULL)
    memcpy(made, kept, size);
  return made;
}

/* ------------------------------------------------------------- writing -- */

void trace_add(lua_State *L, const iotops_user_property **pairs,
               size_t *count) {
  const call *running = state_of(L)->running_call;
  const trace *own = running != NULL ? running->trace : NULL;
  if (own == NULL)
    return;
  bool has_state = false;
  for (size_t i = 0; i < *count; i++) {
    if (is_named(&(*pairs)[i], parent_name))
      return;
    has_state = has_state || is_named(&(*pairs)[i], state_name);
  }
  luaL_checkstack(L, 1, NULL);
  iotops_user_property *all =
      lua_newuserdatauv(L, (*count + 2) * sizeof *all, 0);
  size_t added = *count;
  if (added > 0)
    memcpy(all, *pairs, added * sizeof *all);
  all[added++] = (iotops_user_property){iotops_text_of(parent_name),
                                        {own->parent, TRACE_PARENT_SIZE}};
  if (own->state_size > 0 && !has_state)
    all[added++] = (iotops_user_property){iotops_text_of(state_name),
                                          {own->state, own->state_size}};
  *pairs = all;
  *count = added;
}

/* traceparent(): what the running handler's messages carry. */
static int trace_get(lua_State *L) {
  const call *running = state_of(L)->running_call;
  const trace *own = running != NULL ? running->trace : NULL;
  if (own == NULL)
    return 0;
  lua_pushlstring(L, own->parent, TRACE_PARENT_SIZE);
  if (own->state_size == 0)
    return 1;
  lua_pushlstring(L, own->state, own->state_size);
  return 2;
}

const core_field trace_fields[] = {{"traceparent", trace_get, false}, {0}};
