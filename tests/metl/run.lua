--- The conformance run: run.lua FOLDER [--level 1|2] [--case NAME]

package.path = "tests/?.lua;" .. package.path

local folder = ...
local options = { level = "1" }
for i = 2, select("#", ...), 2 do
  local name, value = select(i, ...)
  name = name:match("^%-%-(%l+)$")
  assert(name == "case" or name == "level", "run.lua FOLDER [--level 1|2] [--case NAME]")
  options[name] = assert(value, "an option wants a value")
end
assert(options.level == "1" or options.level == "2", "--level is 1 or 2")

return require("metl.suite_run").all(folder, options.level, options.case)
