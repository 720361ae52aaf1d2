--- MQTT v5 packets as the fault broker reads and writes them.  Written apart
--- from the product's framing, so that one checks the other.

local codec = {}

codec.names = {
  "connect", "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp",
  "subscribe", "suback", "unsubscribe", "unsuback", "pingreq", "pingresp",
  "disconnect", "auth",
}

-- ------------------------------------------------------------- properties --

-- How the value of each property is written.
local kinds = {
  [0x01] = "B", [0x02] = ">I4", [0x03] = ">s2", [0x08] = ">s2", [0x09] = ">s2",
  [0x0b] = "varint", [0x11] = ">I4", [0x12] = ">s2", [0x13] = ">I2",
  [0x15] = ">s2", [0x16] = ">s2", [0x17] = "B", [0x18] = ">I4", [0x19] = "B",
  [0x1a] = ">s2", [0x1c] = ">s2", [0x1f] = ">s2", [0x21] = ">I2",
  [0x22] = ">I2", [0x23] = ">I2", [0x24] = "B", [0x25] = "B",
  [0x26] = "pair", [0x27] = ">I4", [0x28] = "B", [0x29] = "B", [0x2a] = "B",
}

function codec.varint(value)
  local bytes = ""
  repeat
    local low = value & 127
    value = value >> 7
    bytes = bytes .. string.char(value > 0 and low | 128 or low)
  until value == 0
  return bytes
end

--- The number at `at` and where it ends; nil when it is not whole.
function codec.read_varint(bytes, at)
  local value, shift = 0, 0
  repeat
    local byte = bytes:byte(at)
    if not byte then return nil end
    value = value | (byte & 127) << shift
    shift, at = shift + 7, at + 1
  until byte < 128 or shift > 21
  return value, at
end

--- One property's bytes.
function codec.property(id, value, other)
  local kind = kinds[id]
  if kind == "pair" then return string.char(id) .. string.pack(">s2s2", value, other) end
  if kind == "varint" then return string.char(id) .. codec.varint(value) end
  return string.char(id) .. string.pack(kind, value)
end

--- A section: its length, then the given properties.
function codec.section(...)
  local bytes = table.concat { ... }
  return codec.varint(#bytes) .. bytes
end

--- Reads a section: values by their number, `user` by name (the last one
--- wins), `pairs` in order, `raw` the bytes; and where it ends.
function codec.read_section(bytes, at)
  local size, start = codec.read_varint(bytes, at)
  local found = { user = {}, pairs = {}, raw = bytes:sub(start, start + size - 1) }
  local stop = start + size
  at = start
  while at < stop do
    local id = bytes:byte(at)
    local kind = kinds[id]
    local value, other
    if not kind then error(("property 0x%02x"):format(id)) end
    at = at + 1
    if kind == "pair" then
      value, other, at = string.unpack(">s2s2", bytes, at)
      found.user[value] = other
      found.pairs[#found.pairs + 1] = { value, other }
    elseif kind == "varint" then
      value, at = codec.read_varint(bytes, at)
      found[id] = value
    else
      value, at = string.unpack(kind, bytes, at)
      found[id] = value
    end
  end
  return found, stop
end

-- ---------------------------------------------------------------- packets --

function codec.packet(header, body)
  return string.char(header) .. codec.varint(#body) .. body
end

--- Cuts whole packets off `bytes`; calls take(packet) for each and returns
--- what is left.  A packet has `type`, `flags`, `body`, `bytes`.
function codec.cut(bytes, take)
  while #bytes >= 2 do
    local size, body = codec.read_varint(bytes, 2)
    if not size or #bytes < body + size - 1 then break end
    local first = bytes:byte(1)
    local packet = {
      type = codec.names[first >> 4] or "reserved", flags = first & 15,
      body = bytes:sub(body, body + size - 1), bytes = bytes:sub(1, body + size - 1),
    }
    bytes = bytes:sub(body + size)
    if take(packet) == false then return bytes end
  end
  return bytes
end

local readers = {}

function readers.connect(packet, body)
  local protocol, version, flags, keep_alive, at = string.unpack(">s2BBI2", body)
  packet.protocol, packet.version, packet.keep_alive = protocol, version, keep_alive
  packet.clean_start = flags & 2 ~= 0
  packet.properties, at = codec.read_section(body, at)
  packet.client_id, at = string.unpack(">s2", body, at)
  if flags & 4 ~= 0 then
    packet.will_properties, at = codec.read_section(body, at)
    packet.will_topic, packet.will_payload, at = string.unpack(">s2s2", body, at)
  end
  if flags & 128 ~= 0 then packet.username, at = string.unpack(">s2", body, at) end
  if flags & 64 ~= 0 then packet.password = string.unpack(">s2", body, at) end
end

function readers.publish(packet, body)
  local at
  packet.qos, packet.dup = packet.flags >> 1 & 3, packet.flags & 8 ~= 0
  packet.retain = packet.flags & 1 ~= 0
  packet.topic, at = string.unpack(">s2", body)
  if packet.qos > 0 then packet.id, at = string.unpack(">I2", body, at) end
  packet.properties, at = codec.read_section(body, at)
  packet.payload = body:sub(at)
end

function readers.puback(packet, body)
  packet.id = string.unpack(">I2", body)
  packet.code = body:byte(3) or 0
end

function readers.subscribe(packet, body)
  local at
  packet.id, at = string.unpack(">I2", body)
  packet.properties, at = codec.read_section(body, at)
  packet.filter, packet.options = string.unpack(">s2B", body, at)
end

function readers.unsubscribe(packet, body)
  local at
  packet.id, at = string.unpack(">I2", body)
  packet.properties, at = codec.read_section(body, at)
  packet.filter = string.unpack(">s2", body, at)
end

function readers.disconnect(packet, body)
  packet.code = body:byte(1) or 0
  packet.properties = #body > 1 and codec.read_section(body, 2) or { user = {} }
end

readers.auth = readers.disconnect

--- Fills in the fields of a packet that a client sent.
function codec.read(packet)
  local reader = readers[packet.type]
  if reader then reader(packet, packet.body) end
  return packet
end

-- ---------------------------------------------------------------- writing --

function codec.connack(present, code, ...)
  return codec.packet(0x20, string.char(present and 1 or 0, code) .. codec.section(...))
end

function codec.answer(kind, id, code)
  local header = ({ puback = 0x40, suback = 0x90, unsuback = 0xb0 })[kind]
  if kind == "puback" then
    return codec.packet(header, string.pack(">I2", id)
      .. (code == 0 and "" or string.char(code, 0)))
  end
  return codec.packet(header, string.pack(">I2BB", id, 0, code))
end

--- `message` has topic, payload and, at will, qos (1), id, dup, retain and
--- properties (raw).
function codec.publish(message)
  local qos = message.qos or 1
  return codec.packet(0x30 | qos << 1 | (message.dup and 8 or 0) | (message.retain and 1 or 0),
    string.pack(">s2", message.topic) .. (qos > 0 and string.pack(">I2", message.id) or "")
    .. codec.section(message.properties or "") .. message.payload)
end

function codec.disconnect(code, ...)
  return codec.packet(0xe0, string.char(code) .. codec.section(...))
end

--- An AUTH packet; without a reason its length is 0.
function codec.auth(code, ...)
  if not code then return "\xf0\0" end
  return codec.packet(0xf0, string.char(code) .. codec.section(...))
end

-- ----------------------------------------------------------------- topics --

local function levels(text)
  local list = {}
  for level in (text .. "/"):gmatch("([^/]*)/") do list[#list + 1] = level end
  return list
end

--- Whether a topic matches a filter (MQTT v5 section 4.7).
function codec.matches(filter, topic)
  local wanted, given = levels(filter), levels(topic)
  if topic:sub(1, 1) == "$" and wanted[1] ~= given[1] then return false end
  for index, level in ipairs(wanted) do
    if level == "#" then return true end
    if given[index] == nil or level ~= "+" and level ~= given[index] then return false end
  end
  return #wanted == #given
end

return codec
