/*
** console.h -- code that an operator types, evaluated in a running script.
*/
#ifndef BINDINGS_CONSOLE_H
#define BINDINGS_CONSOLE_H

#include "core.h"

/*
** Ends the calls of a console that wait; of all consoles when it is 0: nobody's
** prompt holds a script up that is to end.  Between turns.
*/
void consoles_give_up(iotops_lua *state, uint64_t console);

#endif
