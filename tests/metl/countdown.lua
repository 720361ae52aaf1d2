--- Countdown events, by which handlers and a case wait for each other.

local iotops = require "iotops"

local countdown = {}

---@class metl.countdown
---@field private remaining integer
---@field private event iotops.Event
local Countdown = {}
Countdown.__index = Countdown

--- An event that is over once it has been signalled `count` times.
---@param count integer
---@return metl.countdown
function countdown.new(count)
  local event = iotops.event()
  if count <= 0 then
    event:set()
  end
  return setmetatable({ remaining = count, event = event }, Countdown)
end

function Countdown:signal()
  self.remaining = self.remaining - 1
  if self.remaining <= 0 then
    self.event:set()
  end
end

--- Parks the coroutine until the event is over.
function Countdown:wait()
  self.event:wait()
end

--- True once it is over.
---@return boolean
function Countdown:is_over()
  return self.remaining <= 0
end

--- Ends it, however much is missing.
function Countdown:release()
  self.remaining = 0
  self.event:set()
end

return countdown
