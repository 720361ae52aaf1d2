/*
** guest.h -- one who is connected to the operator's desk, among the files that
** answer him.
**
** Each verb answers with one line, at once or later; operator.h says what it
** holds.
*/
#ifndef RUNTIME_GUEST_H
#define RUNTIME_GUEST_H

#include <jansson.h>

#include "runtime/control.h"
#include "runtime/host.h"
#include "runtime/operator.h"
#include "runtime/tap.h"

typedef struct guest guest;

struct guest {
  operator_desk *desk;    /* borrowed */
  control_client *client; /* borrowed */
  uint64_t number;        /* of the console, too */
  /* Waits for reloads. */
  struct awaited_reload *awaited; /* owned; NULL: for none */
  size_t awaited_count;
  /* Follows the log. */
  bool follows;
  log_listener listener;
  iotops_log_level level;
  char *filter; /* owned; NULL: all scripts */
  /* Taps a script. */
  script *tapped; /* borrowed; NULL: none */
  tap tap;
  /* Evaluates. */
  struct asked_code *code; /* under way; NULL: none */
  script *console;         /* borrowed; where it has globals; NULL: nowhere */
  uint64_t console_generation;
  guest *next;
};

struct operator_desk {
  host *host;       /* borrowed */
  control *control; /* owned */
  guest *guests;
  uint64_t numbers;
  iotops_timer look; /* at reloads that are waited for */
};

/* Answers with the object, which it frees; NULL: memory is short. */
void guest_answer(guest *guest, json_t *json);

void guest_refuse(guest *guest, const char *format, ...) IOTOPS_PRINTF(2, 3);

/* A string of the request; borrowed; NULL: there is none. */
const char *guest_member(const json_t *request, const char *name);

/* The script that the request must name; NULL: was refused. */
script *guest_script(guest *guest, const json_t *request);

/* The verbs. */
void guest_reload(guest *guest, const json_t *request);
void guest_rollback(guest *guest, const json_t *request);
void guest_logs(guest *guest, const json_t *request);
void guest_tap(guest *guest, const json_t *request);
void guest_eval(guest *guest, const json_t *request);

/* The desk's timer: answers reloads that have ended. */
void guest_look_at_reloads(iotops_timer *timer);

/* He has gone: nothing is sent to him any more. */
void guest_hear_no_more(guest *guest);
void guest_close_console(guest *guest);

#endif
