--- What the short forms know of a session, and the default session: the host's,
--- or one made from the environment at its first use.

local core = require "iotops.core"

local sessions = {}

---@class iotops.SessionState
---@field topic_namespace string?
---@field serializer iotops.Serializer?
---@field senders iotops.Cache? with the first that is made
---@field invokers iotops.Cache?

---@type table<iotops.Session, iotops.SessionState>
local states = setmetatable({}, { __mode = "k" })

--- Remembers what a session was made with.
---@param session iotops.Session
---@param options iotops.SessionOptions
---@return iotops.Session
function sessions.prepare(session, options)
  states[session] = {
    topic_namespace = options.topic_namespace or core.topic_namespace(),
    serializer = options.serializer,
  }
  return session
end

---@param session iotops.Session
---@return iotops.SessionState
function sessions.state_of(session)
  return states[session] or states[sessions.prepare(session, {})]
end

--- What iotops.configure{} was given.
---@type iotops.SessionOptions?
sessions.configured = nil

local default

---@return iotops.Session
function sessions.default()
  if not default then
    default = sessions.prepare(core.client() or require("iotops.setup").open(),
      sessions.configured or {})
  end
  return default
end

---@return boolean
function sessions.is_default_used()
  return default ~= nil
end

-- -------------------------------------------------------------- helpers --

--- Raises when `pattern` is none.
---@param pattern any
---@param form string what was called
function sessions.check_pattern(pattern, form)
  if type(pattern) ~= "string" then
    core.misuse(("%s: a topic pattern expected, got %s"):format(form, type(pattern)))
  end
end

---@param from table?
---@return table
function sessions.copy(from)
  local to = {}
  for name, value in pairs(from or {}) do
    to[name] = value
  end
  return to
end

return sessions
