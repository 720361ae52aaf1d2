/* session_record.h -- what a session userdata holds. */
#ifndef BINDINGS_SESSION_RECORD_H
#define BINDINGS_SESSION_RECORD_H

#include "iotops/session.h"
#include "wait.h"

typedef struct lua_session lua_session;
struct lua_session {
  iotops_lua *state;
  iotops_mqtt_client *client; /* NULL: closed */
  iotops_session *session;    /* owned; NULL: the client is someone else's */
  iotops_settings *settings;  /* owned, while it is being made */
  iotops_mqtt_observer observer;
  iotops_task begin;
  wait *first;  /* for the connection or, leaving, the end */
  bool leaving; /* exit or detach was called */
  bool ended;
  iotops_error *end_error;      /* owned; NULL: none */
  lua_session *next, *previous; /* in state->sessions */
};

#endif
