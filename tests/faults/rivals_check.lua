--- Whether what happened to a lock and to the key that it protects can have
--- happened to a lock that works.

local clock = require("iotops.core").clock

local check = {}

---@class rivals.Change of one key, in the order of notification
---@field value string? nil: deleted
---@field version string

---@class rivals.Line
---@field rival string
---@field kind "grant"|"write"|"ok"|"refused"|"lost"|"release"
---@field number string? of a write
---@field text string? token, version or reason

---@class rivals.History
---@field lock rivals.Change[]
---@field work rivals.Change[]
---@field lines rivals.Line[] each rival's in their order

local function is_before(a, b)
  return clock.compare(a, b) < 0
end

-- Only who finds no holder, or itself, may become the holder.
local function check_lock(history, say)
  local holder, last
  for index, change in ipairs(history.lock) do
    if last and not is_before(last, change.version) then
      say("change %d of the lock has a version that does not grow", index)
    end
    if change.value and holder and holder ~= change.value then
      say("%s took the lock at %s from %s", change.value, change.version, holder)
    end
    holder, last = change.value, change.version
  end
end

-- Tokens of the writes that were applied never go back.
local function check_work(history, say)
  local newest, last
  local applied = {}
  for index, change in ipairs(history.work) do
    if last and not is_before(last, change.version) then
      say("change %d of the work has a version that does not grow", index)
    end
    last = change.version
    local rival, number, token = change.value:match "^(%S+) (%d+) (%S+)$"
    if newest and is_before(token, newest) then
      say("%s wrote %s with a token older than one before", rival, number)
    else
      newest = token
    end
    local name = rival .. " " .. number
    if applied[name] then
      say("write %s was applied twice", name)
    end
    applied[name] = change.version
  end
  return applied, newest
end

-- Each rival's own account agrees with what was seen from outside.
local function check_lines(history, applied, newest, say)
  local granted, tokens = {}, {}
  for _, change in ipairs(history.lock) do
    if change.value then
      granted[change.version] = change.value
    end
  end
  for _, line in ipairs(history.lines) do
    local name = line.number and line.rival .. " " .. line.number
    if line.kind == "grant" and granted[line.text] ~= line.rival then
      say("%s was granted %s, which nobody saw", line.rival, line.text)
    elseif line.kind == "write" then
      tokens[name] = line.text
    elseif line.kind == "ok" and applied[name] ~= line.text then
      say("write %s was answered with %s but applied with %s", name, line.text,
        tostring(applied[name]))
    elseif line.kind == "refused" and line.text == "fencing_token_lower_version" then
      if applied[name] then
        say("write %s was refused but applied", name)
      elseif not (newest and is_before(tokens[name], newest)) then
        say("write %s was refused though nobody newer wrote", name)
      end
    end
  end
end

--- What is wrong with a history; empty: nothing.
---@param history rivals.History
---@return string[]
function check.violations(history)
  local found = {}
  local function say(...)
    found[#found + 1] = string.format(...)
  end
  check_lock(history, say)
  local applied, newest = check_work(history, say)
  check_lines(history, applied, newest, say)
  return found
end

return check
