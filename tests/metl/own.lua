--- Tests of the protocol in Lua, for what a case cannot say: run as
--- own.lua, on both levels.  Closes with "N passed, N failed".

package.path = "tests/?.lua;" .. package.path

local runner = require "metl.runner"

local passed, failed = 0, 0

for _, file in ipairs({ "commands", "telemetry" }) do
  for _, level in ipairs({ "1", "2" }) do
    local names = {}
    for name in assert(runner.run("tests/metl/own_test.lua",
      { file = file, level = level })):gmatch("[^\n]+") do
      names[#names + 1] = name
    end
    for _, name in ipairs(names) do
      local report, left = runner.run("tests/metl/own_test.lua",
        { file = file, level = level, name = name })
      if report or left then
        failed = failed + 1
        print(string.format("FAILED %s (level %s)\n%s\n%s", name, level,
          report or "", left and "left behind: " .. left or ""))
      else
        passed = passed + 1
      end
    end
  end
end

print(string.format("%d passed, %d failed", passed, failed))
return failed == 0 and passed > 0
