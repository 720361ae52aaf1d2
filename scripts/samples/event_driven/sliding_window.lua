-- Readings of sensors go into the state store; every second the last minute of
-- each sensor is summed up and sent on.  README.md says how to try it.

local iotops = require "iotops"

local WINDOW = tonumber(os.getenv "WINDOW_SECONDS") or 60
local READINGS = "sensor/{sensorId}/data"
local RESULTS = "sensor/{sensorId}/window"
local KEYS = "event_driven/"
local CLOCK_AHEAD = 5 -- a reading from further in the future is not believed

-- What is kept of a sensor: a list of {time, field, value}, oldest first.
local function kept_readings(store, key)
  local text, err = store:get(key)
  if not text then
    return {}, err
  end
  return iotops.json.decode(text)
end

-- Readings that are still in the window.
local function recent(readings, now)
  local from = 1
  while readings[from] and readings[from][1] < now - WINDOW do
    from = from + 1
  end
  return table.move(readings, from, #readings, 1, {})
end

local function quantile(sorted, part)
  local at = 1 + (#sorted - 1) * part
  local low = math.floor(at)
  local high = math.min(low + 1, #sorted)
  return sorted[low] + (sorted[high] - sorted[low]) * (at - low)
end

-- {temperature = {min, max, mean, median, p75, count}, ...}
local function summary(readings)
  local values, result = {}, {}
  for _, reading in ipairs(readings) do
    local _, field, value = table.unpack(reading)
    values[field] = values[field] or {}
    table.insert(values[field], value)
  end
  for field, list in pairs(values) do
    table.sort(list)
    local sum = 0
    for _, value in ipairs(list) do
      sum = sum + value
    end
    result[field] = {
      min = list[1], max = list[#list], mean = sum / #list, median = quantile(list, 0.5),
      p75 = quantile(list, 0.75), count = #list,
    }
  end
  return result
end

-- In: each number of a reading is kept under its name.  One handler runs at a
-- time, and the message is acknowledged when the store has its reading.
iotops.on_telemetry(READINGS, function(reading, message)
  local store = assert(iotops.state_store())
  local now = iotops.now()
  local time = math.min(tonumber(reading.time) or now, now + CLOCK_AHEAD)
  local key = KEYS .. message.tokens.sensorId
  local readings, err = kept_readings(store, key)
  if err then
    error(err)
  end
  readings = recent(readings, now)
  for field, value in pairs(reading) do
    if type(value) == "number" and field ~= "time" then
      table.insert(readings, { time, field, value })
    end
  end
  table.sort(readings, function(a, b) return a[1] < b[1] end)
  -- A sensor that falls silent is forgotten by the store.
  assert(store:set(key, assert(iotops.json.encode(readings)),
    { expiry_ms = WINDOW * 1000 }))
end)

-- Out: what the window of each sensor holds, once a second.
iotops.every(1, function()
  local store = assert(iotops.state_store())
  local now = iotops.now()
  for key in store:keys(KEYS .. "*") do
    local readings = recent(kept_readings(store, key), now)
    if #readings > 0 then
      iotops.send(RESULTS, { window = WINDOW, to = now, fields = summary(readings) },
        { tokens = { sensorId = key:sub(#KEYS + 1) } })
    end
  end
end)

iotops.run()
