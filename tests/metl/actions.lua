--- What each kind of action does.

local catch = require "metl.catch"
local duration = require "metl.duration"
local envoys = require "metl.envoys"
local failure = require "metl.failure"
local null = require "metl.null"
local stub = require "metl.stub"
local user_data = require "metl.user_data"
local waiting = require "metl.waiting"

local get = null.get
local actions = {}

-- ------------------------------------------------------------- inbound --

local function sorted_names(map)
  local names = {}
  for name in pairs(map) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function add_property(message, name, value)
  if value ~= nil then
    local pairs_of = message.user_properties
    pairs_of[#pairs_of + 1] = { name = name, value = value }
  end
end

local function inbound(world, action)
  local id, again = world:packet_id(get(action, "packet-index"))
  local expiry = get(action, "message-expiry")
  local source = get(action, "source-index")
  local message = {
    topic = get(action, "topic"),
    payload = get(action, "payload") or "",
    content_type = get(action, "content-type"),
    format_indicator = get(action, "format-indicator"),
    qos = get(action, "qos"),
    expiry = expiry and duration.seconds(expiry),
    packet_id = id,
    dup = again and 1 or 0,
    user_properties = {},
  }
  add_property(message, "__srcId", source and world:source(source))
  return message
end

local function add_metadata(message, action)
  local metadata = get(action, "metadata") or {}
  for _, name in ipairs(sorted_names(metadata)) do
    add_property(message, name, null.plain(metadata[name]))
  end
end

local function request_correlation(world, action)
  local index, id = get(action, "correlation-index"),
    get(action, "correlation-id")
  if index == nil then
    return id
  end
  if id or not world.correlations[index] then
    world.correlations[index] = id or (stub.uuid())
  end
  return world.correlations[index]
end

actions["receive request"] = function(world, action)
  local message = inbound(world, action)
  message.response_topic = get(action, "response-topic")
  message.correlation_data = request_correlation(world, action)
  add_metadata(message, action)
  stub.deliver(message)
end

local status_headers = { -- in the order in which they are sent
  { "status", "__stat" },
  { "status-message", "__stMsg" },
  { "is-application-error", "__apErr" },
  { "invalid-property-name", "__propName" },
  { "invalid-property-value", "__propVal" },
}

actions["receive response"] = function(world, action)
  local message = inbound(world, action)
  local index = get(action, "correlation-index")
  message.correlation_data = index and world:correlation(index)
  for _, header in ipairs(status_headers) do
    add_property(message, header[2], get(action, header[1]))
  end
  add_metadata(message, action)
  stub.deliver(message)
end

actions["receive telemetry"] = function(world, action)
  local message = inbound(world, action)
  add_metadata(message, action)
  stub.deliver(message)
end

-- ------------------------------------------------------------ outbound --

local function call_result(what, call)
  waiting.for_event(what, function()
    return call.ended
  end)
  return call.value, call.err
end

actions["invoke command"] = function(world, action)
  local call = envoys.invoke(world, action)
  world.invocations[get(action, "invocation-index") or 0] = call
end

actions["await invocation"] = function(world, action)
  local index = get(action, "invocation-index") or 0
  local call = world.invocations[index]
    or failure.raise("there is no invocation %d", index)
  local response, err = call_result("await invocation", call)
  local expected = get(action, "catch")
  if expected then
    catch.compare(expected, err)
    return
  end
  failure.unless_equal("error of the invocation", nil,
    err and tostring(err) or nil)
  if null.given(action, "response-value") then
    failure.unless_equal("response-value", get(action, "response-value") or "",
      response.value or "")
  end
  for name, value in pairs(get(action, "metadata") or {}) do
    failure.unless_equal("response metadata " .. name, value,
      user_data.get(response.user_data, name))
  end
end

actions["send telemetry"] = function(world, action)
  table.insert(world.sends, envoys.send(world, action))
end

actions["await send"] = function(world, action)
  local call = table.remove(world.sends, 1)
    or failure.raise("there is no send to await")
  local _, err = call_result("await send", call)
  local expected = get(action, "catch")
  if expected then
    catch.compare(expected, err)
  else
    failure.unless_equal("error of the send", nil, err and tostring(err) or nil)
  end
end

actions["await publish"] = function(world, action)
  local message = waiting.for_event("await publish", stub.next_publish)
  local index = get(action, "correlation-index")
  if world.case.suite == "CommandInvoker" then
    if index then
      world.correlations[index] = message.correlation_data
        or failure.raise("the request has no correlation data")
    end
  elseif null.given(action, "correlation-index") then
    failure.unless_equal("correlation data of the publish",
      index and world:correlation(index), message.correlation_data)
  end
end

actions["await acknowledgement"] = function(world, action)
  local id = waiting.for_event("await acknowledgement", stub.next_ack)
  local index = get(action, "packet-index")
  if index then
    failure.unless_equal("packet id of the acknowledgement",
      (world:packet_id(index)), id)
  end
end

-- ---------------------------------------------------------- connection --

actions["disconnect"] = function(world)
  stub.disconnect(world.case.says_disconnect)
end

-- ---------------------------------------------------------------- time --

actions["sync"] = function(world, action)
  local signal, wait = get(action, "signal-event"), get(action, "wait-event")
  if signal then
    world:event(signal):signal()
  end
  if wait then
    local event = world:event(wait)
    waiting.for_event("sync with " .. wait, function()
      return event:is_over()
    end)
  end
end

actions["sleep"] = function(_, action)
  waiting.sleep(duration.ms(action.duration))
end

actions["freeze time"] = function()
  stub.freeze(true)
end

actions["unfreeze time"] = function()
  stub.freeze(false)
end

--- Does one action, and everything that follows from it without time passing.
---@param world metl.world
---@param action table
local function perform(world, action)
  actions[action.action](world, action)
  stub.drain()
end

return { perform = perform }
