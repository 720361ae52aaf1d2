--- on_telemetry and on_command: what a session receives, in short.

local core = require "iotops.core"
local iotops = require "iotops"
local sessions = require "iotops.sessions"

local methods = core.session_methods

-- on_xxx(pattern, [options,] handler)
local function declaration(form, pattern, options, handler)
  sessions.check_pattern(pattern, form)
  if handler == nil then
    options, handler = nil, options
  end
  if type(handler) ~= "function" then
    core.misuse(("%s: a function expected, got %s"):format(form, type(handler)))
  end
  if options ~= nil and type(options) ~= "table" then
    core.misuse(("%s: a table of options expected, got %s"):format(form, type(options)))
  end
  return sessions.copy(options), handler
end

local function serve(endpoint, err)
  local ok = endpoint ~= nil
  if ok then
    ok, err = endpoint:begin()
  end
  if not ok then
    error(err)
  end
  return endpoint
end

local function retries(options)
  return options.on_error ~= nil or options.retries ~= nil or options.retry_pause ~= nil
    or options.dead_letter ~= nil
end

function methods.on_telemetry(session, pattern, options, handler)
  local state = sessions.state_of(session)
  options, handler = declaration("on_telemetry", pattern, options, handler)
  options.topic_pattern = pattern
  options.topic_namespace = options.topic_namespace or state.topic_namespace
  options.serializer = options.serializer or state.serializer
  options.handler = handler
  if retries(options) then -- few scripts do: loaded when one does
    options.handler = require("iotops.retry").wrap(options, handler, function(...)
      return session:send(...)
    end)
  end
  return serve(session:receiver(options))
end

function methods.on_command(session, pattern, options, handler)
  local state = sessions.state_of(session)
  options, handler = declaration("on_command", pattern, options, handler)
  local patterns = require "iotops.pattern"
  options.tokens = patterns.bind(session, pattern, options.tokens, "executorId")
  options.command_name = options.command_name or patterns.command_name(pattern, options.tokens)
  options.request_topic_pattern = pattern
  options.topic_namespace = options.topic_namespace or state.topic_namespace
  options.serializer = options.serializer or state.serializer
  options.handler = handler
  return serve(session:executor(options))
end

--- Calls `handler` with each telemetry message's value.  The message is
--- acknowledged when the handler has returned.
---@param pattern string
---@param options iotops.TelemetryOptions|fun(value: any, message: iotops.Message)
---@param handler? fun(value: any, message: iotops.Message)
---@return iotops.Endpoint
function iotops.on_telemetry(pattern, options, handler)
  return methods.on_telemetry(sessions.default(), pattern, options, handler)
end

--- Answers each request with what `handler` returns: a value, and maybe
--- `iotops.ResponseOptions`.
---@param pattern string
---@param options iotops.CommandOptions|iotops.CommandHandler
---@param handler? iotops.CommandHandler
---@return iotops.Endpoint
function iotops.on_command(pattern, options, handler)
  return methods.on_command(sessions.default(), pattern, options, handler)
end
