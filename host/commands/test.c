/*
** test.c -- `iotops test`: the busted specs of scripts, in a Lua state of this
** program.
*/
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "commands/command.h"
#include "commands/tool_state.h"

static void print_help(void) {
  printf(
      "iotops test -- run the tests of scripts, without a broker\n\n"
      "usage: iotops test FILE|FOLDER... [OPTION OF busted...]\n"
      "       iotops test --new FILE\n\n"
      "Given line1.lua it runs line1_spec.lua, from beside it or from the "
      "folder spec\n"
      "there; given a spec, or a folder of them, it runs those.  --new writes "
      "a spec to\n"
      "start from.  Specs are busted's; `iotops.testing` brings the broker, "
      "the state\n"
      "store and the clock, all in memory:\n\n"
      "  local testing = require \"iotops.testing\"\n\n"
      "  describe(\"the alarm\", function()\n"
      "    it(\"is sent above 90 degrees\", function()\n"
      "      local world <close> = testing.world()\n"
      "      local script = world:run \"line1.lua\"\n"
      "      world:publish(\"sensors/1/temperature\", { celsius = 95 })\n"
      "      assert.equal(95, world:expect(\"alarms/1\").payload.celsius)\n"
      "      world:advance(60) -- seconds pass at once; timers fire\n"
      "      assert.same({}, script:errors())\n"
      "    end)\n"
      "  end)\n\n"
      "A script runs as `iotops run` would run it: isolated, guarded, in a "
      "host of its\n"
      "own (`client_id = ...` names it).  More of a world: invoke, on_command, "
      "published,\n"
      "subscriptions, acknowledged, disconnect, reconnect, refuse, store, log; "
      "of a\n"
      "script: errors, log, counters, reload.  The module's README explains "
      "them.\n\n"
      "busted is Debian's package lua-busted; `--filter PATTERN`, `--tags "
      "TAGS`, `-o TAP`\n"
      "and its other options are passed on.\n\n"
      "Exit status: 0 all passed, 1 some failed, 2 arguments, or no busted.\n");
}

int command_test(int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
      print_help();
      return COMMAND_DONE;
    }
  if (argc < 2)
    return command_usage_error("test", "it needs a script or a spec");
  return tool_state_run("test", "iotops.testing.runner", argc - 1, argv + 1);
}
