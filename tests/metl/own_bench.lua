--- What a test of own.lua is given: a session, the stub, and ways to wait.

local calls = require "metl.calls"
local failure = require "metl.failure"
local iotops = require "iotops"
local packets = require "metl.packets"
local stub = require "metl.stub"
local waiting = require "metl.waiting"

local bench = { session = iotops.session(), equal = failure.unless_equal }

local world = { calls = {} }
local events = {}

--- Begins something that waits.
---@param work fun(): any, iotops.Error|nil
---@return metl.call
function bench.begin(work)
  local call = calls.begin(world, work)
  stub.drain()
  return call
end

--- Waits for what was begun.
---@param call metl.call
---@return any value
---@return iotops.Error|nil err
function bench.result(call)
  waiting.for_event("the end of a call", function()
    return call.ended
  end)
  return call.value, call.err
end

--- Does something that waits, and waits for it.
---@param work fun(): any, iotops.Error|nil
---@return any value
---@return iotops.Error|nil err
function bench.call(work)
  return bench.result(bench.begin(work))
end

--- The same, which must succeed.
---@param work fun(): any, iotops.Error|nil
---@return any value
function bench.must(work)
  local value, err = bench.call(work)
  bench.equal("no error", nil, err and tostring(err))
  return value
end

--- An event that is set at the end at the latest, so that nobody is left.
---@return iotops.Event
function bench.event()
  local event = iotops.event()
  events[#events + 1] = event
  return event
end

--- Gives the client a message; what is not said is as for a request.
---@param message table
---@return integer packet_id
function bench.deliver(message)
  message.packet_id = message.packet_id or stub.packet_id()
  message.payload = message.payload or "1"
  message.expiry = message.expiry or 10
  message.user_properties = message.user_properties or {}
  stub.deliver(message)
  stub.drain()
  return message.packet_id
end

--- A request with correlation data of its own.
---@param message table
---@return integer packet_id
function bench.request(message)
  message.response_topic = message.response_topic or "answers"
  message.correlation_data = message.correlation_data or (stub.uuid())
  return bench.deliver(message)
end

--- The next message that the client publishes.
---@return table
function bench.published()
  return waiting.for_event("a publish", stub.next_publish)
end

--- The packet id that the client acknowledges next.
---@return integer
function bench.acknowledged()
  return waiting.for_event("an acknowledgement", stub.next_ack)
end

bench.property = packets.property
bench.sleep = waiting.sleep
bench.stub = stub

--- Lets everything end that waits for the test.
function bench.release()
  for _, event in ipairs(events) do
    event:set()
  end
  stub.freeze(false)
  stub.relent()
  stub.drain()
end

return bench
