--- Sets the envoys of a case up, and stops them at its end.

local catch = require "metl.catch"
local envoys = require "metl.envoys"
local failure = require "metl.failure"
local null = require "metl.null"
local stub = require "metl.stub"
local waiting = require "metl.waiting"

local prologue = {}

-- What this implementation can do; a case that wants more fails.
local features = {
  ["ack-ordering"] = true,
  ["topic-filtering"] = true,
  ["reconnection"] = true,
  ["caching"] = true,
  ["dispatch"] = true,
  ["explicit-default"] = true,
  ["multiple-serializers"] = true,
}

local function outcome(what, call)
  waiting.for_event(what, function()
    return call.ended
  end)
  return call.err
end

-- Constructed and, where there is such a thing, started.
local function set_up_one(world, settings)
  local envoy, err = envoys.make(world, settings)
  if envoy then
    world.envoys[#world.envoys + 1] = envoy
    err = outcome("start", envoys.start(world, envoy))
  end
  return err
end

-- The call of an envoy that shows what construction could not see.
local function use(world)
  local case = world.case
  if case.suite == "CommandInvoker" then
    return outcome("invoke",
      envoys.invoke(world, case.default_action("invoke command"),
        world.envoys[#world.envoys]))
  elseif case.suite == "TelemetrySender" then
    return outcome("send",
      envoys.send(world, case.default_action("send telemetry"),
        world.envoys[#world.envoys]))
  end
  return nil
end

--- Builds the envoys in order.  With `catch`, the last one must fail, at the
--- latest when it is used.
---@param world metl.world
---@return boolean # whether there is more to the case
function prologue.set_up(world)
  local expected = null.get(world.case.prologue, "catch")
  for _, feature in ipairs(world.case.requires) do
    failure.unless_equal("requires " .. feature, true, features[feature])
  end
  for i, settings in ipairs(world.case.envoys) do
    local err = set_up_one(world, settings)
    if expected and i == #world.case.envoys then
      catch.compare(expected, err or use(world))
      return false
    end
    failure.unless_equal("error of the set-up", nil, err and tostring(err))
  end
  stub.drain()
  return true
end

-- Everything that waits for the case itself ends, so that envoys can stop.
local function release(world)
  for _, event in pairs(world.events) do
    event:release()
  end
  stub.relent()
  stub.drain()
end

--- Stops the envoys, which succeeds unless the epilogue says otherwise.
---@param world metl.world
function prologue.wind_up(world)
  local expected = null.get(world.case.epilogue, "catch")
  local caught
  release(world)
  for _, envoy in ipairs(world.envoys) do
    local err = outcome("stop", envoys.stop(world, envoy))
    if expected then
      caught = caught or err
    else
      failure.unless_equal("error of stopping", nil, err and tostring(err))
    end
    if err then
      outcome("stop again", envoys.stop(world, envoy))
    end
  end
  if expected then
    catch.compare(expected, caught)
  end
  for _, call in ipairs(world.calls) do
    outcome("a call that nobody awaited", call)
  end
  stub.drain()
  for _, call in ipairs(world.calls) do
    failure.unless_equal("completions of a call", 1, call.completions)
  end
end

return prologue
