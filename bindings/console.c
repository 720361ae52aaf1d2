/*
** console.c -- code that an operator types, evaluated in a running script.
**
** A console is a table of globals that reads through to the script's: what is
** assigned at the prompt stays there until the console is forgotten.
*/
#include <string.h>

#include "console.h"
#include "gate.h"

enum {
  TEXT_MAX = 64 * 1024, /* of an answer */
  DEPTH = 3,            /* tables within tables that are shown */
  ENTRIES = 50          /* of a table */
};

static const char consoles_key;

typedef struct evaluation {
  iotops_context *context;
  iotops_lua_evaluated done;
  void *user;
  uint64_t console;
  const char *code; /* borrowed; during the first turn */
  size_t size;
  iotops_task ended;
  char *text; /* owned */
  size_t length, room;
  bool cut;
  iotops_lua_verdict verdict;
} evaluation;

/* ---------------------------------------------------------------- text -- */

static void put(evaluation *to, const char *bytes, size_t size) {
  if (to->cut)
    return;
  if (size > TEXT_MAX - to->length) {
    size = TEXT_MAX - to->length;
    to->cut = true;
  }
  if (size > to->room - to->length) {
    size_t room =
        to->room * 2 > to->length + size ? to->room * 2 : to->length + size;
    char *text = iotops_resize(to->context, to->text, room);
    if (text == NULL) {
      to->cut = true;
      return;
    }
    to->text = text;
    to->room = room;
  }
  if (size > 0)
    memcpy(to->text + to->length, bytes, size);
  to->length += size;
}

static void put_string(evaluation *to, const char *string) {
  put(to, string, strlen(string));
}

static void put_quoted(evaluation *to, const char *bytes, size_t size) {
  static const char digits[] = "0123456789abcdef";
  put_string(to, "\"");
  for (size_t i = 0; i < size && !to->cut; i++) {
    unsigned char c = (unsigned char)bytes[i];
    if (c == '"' || c == '\\') {
      char escape[2] = {'\\', (char)c};
      put(to, escape, 2);
    } else if (c == '\n') {
      put_string(to, "\\n");
    } else if (c < 0x20 || c == 0x7F) {
      char escape[4] = {'\\', 'x', digits[c >> 4], digits[c & 15]};
      put(to, escape, 4);
    } else {
      put(to, (const char *)&bytes[i], 1);
    }
  }
  put_string(to, "\"");
}

static void show(lua_State *L, evaluation *to, int index, int depth);

static void show_key(lua_State *L, evaluation *to, int index) {
  size_t size = 0;
  const char *name =
      lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &size) : NULL;
  if (name != NULL && is_lua_name(name, size)) {
    put(to, name, size);
  } else {
    put_string(to, "[");
    show(L, to, index, 0);
    put_string(to, "]");
  }
  put_string(to, " = ");
}

/* The table's entries, those of its sequence first. */
static void show_entries(lua_State *L, evaluation *to, int table, int depth) {
  lua_Integer sequence = (lua_Integer)lua_rawlen(L, table);
  int shown = 0;
  for (lua_Integer i = 1; i <= sequence && shown < ENTRIES; i++, shown++) {
    lua_rawgeti(L, table, i);
    put_string(to, shown > 0 ? ", " : " ");
    show(L, to, lua_gettop(L), depth - 1);
    lua_pop(L, 1);
  }
  lua_pushnil(L);
  while (lua_next(L, table) != 0) {
    lua_Integer at = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
    if (at >= 1 && at <= sequence) {
      lua_pop(L, 1);
      continue;
    }
    if (shown++ >= ENTRIES || to->cut) {
      lua_pop(L, 2);
      put_string(to, ", ...");
      return;
    }
    put_string(to, shown > 1 ? ", " : " ");
    show_key(L, to, lua_gettop(L) - 1);
    show(L, to, lua_gettop(L), depth - 1);
    lua_pop(L, 1);
  }
  put_string(to, shown > 0 ? " " : "");
}

static void show(lua_State *L, evaluation *to, int index, int depth) {
  size_t size = 0;
  luaL_checkstack(L, 8, "too much to show");
  if (lua_type(L, index) == LUA_TSTRING) {
    const char *bytes = lua_tolstring(L, index, &size);
    put_quoted(to, bytes, size);
    return;
  }
  bool speaks = luaL_getmetafield(L, index, "__tostring") != LUA_TNIL;
  if (speaks)
    lua_pop(L, 1);
  if (lua_istable(L, index) && !speaks && depth > 0) {
    put_string(to, "{");
    show_entries(L, to, index, depth);
    put_string(to, "}");
    return;
  }
  const char *text = luaL_tolstring(L, index, &size);
  put(to, text, size);
  lua_pop(L, 1);
}

/* ------------------------------------------------------------- console -- */

/* print in a console: into the answer, as long as there is one. */
static int console_print(lua_State *L) {
  const call *running = state_of(L)->running_call;
  int count = lua_gettop(L);
  if (running == NULL || running->info.kind != IOTOPS_CALL_CONSOLE) {
    lua_getglobal(L, "print");
    lua_insert(L, 1);
    lua_call(L, count, 0);
    return 0;
  }
  for (int i = 1; i <= count; i++) {
    size_t size = 0;
    const char *text = luaL_tolstring(L, i, &size);
    put_string(running->user, i > 1 ? "\t" : "");
    put(running->user, text, size);
    lua_pop(L, 1);
  }
  put_string(running->user, "\n");
  return 0;
}

/* Pushes the globals of a console, made when it is new. */
static void push_console(lua_State *L, uint64_t console) {
  push_anchored(L, &consoles_key);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    anchor(L, &consoles_key);
  }
  if (lua_rawgeti(L, -1, (lua_Integer)console) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushcfunction(L, console_print);
    lua_setfield(L, -2, "print");
    /* What a script has in a local of its own. */
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "iotops");
    lua_setfield(L, -3, "iotops");
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushglobaltable(L);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)console);
  }
  lua_remove(L, -2);
}

/* A call of the console, or of any when it is 0, that waits. */
static call *waiting_call(const iotops_lua *state, uint64_t console) {
  for (call *at = state->calls; at != NULL; at = at->next) {
    const evaluation *made = at->user;
    if (at->info.kind == IOTOPS_CALL_CONSOLE && at->waiting != NULL &&
        (console == 0 || made->console == console))
      return at;
  }
  return NULL;
}

void consoles_give_up(iotops_lua *state, uint64_t console) {
  for (call *at; (at = waiting_call(state, console)) != NULL;)
    call_give_up(at, console != 0
                         ? "nobody waits for it any more"
                         : "the script is being replaced or is ending");
}

void iotops_lua_forget_console(lua_State *L, uint64_t console) {
  if (!lua_checkstack(L, 3))
    return;
  consoles_give_up(state_of(L), console);
  push_anchored(L, &consoles_key);
  if (lua_istable(L, -1)) {
    if (lua_rawgeti(L, -1, (lua_Integer)console) != LUA_TNIL) {
      lua_pushnil(L);
      lua_rawseti(L, -3, (lua_Integer)console);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* ------------------------------------------------------------ evaluate -- */

static bool breaks_off(const char *message, size_t size) {
  static const char mark[] = "<eof>";
  size_t tail = sizeof mark - 1;
  return size >= tail && memcmp(message + size - tail, mark, tail) == 0;
}

/*
** Leaves the code as a function: an expression, else statements; or what is
** wrong with it.
*/
static int compile(lua_State *L, const evaluation *from) {
  luaL_Buffer expression;
  luaL_buffinit(L, &expression);
  luaL_addstring(&expression, "return ");
  luaL_addlstring(&expression, from->code, from->size);
  luaL_pushresult(&expression);
  size_t size = 0;
  const char *text = lua_tolstring(L, -1, &size);
  int status = luaL_loadbufferx(L, text, size, "=console", "t");
  lua_remove(L, -2);
  if (status == LUA_OK)
    return status;
  text = lua_tolstring(L, -1, &size);
  bool unfinished = text != NULL && breaks_off(text, size);
  status = luaL_loadbufferx(L, from->code, from->size, "=console", "t");
  /* Of an expression over several lines the first says more. */
  lua_remove(L, status == LUA_OK || !unfinished ? -2 : -1);
  return status;
}

/* With the console at 1 and the values after it. */
static int evaluated_k(lua_State *L, int status, lua_KContext context) {
  evaluation *done = context_pointer(context);
  int count = lua_gettop(L);
  (void)status;
  for (int i = 2; i <= count; i++) {
    put_string(done, i > 2 ? "\t" : "");
    show(L, done, i, DEPTH);
  }
  if (count > 1)
    put_string(done, "\n");
  done->verdict = IOTOPS_LUA_EVALUATED;
  return 0;
}

static int evaluate_body(lua_State *L) {
  const call *begun = lua_touserdata(L, 1);
  evaluation *made = begun->user;
  lua_settop(L, 0);
  push_console(L, made->console);
  if (compile(L, made) != LUA_OK) {
    size_t size = 0;
    const char *message = luaL_tolstring(L, -1, &size);
    made->verdict = breaks_off(message, size) ? IOTOPS_LUA_INCOMPLETE
                                              : IOTOPS_LUA_NOT_EVALUATED;
    put(made, message, size);
    return 0;
  }
  lua_pushvalue(L, 1);
  if (lua_setupvalue(L, -2, 1) == NULL)
    lua_pop(L, 1);
  lua_callk(L, 0, LUA_MULTRET, (lua_KContext)made, evaluated_k);
  return evaluated_k(L, LUA_OK, (lua_KContext)made);
}

static void tell(iotops_task *task) {
  evaluation *told = task->user;
  iotops_text text = {told->text != NULL ? told->text : "", told->length};
  told->done(told->user, told->verdict, text);
  iotops_free(told->context, told->text);
  iotops_free(told->context, told);
}

static void ended(call *ended_call, const char *failed) {
  evaluation *done = ended_call->user;
  if (failed != NULL) {
    done->verdict = IOTOPS_LUA_NOT_EVALUATED;
    put_string(done, failed);
  }
  if (done->cut) {
    done->cut = false;
    done->length -= done->length > TEXT_MAX - 4 ? 4 : 0;
    put_string(done, "...");
  }
  iotops_task_soon(done->context, &done->ended);
}

int iotops_lua_evaluate(lua_State *L, uint64_t console, iotops_text code,
                        iotops_lua_evaluated done, void *user,
                        iotops_error *err) {
  iotops_lua *state = state_of(L);
  if (state->quiet || state->closing || state->frozen)
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "the script is being replaced or is ending");
  evaluation *made = iotops_zalloc(state->context, sizeof *made);
  call *begun = made != NULL ? call_new(state, IOTOPS_CALL_CONSOLE) : NULL;
  if (begun == NULL) {
    iotops_free(state->context, made);
    return iotops_error_memory(err);
  }
  made->context = state->context;
  made->done = done;
  made->user = user;
  made->console = console;
  made->code = code.data;
  made->size = code.size;
  made->verdict = IOTOPS_LUA_NOT_EVALUATED;
  made->ended.run = tell;
  made->ended.user = made;
  begun->user = made;
  begun->ended = ended;
  /* How it fails, `done` is told. */
  call_begin(begun, evaluate_body, NULL);
  return 0;
}
