--- Shows that the reference finds what is wrong with a session: each program
--- build/tests/model/machine_<mistake> has one mistake, put there on purpose, and
--- must be found out within 3 000 histories, and again by the seed that it names.

package.path = "tests/?.lua;" .. package.path
local process = require "process"

local build = os.getenv("BUILD") or "build"
local passed, failed = 0, 0

for mistake in (arg[1] or "flapping order lost clean"):gmatch("%S+") do
  local program = build .. "/tests/model/machine_" .. mistake
  local function find(command)
    local found = process.run(command)
    return table.concat(found.out, "\n"):match("SEED=(%d+): (%S+:%d+): not so")
  end
  local seed, where = find { program, "3000" }
  local _, again = find { program, "1", seed or "1" }
  local ok = seed and where == again
  if ok then passed = passed + 1 else failed = failed + 1 end
  print(("%-6s %-10s %s"):format(ok and "ok" or "FAILED", mistake,
    seed and ("found by history %s at %s"):format(seed, where) or "not found"))
end
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and 0 or 1)
