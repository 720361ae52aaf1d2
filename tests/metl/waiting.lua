--- The main loop of a case: time moves only while something is awaited.

local failure = require "metl.failure"
local stub = require "metl.stub"

local waiting = {}

local limit_ms = 120000 -- of virtual time, from the beginning of the case

--- Runs until `probe` returns something, which is returned.
---@param what string # for the report, when it never comes
---@param probe fun(): any
---@return any
function waiting.for_event(what, probe)
  while true do
    stub.drain()
    local found = probe()
    if found then
      return found
    end
    if stub.is_frozen() then
      failure.raise("%s: blocked while time is frozen", what)
    end
    local due = stub.next_due()
    if not due then
      failure.raise("%s: nothing can happen any more", what)
    elseif due > limit_ms then
      failure.raise("%s: not within %d s", what, limit_ms // 1000)
    end
    stub.advance(due)
  end
end

--- Lets time pass, through everything that is due; frozen time does not.
---@param ms integer
function waiting.sleep(ms)
  local till = stub.now() + ms
  stub.drain()
  while not stub.is_frozen() and stub.now() < till do
    local due = stub.next_due()
    stub.advance(due and due < till and due or till)
    stub.drain()
  end
end

return waiting
