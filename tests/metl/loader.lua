--- Cases as tables: read, checked, and completed with the suite's defaults.

local cjson = require "cjson"
local mutation = require "metl.mutation"
local null = require "metl.null"
local schema = require "metl.schema"

local loader = {}

-- lua-cjson makes floats of all numbers.
local function whole_numbers(value)
  if type(value) == "table" then
    for key, item in pairs(value) do
      value[key] = whole_numbers(item)
    end
  elseif type(value) == "number" then
    return math.tointeger(value) or value
  end
  return value
end

local function read(path)
  local file, problem = io.open(path, "rb")
  if not file then
    error(problem, 0)
  end
  local content = file:read("a")
  file:close()
  local parsed, value = pcall(cjson.decode, content)
  if not parsed then
    error(path .. ": " .. value, 0)
  end
  return whole_numbers(value)
end

-- Key by key; inside `serializer` as well.  What a case says wins, be it null.
local function complete(map, defaults)
  for key, value in pairs(defaults or {}) do
    if map[key] == nil then
      map[key] = value
    elseif key == "serializer" and map[key] ~= null.value then
      complete(map[key], value)
    end
  end
  return map
end

--- A case as its file says it, checked against the schema.
---@param folder string # of the suite
---@param suite string
---@param name string # of the file, without its ending
---@return table
function loader.read(folder, suite, name)
  local case = read(folder .. "/" .. name .. ".json")
  schema.check(suite, case)
  return case
end

---@class metl.case
---@field name string # of the file
---@field suite string
---@field requires string[]
---@field prologue table
---@field envoys table[] # of the prologue, completed
---@field actions table[] # completed
---@field epilogue table
---@field says_disconnect boolean|nil # the broker does, before it closes
---@field default_action fun(kind: string): table # an action of defaults alone

--- Reads one case.
---@param folder string # of the suite
---@param suite string
---@param name string # of the file, without its ending
---@param mutated string|nil # the path of a check to be turned wrong
---@return metl.case
function loader.load(folder, suite, name, mutated)
  local case = loader.read(folder, suite, name)
  if mutated then
    mutation.apply(case, mutated)
  end
  local defaults_path = folder .. "/defaults.json"
  local defaults = read(defaults_path)
  schema.check_defaults(suite, defaults)
  local kinds = defaults.actions or {}
  local kind = schema.suites[suite]
  local envoys = null.get(case.prologue, kind.list) or {}
  for _, envoy in ipairs(envoys) do
    complete(envoy, (defaults.prologue or {})[kind.one])
  end
  local actions = null.get(case, "actions") or {}
  for _, action in ipairs(actions) do
    complete(action, kinds[action.action:gsub(" ", "-")])
  end
  return {
    name = name,
    suite = suite,
    requires = null.get(case, "requires") or {},
    prologue = case.prologue,
    envoys = envoys,
    actions = actions,
    epilogue = null.get(case, "epilogue") or {},
    default_action = function(action)
      return complete({ action = action }, kinds[action:gsub(" ", "-")])
    end,
  }
end

return loader
