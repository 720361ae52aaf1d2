-- A script that computes: turns of some milliseconds with calls, tables, texts
-- and patterns; says how much of the processor all of them took.  A plain Lua
-- does the same, without the module, when PLAIN is set.
local iotops = not os.getenv("PLAIN") and require "iotops"

local function turn()
  local sum, list = 0, {}
  for n = 1, 20000 do
    list[n % 100 + 1] = { n, tostring(n) }
    sum = sum + #list[n % 100 + 1][2] + math.floor(n / 3)
    if n % 10 == 0 then sum = sum + #("line1/oven-" .. n):match "^%w+/(%a+)%-%d+$" end
  end
  for n = 1, 200000 do sum = sum + n % 7 end
  return sum
end

local function run()
  local began = os.clock()
  for _ = 1, tonumber(os.getenv("COUNT")) do
    turn()
    if iotops then iotops.sleep(0) end
  end
  io.stdout:write(("%.6f seconds\n"):format(os.clock() - began))
  io.stdout:flush()
end

if iotops then
  iotops.on_telemetry(os.getenv("TOPIC"), function() end)
  iotops.on_start(run)
else
  run()
end
