--- How long the longest turn of scripts that would run without end lasts.

local hosting = require "hosting"
local process = require "process"
local runaways = require "runaways"

local stops = {}

stops.LIMIT = 0.2 -- seconds

--- Milliseconds that the longest turn took until it was stopped.
---@param start fun(folder: string): process.Process the host, on all scripts of the folder
---@param send fun(topic: string) a message
---@return number
function stops.measure(start, send)
  local folder = process.folder()
  for index, runaway in ipairs(runaways) do
    hosting.write(("%s/runaway%d.lua"):format(folder, index), ([[
      local iotops = require "iotops"
      iotops.on_telemetry("runaway/%d", function()
        %s
      end)
    ]]):format(index, runaway.text))
  end
  local host = start(folder)
  for _ in ipairs(runaways) do host:line("subscribed: messages reach it", 30) end
  for index in ipairs(runaways) do
    send("runaway/" .. index)
    host:line("the telemetry handler failed", 30)
  end
  host:signal_with("sigterm")
  host:wait(30)
  local longest = 0
  for _, counters in ipairs(hosting.records(host)) do
    if counters.message == "counters" then
      longest = math.max(longest, tonumber(counters.longest_us))
    end
  end
  assert(longest >= stops.LIMIT * 1e6, "nothing was stopped")
  return longest / 1e3
end

return stops
