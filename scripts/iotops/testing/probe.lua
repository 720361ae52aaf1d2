--- Sees what a script asks for while its main chunk runs, for `iotops check`.
--- It changes nothing of what the script gets.

-- luacheck: ignore 121 122
local core = require "iotops.core"

local seen = {
  env = {}, globals = {}, timers = {}, sessions = {}, locks = {}, elections = {},
  counters = {},
  on_start = 0, on_stop = 0,
}
local declared = {} -- line of a declaration, by its table of options
local made = {}     -- what was declared, in order

-- Modules that were there before the script: Lua's and ours.
local before = {}
for name in pairs(package.loaded) do
  before[name] = true
end

-- The line of the script's own code that runs.
local function where()
  for level = 3, 40 do
    local info = debug.getinfo(level, "Sl")
    if not info then
      return nil
    end
    local path = info.source:match "^@(.*)$"
    if path and info.currentline > 0 and not path:find "^iotops/" then
      return ("%s:%d"):format(path, info.currentline)
    end
  end
end

-- -------------------------------------------------------- what is asked --

local function wrap(table, name, note)
  local original = table[name]
  table[name] = function(...)
    note(...)
    return original(...)
  end
end

local getenv = rawget(os, "getenv")
if getenv then -- else it is not allowed
  ---@diagnostic disable-next-line: duplicate-set-field
  function os.getenv(name)
    local value = getenv(name)
    if type(name) == "string" and not seen.env[name] then
      seen.env[name] = { line = where(), is_set = value ~= nil }
    end
    return value
  end
end

for name, repeats in pairs { after = false, every = true } do
  wrap(core, name, function(seconds, _, options)
    seen.timers[#seen.timers + 1] = {
      name = type(options) == "table" and type(options.name) == "string" and options.name or nil,
      seconds = type(seconds) == "number" and seconds or nil, repeats = repeats, line = where(),
    }
  end)
end

for _, name in ipairs { "on_start", "on_stop" } do
  wrap(core, name, function()
    seen[name] = seen[name] + 1
  end)
end

for _, name in ipairs { "counter", "gauge" } do
  wrap(core, name, function(given)
    seen.counters[#seen.counters + 1] = { name = tostring(given), kind = name, line = where() }
  end)
end

wrap(core, "session", function(options)
  local told = { line = where() }
  for _, name in ipairs { "hostname", "tcp_port", "client_id" } do
    local value = type(options) == "table" and options[name]
    told[name] = value and tostring(value) or nil
  end
  seen.sessions[#seen.sessions + 1] = told
end)

for name, kind in pairs { receiver = "telemetry", executor = "command" } do
  wrap(core.session_methods, name, function(_, options)
    if type(options) == "table" then
      declared[options] = where()
      made[#made + 1] = { options = options, kind = kind }
    end
  end)
end

-- Locks and elections are made by modules that are loaded when they are needed.
local NAMED = { ["iotops.lock"] = seen.locks, ["iotops.leader_election"] = seen.elections }
local search = package.searchers[2]
package.searchers[2] = function(module)
  local open, from = search(module)
  if not NAMED[module] or type(open) ~= "function" then
    return open, from
  end
  return function(...)
    local module_table = open(...)
    wrap(module_table, "new", function(_, name)
      table.insert(NAMED[module], { name = tostring(name), line = where() })
    end)
    return module_table
  end, from
end

-- What a script prints is no part of the report.
---@diagnostic disable-next-line: duplicate-set-field
function print(...)
  local texts = table.pack(...)
  for index = 1, texts.n do
    texts[index] = tostring(texts[index])
  end
  io.stderr:write(table.concat(texts, "\t"), "\n")
end
if rawget(io, "output") then
  io.output(io.stderr)
else -- it is not allowed
  function io.write(...) return io.stderr:write(...) end -- luacheck: ignore
end

-- -------------------------------------------------------------- globals --

local known = {}
for name in pairs(_G) do
  known[name] = true
end

setmetatable(_G, {
  __newindex = function(globals, name, value)
    if not known[name] then
      known[name] = true
      seen.globals[#seen.globals + 1] = { name = tostring(name), line = where() }
    end
    rawset(globals, name, value)
  end,
})

-- ---------------------------------------------------------------- facts --

local function is_below(path, folder)
  return path:sub(1, #folder + 1) == folder .. "/"
end

local function modules(folder)
  local list = {}
  for name in pairs(package.loaded) do
    if type(name) == "string" and not before[name] and not name:find "^iotops%f[%.\0]" then
      local path = package.searchpath(name, package.path)
        or package.searchpath(name, package.cpath)
      list[#list + 1] = {
        name = name, path = path, is_own = path ~= nil and is_below(path, folder),
      }
    end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local OPTIONS = {
  "topic_pattern", "request_topic_pattern", "topic_namespace", "service_group_id", "command_name",
  "concurrency", "execution_timeout", "is_idempotent", "cacheable_duration",
}

-- What a declaration says, as plain data.
local function endpoint(entry)
  local options, told = entry.options, { filter = entry.filter, kind = entry.kind }
  for _, name in ipairs(OPTIONS) do
    local value = options[name]
    told[name] = (type(value) == "string" or type(value) == "number" or type(value) == "boolean")
      and value or nil
  end
  told.pattern = told.topic_pattern or told.request_topic_pattern
  told.topic_pattern, told.request_topic_pattern = nil, nil
  for name, value in pairs(type(options.tokens) == "table" and options.tokens or {}) do
    told.tokens = told.tokens or {}
    told.tokens[tostring(name)] = type(value) == "userdata" and "any" or tostring(value)
  end
  told.line = declared[options]
  return told
end

--- All that was seen, as plain data.
---@param folder string of the script
---@param entries table[] {kind, filter, options}
return function(folder, entries)
  seen.endpoints = {}
  local ours = {}
  for index, entry in ipairs(entries) do
    seen.endpoints[index] = endpoint(entry)
    ours[entry.options] = true
  end
  -- What a session of the script's own receives is not the host's to open.
  for _, entry in ipairs(made) do
    if not ours[entry.options] and #seen.sessions > 0 then
      local told = endpoint(entry)
      told.filter, told.is_own_session = told.pattern, true
      seen.endpoints[#seen.endpoints + 1] = told
    end
  end
  for index = #seen.locks, 1, -1 do
    for _, election in ipairs(seen.elections) do
      if seen.locks[index] and seen.locks[index].line == election.line then
        table.remove(seen.locks, index) -- that is how it elects
      end
    end
  end
  seen.modules = modules(folder)
  seen.uses_state_store = package.loaded["iotops.state_store"] ~= nil
  return seen
end
