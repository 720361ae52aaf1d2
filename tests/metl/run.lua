--- The conformance run:
--- run.lua FOLDER [--level 1|2] [--case NAME] [--clock virtual|real]
---   [--cut close|packet]

package.path = "tests/?.lua;" .. package.path

local folder = ...
local usage = "run.lua FOLDER [--level 1|2] [--case NAME] [--clock virtual|real]"
  .. " [--cut close|packet]"
local options = { level = "1", clock = "virtual", cut = "close" }
for i = 2, select("#", ...), 2 do
  local name, value = select(i, ...)
  name = name:match("^%-%-(%l+)$")
  assert(name == "case" or options[name], usage)
  options[name] = assert(value, usage)
end
assert(folder and (options.level == "1" or options.level == "2"), usage)
assert(options.cut == "close" or options.cut == "packet", usage)
assert(options.clock == "virtual" or options.clock == "real", usage)

return require("metl.suite_run").all(folder, options.level, options.case,
  { clock = options.clock, cut = options.cut })
