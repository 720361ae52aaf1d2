#include "iotops/error.h"

const char *iotops_error_kind_name(iotops_error_kind kind) {
  switch (kind) {
  case IOTOPS_NO_ERROR:
    return "no error";
  case IOTOPS_MISSING_HEADER:
    return "missing header";
  case IOTOPS_INVALID_HEADER:
    return "invalid header";
  case IOTOPS_INVALID_PAYLOAD:
    return "invalid payload";
  case IOTOPS_TIMEOUT:
    return "timeout";
  case IOTOPS_CANCELLATION:
    return "cancellation";
  case IOTOPS_INVALID_CONFIGURATION:
    return "invalid configuration";
  case IOTOPS_INVALID_STATE:
    return "invalid state";
  case IOTOPS_INTERNAL_LOGIC_ERROR:
    return "internal logic error";
  case IOTOPS_UNKNOWN_ERROR:
    return "unknown error";
  case IOTOPS_EXECUTION_ERROR:
    return "execution error";
  case IOTOPS_MQTT_ERROR:
    return "mqtt error";
  case IOTOPS_UNSUPPORTED_VERSION:
    return "unsupported version";
  case IOTOPS_SERVICE_ERROR:
    return "service error";
  case IOTOPS_UNEXPECTED_PAYLOAD:
    return "unexpected payload";
  }
  return "unknown error";
}

/* MQTT v5 section 2.4; 0 is named for what it means in most packets. */
const char *iotops_reason_name(int reason_code) {
  switch (reason_code) {
  case 0x00:
    return "Success";
  case 0x01:
    return "Granted QoS 1";
  case 0x02:
    return "Granted QoS 2";
  case 0x04:
    return "Disconnect with Will Message";
  case 0x10:
    return "No matching subscribers";
  case 0x11:
    return "No subscription existed";
  case 0x18:
    return "Continue authentication";
  case 0x19:
    return "Re-authenticate";
  case 0x80:
    return "Unspecified error";
  case 0x81:
    return "Malformed Packet";
  case 0x82:
    return "Protocol Error";
  case 0x83:
    return "Implementation specific error";
  case 0x84:
    return "Unsupported Protocol Version";
  case 0x85:
    return "Client Identifier not valid";
  case 0x86:
    return "Bad User Name or Password";
  case 0x87:
    return "Not authorized";
  case 0x88:
    return "Server unavailable";
  case 0x89:
    return "Server busy";
  case 0x8A:
    return "Banned";
  case 0x8B:
    return "Server shutting down";
  case 0x8C:
    return "Bad authentication method";
  case 0x8D:
    return "Keep Alive timeout";
  case 0x8E:
    return "Session taken over";
  case 0x8F:
    return "Topic Filter invalid";
  case 0x90:
    return "Topic Name invalid";
  case 0x91:
    return "Packet Identifier in use";
  case 0x92:
    return "Packet Identifier not found";
  case 0x93:
    return "Receive Maximum exceeded";
  case 0x94:
    return "Topic Alias invalid";
  case 0x95:
    return "Packet too large";
  case 0x96:
    return "Message rate too high";
  case 0x97:
    return "Quota exceeded";
  case 0x98:
    return "Administrative action";
  case 0x99:
    return "Payload format invalid";
  case 0x9A:
    return "Retain not supported";
  case 0x9B:
    return "QoS not supported";
  case 0x9C:
    return "Use another server";
  case 0x9D:
    return "Server moved";
  case 0x9E:
    return "Shared Subscriptions not supported";
  case 0x9F:
    return "Connection rate exceeded";
  case 0xA0:
    return "Maximum connect time";
  case 0xA1:
    return "Subscription Identifiers not supported";
  case 0xA2:
    return "Wildcard Subscriptions not supported";
  default:
    return "Unknown reason";
  }
}
