-- Sends COUNT messages to TOPIC, WINDOW of them in flight, and says how long
-- it took.
local iotops = require "iotops"
local clock = require "luv".hrtime

io.stdout:setvbuf("no")
local count, window = tonumber(os.getenv("COUNT")), tonumber(os.getenv("WINDOW"))
local topic = os.getenv("TOPIC")
local reading = { celsius = 21.53, sensor = "line1-oven-3", sequence = 12345678901 }

iotops.on_start(function()
  local started, sent, acknowledged = clock(), 0, 0
  for _ = 1, window do
    iotops.spawn(function()
      while sent < count do
        sent = sent + 1
        iotops.send(topic, reading)
        acknowledged = acknowledged + 1
      end
      if acknowledged == count then print((clock() - started) / 1e9 .. " seconds") end
    end)
  end
end)
iotops.run()
