--- A script that runs in a test's world.

local script = {}

local LEVELS = { trace = 1, debug = 2, info = 3, warn = 4, error = 5 }

local LONGEST_RELOAD = 60 -- seconds

---@class iotops.testing.Script
---@field name string
---@field path string
---@field generation integer of the version that serves; 0: none does
---@field private world iotops.testing.World
---@field private core iotops.World
---@field private client_id string
---@field private from integer its first record in the log
---@field private is_own boolean? the test wrote it
local Script = {}

function Script.__index(self, name)
  if name == "generation" then
    local known = self.core:script(self.client_id, self.name)
    return known and known.generation or 0
  end
  return Script[name]
end

--- Those of `records` whose level is `level` or above.
function script.records(records, level)
  local list, least = {}, LEVELS[level] or error("there is no level " .. tostring(level), 3)
  for _, record in ipairs(records) do
    if LEVELS[record.level] >= least then
      list[#list + 1] = record
    end
  end
  return list
end

function script.new(world, core, client_id, path, from)
  local name = path:match "([^/]*)$":gsub("%.lua$", "")
  return setmetatable({
    world = world, core = core, client_id = client_id, path = path, name = name, from = from,
  }, Script)
end

--- What it has logged, and what was logged about it.
---@param level? "debug"|"info"|"warn"|"error" default "info"
---@return iotops.testing.Record[]
function Script:log(level)
  local list = {}
  for _, record in ipairs(script.records(self.core:log(self.from), level or "info")) do
    if record.script == self.name then
      list[#list + 1] = record
    end
  end
  return list
end

--- Its errors so far: handlers that failed, turns that were stopped, versions
--- that could not be loaded.  Empty when all is well.
---@return iotops.testing.Record[]
function Script:errors()
  return self:log "error"
end

-- Why it could not be loaded.
---@private
function Script:failure()
  local errors = self:errors()
  if #errors == 0 then
    return "there is no such script"
  end
  return (errors[#errors].message:gsub("^cannot load; [^\n]*\n", ""))
end

--- Counters as the host keeps them: `received`, `handled`, `errors`, ...
---@return table<string, integer>
function Script:counters()
  return self.core:script(self.client_id, self.name)
end

-- Follows a reload to its end, in the world's time.
---@private
function Script:follow(begin)
  local known = self:counters()
  local before = known.last_reload.number
  local begun, why = begin(self.core, self.client_id, self.name)
  if not begun then
    return false, why
  end
  local left = LONGEST_RELOAD * 1000
  self.world:advance(0)
  local now = self:counters()
  while now.is_reloading and left > 0 do
    left = self.world:step(left)
    now = self:counters()
  end
  local report = now.last_reload
  if report.number == before or report.outcome == "failed" then
    return false, report.message
  elseif now.generation == known.generation then
    return false, "that is the version that serves already"
  end
  return true
end

--- Puts another version in its place, as a changed file does: what its file
--- holds by now, or `text` for a script that the test wrote itself (run_text).
--- True once it serves; false and why when the old version goes on.
---@param text? string
---@return boolean
---@return string? why
function Script:reload(text)
  if text then
    if not self.is_own then
      error(("reload would overwrite %s; run a copy with world:run_text"):format(self.path), 2)
    end
    self.core:write(self.name .. ".lua", text)
  end
  return self:follow(self.core.reload)
end

--- Goes back to the version before, as `iotops ctl rollback` does.
---@return boolean
---@return string? why
function Script:rollback()
  return self:follow(self.core.rollback)
end

return script
