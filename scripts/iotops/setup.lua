--- How sessions are made: by options, from the environment.

local core = require "iotops.core"
local iotops = require "iotops"
local sessions = require "iotops.sessions"

local setup = {}

-- Of these the script may speak in the host, too.
local OWN = { topic_namespace = true, serializer = true }

-- The settings that have no default, and the variables that give them.
local REQUIRED = { { "hostname", "AIO_BROKER_HOSTNAME" }, { "client_id", "AIO_MQTT_CLIENT_ID" } }

-- The options of a session that are settings of the core.
local function settings_of(options)
  local settings = {}
  for name, value in pairs(options) do
    if not OWN[name] then
      settings[name] = value
    end
  end
  return settings
end

local function check_given(configured)
  if configured.connection_string or os.getenv "CONNECTOR_CONFIGURATION_MOUNT_PATH" then
    return
  end
  local names, variables = {}, {}
  for _, required in ipairs(REQUIRED) do
    if configured[required[1]] == nil and (os.getenv(required[2]) or "") == "" then
      names[#names + 1], variables[#variables + 1] = required[1], required[2]
    end
  end
  if #names > 0 then
    error(core.error {
      kind = "invalid configuration", property_name = names[1], is_shallow = true,
      message = ("the default session has no %s: set %s, or give %s to iotops.configure{}; "
        .. "`iotops dev SCRIPT` brings a broker to try with"):format(
        table.concat(names, " and no "), table.concat(variables, " and "),
        #names == 1 and "it" or "them"),
    })
  end
end

--- Makes the default session of a plain Lua.
---@return iotops.Session
function setup.open()
  local configured = sessions.configured or {}
  check_given(configured)
  local made, err = core.session(settings_of(configured), true)
  if not made then
    error(err)
  end
  return made
end

--- Says how the default session is made, before its first use.  Settings that
--- are not given come from the `AIO_*` variables or the mounted files.  In the
--- host the session is the host's: only `topic_namespace` and `serializer` may
--- be given.
---@param options iotops.SessionOptions
function iotops.configure(options)
  if type(options) ~= "table" then
    core.misuse("iotops.configure: a table of options expected, got " .. type(options))
  end
  if sessions.is_default_used() then
    core.misuse("iotops.configure must come before the default session is used")
  end
  sessions.configured = sessions.configured or {}
  for name, value in pairs(options) do
    if core.is_embedded() and not OWN[name] then
      core.misuse(("iotops.configure: the session is the host's, which is given its %s; "
        .. "iotops.session{} makes one of your own"):format(tostring(name)))
    end
    sessions.configured[name] = value
  end
end

--- A session of its own; without options, the default session.
---@param options? iotops.SessionOptions
---@return iotops.Session|nil
---@return iotops.Error? err
function iotops.session(options)
  if options == nil then
    return sessions.default()
  end
  if type(options) ~= "table" then
    core.misuse("iotops.session: a table of options expected, got " .. type(options))
  end
  local session, err = core.session(settings_of(options))
  if not session then
    return nil, err
  end
  return sessions.prepare(session, options)
end

return setup
