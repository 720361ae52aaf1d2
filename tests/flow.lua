--- Numbered messages at an even rate, for a test that counts what arrives.

local process = require "process"
local uv = require "luv"

local flow = {}

---@class flow.Flow
---@field sent integer
local Flow = {}
Flow.__index = Flow

--- Publishes `{"n":1}`, `{"n":2}`, ... from now on, `rate` a second (1 000).
---@param place hosting.Place
---@return flow.Flow
function flow.start(place, topic, rate)
  local self = setmetatable({ sent = 0, timer = uv.new_timer() }, Flow)
  self.publisher = process.start({ "mosquitto_pub", "-V", "5", "-q", "1", "-l", "-p",
    tostring(place.broker.port), "-t", topic }, { stdin = true })
  local began = uv.hrtime()
  self.began = began
  self.timer:start(10, 10, function()
    -- What is due by the clock, so that a slow machine gets the same rate.
    local due = (uv.hrtime() - began) * (rate or 1000) // 1000000000
    local lines = {}
    while self.sent < due do
      self.sent = self.sent + 1
      lines[#lines + 1] = ('{"n":%d}\n'):format(self.sent)
    end
    if #lines > 0 then self.publisher:write(table.concat(lines)) end
  end)
  return self
end

--- Ends it; returns how many messages the broker was given, and how many a
--- second.
---@return integer sent, number rate
function Flow:finish()
  local rate = self.sent / ((uv.hrtime() - self.began) / 1e9)
  self.timer:close()
  self.publisher:write(nil)
  local code = self.publisher:wait(20)
  if code ~= 0 then error("the publisher failed: " .. self.publisher:text(), 2) end
  return self.sent, rate
end

return flow
