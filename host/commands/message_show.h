/*
** message_show.h -- a message for a person at a terminal.
*/
#ifndef COMMANDS_MESSAGE_SHOW_H
#define COMMANDS_MESSAGE_SHOW_H

#include "iotops/message.h"

/*
** Prints the topic, then the payload and what else there is on lines of their
** own; control characters are escaped.
*/
void message_show(const iotops_message *message);

#endif
