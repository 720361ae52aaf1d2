/* reconnect.c -- classes of reason codes and the backoff. */
#include "session/reconnect.h"

enum { LONGEST_MS = 60000 };

reconnect_class reconnect_class_connack(uint8_t reason_code) {
  switch (reason_code) {
  case 0x81: /* malformed packet */
  case 0x82: /* protocol error */
  case 0x83: /* implementation specific */
  case 0x84: /* unsupported protocol version */
  case 0x85: /* client id not valid */
  case 0x8a: /* banned */
  case 0x8c: /* bad authentication method */
  case 0x90: /* topic name invalid */
  case 0x95: /* packet too large */
  case 0x99: /* payload format invalid */
  case 0x9a: /* retain not supported */
  case 0x9b: /* QoS not supported */
  case 0x9c: /* use another server */
  case 0x9d: /* server moved */
    return RECONNECT_FATAL;
  case 0x86: /* bad user name or password */
  case 0x87: /* not authorized */
    return RECONNECT_CREDENTIALS;
  default:
    return RECONNECT_RETRY;
  }
}

reconnect_class reconnect_class_disconnect(uint8_t reason_code) {
  switch (reason_code) {
  case 0x81: /* malformed packet */
  case 0x82: /* protocol error */
  case 0x8c: /* bad authentication method */
  case 0x8e: /* session taken over */
  case 0x8f: /* topic filter invalid */
  case 0x90: /* topic name invalid */
  case 0x94: /* topic alias invalid */
  case 0x95: /* packet too large */
  case 0x99: /* payload format invalid */
  case 0x9a: /* retain not supported */
  case 0x9b: /* QoS not supported */
  case 0x9d: /* server moved */
  case 0x9e: /* shared subscriptions not supported */
  case 0xa1: /* subscription identifiers not supported */
  case 0xa2: /* wildcard subscriptions not supported */
    return RECONNECT_FATAL;
  case 0x87: /* not authorized */
    return RECONNECT_CREDENTIALS;
  default:
    return RECONNECT_RETRY;
  }
}

void reconnect_connected(reconnect *reconnect, uint64_t now_ms) {
  reconnect->connected_ms = now_ms;
}

uint32_t reconnect_lost(reconnect *reconnect, uint64_t now_ms) {
  if (now_ms - reconnect->connected_ms >= RECONNECT_STABLE_MS)
    reconnect->failures = 0;
  else
    reconnect->failures++;
  return reconnect->failures;
}

uint32_t reconnect_failed(reconnect *reconnect) {
  return ++reconnect->failures;
}

int64_t iotops_reconnect_backoff(void *user, iotops_context *context,
                                 const iotops_reconnect_question *question) {
  uint32_t exponent = question->failures, random;
  double delay = LONGEST_MS;

  (void)user;
  if (question->fatal)
    return -1;
  if (question->failures == 0)
    return 0;
  if (exponent < 9)
    delay = (double)(128u << exponent);
  iotops_random(context, &random, sizeof random);
  return (int64_t)(delay * (0.9 + 0.1 * ((double)random / UINT32_MAX)));
}
