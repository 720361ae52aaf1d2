--- Durations of cases: objects of whole numbers, and ISO 8601 text in errors.

local null = require "metl.null"

local duration = {}

local microseconds = {
  hours = 3600000000,
  minutes = 60000000,
  seconds = 1000000,
  milliseconds = 1000,
  microseconds = 1,
}

--- The units that a duration object may name.
duration.units = microseconds

--- Microseconds of a duration object.
---@param object table
---@return integer
function duration.us(object)
  local sum = 0
  for unit in pairs(object) do
    sum = sum + (null.get(object, unit) or 0) * microseconds[unit]
  end
  return sum
end

--- Milliseconds of a duration object, rounded down.
---@param object table
---@return integer
function duration.ms(object)
  return duration.us(object) // 1000
end

--- Whole seconds of a duration object, rounded down.
---@param object table
---@return integer
function duration.seconds(object)
  return duration.us(object) // 1000000
end

local date_units = { W = 604800000, D = 86400000 }
local time_units = { H = 3600000, M = 60000, S = 1000 }

local function sum_units(text, units)
  local sum = 0
  local rest = text:gsub("(%d+[.,]?%d*)(%u)", function(number, unit)
    if not units[unit] then
      return nil
    end
    sum = sum + tonumber((number:gsub(",", "."))) * units[unit]
    return ""
  end)
  return rest == "" and sum or nil
end

--- Milliseconds of an ISO 8601 duration without years and months.
---@param text string
---@return number|nil # nil when it is not one
function duration.parse(text)
  local date, time = text:match("^P([^T]*)T?(.*)$")
  if not date then
    return nil
  end
  local days, clock = sum_units(date, date_units), sum_units(time, time_units)
  return days and clock and days + clock
end

return duration
