--- The short forms of a session: on_telemetry, on_command, send, invoke.
---
--- Senders and invokers are made once for each pattern and kept; how many is
--- bounded, so a script that makes up patterns as it goes leaks nothing.

local cache = require "iotops.cache"
local core = require "iotops.core"
local patterns = require "iotops.pattern"

local short_forms = {}

local KEPT = 256 -- senders, and as many invokers

---@class iotops.SessionState
---@field topic_namespace string?
---@field serializer iotops.Serializer?
---@field senders iotops.Cache
---@field invokers iotops.Cache

---@type table<iotops.Session, iotops.SessionState>
local states = setmetatable({}, { __mode = "k" })

-- ------------------------------------------------------------- sessions --

--- The options of a session that are settings of the core.
---@param options iotops.SessionOptions
---@return table
function short_forms.settings_of(options)
  local settings = {}
  for name, value in pairs(options) do
    if name ~= "topic_namespace" and name ~= "serializer" then
      settings[name] = value
    end
  end
  return settings
end

local function close(envoy)
  envoy:close()
end

--- Gives a session what its short forms need.
---@param session iotops.Session
---@param options iotops.SessionOptions
---@return iotops.Session
function short_forms.prepare(session, options)
  states[session] = {
    topic_namespace = options.topic_namespace or os.getenv "IOTOPS_TOPIC_NAMESPACE",
    serializer = options.serializer,
    senders = cache.new(KEPT, function(kept) return kept.sender:pending() > 0 end,
      function(kept) close(kept.sender) end),
    invokers = cache.new(KEPT, function(kept) return kept.invoker:pending() > 0 end,
      function(kept) close(kept.invoker) end),
  }
  return session
end

---@param options iotops.SessionOptions
---@return iotops.Session|nil
---@return iotops.Error? err
function short_forms.new_session(options)
  if type(options) ~= "table" then
    core.misuse("iotops.session: a table of options expected, got " .. type(options))
  end
  local session, err = core.session(short_forms.settings_of(options))
  if not session then
    return nil, err
  end
  return short_forms.prepare(session, options)
end

local function state_of(session)
  local state = states[session]
  if not state then
    short_forms.prepare(session, {})
    state = states[session]
  end
  return state
end

-- -------------------------------------------------------------- helpers --

local function check_pattern(pattern, form)
  if type(pattern) ~= "string" then
    core.misuse(("%s: a topic pattern expected, got %s"):format(form, type(pattern)))
  end
end

local function copy(from)
  local to = {}
  for name, value in pairs(from or {}) do
    to[name] = value
  end
  return to
end

-- on_xxx(pattern, [options,] handler)
local function declaration(form, pattern, options, handler)
  check_pattern(pattern, form)
  if handler == nil then
    options, handler = nil, options
  end
  if type(handler) ~= "function" then
    core.misuse(("%s: a function expected, got %s"):format(form, type(handler)))
  end
  if options ~= nil and type(options) ~= "table" then
    core.misuse(("%s: a table of options expected, got %s"):format(form, type(options)))
  end
  return copy(options), handler
end

-- Binds `name` to the client id where the pattern has it and nothing else was
-- said.
local function bind(session, pattern, options, name)
  local tokens = copy(options.tokens)
  if tokens[name] == nil and patterns.tokens(pattern)[name] then
    tokens[name] = session:client_id()
  end
  options.tokens = tokens
end

local function command_name(pattern, tokens)
  local name = tokens and tokens.commandName
  if type(name) ~= "string" then
    name = patterns.last_literal(pattern)
  end
  if not name then
    core.misuse(("'%s' does not say the name of the command: give command_name, or a value "
      .. "to the token {commandName}"):format(pattern))
  end
  return name
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

-- --------------------------------------------------------- declarations --

local function retries(options)
  return options.on_error ~= nil or options.retries ~= nil or options.retry_pause ~= nil
    or options.dead_letter ~= nil
end

---@param session iotops.Session
---@param pattern string
---@param options iotops.TelemetryOptions|function
---@param handler? function
---@return iotops.Endpoint
function short_forms.on_telemetry(session, pattern, options, handler)
  local state = state_of(session)
  options, handler = declaration("on_telemetry", pattern, options, handler)
  options.topic_pattern = pattern
  options.topic_namespace = options.topic_namespace or state.topic_namespace
  options.serializer = options.serializer or state.serializer
  options.handler = handler
  if retries(options) then -- few scripts do: loaded when one does
    options.handler = require("iotops.retry").wrap(options, handler, function(...)
      return short_forms.send(session, ...)
    end)
  end
  return serve(session:receiver(options))
end

---@param session iotops.Session
---@param pattern string
---@param options iotops.CommandOptions|function
---@param handler? function
---@return iotops.Endpoint
function short_forms.on_command(session, pattern, options, handler)
  local state = state_of(session)
  options, handler = declaration("on_command", pattern, options, handler)
  bind(session, pattern, options, "executorId")
  options.command_name = options.command_name or command_name(pattern, options.tokens)
  options.request_topic_pattern = pattern
  options.topic_namespace = options.topic_namespace or state.topic_namespace
  options.serializer = options.serializer or state.serializer
  options.handler = handler
  return serve(session:executor(options))
end

-- ---------------------------------------------------------------- calls --

-- What tells senders and invokers of one pattern apart; the kept envoy keeps
-- its serializers, so their addresses stay theirs.
local VARIANTS = {
  "topic_namespace", "serializer", "request_serializer", "response_serializer",
  "response_topic_pattern", "response_topic_prefix", "response_topic_suffix", "command_name",
}

-- The key of the envoy, and the options that are left for the call.
local function split(pattern, options)
  if not options then
    return pattern, nil, nil
  end
  local key, given, rest
  for _, name in ipairs(VARIANTS) do
    local value = options[name]
    if value ~= nil then
      given = given or {}
      given[name] = value
      key = (key or pattern) .. "\n" .. name .. "=" .. tostring(value)
    end
  end
  if not given then
    return pattern, nil, options
  end
  rest = copy(options)
  for name in pairs(given) do
    rest[name] = nil
  end
  return key, given, rest
end

-- The options of a call with the token that stands for us.
local function with_own_token(session, options, name)
  local tokens = options and options.tokens
  if tokens and tokens[name] ~= nil then
    return options
  end
  options, tokens = copy(options), copy(tokens)
  tokens[name] = session:client_id()
  options.tokens = tokens
  return options
end

local function make_sender(session, state, pattern, given)
  given = given or {}
  local sender, err = session:sender {
    topic_pattern = pattern,
    topic_namespace = given.topic_namespace or state.topic_namespace,
    serializer = given.serializer or state.serializer,
  }
  if not sender then
    error(err)
  end
  return { sender = sender, names_us = patterns.tokens(pattern).senderId ~= nil }
end

local function sent(ok, err)
  if not ok then
    error(err)
  end
  return true
end

---@param session iotops.Session
---@param pattern string
---@param value any
---@param options? iotops.SendOptions
---@return true
function short_forms.send(session, pattern, value, options)
  local state = state_of(session)
  check_pattern(pattern, "send")
  local key, given, rest = split(pattern, options)
  local kept = state.senders:get(key)
  if not kept then
    kept = make_sender(session, state, pattern, given)
    state.senders:put(key, kept)
  end
  if kept.names_us then
    rest = with_own_token(session, rest, "senderId")
  end
  return sent(kept.sender:send(value, rest))
end

local function make_invoker(session, state, pattern, given, tokens)
  given = given or {}
  local made = copy(given)
  made.command_name = given.command_name or command_name(pattern, tokens)
  made.request_topic_pattern = pattern
  made.topic_namespace = given.topic_namespace or state.topic_namespace
  made.serializer = given.serializer or state.serializer
  local invoker, err = session:invoker(made)
  if not invoker then
    error(err)
  end
  return { invoker = invoker, names_us = patterns.tokens(pattern).invokerClientId ~= nil }
end

local function answered(value, response)
  if value == nil then
    error(response)
  end
  return value, response
end

---@param session iotops.Session
---@param pattern string
---@param value any
---@param options? iotops.InvokeOptions
---@return any value
---@return iotops.Response response
function short_forms.invoke(session, pattern, value, options)
  local state = state_of(session)
  check_pattern(pattern, "invoke")
  local key, given, rest = split(pattern, options)
  local kept = state.invokers:get(key)
  if not kept then
    kept = make_invoker(session, state, pattern, given, rest and rest.tokens)
    state.invokers:put(key, kept)
  end
  if kept.names_us then
    rest = with_own_token(session, rest, "invokerClientId")
  end
  return answered(kept.invoker:invoke(value, rest))
end

-- The constructors of envoys are functions of the core; each takes a session.
for _, name in ipairs { "sender", "receiver", "invoker", "executor" } do
  core.session_methods[name] = core[name]
end

for _, name in ipairs { "on_telemetry", "on_command", "send", "invoke" } do
  core.session_methods[name] = short_forms[name]
end

return short_forms
