local hosting = require "hosting"
local process = require "process"

local SCRIPT = [[
local iotops = require "iotops"
iotops.on_telemetry("sensors/{sensorId}/temperature", function(reading, message)
  iotops.send("alarms/{sensorId}", { celsius = reading.celsius }, { tokens = message.tokens })
end)
iotops.on_command("fans/fan1/setSpeed", function(request)
  return { accepted = request.rpm <= 3000 }
end)
iotops.run()
]]

describe("a client that is not ours", function()
  local place, host

  before_each(function()
    place = hosting.place()
    host = place:run { place:script("line1", SCRIPT) }
  end)

  after_each(function() place:close() end)

  local function foreign(program, ...)
    return process.start { "stdbuf", "-oL", program, "-V", "5",
      "-p", tostring(place.broker.port), ... }
  end

  it("publishes telemetry that a handler gets", function()
    local alarms = foreign("mosquitto_sub", "-t", "alarms/#", "-d", "-F", "%t %p %P")
    alarms:line("Subscribed")
    place:publish("sensors/oven/temperature", '{"celsius":95}',
      "-D", "publish", "content-type", "application/json",
      "-D", "publish", "payload-format-indicator", "1",
      "-D", "publish", "user-property", "__protVer", "1.0",
      "-D", "publish", "user-property", "__srcId", "foreign")
    local line = alarms:line("^alarms/")
    assert.match("^alarms/oven ", line)
    assert.match('{"celsius": ?95}', line)
    assert.match("__srcId:host%-under%-test", line)
    hosting.stop(host)
  end)

  it("invokes a command and is answered", function()
    local asked = foreign("mosquitto_rr", "-q", "1", "-W", "10",
      "-t", "fans/fan1/setSpeed", "-e", "clients/foreign/answers", "-m", '{"rpm":1200}',
      "-D", "publish", "correlation-data", "0123456789abcdef",
      "-D", "publish", "message-expiry-interval", "10",
      "-D", "publish", "content-type", "application/json",
      "-D", "publish", "payload-format-indicator", "1",
      "-D", "publish", "user-property", "__protVer", "1.0",
      "-D", "publish", "user-property", "__srcId", "foreign",
      "-F", "%p %D %P")
    local line = asked:line("accepted")
    assert.match('{"accepted": ?true}', line)
    assert.match("0123456789abcdef", line)
    assert.match("__stat:200", line)
    assert.equal(0, (asked:wait()))
    hosting.stop(host)
  end)
end)
