/* case_state.c -- see case_state.h. */
#include "case_state.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "embed.h"

static char case_key; /* its address is the key in the registry */

static void *count_blocks(void *user, void *block, size_t size) {
  metl_case *one = user;
  if (size == 0) {
    one->blocks -= block != NULL;
    free(block);
    return NULL;
  }
  if (++one->allocations == one->fail_at ||
      (one->fail_every > 0 && one->allocations % one->fail_every == 0)) {
    return NULL;
  }
  one->blocks += block == NULL;
  return metl_resize(block, size);
}

/* The same bytes in every run (xorshift). */
static void same_bytes(void *user, void *bytes, size_t size) {
  metl_case *one = user;
  for (uint8_t *at = bytes; size > 0; size--) {
    one->random ^= one->random << 13;
    one->random ^= one->random >> 7;
    one->random ^= one->random << 17;
    *at++ = (uint8_t)(one->random >> 32);
  }
}

static void print_record(void *user, const iotops_log_record *record) {
  const metl_case *one = user;
  fprintf(stderr, "%8llu %-5s %s: %.*s",
          (unsigned long long)(one->clock.now_ms - one->start_ms),
          iotops_log_level_name(record->level), record->component,
          (int)record->message.size, record->message.data);
  for (size_t i = 0; i < record->field_count; i++) {
    fprintf(stderr, " %s=%.*s", record->fields[i].name,
            (int)record->fields[i].value.size, record->fields[i].value.data);
  }
  fputc('\n', stderr);
}

static int refuse(void *user, iotops_lua_endpoint *endpoint,
                  iotops_error *err) {
  (void)user;
  (void)endpoint;
  return iotops_error_set(err, IOTOPS_INVALID_STATE,
                          "the case has not started yet");
}

static void enter(void *user, lua_State *co, iotops_lua_call *call) {
  (void)user;
  (void)co;
  (void)call;
}

static void leave(void *user, lua_State *co, const iotops_lua_call *call,
                  bool ended, const char *failed) {
  (void)user;
  (void)co;
  (void)call;
  (void)ended;
  (void)failed;
}

static void preload(lua_State *L, const char *name, lua_CFunction open) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

void metl_case_init(metl_case *one) {
  *one = (metl_case){.random = UINT64_C(0x9e3779b97f4a7c15)};
  metl_clock_init(&one->clock);
  one->L = luaL_newstate();
  if (!one->L) {
    abort();
  }
  luaL_openlibs(one->L);
  lua_pushlightuserdata(one->L, one);
  lua_rawsetp(one->L, LUA_REGISTRYINDEX, &case_key);
  preload(one->L, "iotops.core", luaopen_iotops_core);
  preload(one->L, "metl.stub", luaopen_metl_stub);
}

int metl_case_open(metl_case *one, int level, const char *client_id,
                   iotops_error *err) {
  iotops_clock clock = metl_clock_functions(&one->clock);
  iotops_allocator allocator = {.resize = count_blocks, .user = one};
  iotops_context_options options = IOTOPS_CONTEXT_OPTIONS_INIT;
  options.clock = one->clock.real ? NULL : &clock;
  options.allocator = &allocator;
  options.random = same_bytes;
  options.random_user = one;
  if (getenv("METL_LOG")) {
    options.log = print_record;
    options.log_user = one;
    options.log_level = IOTOPS_LOG_DEBUG;
  }
  if (iotops_context_new(&options, &one->context, err) != 0) {
    return -1;
  }
  one->start_ms = iotops_mono_ms(one->context);
  one->stub =
      level == 1
          ? metl_stub_session_new(one->context, &one->clock, client_id, err)
          : metl_stub_broker_new(one->context, &one->clock, client_id, err);
  if (!one->stub || one->stub->ops->connect(one->stub, err) != 0) {
    return -1;
  }
  one->stub->ops->drain(one->stub);
  one->start_ms = iotops_mono_ms(one->context);
  iotops_lua_embedder embedder = {.size = sizeof embedder,
                                  .context = one->context,
                                  .client = metl_case_client(one),
                                  .script = "metl",
                                  .generation = 1,
                                  .declare = refuse,
                                  .enter = enter,
                                  .leave = leave};
  iotops_lua_embed(one->L, &embedder);
  one->embedded = true;
  return 0;
}

void metl_case_close(metl_case *one, metl_bytes *report) {
  one->clock.frozen = false;
  if (one->embedded) {
    iotops_lua_abandon(one->L);
  }
  lua_close(one->L);
  if (one->stub) {
    one->stub->ops->relent(one->stub); /* the case may have broken off */
    one->stub->ops->drain(one->stub);
    one->stub->ops->leftovers(one->stub, report);
    one->stub->ops->free(one->stub, report);
  }
  if (one->context) {
    iotops_context_drain(one->context);
    if (iotops_context_next_due(one->context) != UINT64_MAX) {
      metl_report(report, "a timer is left");
    }
    iotops_context_free(one->context);
    if (one->blocks > 0) {
      metl_report(report, "%zu blocks of memory are left", one->blocks);
    }
  }
}

metl_case *metl_case_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &case_key);
  metl_case *one = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return one;
}
