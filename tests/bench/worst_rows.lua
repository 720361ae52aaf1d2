--- How much of the processor each turn of a script at its worst took until it was
--- stopped: rows of a group, all measured in one run of a host a round.

local hosting = require "hosting"
local process = require "process"
local runaways = require "worst"

local worst = {}

worst.LIMIT = 0.2 -- seconds

-- Milliseconds by runaway; nil: it was refused before it had begun.
local function measure(start, send)
  local folder = process.folder()
  for index, runaway in ipairs(runaways) do
    hosting.write(("%s/worst%d.lua"):format(folder, index), ([[
      local iotops = require "iotops"
      iotops.on_telemetry("worst/%d", function()
        %s
      end)
    ]]):format(index, runaway[2]))
  end
  local host = start(folder)
  for _ in ipairs(runaways) do host:line("subscribed: messages reach it", 30) end
  for index in ipairs(runaways) do
    send("worst/" .. index)
    host:line("the telemetry handler failed", 30)
  end
  host:signal_with("sigterm")
  host:wait(30)
  local spent = {}
  for _, counters in ipairs(hosting.records(host)) do
    local index = counters.message == "counters" and counters.script:match("^worst(%d+)$")
    if index then spent[tonumber(index)] = counters.stopped_us / 1e3 end
  end
  return spent
end

--- A row for each; `start(broker, folder)` and `send(broker, topic)` do so.
---@return table[]
function worst.rows(start, send)
  local runs, rows = {}, {}
  for index, runaway in ipairs(runaways) do
    local calls = 0
    rows[index] = {
      name = "stopped: " .. runaway[1], unit = "ms", goal = "<= limit + 50",
      bare = function() return worst.LIMIT * 1e3 end,
      ours = function(broker)
        calls = calls + 1
        runs[calls] = runs[calls] or measure(
          function(folder) return start(broker, folder) end,
          function(topic) send(broker, topic) end)
        return runs[calls][index]
      end,
    }
  end
  return rows
end

return worst
