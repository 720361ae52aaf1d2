--- Runs the fault tests.  `rows` (what `make faults` runs) prints one line for
--- each row of session.md section 16, which passes when all its tests do, and
--- closes with "N passed, N failed"; `more` runs what belongs to no row; `soak`
--- the rounds of killing alone.
---
--- run.lua rows|more|soak [PART OF A NAME]...

package.path = "tests/faults/?.lua;tests/?.lua;" .. package.path
local process = require "process"
local trial = require "trial"

math.randomseed(tonumber(os.getenv("SEED")) or 1)
local ROWS = 40
local what = arg[1] or "rows"
local wanted = table.move(arg, 2, #arg, 1, {})

if what == "rows" then
  require "rows_connection"
  require "rows_messages"
  require "rows_credentials"
elseif what == "soak" then
  require "soak".add(tonumber(os.getenv("ROUNDS")) or 1000)
else
  require "more"
  require "over_tls"
end

local started = os.time()
local done = trial.run(tonumber(os.getenv("WIDTH")) or 24, wanted)
process.kill_all()

-- ---------------------------------------------------------------- telling --

local groups, order = {}, {}
for _, test in ipairs(done) do
  local name = test.name:match("^[^:]+")
  if not groups[name] then
    groups[name] = { passed = 0, failed = 0, seconds = 0, tests = {} }
    order[#order + 1] = name
  end
  local group = groups[name]
  group.seconds = math.max(group.seconds, test.seconds)
  group.tests[#group.tests + 1] = test
  local field = test.failure and "failed" or "passed"
  group[field] = group[field] + 1
end

if what == "rows" and #wanted == 0 then -- a row without a test has failed
  order = {}
  for row = 1, ROWS do
    local name = "F" .. row
    order[row] = name
    groups[name] = groups[name] or { passed = 0, failed = 1, seconds = 0, tests = {} }
  end
end

local passed, failed = 0, 0
for _, name in ipairs(order) do
  local group = groups[name]
  local ok = group.failed == 0
  if what ~= "rows" then
    passed, failed = passed + group.passed, failed + group.failed
  elseif ok then
    passed = passed + 1
  else
    failed = failed + 1
  end
  print(("%-6s %-4s %2d of %2d tests  %.1f s"):format(ok and "ok" or "FAILED", name,
    group.passed, group.passed + group.failed, group.seconds))
  for _, test in ipairs(group.tests) do
    if test.failure then print(("  %s\n  %s"):format(test.name, test.failure)) end
  end
end
print(("%d tests in %d s"):format(#done, os.time() - started))
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and passed > 0 and 0 or 1)
