-- A fan whose speed other programs can set: the command `setSpeed`.
--
--   iotops dev scripts/samples/fan.lua
--   iotops invoke fans/fan1/setSpeed '{"rpm": 1200}'

local iotops = require "iotops"

local MAXIMUM = 3000 -- revolutions a minute
local speed = 0

iotops.on_command("fans/{fanId}/setSpeed", function(request, message)
  local rpm = math.tointeger(request.rpm)
  if not rpm or rpm < 0 or rpm > MAXIMUM then
    return { accepted = false, reason = "rpm is a whole number from 0 to " .. MAXIMUM }
  end
  local before = speed
  speed = rpm
  iotops.send("fans/{fanId}/speed", { rpm = rpm }, { tokens = message.tokens })
  return { accepted = true, before = before }
end)

iotops.run()
