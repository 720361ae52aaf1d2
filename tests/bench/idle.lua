-- A script that has something to do and nothing at the moment.
local iotops = require "iotops"

iotops.on_telemetry("idle/{sensorId}/temperature", function(reading, message)
  if reading.celsius > 90 then
    iotops.send("idle/{sensorId}/alarm", reading, { tokens = message.tokens })
  end
end)

iotops.run()
