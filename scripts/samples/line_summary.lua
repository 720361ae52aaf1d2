-- Watches a line of sensors: keeps an average of each, raises an alarm when
-- one reads too hot, and answers the command `summary` with what it has seen.
-- Change LIMIT while it runs: the counts go on.
--
--   iotops dev scripts/samples/line_summary.lua
--   iotops send line1/oven/temperature '{"celsius": 71.5}'
--   iotops invoke line1/summary '{}'

local iotops = require "iotops"

local LIMIT = 90 -- degrees Celsius

---@type table<string, {readings: integer, sum: number, alarms: integer}>
local sensors = {}

-- What was counted outlives a change of this file.
iotops.handoff {
  version = 1,
  save = function() return sensors end,
  restore = function(saved) sensors = saved end,
}

iotops.on_telemetry("line1/{sensorId}/temperature", function(reading, message)
  local id = message.tokens.sensorId
  local sensor = sensors[id] or { readings = 0, sum = 0, alarms = 0 }
  sensors[id] = sensor
  sensor.readings = sensor.readings + 1
  sensor.sum = sensor.sum + reading.celsius
  if reading.celsius > LIMIT then
    sensor.alarms = sensor.alarms + 1
    iotops.send("line1/{sensorId}/alarm", {
      celsius = reading.celsius,
      limit = LIMIT,
    }, { tokens = message.tokens })
  end
end)

iotops.on_command("line1/summary", function()
  local readings, sum, alarms = 0, 0, 0
  for _, sensor in pairs(sensors) do
    readings = readings + sensor.readings
    sum = sum + sensor.sum
    alarms = alarms + sensor.alarms
  end
  return {
    limit = LIMIT,
    readings = readings,
    mean = readings > 0 and sum / readings or iotops.null,
    alarms = alarms,
  }
end)

iotops.run()
