-- Invokes the command at TOPIC COUNT times, WINDOW at a time, and says how
-- long it took: one by one the p50 and p99 of a call, else the whole.
local iotops = require "iotops"
local clock = require "luv".hrtime

io.stdout:setvbuf("no")
local count, window = tonumber(os.getenv("COUNT")), tonumber(os.getenv("WINDOW") or 1)
local topic = os.getenv("TOPIC")

local function one_by_one()
  local took = {}
  for index = 1, count do
    local started = clock()
    assert(iotops.invoke(topic, { rpm = 1200 }).accepted)
    took[index] = (clock() - started) / 1e3
  end
  table.sort(took)
  print(("%.1f p50 %.1f p99"):format(took[count // 2 + 1], took[count * 99 // 100 + 1]))
end

local function together()
  local started, asked, answered = clock(), 0, 0
  for _ = 1, window do
    iotops.spawn(function()
      while asked < count do
        asked = asked + 1
        assert(iotops.invoke(topic, { rpm = 1200 }).accepted)
        answered = answered + 1
      end
      if answered == count then print((clock() - started) / 1e9 .. " seconds") end
    end)
  end
end

iotops.on_start(window == 1 and one_by_one or together)
iotops.run()
