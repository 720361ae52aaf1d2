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
    error("iotops.configure: a table of options expected, got " .. type(options), 3)
  end
  if session then
    error("iotops.configure must come before the default session is used", 3)
  end
  for name, value in pairs(options) do
    if core.is_embedded() and not OWN[name] then
      error(("iotops.configure: the session is the host's, which is given its %s; "
        .. "iotops.session{} makes one of your own"):format(tostring(name)), 3)
    end
    configured[name] = value
  end
end

local function make()
  local client = core.client()
  if client then
    return client
  end
  local settings = short_forms.settings_of(configured)
  local made, err = core.session(settings, true)
  if made then
    return made
  end
  if err.kind == "invalid configuration" then
    err.message = err.message .. " (the default session takes its settings from the AIO_* "
      .. "variables and iotops.configure{}; `iotops dev SCRIPT` brings a broker to try with)"
  end
  error(err)
end

---@return iotops.Session
function default.session()
  if not session then
    session = short_forms.prepare(make(), configured)
  end
  return session
end

return default
