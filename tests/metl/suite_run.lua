--- Runs the cases of a folder, each in a state of its own.

local cases = require "metl.cases"
local runner = require "metl.runner"

local suite_run = {}

--- Runs one case; nil when it passes, else the report.
---@param one { folder: string, suite: string, name: string }
---@param level string # "1" or "2"
---@param more table<string, string>|nil # further options of case.lua
---@return string|nil
function suite_run.case(one, level, more)
  local options = {
    folder = one.folder, suite = one.suite, name = one.name, level = level,
  }
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  local report, left = runner.run("tests/metl/case.lua", options)
  if not left then
    return report
  end
  local lines = report and { report } or {}
  lines[#lines + 1] = "  check:    nothing is left after the end"
  for line in left:gmatch("[^\n]+") do
    lines[#lines + 1] = "  seen:     " .. line
  end
  return table.concat(lines, "\n")
end

--- Runs all cases below a folder and prints what fails.
---@param folder string
---@param level string
---@param only string|nil # the name of one case
---@param more table<string, string>|nil # further options of case.lua
---@return boolean passed
function suite_run.all(folder, level, only, more)
  local passed, failed = 0, 0
  for _, one in ipairs(cases.below(folder)) do
    if not only or one.name == only then
      local report = suite_run.case(one, level, more)
      if report then
        failed = failed + 1
        print(string.format("FAILED %s/%s\n%s", one.suite, one.name, report))
      else
        passed = passed + 1
      end
    end
  end
  if passed + failed == 0 then
    print("no case was found" .. (only and " of the name " .. only or ""))
  end
  print(string.format("%d passed, %d failed", passed, failed))
  return failed == 0 and passed > 0
end

return suite_run
