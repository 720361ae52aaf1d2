--- One case, from prologue to stop, in a Lua state of its own.
---
--- Runs as a script of main.c with a table of strings: folder, suite, name,
--- level, clock, cut, fail_at.
--- Returns nothing when the case passes, else a report.

package.path = "tests/?.lua;" .. package.path

local options = ...

local null = require "metl.null"
local loader = require "metl.loader"
local stub = require "metl.stub"
local failure = require "metl.failure"

local loaded, case = pcall(loader.load, options.folder, options.suite,
  options.name, options.mutated)
if not loaded then
  return "  check:    the case can be read\n  seen:     " .. tostring(case)
end

case.says_disconnect = options.cut == "packet"

local function push_acks()
  local queues = {}
  for kind, answers in pairs(null.get(case.prologue, "push-acks") or {}) do
    queues[kind] = null.plain(answers)
  end
  return queues
end

local config = null.get(case.prologue, "mqtt-config") or {}
local problem = stub.open({
  level = math.tointeger(tonumber(options.level)),
  client_id = null.get(config, "client-id") or "metl-client",
  real_clock = options.clock == "real",
  fail_at = math.tointeger(tonumber(options.fail_at or "0")),
})
if problem then
  return "  check:    the stub opens\n  seen:     " .. problem
end
stub.answer(push_acks())

-- The product's module is opened only now: it is given the stub's session.
local actions = require "metl.actions"
local countdown = require "metl.countdown"
local epilogue = require "metl.epilogue"
local prologue = require "metl.prologue"
local trace = require "metl.trace"
local world = require("metl.world").new(case)

stub.start()

local function run()
  for name, count in pairs(null.get(case.prologue, "countdown-events") or {}) do
    world.events[name] = countdown.new(count)
  end
  if prologue.set_up(world) then
    for i, action in ipairs(case.actions) do
      world.at = string.format("actions[%d] %s", i - 1, action.action)
      actions.perform(world, action)
    end
    world.at = "epilogue"
    stub.drain()
    epilogue.check(world)
  end
  stub.freeze(false)
  world.at = "stopping"
  prologue.wind_up(world)
end

local passed, err = xpcall(run, function(raised)
  if failure.is(raised) then
    return raised
  end
  return failure.of(debug.traceback(tostring(raised), 2))
end)
if not passed then
  return string.format("  where:    %s\n%s\n%s", world.at or "prologue",
    tostring(err), trace.text())
end
return nil
