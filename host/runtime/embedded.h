/*
** embedded.h -- the Lua half of the module and the stand-ins for services,
** carried inside the program.
**
** The table is generated from scripts/iotops/ and scripts/standin/ by embed.lua
** when the program is built, so the Lua half and the C half are always of one
** version.
*/
#ifndef RUNTIME_EMBEDDED_H
#define RUNTIME_EMBEDDED_H

#include <stddef.h>

typedef struct embedded_module {
  const char *name;           /* as `require` knows it, "iotops.topic" */
  const char *chunk;          /* as messages name it, "@iotops/topic.lua" */
  const unsigned char *bytes; /* Lua source */
  size_t size;
} embedded_module;

extern const embedded_module embedded_modules[];
extern const size_t embedded_module_count;

#endif
