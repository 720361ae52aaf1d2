-- Handles the messages of TOPIC and notes for each when it was sent and when
-- it is handled: two integers in a file of its generation's own, in FOLDER.
-- With RECORDS it has a state of so many records, which it hands over.
local iotops = require "iotops"
local clock = require "luv".hrtime

local notes = assert(io.open(("%s/%d.notes"):format(os.getenv("FOLDER"), clock()), "wb"))
notes:setvbuf("full", 1 << 20)

local records = {}
for index = 1, tonumber(os.getenv("RECORDS") or 0) do
  records[index] = { celsius = 20 + index / 10, sensor = "oven-" .. index, seen = index }
end

local pack = string.pack
iotops.on_telemetry(os.getenv("TOPIC"), function(reading)
  if #records > 0 then
    records[reading.sequence % #records + 1].seen = reading.sequence
  end
  notes:write(pack("<i8i8", reading.sent, clock()))
end)

if #records > 0 then
  iotops.handoff {
    save = function() return records end,
    restore = function(data) records = data end,
  }
end
