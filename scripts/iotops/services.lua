--- Clients of services, each loaded when it is first asked for.

local core = require "iotops.core"
local iotops = require "iotops"
local sessions = require "iotops.sessions"

function core.session_methods.state_store(session, options)
  return require("iotops.state_store").of(session, options)
end

--- The state store.
---@param options? {on_disconnect: "observe"|"close"|nil}
---@return iotops.StateStore|nil
---@return iotops.Error? err
function iotops.state_store(options)
  return sessions.default():state_store(options)
end

--- A leased lock, to be taken with `lock:lock()` or `lock:try()`.
---@param name string
---@param options? iotops.LockOptions
---@return iotops.Lock|nil
---@return iotops.Error? err
function iotops.lock(name, options)
  local session = options and options.session or sessions.default()
  return require("iotops.lock").new(session, name, options)
end

--- An election of one leader among those that name the same position.
---@param position string
---@param options? iotops.ElectionOptions
---@return iotops.LeaderElection|nil
---@return iotops.Error? err
function iotops.leader_election(position, options)
  local session = options and options.session or sessions.default()
  return require("iotops.leader_election").new(session, position, options)
end
