/*
** tool_state.h -- commands whose work is done in Lua: a state with what the
** program carries, iotops.world among it, and with the system's modules.
*/
#ifndef COMMANDS_TOOL_STATE_H
#define COMMANDS_TOOL_STATE_H

#include <lua.h>

/* Opens the libraries and makes the carried modules known.  May raise. */
void tool_state_furnish(lua_State *L);

/*
** Calls the function `run` of the carried module with the list of arguments;
** what it returns is the exit status.  What it raises is reported as the
** command's (COMMAND_REFUSED).
*/
int tool_state_run(const char *command, const char *module, int argc,
                   char **argv);

#endif
