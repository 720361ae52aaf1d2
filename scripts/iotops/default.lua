--- The default session: the host's, or one made from the environment at its
--- first use.

local core = require "iotops.core"
local short_forms = require "iotops.short_forms"

local default = { version = "0.1.0" }

local configured = {}
local session

-- Of these the script may speak in the host, too.
local OWN = { topic_namespace = true, serializer = true }

---@param options iotops.SessionOptions
function default.configure(options)
  if type(options) ~= "table" then
    core.misuse("iotops.configure: a table of options expected, got " .. type(options))
  end
  if session then
    core.misuse("iotops.configure must come before the default session is used")
  end
  for name, value in pairs(options) do
    if core.is_embedded() and not OWN[name] then
      core.misuse(("iotops.configure: the session is the host's, which is given its %s; "
        .. "iotops.session{} makes one of your own"):format(tostring(name)))
    end
    configured[name] = value
  end
end

-- The settings that have no default, and the variables that give them.
local REQUIRED = { { "hostname", "AIO_BROKER_HOSTNAME" }, { "client_id", "AIO_MQTT_CLIENT_ID" } }

local function check_given()
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

local function make()
  local client = core.client()
  if client then
    return client
  end
  check_given()
  local made, err = core.session(short_forms.settings_of(configured), true)
  if not made then
    error(err)
  end
  return made
end

---@return iotops.Session
function default.session()
  if not session then
    session = short_forms.prepare(make(), configured)
  end
  return session
end

return default
