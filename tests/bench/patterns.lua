-- A script that matches ordinary patterns; says how much of the processor that
-- took.  A plain Lua does the same, with its own library, when PLAIN is set.
local iotops = not os.getenv("PLAIN") and require "iotops"

local LINE = "2024-05-06T07:08:09Z host42 sensor/temperature key=value, other = 12.5; text here"

local function turn()
  local count = 0
  for _ = 1, 200 do
    count = count + #LINE:match "(%w+)=(%w+)"
    count = count + #LINE:match "^(%d+)%-(%d+)%-(%d+)T(%d+):(%d+):(%d+)"
    count = count + #("plant/line1/temperature"):match "^([^/]+)/([^/]+)/([^/]+)$"
    count = count + #("   hello world   "):match "^%s*(.-)%s*$"
    count = count + LINE:find("value", 1, true) + LINE:find "text"
    count = count + #LINE:gsub("%s+", " ") + #LINE:gsub("e", "E")
    count = count + #LINE:gsub("%w+", { key = "KEY" })
    for word in LINE:gmatch "%a+" do count = count + #word end
    for part in ("a,b,c,d,e,f,g,h"):gmatch "([^,]*),?" do count = count + #part end
  end
  return count
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
