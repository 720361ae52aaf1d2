#include "protocol/protocol_version.h"

/* Reads digits from `*at` on; false when there is none or they exceed 65535. */
static bool number(iotops_text text, size_t *at, uint16_t *value) {
  uint32_t sum = 0;
  size_t from = *at;
  while (*at < text.size && text.data[*at] >= '0' && text.data[*at] <= '9') {
    sum = sum * 10 + (uint32_t)(text.data[*at] - '0');
    if (sum > UINT16_MAX)
      return false;
    (*at)++;
  }
  *value = (uint16_t)sum;
  return *at > from;
}

bool protocol_version_parse(iotops_text text, uint16_t *major,
                            uint16_t *minor) {
  size_t at = 0;
  if (!number(text, &at, major) || at == text.size || text.data[at] != '.')
    return false;
  at++;
  return number(text, &at, minor) && at == text.size;
}

int protocol_version_check(iotops_text version, iotops_error *err) {
  uint16_t major, minor;
  if (version.data == NULL)
    return 0;
  if (protocol_version_parse(version, &major, &minor) && major == 1)
    return 0;
  iotops_error_set(err, IOTOPS_UNSUPPORTED_VERSION,
                   "the message has the protocol version \"%.*s\"; supported "
                   "is " PROTOCOL_VERSION,
                   (int)(version.size < 64 ? version.size : 64), version.data);
  if (err != NULL) {
    iotops_error_name(err->protocol_version, version);
    err->supported_majors[0] = 1;
    err->supported_major_count = 1;
  }
  return -1;
}
