#include "protocol/mqtt_outcome.h"

int mqtt_outcome(const iotops_mqtt_result *result, const char *what,
                 iotops_error *err) {
  if (result->error == NULL && result->reason_code < 0x80)
    return 0;
  if (result->error == NULL) {
    iotops_text reason = result->reason_string;
    iotops_error_set(err, IOTOPS_MQTT_ERROR,
                     "the broker refused to %s: %s (0x%02X)%s%.*s", what,
                     iotops_reason_name(result->reason_code),
                     result->reason_code, reason.size > 0 ? ": " : "",
                     (int)(reason.size < 512 ? reason.size : 512),
                     reason.data == NULL ? "" : reason.data);
    if (err != NULL)
      err->reason_code = result->reason_code;
    return -1;
  }
  if (err == NULL)
    return -1;
  *err = *result->error;
  if (err->kind != IOTOPS_CANCELLATION)
    err->kind = IOTOPS_MQTT_ERROR;
  err->is_shallow = false;
  err->is_remote = false;
  return -1;
}
