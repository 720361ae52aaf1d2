--- The cases of a folder: FOLDER/<Suite>/<Case>.json.

local runner = require "metl.runner"
local suites = require("metl.schema").suites

local cases = {}

local function sorted(list)
  table.sort(list)
  return list
end

--- Every case below the folder, by suite and name.
---@param folder string
---@return { folder: string, suite: string, name: string }[]
function cases.below(folder)
  local found = {}
  for _, suite in ipairs(sorted(runner.list(folder))) do
    if suites[suite] then
      local path = folder .. "/" .. suite
      for _, file in ipairs(sorted(runner.list(path))) do
        local name = file:match("^(.+)%.json$")
        if name and name ~= "defaults" then
          found[#found + 1] = { folder = path, suite = suite, name = name }
        end
      end
    end
  end
  return found
end

return cases
