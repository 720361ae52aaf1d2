--- Sets keys that are to be kept, 32 at a time, and prints the number of each
--- that was answered.  Argument: how many.
local iotops = require "iotops"

iotops.log.level "off"
io.stdout:setvbuf "line"
local store = assert(iotops.state_store())
local taken, count = 0, tonumber(arg[1])

for _ = 1, 32 do
  iotops.spawn(function()
    while taken < count do
      taken = taken + 1
      local index = taken
      local applied = store:set("w" .. index, index .. ":" .. ("x"):rep(index % 500),
        { persist = true, timeout = 5 })
      if not applied then
        return
      end
      print(index)
    end
  end)
end
iotops.run()
