/* session_auth.c -- credentials in CONNECT and AUTH (session.md section 2). */
#include <string.h>

#include "session/session_fields.h"

static const char method[] = "K8S-SAT";

enum { AUTH_SUCCESS = 0x00, AUTH_CONTINUE = 0x18, AUTH_AGAIN = 0x19 };

static void forget_token(iotops_session *session) {
  if (session->token.data) {
    explicit_bzero((void *)session->token.data, session->token.size);
    iotops_free(session->context, (void *)session->token.data);
  }
  session->token = (iotops_text){0};
}

/* Keeps the token for an AUTH that asks for it again. */
static bool keep_token(iotops_session *session, iotops_text token) {
  char *copy = iotops_resize(session->context, NULL, token.size + 1);

  if (!copy)
    return false;
  forget_token(session);
  memcpy(copy, token.data, token.size);
  session->token = (iotops_text){copy, token.size};
  return true;
}

static void token_changed(void *user) {
  session_auth_check(user);
}

int session_auth_begin(iotops_session *session, iotops_error *err) {
  packet_connect *connect = &session->connect;
  credentials_view view;

  if (!session->credentials &&
      credentials_open(session->context, session->config.settings,
                       token_changed, session, &session->credentials, err) != 0)
    return -1;
  if (credentials_for_connect(session->credentials, &view, err) != 0)
    return -1;
  connect->username = view.username;
  connect->password = view.password;
  if (!view.token.data)
    return 0;
  if (!keep_token(session, view.token))
    return iotops_error_memory(err);
  connect->auth_method = iotops_text_of(method);
  connect->auth_data = session->token;
  return 0;
}

static void send_auth(iotops_session *session, uint8_t reason) {
  packet_buffer *out = packet_filter_begin(&session->filter);

  packet_write_auth(out, reason, iotops_text_of(method), session->token);
  packet_filter_end(&session->filter);
  session_flush_later(session);
}

void session_auth_check(iotops_session *session) {
  iotops_text token;

  if (!session->connected || session->auth_pending ||
      session->leaving != SESSION_STAYS || !session->credentials ||
      !session->token.data ||
      !credentials_next_token(session->credentials, &token))
    return;
  if (!keep_token(session, token))
    return; /* found again at the next look */
  iotops_log(session->context, IOTOPS_LOG_DEBUG, "session",
             "authenticating again with a new token");
  session->auth_pending = true;
  session->auth_repeated = false;
  send_auth(session, AUTH_AGAIN);
  iotops_timer_start(session->context, &session->auth, SESSION_AUTH_MS);
}

static void exchange_over(iotops_session *session) {
  session->auth_pending = session->auth_repeated = false;
  iotops_timer_stop(session->context, &session->auth);
}

/* The broker wants the token once more: once an exchange is all it gets. */
static void repeat_token(iotops_session *session) {
  if (session->auth_repeated) {
    session_refuse(session, PACKET_PROTOCOL_ERROR,
                   "the broker asked for the token once too often");
    return;
  }
  session->auth_repeated = true;
  send_auth(session, AUTH_CONTINUE);
  /* Before CONNACK nothing else writes. */
  if (!session->connected)
    session_write(session);
}

void session_auth_packet(iotops_session *session, const packet_reply *reply) {
  bool connecting = !session->connected;
  bool expected = connecting || session->auth_pending;

  if (reply->auth_method.data &&
      !iotops_text_equal(reply->auth_method, iotops_text_of(method))) {
    session_refuse(session, PACKET_PROTOCOL_ERROR,
                   "an AUTH with a foreign method");
    return;
  }
  if (reply->reason_code == AUTH_CONTINUE && expected && session->token.data) {
    repeat_token(session);
  } else if (reply->reason_code == AUTH_SUCCESS && !connecting) {
    if (!session->auth_pending) {
      iotops_log(session->context, IOTOPS_LOG_WARN, "session",
                 "the broker sent an AUTH that nobody had asked for");
      return;
    }
    iotops_log(session->context, IOTOPS_LOG_DEBUG, "session",
               "the broker took the new token");
    session->metrics.reauths_ok++;
    exchange_over(session);
    session_auth_check(session);
  } else {
    session_refuse(session, PACKET_PROTOCOL_ERROR, "an unexpected AUTH");
  }
}

void session_auth_missing(iotops_timer *timer) {
  iotops_session *session = timer->user;

  iotops_log(session->context, IOTOPS_LOG_WARN, "session",
             "the broker did not answer the new token within %d s",
             SESSION_AUTH_MS / 1000);
  session->metrics.reauths_failed++;
  exchange_over(session);
  session_auth_check(session);
}

void session_auth_reset(iotops_session *session) {
  if (session->auth_pending)
    session->metrics.reauths_failed++;
  exchange_over(session);
}

void session_auth_close(iotops_session *session) {
  credentials_close(session->credentials);
  session->credentials = NULL;
  forget_token(session);
}
