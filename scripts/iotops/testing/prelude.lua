--- What a script finds different in the world of a test: the environment is the
--- one that the test gives, the clock is the world's, randomness repeats.

-- luacheck: ignore 122
local core = require "iotops.core"

local given, client = ... ---@type table<string, string>, fun(client_id: string): iotops.Session
local getenv, time, date = os.getenv, os.time, os.date

-- Variables that configure us are the test's to give, so that a test means the
-- same on every machine.
local function is_ours(name)
  return name:find "^AIO_" or name:find "^IOTOPS_" or name:find "^CONNECTOR_"
end

-- It may not be allowed to ask.
if rawget(os, "getenv") then
  ---@diagnostic disable-next-line: duplicate-set-field
  function os.getenv(name)
    if type(name) ~= "string" or (given[name] == nil and not is_ours(name)) then
      return getenv(name)
    end
    return given[name]
  end
end

function core.topic_namespace()
  return given.IOTOPS_TOPIC_NAMESPACE
end

---@diagnostic disable-next-line: duplicate-set-field
function os.time(fields)
  if fields == nil then
    return math.floor(core.now())
  end
  return time(fields)
end

---@diagnostic disable-next-line: duplicate-set-field
function os.date(format, at)
  return date(format, at or math.floor(core.now()))
end

math.randomseed(1, 1)

-- -------------------------------------------------------------- sessions --

-- A session of a script's own is one more client of the world's broker.
local own = setmetatable({}, { __mode = "k" })

function core.session(settings)
  local made = client(tostring(settings.client_id or "own"))
  own[made] = true
  return made
end

local methods = core.session_methods
for name, answer in pairs {
  exit = function() return true end,
  detach = function() return true end,
  metrics = function() return {} end,
  state = function(session) return session:is_connected() and "connected" or "waiting" end,
} do
  local original = methods[name]
  methods[name] = function(session, ...)
    if own[session] then
      return answer(session)
    end
    return original(session, ...)
  end
end
