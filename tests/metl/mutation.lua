--- Turns one check of a case wrong, to see that the runner looks at it.

local null = require "metl.null"

local mutation = {}

-- Keys that say which message is meant, not what it must be like.
local only_finds = { ["correlation-index"] = true }

-- What is there where a case says that nothing must be.
local instead_of_null = {
  ["cloud-event"] = {},
  ["received-telemetries"] = { {} },
  ["published-messages"] = { {} },
  ["subscribed-topics"] = { "none/such" },
  ["command-status"] = 1,
  ["format-indicator"] = 7,
  ["expiry"] = 1,
  ["source-index"] = 99,
}

local function altered(key, value)
  if value == null.value then
    return instead_of_null[key] or "something"
  elseif key == "error-kind" then
    return value == "timeout" and "cancellation" or "timeout"
  elseif key == "timeout-value" then
    return "PT12345S"
  elseif key == "time" then
    return "2001-02-03T04:05:06Z"
  elseif type(value) == "boolean" then
    return not value
  elseif type(value) == "number" then
    return value + 1
  end
  return value .. "~"
end

local function is_branch(value)
  return type(value) == "table" and value ~= null.value
end

-- Adds the path of every leaf below `value`.
local function add_leaves(paths, path, value)
  for key, item in pairs(value) do
    local deeper = path .. "/" .. tostring(key)
    if is_branch(item) then
      add_leaves(paths, deeper, item)
    elseif not only_finds[key] then
      paths[#paths + 1] = deeper
    end
  end
end

local function add_branch(paths, path, value)
  if is_branch(value) then
    add_leaves(paths, path, value)
  elseif value ~= nil then
    paths[#paths + 1] = path
  end
end

--- The paths of all checks of a case, as its file says them.
---@param case table
---@return string[]
function mutation.paths(case)
  local paths = {}
  add_branch(paths, "prologue/catch", null.get(case.prologue, "catch"))
  for i, action in ipairs(null.get(case, "actions") or {}) do
    local path = "actions/" .. i
    add_branch(paths, path .. "/catch", null.get(action, "catch"))
    if action.action == "await invocation" then
      add_branch(paths, path .. "/response-value", action["response-value"])
      add_branch(paths, path .. "/metadata", action.metadata)
    elseif action.action == "await acknowledgement" then
      add_branch(paths, path .. "/packet-index", action["packet-index"])
    elseif action.action == "await publish" and case.prologue.executors then
      add_branch(paths, path .. "/correlation-index",
        action["correlation-index"])
    end
  end
  add_branch(paths, "epilogue", null.get(case, "epilogue"))
  table.sort(paths)
  return paths
end

--- Turns the check at `path` wrong.
---@param case table
---@param path string
function mutation.apply(case, path)
  local parent, key = case, nil
  for part in path:gmatch("[^/]+") do
    if key ~= nil then
      parent = parent[key]
    end
    key = math.tointeger(tonumber(part)) or part
    if parent[key] == nil then
      key = part
    end
  end
  assert(parent[key] ~= nil, "no such check: " .. path)
  parent[key] = altered(key, parent[key])
end

return mutation
