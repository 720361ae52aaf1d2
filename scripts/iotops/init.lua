--- iotops: telemetry and commands over MQTT v5 for Azure IoT Operations.
---
--- Calls that wait (`send`, `invoke`, `sleep`, ...) yield the running coroutine
--- and read as if they blocked.  Short forms raise the error object; methods of
--- envoys return `nil, err`.

local core = require "iotops.core"
local default = require "iotops.default"
local serializers = require "iotops.serializers"
local short_forms = require "iotops.short_forms"

if core.version ~= default.version then
  error(("iotops %s cannot use the core of iotops %s"):format(default.version, core.version))
end

require("iotops.luv").watch()

---@class iotops
local iotops = {
  ---@type string
  version = core.version,
  --- JSON's null, the same value as `cjson.null`.
  ---@type lightuserdata
  null = core.null,
  --- As the value of a token: leaves the token open.
  ---@type lightuserdata
  any = core.any,
  ---@type iotops.Json
  json = serializers.json,
  ---@type iotops.Serializer
  raw = serializers.raw,
  ---@type iotops.Serializer
  empty = serializers.empty,
  ---@type iotops.Log
  log = core.log,
}

-- ------------------------------------------------------------- sessions --

--- Says how the default session is made, before its first use.  Settings that
--- are not given come from the `AIO_*` variables or the mounted files.  In the
--- host the session is the host's: only `topic_namespace` and `serializer` may
--- be given.
---@param options iotops.SessionOptions
function iotops.configure(options)
  default.configure(options)
end

--- A session of its own; without options, the default session.
---@param options? iotops.SessionOptions
---@return iotops.Session|nil
---@return iotops.Error? err
function iotops.session(options)
  if options == nil then
    return default.session()
  end
  return short_forms.new_session(options)
end

-- ---------------------------------------------------------- short forms --

--- Calls `handler` with each telemetry message's value.  The message is
--- acknowledged when the handler has returned.
---@param pattern string
---@param options iotops.TelemetryOptions|fun(value: any, message: iotops.Message)
---@param handler? fun(value: any, message: iotops.Message)
---@return iotops.Endpoint
function iotops.on_telemetry(pattern, options, handler)
  return short_forms.on_telemetry(default.session(), pattern, options, handler)
end

--- Answers each request with what `handler` returns: a value, and maybe
--- `iotops.ResponseOptions`.
---@param pattern string
---@param options iotops.CommandOptions|iotops.CommandHandler
---@param handler? iotops.CommandHandler
---@return iotops.Endpoint
function iotops.on_command(pattern, options, handler)
  return short_forms.on_command(default.session(), pattern, options, handler)
end

--- Sends one telemetry message; waits until the broker has it.  Raises.
---@param pattern string
---@param value any
---@param options? iotops.SendOptions
---@return true
function iotops.send(pattern, value, options)
  return short_forms.send(default.session(), pattern, value, options)
end

--- Invokes a command; waits for its response.  Raises.
---@param pattern string
---@param value any
---@param options? iotops.InvokeOptions
---@return any value
---@return iotops.Response response
function iotops.invoke(pattern, value, options)
  return short_forms.invoke(default.session(), pattern, value, options)
end

-- ------------------------------------------------------------- services --

--- The state store.
---@param options? {on_disconnect: "observe"|"close"|nil}
---@return iotops.StateStore|nil
---@return iotops.Error? err
function iotops.state_store(options)
  return default.session():state_store(options)
end

-- Clients of services are loaded when they are first asked for.
function core.session_methods.state_store(session, options)
  return require("iotops.state_store").of(session, options)
end

--- A leased lock, to be taken with `lock:lock()` or `lock:try()`.
---@param name string
---@param options? iotops.LockOptions
---@return iotops.Lock|nil
---@return iotops.Error? err
function iotops.lock(name, options)
  local session = options and options.session or default.session()
  return require("iotops.lock").new(session, name, options)
end

--- An election of one leader among those that name the same position.
---@param position string
---@param options? iotops.ElectionOptions
---@return iotops.LeaderElection|nil
---@return iotops.Error? err
function iotops.leader_election(position, options)
  local session = options and options.session or default.session()
  return require("iotops.leader_election").new(session, position, options)
end

--- RESP3, the encoding of the state store, as Lua values.
---@type {decode: (fun(bytes: string): any), encode: fun(value: any): string}
iotops.resp3 = core.resp3

--- Versions and tokens are texts of hybrid logical clocks: which is older, and
--- what is in one.
---@type iotops.Clock
iotops.clock = core.clock

-- ----------------------------------------------------------------- time --

--- Waits `seconds`.
---@type fun(seconds: number)
iotops.sleep = core.sleep

--- Calls `run` once, in `seconds`.
---@type fun(seconds: number, run: fun()): iotops.Timer
iotops.after = core.after

--- Calls `run` every `seconds`; a tick that finds the last call unfinished is
--- left out.
---@type fun(seconds: number, run: fun()): iotops.Timer
iotops.every = core.every

--- Unix time in seconds, to the millisecond.
---@type fun(): number
iotops.now = core.now

--- The hybrid logical clock of the process, as text.
---@type fun(): string
iotops.hlc = core.hlc

-- ----------------------------------------------------------- coroutines --

--- Runs a function soon, in a coroutine of its own that may wait.
---@type fun(run: fun(...: any), ...: any)
iotops.spawn = core.spawn

--- Runs a function once the script is loaded and serves.
---@type fun(run: fun())
iotops.on_start = core.on_start

--- Runs a function when the script is to stop: `reason` is "stop", or "reload"
--- when a new version of it takes over.  What is in hand has until the drain
--- time to end.
---@type fun(run: fun(reason: "stop"|"reload"))
iotops.on_stop = core.on_stop

--- Says, once and in the main chunk, how the script's state passes to its next
--- version: `save` gives it as plain data and changes nothing; `restore` of the
--- next version takes that, and the `version` that it was saved with, before
--- any message.  Neither may wait.  Under a plain Lua neither is called.
---@type fun(handoff: iotops.Handoff)
iotops.handoff = core.handoff

--- An event that coroutines wait for.
---@type fun(): iotops.Event
iotops.event = core.event

--- Runs the loop of a plain Lua until `iotops.stop()`, SIGINT or SIGTERM; then
--- ends what is in hand and detaches.  In the host it returns at once.
function iotops.run()
  return core.run()
end

--- Ends `iotops.run()`.
---@type fun()
iotops.stop = core.stop

-- --------------------------------------------------------------- errors --

--- An error object, for handlers and serializers of your own.
---@type fun(fields: {kind: iotops.ErrorKind?, message: string, [string]: any}): iotops.Error
iotops.error = core.error

---@type fun(value: any): boolean
iotops.is_error = core.is_error

return iotops
