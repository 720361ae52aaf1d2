--- The packets that the client published, as the checks look for them.

local stub = require "metl.stub"

local packets = {}

--- The value of the last user property of that name; nil: there is none.
---@param message table
---@param name string
---@return string|nil
function packets.property(message, name)
  local found
  for _, pair in ipairs(message.user_properties) do
    if pair.name == name then
      found = pair.value
    end
  end
  return found
end

--- All messages that the client published, in order.
---@return table[]
function packets.published()
  local messages = {}
  for _, packet in ipairs(stub.trace()) do
    if packet.from_client and packet.message then
      messages[#messages + 1] = packet.message
    end
  end
  return messages
end

--- The latest message with that correlation data; nil: without any.
---@param correlation string|nil
---@return table|nil
function packets.by_correlation(correlation)
  local found
  for _, message in ipairs(packets.published()) do
    if message.correlation_data == correlation then
      found = message
    end
  end
  return found
end

--- The i-th message in the order of sending, without retransmissions.
---@param index integer
---@return table|nil
function packets.nth(index)
  for _, message in ipairs(packets.published()) do
    if not message.dup then
      index = index - 1
      if index == 0 then
        return message
      end
    end
  end
  return nil
end

return packets
