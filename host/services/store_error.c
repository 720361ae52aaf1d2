#include "services/store_error.h"

#include <string.h>

static const struct {
  const char *kind;
  const char *text;
} refusals[] = {
    {"timestamp_skew",
     "the request timestamp is too far in the future; ensure that the client "
     "and broker system clocks are synchronized"},
    {"missing_fencing_token", "a fencing token is required for this request"},
    {"fencing_token_skew",
     "the request fencing token timestamp is too far in the future; ensure "
     "that the client and broker system clocks are synchronized"},
    {"fencing_token_lower_version",
     "the request fencing token is a lower version than the fencing token "
     "protecting the resource"},
    /* As the public page of the store spells it. */
    {"fencing_token_lower_version",
     "the request fencing token is a lower version that the fencing token "
     "protecting the resource"},
    {"key_quota_exceeded", "the quota has been exceeded"},
    {"syntax_error", "syntax error"},
    {"not_authorized", "not authorized"},
    {"unknown_command", "unknown command"},
    {"wrong_number_of_arguments", "wrong number of arguments"},
    {"timestamp_missing", "missing timestamp"},
    {"timestamp_malformed", "malformed timestamp"},
    {"key_length_zero", "the key length is zero"},
};

enum { REFUSALS = sizeof refusals / sizeof *refusals };

static const char *refusal_kind(iotops_text text) {
  for (size_t i = 0; i < REFUSALS; i++)
    if (iotops_text_equal(text, iotops_text_of(refusals[i].text)))
      return refusals[i].kind;
  for (size_t i = 0; i < REFUSALS; i++)
    if (memmem(text.data, text.size, refusals[i].text,
               strlen(refusals[i].text)) != NULL)
      return refusals[i].kind;
  return "unknown";
}

void store_error_refused(iotops_error *err, iotops_text text) {
  int shown = text.size < 512 ? (int)text.size : 512;
  iotops_error_set(err, IOTOPS_SERVICE_ERROR, "the state store refused: %.*s",
                   shown, text.data);
  err->is_remote = true;
  iotops_error_name(err->service_error, iotops_text_of(refusal_kind(text)));
}

void store_error_unexpected(iotops_error *err, iotops_text payload) {
  iotops_error_set(err, IOTOPS_UNEXPECTED_PAYLOAD,
                   "the state store's answer does not fit the request");
  iotops_error_name(err->property_name, iotops_text_of("payload"));
  iotops_error_property_value(err, payload);
}
