-- Raises an alarm when a sensor reads too hot.
--
--   iotops dev scripts/samples/sensor_alarm.lua
--   iotops watch 'alarms/#'
--   iotops send sensors/oven/temperature '{"celsius": 95}'

local iotops = require "iotops"

local LIMIT = 90 -- degrees Celsius

-- The message is acknowledged to the broker when the function has returned,
-- that is, when the alarm has been acknowledged to us.
iotops.on_telemetry("sensors/{sensorId}/temperature", function(reading, message)
  if reading.celsius > LIMIT then
    iotops.send("alarms/{sensorId}", {
      celsius = reading.celsius,
      limit = LIMIT,
    }, { tokens = message.tokens })
  end
end)

iotops.run()
