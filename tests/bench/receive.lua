-- Receives COUNT messages of TOPIC and says how long it took from the first
-- to the last.  With RECEIVERS, so many others wait on topics beside it.
local iotops = require "iotops"
local clock = require "luv".hrtime

io.stdout:setvbuf("no")
local count, received, first = tonumber(os.getenv("COUNT")), 0, nil

iotops.on_telemetry(os.getenv("TOPIC"), function(reading)
  assert(reading.celsius == 21.53)
  received = received + 1
  first = first or clock()
  if received == count then print((clock() - first) / 1e9 .. " seconds") end
end)

for index = 1, tonumber(os.getenv("RECEIVERS") or 0) do
  iotops.on_telemetry(os.getenv("TOPIC") .. "/" .. index, function() end)
end

iotops.run()
