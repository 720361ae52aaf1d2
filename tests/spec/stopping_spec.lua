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
end)
