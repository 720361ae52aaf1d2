--- The handlers of the cases.

local null = require "metl.null"
local user_data = require "metl.user_data"

local handlers = {}

local function sync(world, request, steps)
  for _, step in ipairs(steps or {}) do
    local signal, wait = null.get(step, "signal-event"),
      null.get(step, "wait-event")
    if signal then
      world:event(signal):signal()
    end
    if wait then
      world:event(wait):wait()
      if request:is_cancelled() then
        error("the request was given up")
      end
    end
  end
end

local function response_user_data(settings, request)
  local pairs_of = {}
  for name, value in pairs(null.get(settings, "response-metadata") or {}) do
    value = null.plain(value)
    if value == nil then
      value = user_data.get(request.user_data, name)
    end
    if value ~= nil then
      pairs_of[#pairs_of + 1] = { name, value }
    end
  end
  local prefix = null.get(settings, "token-metadata-prefix")
  if prefix then
    for name, value in pairs(request.tokens) do
      pairs_of[#pairs_of + 1] = { prefix .. name, value }
    end
  end
  table.sort(pairs_of, function(one, other)
    return one[1] < other[1]
  end)
  return pairs_of
end

--- The command handler of an executor with these settings.
---@param world metl.world
---@param envoy { handled: integer }
---@param settings table
---@return fun(value: any, request: iotops.Request): any
function handlers.command(world, envoy, settings)
  local answered = {} -- per value of the request
  return function(value, request)
    envoy.handled = envoy.handled + 1
    sync(world, request, null.get(settings, "sync"))
    if null.get(settings, "raise-error") then
      error("the case wants this handler to fail")
    end
    local map = null.get(settings, "request-responses-map") or {}
    local responses = null.get(map, value)
    local response
    if responses and #responses > 0 then
      local count = answered[value] or 0
      answered[value] = count + 1
      response = null.plain(responses[count % #responses + 1])
    end
    return response, { user_data = response_user_data(settings, request) }
  end
end

--- The telemetry handler of a receiver, which records what it is given.
---@param world metl.world
---@param envoy { handled: integer }
---@param settings table
---@return fun(value: any, message: iotops.Message)
function handlers.telemetry(world, envoy, settings)
  return function(value, message)
    envoy.handled = envoy.handled + 1
    world.telemetries[#world.telemetries + 1] = {
      value = value,
      user_data = message.user_data,
      tokens = message.tokens,
      sender_id = message.sender_id,
      cloud_event = message:cloud_event(),
    }
    if null.get(settings, "raise-error") then
      error("the case wants this handler to fail")
    end
  end
end

return handlers
