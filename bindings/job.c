/* job.c -- iotops.spawn, on_start and on_stop: functions that begin later. */
#include "gate.h"
#include "misuse.h"
#include "population.h"
#include "timer.h"
#include "trace.h"

typedef struct job job;
/*
** A userdata; its first user value lists function and arguments, the second,
** if it has one, is the trace that it was spawned in.
*/
struct job {
  iotops_lua_call_kind kind;
  bool at_stop; /* is given the reason as well */
  job *next;
};

static int ended_k(lua_State *L, int status, lua_KContext context) {
  (void)L;
  (void)status;
  (void)context;
  return 0;
}

static int job_body(lua_State *L) {
  call *begun = lua_touserdata(L, 1);
  job *taken = begun->user;
  lua_settop(L, 0);
  push_anchored(L, taken);
  drop_anchor(L, taken);
  if (lua_getiuservalue(L, 1, 2) == LUA_TSTRING)
    begun->trace = trace_copy(L, 2, begun->state->context);
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  lua_replace(L, 1);
  lua_getfield(L, 1, "n");
  int count = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  luaL_checkstack(L, count + 1, "too many arguments to spawn");
  for (int i = 1; i <= count; i++)
    lua_rawgeti(L, 1, i);
  lua_remove(L, 1);
  if (taken->at_stop) {
    lua_pushstring(L, begun->state->stop_reason);
    count++;
  }
  lua_callk(L, count - 1, 0, 0, ended_k);
  return 0;
}

static void job_ended(call *ended, const char *failed) {
  (void)failed; /* was logged */
  ended->state->spawned--;
}

static void begin_jobs(iotops_task *task) {
  iotops_lua *state = task->user;
  /* Those spawned by these begin in the next round. */
  job *round = state->jobs;
  state->jobs = NULL;
  state->last_job = &state->jobs;
  while (round != NULL && !state->quiet) {
    job *taken = round;
    round = taken->next;
    taken->next = NULL;
    call *begun = call_new(state, taken->kind);
    if (begun == NULL) {
      iotops_log(state->context, IOTOPS_LOG_ERROR, "script",
                 "a spawned function was not called: out of memory");
      drop_anchor(state->L, taken);
      state->spawned--;
      continue;
    }
    begun->user = taken;
    begun->ended = job_ended;
    call_begin(begun, job_body, NULL);
  }
}

static int add_job(lua_State *L, iotops_lua_call_kind kind) {
  iotops_lua *state = state_of(L);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  int count = lua_gettop(L);
  if (state->quiet)
    return misuse(L, "the script is ending; nothing new can be begun");
  population_bound(L, state, state->spawned, "spawned functions");
  lua_createtable(L, count, 1);
  lua_insert(L, 1);
  for (int i = count; i >= 1; i--)
    lua_rawseti(L, 1, i);
  lua_pushinteger(L, count);
  lua_setfield(L, 1, "n");
  const call *running = state->running_call;
  bool is_traced = running != NULL && running->trace != NULL;
  job *made = lua_newuserdatauv(L, sizeof *made, is_traced ? 2 : 1);
  *made = (job){.kind = kind};
  lua_insert(L, 1);
  lua_setiuservalue(L, 1, 1);
  if (is_traced) {
    trace_push(L, running->trace);
    lua_setiuservalue(L, 1, 2);
  }
  anchor(L, made);
  *state->last_job = made;
  state->last_job = &made->next;
  state->spawned++;
  if (!state->registering)
    iotops_task_soon(state->context, &state->begin_jobs);
  return 0;
}

static int job_spawn(lua_State *L) {
  return add_job(L, IOTOPS_CALL_SPAWNED);
}

static int job_on_start(lua_State *L) {
  return add_job(L, IOTOPS_CALL_START);
}

/* on_stop(run): in the order of the calls. */
static int job_on_stop(lua_State *L) {
  iotops_lua *state = state_of(L);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_createtable(L, 1, 1);
  lua_insert(L, 1);
  lua_rawseti(L, 1, 1);
  lua_pushinteger(L, 1);
  lua_setfield(L, 1, "n");
  job *made = lua_newuserdatauv(L, sizeof *made, 1);
  *made = (job){.kind = IOTOPS_CALL_SPAWNED, .at_stop = true};
  lua_insert(L, 1);
  lua_setiuservalue(L, 1, 1);
  anchor(L, made);
  job **last = &state->stops;
  while (*last != NULL)
    last = &(*last)->next;
  *last = made;
  return 0;
}

static void stop_ended(call *ended, const char *failed) {
  (void)failed; /* was logged */
  ended->state->stop_calls--;
}

void jobs_stop(iotops_lua *state, const char *reason) {
  /* What a handler has spawned is in hand, though it has not begun. */
  begin_jobs(&state->begin_jobs);
  state->stop_reason = reason;
  while (state->stops != NULL) {
    job *taken = state->stops;
    state->stops = taken->next;
    call *begun = call_new(state, taken->kind);
    if (begun == NULL) {
      iotops_log(state->context, IOTOPS_LOG_ERROR, "script",
                 "an on_stop function was not called: out of memory");
      drop_anchor(state->L, taken);
      continue;
    }
    begun->user = taken;
    begun->ended = stop_ended;
    state->stop_calls++;
    call_begin(begun, job_body, NULL);
  }
  begin_jobs(&state->begin_jobs);
}

void jobs_init(iotops_lua *state) {
  state->begin_jobs.run = begin_jobs;
  state->begin_jobs.user = state;
}

void jobs_start(iotops_lua *state) {
  if (state->jobs != NULL)
    iotops_task_soon(state->context, &state->begin_jobs);
}

void jobs_drop(iotops_lua *state) {
  size_t dropped_count = 0;
  iotops_task_cancel(state->context, &state->begin_jobs);
  while (state->jobs != NULL) {
    job *dropped = state->jobs;
    state->jobs = dropped->next;
    drop_anchor(state->L, dropped);
    state->spawned--;
    dropped_count++;
  }
  if (dropped_count > 0 && !state->registering)
    iotops_log(state->context, IOTOPS_LOG_WARN, "script",
               "%zu spawned functions had not begun when the script ended",
               dropped_count);
  state->last_job = &state->jobs;
}

const core_field job_fields[] = {{"spawn", job_spawn, false},
                                 {"on_start", job_on_start, false},
                                 {"on_stop", job_on_stop, false},
                                 {0}};
