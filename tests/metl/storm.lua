--- Random work on both levels: envoys of all kinds on one session, handlers
--- that take their time or fail, duplicates, refusals, lost connections.
---
--- storm.lua [SEEDS [FIRST [STEPS [FAIL_EVERY]]]]: with FAIL_EVERY each of so
--- many allocations of the product fails.  Closes with "N passed, N failed".

package.path = "tests/?.lua;" .. package.path

local runner = require "metl.runner"

local seeds, first, steps, fail_every = ...
seeds = math.tointeger(tonumber(seeds or "40"))
first = math.tointeger(tonumber(first or "1"))
local passed, failed = 0, 0

-- An envoy that is freed when memory is short may not manage to unsubscribe.
local function but_subscriptions(left)
  left = left:gsub("a subscription is left[^\n]*\n", "")
  return left ~= "" and left or nil
end

for seed = first, first + seeds - 1 do
  for _, level in ipairs({ "1", "2" }) do
    local report, left = runner.run("tests/metl/storm_case.lua",
      {
        seed = tostring(seed), level = level, steps = steps or "120",
        fail_every = fail_every,
      })
    if left and fail_every then
      left = but_subscriptions(left)
    end
    if report or left then
      failed = failed + 1
      print(string.format("FAILED seed %d (level %s)\n%s%s", seed, level,
        report or "", left and "left behind: " .. left or ""))
    else
      passed = passed + 1
    end
  end
end

print(string.format("%d passed, %d failed", passed, failed))
return failed == 0
