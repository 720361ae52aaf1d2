/*
** carried.h -- the Lua half of the module, carried inside the program.
**
** The build turns scripts/iotops/ into this table, so that the program needs
** no file beside it and cannot meet a Lua half of another version.
*/
#ifndef IOTOPS_RUNTIME_CARRIED_H
#define IOTOPS_RUNTIME_CARRIED_H

#include <stddef.h>

typedef struct carried_script {
  const char *module; /* as in require(); NULL ends the table */
  const char *chunk;  /* name for luaL_loadbuffer: "=iotops/timer.lua" */
  const char *source;
  size_t size; /* bytes of source */
} carried_script;

extern const carried_script carried_scripts[];

#endif
