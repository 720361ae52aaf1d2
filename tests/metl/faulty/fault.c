/* fault.c -- see fault.h. */
#include "fault.h"

#include <stdlib.h>
#include <string.h>

bool fault_is(const char *name) {
  const char *on = getenv("METL_FAULT");
  return on && strcmp(on, name) == 0;
}
