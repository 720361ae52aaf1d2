#include "protocol/command_name.h"

#include <string.h>

int command_name_check(iotops_text name, iotops_error *err) {
  if (!name.data || name.size == 0)
    return iotops_error_configuration(err, "command_name", name,
                                      "a command needs a name");
  for (size_t i = 0; i < name.size; i++) {
    char c = name.data[i];
    if (c <= ' ' || c > '~' || memchr("+#{}", c, 4))
      return iotops_error_configuration(
          err, "command_name", name,
          "a command name must not contain spaces, + # { } or "
          "characters other than ASCII");
  }
  return 0;
}

char *command_name_copy(iotops_context *context, iotops_text name) {
  char *copy = iotops_zalloc(context, name.size + 1);
  if (copy)
    memcpy(copy, name.data, name.size);
  return copy;
}
