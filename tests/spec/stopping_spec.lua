local process = require "process"
local hosting = require "hosting"

local SCRIPT = [[
local iotops = require "iotops"
iotops.on_stop(function(reason)
  print("stopping: " .. reason)
  iotops.sleep(0.05)
  print("stopped")
end)
iotops.on_telemetry("in", function() end)
iotops.run()
]]

describe("on_stop", function()
  local place

  before_each(function() place = hosting.place() end)

  after_each(function() place:close() end)

  it("is told under plain Lua, which waits for it", function()
    local script = place:script("plain", "io.stdout:setvbuf 'no'\n" .. SCRIPT)
    local running = process.start({ "lua5.4", script },
      { env = place.broker:environment("plain") })
    running:line "subscribed"
    running:signal_with "sigterm"
    assert.equal(0, (running:wait(5)))
    assert.same({ "stopping: stop", "stopped" }, running.out)
  end)

  it("is told in the host when it stops, and of a new version of the script", function()
    local script = place:script("hosted", "io.stdout:setvbuf 'no'\n" .. SCRIPT)
    local host = place:run { script }
    place:script("hosted", "io.stdout:setvbuf 'no'\n" .. SCRIPT .. "\n-- new")
    host:line "stopping: reload"
    host:line "stopped"
    hosting.stop(host)
    assert.same({ "stopping: reload", "stopped", "stopping: stop", "stopped" }, host.out)
  end)

  it("may spawn, and what it spawns is waited for as well", function()
    local text = [[
      io.stdout:setvbuf "no"
      local iotops = require "iotops"
      iotops.on_stop(function()
        for i = 1, 2 do
          iotops.spawn(function() iotops.sleep(0.05) print("flushed " .. i) end)
        end
        iotops.spawn(function() iotops.spawn(print, "too late") end)
      end)
      iotops.on_telemetry("in", function() end)
    ]]
    local host = place:run { place:script("spawning", text) }
    hosting.stop(host)
    assert.same({ "flushed 1", "flushed 2" }, host.out)
    hosting.record(host, "1 spawned functions had not begun when the script ended")
  end)
end)

describe("a message that a script still holds", function()
  local place

  before_each(function() place = hosting.place() end)

  after_each(function() place:close() end)

  local HOLDER = [[
    local iotops = require "iotops"
    io.stdout:setvbuf "no"
    local kept = {}
    iotops.on_telemetry("in", function(value, message)
      kept[#kept + 1] = message:hold()
      print("holds " .. value)
    end)
  ]]

  it("is acknowledged with its version, and not when the host stops: it comes again", function()
    local script = place:script("holder", HOLDER)
    local host = place:run { script }
    place:publish("in", "1")
    host:line "holds 1"
    place:script("holder", HOLDER .. "-- new")
    hosting.record(host, "when the script ended; it is acknowledged")
    place:publish("in", "2")
    host:line "holds 2"
    hosting.stop(host)
    hosting.record(host, "when the script ended; without a connection it is not acknowledged")
    host = place:run { script }
    host:line "holds 2"
    hosting.stop(host)
    assert.same({ "holds 2" }, host.out)
  end)
end)
