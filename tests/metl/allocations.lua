--- Every allocation of the product fails once, in cases of our own: nothing may
--- crash, hang or leak, whatever the case then says.
---
--- allocations.lua [STRIDE [NAME]]: one of STRIDE allocations in each case, in
--- every case others; all of them without.  Closes with "N passed, N failed".

package.path = "tests/?.lua;" .. package.path

local stride, only = ...
stride = math.tointeger(tonumber(stride or "1"))
local cases = require "metl.cases"
local runner = require "metl.runner"

local passed, failed = 0, 0

local function run(one, level, fail_at)
  local _, left, count = runner.run("tests/metl/case.lua", {
    folder = one.folder, suite = one.suite, name = one.name, level = level,
    fail_at = tostring(fail_at),
  })
  return left or "", count
end

for i, one in ipairs(cases.below("tests/metl/cases")) do
  for _, level in ipairs({ "1", "2" }) do
    if not only or one.name == only then
      local _, count = run(one, level, 0)
      for fail_at = 1 + i % stride, count, stride do
        local left = run(one, level, fail_at)
        if left ~= "" then
          failed = failed + 1
          print(string.format("FAILED %s/%s (level %s) at allocation %d\n%s",
            one.suite, one.name, level, fail_at, left))
        else
          passed = passed + 1
        end
      end
    end
  end
end

print(string.format("%d passed, %d failed", passed, failed))
return failed == 0
