--- send and invoke: senders and invokers are made once for each pattern and
--- kept; how many is bounded, so a script that makes up patterns as it goes
--- leaks nothing.

local cache = require "iotops.cache"
local core = require "iotops.core"
local iotops = require "iotops"
local patterns = require "iotops.pattern"
local sessions = require "iotops.sessions"

local methods = core.session_methods
local copy = sessions.copy

local KEPT = 256 -- senders, and as many invokers

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

local function is_busy(kept)
  return kept.envoy:pending() > 0
end

local function close(kept)
  kept.envoy:close()
end

-- The envoys of a kind that the session keeps.
local function kept_of(state, kind)
  local kept = state[kind]
  if not kept then
    kept = cache.new(KEPT, is_busy, close)
    state[kind] = kept
  end
  return kept
end

local function keep(kept, key, pattern, token, envoy, err)
  if not envoy then
    error(err)
  end
  local entry = { envoy = envoy, names_us = patterns.has_token(pattern, token) }
  kept:put(key, entry)
  return entry
end

-- ------------------------------------------------------------------ send --

local function make_sender(session, state, pattern, given)
  given = given or {}
  return session:sender {
    topic_pattern = pattern,
    topic_namespace = given.topic_namespace or state.topic_namespace,
    serializer = given.serializer or state.serializer,
  }
end

local function sent(ok, err)
  if not ok then
    error(err)
  end
  return true
end

function methods.send(session, pattern, value, options)
  local state = sessions.state_of(session)
  sessions.check_pattern(pattern, "send")
  local key, given, rest = split(pattern, options)
  local kept = kept_of(state, "senders")
  local entry = kept:get(key)
    or keep(kept, key, pattern, "senderId", make_sender(session, state, pattern, given))
  if entry.names_us then
    rest = with_own_token(session, rest, "senderId")
  end
  return sent(entry.envoy:send(value, rest))
end

--- Sends one telemetry message; waits until the broker has it.  Raises.
---@param pattern string
---@param value any
---@param options? iotops.SendOptions
---@return true
function iotops.send(pattern, value, options)
  return methods.send(sessions.default(), pattern, value, options)
end

-- ---------------------------------------------------------------- invoke --

local function make_invoker(session, state, pattern, given, tokens)
  given = given or {}
  local made = copy(given)
  made.command_name = given.command_name or patterns.command_name(pattern, tokens)
  made.request_topic_pattern = pattern
  made.topic_namespace = given.topic_namespace or state.topic_namespace
  made.serializer = given.serializer or state.serializer
  return session:invoker(made)
end

local function answered(value, response)
  if value == nil then
    error(response)
  end
  return value, response
end

function methods.invoke(session, pattern, value, options)
  local state = sessions.state_of(session)
  sessions.check_pattern(pattern, "invoke")
  local key, given, rest = split(pattern, options)
  local kept = kept_of(state, "invokers")
  local entry = kept:get(key)
    or keep(kept, key, pattern, "invokerClientId",
      make_invoker(session, state, pattern, given, rest and rest.tokens))
  if entry.names_us then
    rest = with_own_token(session, rest, "invokerClientId")
  end
  return answered(entry.envoy:invoke(value, rest))
end

--- Invokes a command; waits for its response.  Raises.
---@param pattern string
---@param value any
---@param options? iotops.InvokeOptions
---@return any value
---@return iotops.Response response
function iotops.invoke(pattern, value, options)
  return methods.invoke(sessions.default(), pattern, value, options)
end
