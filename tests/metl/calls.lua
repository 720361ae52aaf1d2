--- Calls under way: functions of the product that wait, each in a coroutine
--- of its own, so that a case can go on and ask for the result later.

local failure = require "metl.failure"
local iotops = require "iotops"

local calls = {}

---@class metl.call
---@field begun boolean # false: spawned, and memory was short to begin
---@field ended boolean
---@field value any # what it returned
---@field err iotops.Error|nil
---@field completions integer # of the operation; 1 is right

--- Begins a call; `work` waits, and returns a value or nil and an error.
---@param world metl.world
---@param work fun(): any, iotops.Error|nil
---@return metl.call
function calls.begin(world, work)
  local call = { ended = false, completions = 0 }
  world.calls[#world.calls + 1] = call
  iotops.spawn(function()
    call.begun = true
    local ran, value, err = pcall(work)
    if not ran then
      value, err = nil, value
      if not iotops.is_error(err) then
        err = failure.of("raised: " .. tostring(err))
      end
    end
    call.value, call.err = value, value == nil and err or nil
    call.completions = call.completions + 1
    call.ended = true
  end)
  return call
end

--- A call that is over.
---@param value any
---@param err iotops.Error|nil
---@return metl.call
function calls.over(value, err)
  return { ended = true, value = value, err = err, completions = 1 }
end

return calls
