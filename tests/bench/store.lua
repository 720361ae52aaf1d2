-- Gets or sets (OPERATION) a key of 64 bytes COUNT times, WINDOW at a time, and
-- says how long it took: one by one the p50 and p99, else the whole.  The
-- operation "command" invokes TOPIC with as many bytes instead.
local iotops = require "iotops"
local clock = require "luv".hrtime

io.stdout:setvbuf("no")
local count, window = tonumber(os.getenv("COUNT")), tonumber(os.getenv("WINDOW") or 1)
local operation, topic = os.getenv("OPERATION"), os.getenv("TOPIC")
local value = ("x"):rep(64)
local store = assert(iotops.state_store())

local operations = {
  get = function() assert(store:get(topic) == value) end,
  set = function() assert(store:set(topic, value)) end,
  command = function() assert(iotops.invoke(topic, value, { serializer = iotops.raw })) end,
}
local run = operations[operation]

local function one_by_one()
  local took = {}
  for index = 1, count do
    local started = clock()
    run()
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
        run()
        answered = answered + 1
      end
      if answered == count then print((clock() - started) / 1e9 .. " seconds") end
    end)
  end
end

iotops.on_start(function()
  if operation ~= "command" then assert(store:set(topic, value)) end
  if window == 1 then one_by_one() else together() end
end)
iotops.run()
