-- A script that computes: turns of some milliseconds with calls, tables and
-- texts, and says how long all of them took.
local iotops = require "iotops"

local function turn()
  local sum, list = 0, {}
  for n = 1, 20000 do
    list[n % 100 + 1] = { n, tostring(n) }
    sum = sum + #list[n % 100 + 1][2] + math.floor(n / 3)
  end
  for n = 1, 200000 do sum = sum + n % 7 end
  return sum
end

iotops.on_start(function()
  local began = os.clock()
  for _ = 1, tonumber(os.getenv("COUNT")) do
    turn()
    iotops.sleep(0)
  end
  io.stdout:write(("%.6f seconds\n"):format(os.clock() - began))
  io.stdout:flush()
end)

iotops.on_telemetry(os.getenv("TOPIC"), function() end)
