--- Envoys of a case, made through the public Lua module.

local calls = require "metl.calls"
local duration = require "metl.duration"
local failure = require "metl.failure"
local handlers = require "metl.handlers"
local iotops = require "iotops"
local null = require "metl.null"
local serializer = require "metl.serializer"

local get = null.get
local envoys = {}

---@class metl.envoy
---@field object any # the product's
---@field settings table
---@field handled integer # times its handler was entered

local function seconds(object)
  return object and duration.us(object) / 1000000
end

local function texts(map)
  local copy = {}
  for name, value in pairs(map or {}) do
    copy[name] = null.plain(value)
  end
  return copy
end

local function sorted_pairs(map)
  local list = {}
  for name, value in pairs(map or {}) do
    if value ~= null.value then
      list[#list + 1] = { name, value }
    end
  end
  table.sort(list, function(one, other)
    return one[1] < other[1]
  end)
  return list
end

-- ----------------------------------------------------------------- make --

local makers = {}

local function common(settings)
  return {
    topic_namespace = get(settings, "topic-namespace"),
    tokens = texts(get(settings, "topic-token-map")),
    serializer = serializer.new(get(settings, "serializer")),
  }
end

function makers.CommandExecutor(session, world, envoy, settings)
  local options = common(settings)
  options.command_name = get(settings, "command-name")
  options.request_topic_pattern = get(settings, "request-topic")
  options.is_idempotent = get(settings, "idempotent")
  options.cacheable_duration = seconds(get(settings, "cache-ttl"))
  options.execution_timeout = seconds(get(settings, "execution-timeout"))
  options.concurrency = get(settings, "execution-concurrency")
  options.handler = handlers.command(world, envoy, settings)
  return session:executor(options)
end

function makers.CommandInvoker(session, _, _, settings)
  local options = common(settings)
  options.command_name = get(settings, "command-name")
  options.request_topic_pattern = get(settings, "request-topic")
  options.response_topic_prefix = get(settings, "response-topic-prefix")
  options.response_topic_suffix = get(settings, "response-topic-suffix")
  options.response_topic_pattern = get(settings, "response-topic-pattern")
  return session:invoker(options)
end

function makers.TelemetryReceiver(session, world, envoy, settings)
  local options = common(settings)
  options.topic_pattern = get(settings, "telemetry-topic")
  options.handler = handlers.telemetry(world, envoy, settings)
  return session:receiver(options)
end

function makers.TelemetrySender(session, _, _, settings)
  local options = common(settings)
  options.topic_pattern = get(settings, "telemetry-topic")
  return session:sender(options)
end

--- Constructs an envoy.
---@param world metl.world
---@param settings table
---@return metl.envoy|nil
---@return iotops.Error|nil
function envoys.make(world, settings)
  local envoy = { settings = settings, handled = 0 }
  local object, err = makers[world.case.suite](iotops.session(), world, envoy,
    settings)
  if not object then
    return nil, err
  end
  envoy.object = object
  return envoy
end

-- ---------------------------------------------------------------- start --

local starts = { CommandExecutor = true, TelemetryReceiver = true }
local stops = {
  CommandExecutor = true, TelemetryReceiver = true, CommandInvoker = true,
}

--- Subscribes, where that is not left to the first use.
---@param world metl.world
---@param envoy metl.envoy
---@return metl.call
function envoys.start(world, envoy)
  if not starts[world.case.suite] then
    return calls.over(true)
  end
  return calls.begin(world, function()
    return envoy.object:start()
  end)
end

--- Ends an envoy.
---@param world metl.world
---@param envoy metl.envoy
---@return metl.call
function envoys.stop(world, envoy)
  if not stops[world.case.suite] then
    envoy.object:close()
    return calls.over(true)
  end
  return calls.begin(world, function()
    return envoy.object:stop()
  end)
end

-- ------------------------------------------------------------------ use --

local function named(world, key, name)
  for _, envoy in ipairs(world.envoys) do
    if get(envoy.settings, key) == name then
      return envoy
    end
  end
  return failure.raise("the prologue has no envoy with the %s %s", key,
    tostring(name))
end

--- Begins an invocation.
---@param world metl.world
---@param action table # "invoke command"
---@param envoy metl.envoy|nil # nil: the one that the action names
---@return metl.call # its value has the value of the response, and the rest
function envoys.invoke(world, action, envoy)
  envoy = envoy or named(world, "command-name", get(action, "command-name"))
  return calls.begin(world, function()
    local value, response = envoy.object:invoke(get(action, "request-value"), {
      timeout = seconds(get(action, "timeout")),
      user_data = sorted_pairs(get(action, "metadata")),
      tokens = texts(get(action, "topic-token-map")),
    })
    if value == nil then
      return nil, response
    end
    return { value = value, user_data = response.user_data }
  end)
end

local event_attributes = {
  ["source"] = "source",
  ["type"] = "type",
  ["spec-version"] = "spec_version",
  ["id"] = "id",
  ["time"] = "time",
  ["subject"] = "subject",
  ["data-schema"] = "data_schema",
}

local function cloud_event(attributes)
  if not attributes then
    return nil
  end
  local event = {}
  for key, name in pairs(event_attributes) do
    event[name] = get(attributes, key)
  end
  return event
end

--- Begins a send.
---@param world metl.world
---@param action table # "send telemetry"
---@param envoy metl.envoy|nil # nil: the one that the action names
---@return metl.call
function envoys.send(world, action, envoy)
  envoy = envoy
    or named(world, "telemetry-name", get(action, "telemetry-name"))
  return calls.begin(world, function()
    return envoy.object:send(get(action, "telemetry-value"), {
      expiry = seconds(get(action, "timeout")),
      qos = get(action, "qos"),
      user_data = sorted_pairs(get(action, "metadata")),
      tokens = texts(get(action, "topic-token-map")),
      cloud_event = cloud_event(get(action, "cloud-event")),
    })
  end)
end

return envoys
