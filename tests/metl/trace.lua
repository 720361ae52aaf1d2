--- The packets of a case as text, for a person who looks for what went wrong.

local stub = require "metl.stub"

local trace = {}

local function printable(text)
  if text:find("[^\32-\126]") then
    return (text:gsub(".", function(char)
      return string.format("%02x", char:byte())
    end))
  end
  return text
end

local function describe(message)
  local parts = { message.topic, string.format("%q", message.payload) }
  local function add(name, value)
    if value ~= nil then
      parts[#parts + 1] = name .. "=" .. printable(tostring(value))
    end
  end
  add("qos", message.qos ~= 1 and message.qos or nil)
  add("dup", message.dup or nil)
  add("retain", message.retain or nil)
  add("content-type", message.content_type)
  add("format", message.format_indicator)
  add("expiry", message.expiry)
  add("response-topic", message.response_topic)
  add("correlation", message.correlation_data)
  for _, pair in ipairs(message.user_properties) do
    parts[#parts + 1] = printable(pair.name) .. ":" .. printable(pair.value)
  end
  return table.concat(parts, " ")
end

local function line(packet)
  local parts = {
    string.format("%8.3f %s %s", packet.at / 1000,
      packet.from_client and "client ->" or "-> client", packet.name),
  }
  if packet.packet_id then
    parts[#parts + 1] = "#" .. packet.packet_id
  end
  if packet.reason_code then
    parts[#parts + 1] = string.format("0x%02x", packet.reason_code)
  end
  parts[#parts + 1] = packet.filter
  parts[#parts + 1] = packet.message and describe(packet.message)
  return table.concat(parts, " ")
end

--- Every packet so far, one a line, with the virtual time in seconds.
---@return string
function trace.text()
  local lines = {}
  for _, packet in ipairs(stub.trace()) do
    lines[#lines + 1] = line(packet)
  end
  return table.concat(lines, "\n")
end

return trace
