/*
** replay.c -- `iotops replay`: recorded messages for a script that is not in
** production yet.
*/
#include <stdio.h>
#include <string.h>

#include "commands/command.h"
#include "commands/tool_state.h"

static void print_help(void) {
  printf(
      "iotops replay -- feed recorded messages to a script, without a "
      "broker\n\n"
      "usage: iotops replay [OPTION...] RECORDING SCRIPT\n\n"
      "Runs SCRIPT as `iotops run` would, in memory, and gives it the messages "
      "of\n"
      "RECORDING in order, while the clock follows the recorded times at once. "
      " Prints\n"
      "what the script sends, its errors and how long its turns took.  "
      "RECORDING is what\n"
      "`iotops record` writes: a message a line, as JSON.\n\n"
      "  --compare            compare with what was recorded as sent: print "
      "the\n"
      "                       differences alone, topic by topic, in order; "
      "identifiers\n"
      "                       and times that are new with each message do not "
      "count,\n"
      "                       nor what is sent after the last record\n"
      "  --json               one JSON object\n"
      "  --client-id ID       of the host that the script runs in (replay)\n"
      "  --topic-namespace NAMESPACE\n"
      "                       before its topics (IOTOPS_TOPIC_NAMESPACE)\n"
      "  --after SECONDS      go on for so long after the last message (10)\n"
      "  -h, --help           this text\n\n"
      "The state store is empty at first, and nobody answers the commands that "
      "the\n"
      "script invokes: recorded answers belong to recorded requests.\n\n"
      "Exit status: 0 well, 1 the script failed, cannot be loaded or (with "
      "--compare)\n"
      "sends something else, 2 arguments or the recording.\n\n"
      "  iotops replay --compare monday.jsonl line1.lua\n");
}

int command_replay(int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
      print_help();
      return COMMAND_DONE;
    }
  return tool_state_run("replay", "iotops.testing.replay", argc - 1, argv + 1);
}
