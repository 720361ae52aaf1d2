/* reference.c -- the state machine of a session as its specification has it. */
#include "reference.h"

#include <string.h>

enum { RETRY, FATAL, CREDENTIALS };

static int class_of(const char *fatal, const char *credentials, uint8_t code) {
  return strchr(fatal, code)         ? FATAL
         : strchr(credentials, code) ? CREDENTIALS
                                     : RETRY;
}

/* ----------------------------------------------------------- operations -- */

static void over(reference_operation *operation, int answer) {
  if (operation->stage == REFERENCE_OVER)
    return;
  operation->stage = REFERENCE_OVER;
  if (operation->cancelled)
    return;
  operation->answer = answer;
  operation->expected = 1;
}

uint32_t reference_pending(const reference *session, reference_class class,
                           reference_stage stage) {
  uint32_t pending = 0;

  for (uint32_t i = 0; i < session->count; i++)
    pending += session->operations[i].class == class &&
               session->operations[i].stage == stage;
  return pending;
}

bool reference_put(reference *session, reference_class class, bool subscribes) {
  reference_operation *made = &session->operations[session->count];
  bool full = reference_pending(session, class, REFERENCE_QUEUED) >=
              session->limits[class];

  if (session->state == IOTOPS_SESSION_ENDED || (full && !session->when_full))
    return false;
  *made = (reference_operation){.class = class, .subscribes = subscribes};
  if (full && session->when_full == 1)
    over(made, -1);
  for (uint32_t i = 0; full && session->when_full == 2; i++)
    if (session->operations[i].class == class &&
        session->operations[i].stage == REFERENCE_QUEUED) {
      over(&session->operations[i], -1);
      break;
    }
  session->count++;
  return true;
}

void reference_cancel(reference *session, uint32_t number) {
  reference_operation *operation = &session->operations[number];

  if (operation->stage == REFERENCE_OVER || operation->cancelled)
    return;
  operation->answer = -1;
  operation->expected = 1;
  operation->cancelled = true; /* in flight, its answer is swallowed */
  if (operation->stage == REFERENCE_QUEUED)
    operation->stage = REFERENCE_OVER;
}

static bool may_go(const reference *session, uint32_t number, bool dup) {
  const reference_operation *operation = &session->operations[number];
  uint32_t here = 0;

  if (!session->connected || operation->stage == REFERENCE_OVER ||
      dup != (operation->stage == REFERENCE_IN_FLIGHT) || operation->here)
    return false;
  for (uint32_t i = 0; i < session->count; i++) {
    const reference_operation *other = &session->operations[i];

    if (other->class != operation->class || other->stage == REFERENCE_OVER)
      continue;
    here += other->here;
    /* In order of the calls, and what was sent before goes first. */
    if (!other->here && (other->stage > operation->stage ||
                         (other->stage == operation->stage && i < number)))
      return false;
  }
  return operation->class != REFERENCE_QOS1 || here < session->window;
}

bool reference_sent(reference *session, uint32_t number, bool dup) {
  reference_operation *operation = &session->operations[number];

  if (!may_go(session, number, dup))
    return false;
  operation->stage = REFERENCE_IN_FLIGHT;
  operation->here = true;
  if (operation->class == REFERENCE_QOS0)
    over(operation, 0);
  return true;
}

void reference_answered(reference *session, uint32_t number, uint8_t code) {
  over(&session->operations[number], code);
}

bool reference_idles(const reference *session) {
  for (uint32_t i = 0; i < session->count; i++)
    if (may_go(session, i, session->operations[i].stage == REFERENCE_IN_FLIGHT))
      return true;
  return false;
}

/* --------------------------------------------------------------- states -- */

static void end(reference *session, bool bad, int code) {
  if (session->connected)
    session->disconnects++;
  session->connected = false;
  session->state = IOTOPS_SESSION_ENDED;
  session->end_is_bad = bad;
  session->end_code = code;
  for (uint32_t i = 0; i < session->count; i++)
    over(&session->operations[i], -1);
}

static void down(reference *session, uint64_t now, int class, int code) {
  bool stable = now - session->connected_at >= REFERENCE_STABLE_MS;
  uint64_t delay = 60000;

  if (session->state == IOTOPS_SESSION_EXITING) {
    end(session, session->exits, code);
    return;
  }
  session->failures = session->connected && stable ? 0 : session->failures + 1;
  session->fatal =
      class == FATAL || (class == CREDENTIALS && !session->renewable);
  if (session->fatal || (session->most_failures > 0 &&
                         session->failures > session->most_failures)) {
    end(session, true, code);
    return;
  }
  if (session->connected)
    session->disconnects++;
  session->connected = false;
  session->state = IOTOPS_SESSION_WAITING;
  if (session->failures < 9)
    delay = UINT64_C(128) << session->failures;
  if (session->failures == 0)
    delay = 0;
  session->retry_from = now + delay * 9 / 10;
  session->retry_until = now + delay;
  for (uint32_t i = 0; i < session->count; i++) {
    reference_operation *operation = &session->operations[i];

    operation->here = false;
    if (operation->class == REFERENCE_CONTROL &&
        operation->stage == REFERENCE_IN_FLIGHT)
      operation->stage = REFERENCE_QUEUED;
  }
}

void reference_run(reference *session, uint64_t now) {
  if (session->state == IOTOPS_SESSION_NEW)
    reference_connect(session, now);
}

void reference_connect(reference *session, uint64_t now) {
  session->state = IOTOPS_SESSION_CONNECTING;
  session->attempt_at = now;
}

void reference_connack(reference *session, uint64_t now, uint8_t code,
                       bool present, uint32_t window) {
  bool clean = session->clean_start && !session->ever_connected;

  if (session->connected) { /* a second one */
    down(session, now, RETRY, -1);
  } else if (code >= 0x80) {
    down(session, now,
         class_of("\x81\x82\x83\x84\x85\x8a\x8c\x90\x95\x99\x9a\x9b\x9c\x9d",
                  "\x86\x87", code),
         code);
  } else if (code > 0 || (present && clean)) {
    down(session, now, RETRY, -1);
  } else if (!present && session->ever_connected) {
    session->lost = true;
    end(session, true, -1);
  } else {
    session->state = IOTOPS_SESSION_CONNECTED;
    session->connected = session->ever_connected = true;
    session->connected_at = now;
    session->connects++;
    session->window = window;
    session->pong_due = 0;
  }
}

void reference_disconnect(reference *session, uint64_t now, uint8_t code) {
  /* strchr() finds the end of a string for 0. */
  int class = code == 0 ? RETRY
                        : class_of("\x81\x82\x8c\x8e\x8f\x90\x94\x95\x99\x9a"
                                   "\x9b\x9d\x9e\xa1\xa2",
                                   "\x87", code);

  down(session, now, class, code);
}

void reference_cut(reference *session, uint64_t now) {
  down(session, now, RETRY, -1);
}

void reference_leave(reference *session, uint64_t now, bool exits,
                     uint64_t drain) {
  if (session->connected) {
    session->state = IOTOPS_SESSION_EXITING;
    session->exits = exits;
    session->leave_due = now + drain;
    reference_pass(session, now);
  } else if (!exits && session->state != IOTOPS_SESSION_ENDED) {
    end(session, false, -1);
  }
}

void reference_force(reference *session, uint64_t now) {
  if (session->connected)
    reference_leave(session, now, true, 0);
  else if (session->state != IOTOPS_SESSION_ENDED)
    end(session, true, -1);
}

void reference_pass(reference *session, uint64_t now) {
  bool drained = true;

  for (uint32_t i = 0; i < session->count; i++)
    drained = drained && session->operations[i].stage == REFERENCE_OVER;
  if (session->state == IOTOPS_SESSION_EXITING &&
      (drained || now >= session->leave_due))
    end(session, false, -1);
  else if ((session->state == IOTOPS_SESSION_CONNECTING &&
            now >= session->attempt_at + 30000) ||
           (session->connected && session->pong_due > 0 &&
            now >= session->pong_due))
    down(session, now, RETRY, -1);
}
