--- A broker that misbehaves on request.
---
--- MQTT v5 over TCP on the loopback, with persistent sessions and QoS 0 and 1.
--- It obeys the user properties `fault:*` (session.md section 16), a hook that
--- sees each packet first, and faults of the wire: what it writes can be cut,
--- held back, trickled and corrupted at any byte.  With a journal, everything
--- it acknowledges is in the file first, so that it may be killed.

local codec = require "codec"
local ports = require "ports"
local uv = require "luv"

local fault_broker = {}

---@class FaultBroker
---@field port integer
---@field packets table[] all that was received, in order; `at` in ms, `from` the connection
---@field connections FaultConnection[] in order, closed ones too
---@field hook fun(connection: FaultConnection, packet: table): boolean? true: seen to
---@field connack table? what the next CONNACKs say: {code, properties, present}
---@field first_connacks table[] the same for the first ones, used up in order
---@field sat (fun(token: string): boolean)? K8S-SAT is demanded; is this one good?
---@field on_reauth "accept"|"silent"|integer how AUTH 0x19 is answered; a number disconnects
---@field strict boolean? drop clients that acknowledge out of order
---@field read_cut table<integer, integer>? reset the nth connection after so many bytes of it
---@field wire (fun(number: integer): FaultWire)? faults of the nth connection from its start
---@field on_accept (fun(connection: FaultConnection): boolean?)? true: it is never read
---@field disorder integer acknowledgements out of order so far
local Broker = {}
Broker.__index = Broker

---@class FaultConnection
---@field number integer from 1
---@field open boolean
---@field wire FaultWire

---@class FaultWire faults of what is written; places count from the connection's start
---@field cut integer? close after so many bytes
---@field stall integer? write no more after so many bytes
---@field trickle boolean? one byte at a time
---@field corrupt table<integer, integer>? bits to turn, by place (from 1)
local Connection = {}
Connection.__index = Connection

-- Writing to a client that was just killed must not end this program.
local pipe_signal = uv.new_signal()
pipe_signal:unref()
pipe_signal:start("sigpipe", function() end)

--- Milliseconds that never go back.
function fault_broker.now() return uv.hrtime() / 1e6 end

-- ------------------------------------------------------------ connections --

-- Closes the stream; `reset` without a farewell of TCP either.
function Connection:close(reset)
  if not self.open then return end
  self.open = false
  local session = self.session
  if session and session.connection == self then
    session.connection = nil
    if session.expiry == 0 then self.broker:forget(session) end
  end
  if reset then self.socket:close_reset() else
    local socket = self.socket
    if not socket:is_closing() then
      socket:shutdown(function() if not socket:is_closing() then socket:close() end end)
    end
  end
end

local function write_now(self, bytes)
  local wire = self.wire
  local start = self.written
  if wire.corrupt then
    bytes = bytes:gsub("()(.)", function(at, byte)
      local mask = wire.corrupt[start + at]
      return mask and string.char(byte:byte() ~ mask) or nil
    end)
  end
  local stop = wire.cut or wire.stall
  if stop and start + #bytes > stop then bytes = bytes:sub(1, math.max(0, stop - start)) end
  self.written = start + #bytes
  if #bytes > 0 then self.socket:write(bytes) end
  if wire.cut and self.written >= wire.cut then self:close() end
end

--- Writes what the wire lets through.
function Connection:write(bytes)
  if not self.open then return end
  if not self.wire.trickle then return write_now(self, bytes) end
  self.waiting = self.waiting .. bytes
  if self.timer then return end
  self.timer = uv.new_timer()
  self.timer:start(1, 1, function()
    if self.open and #self.waiting > 0 then
      local byte = self.waiting:sub(1, 1)
      self.waiting = self.waiting:sub(2)
      write_now(self, byte)
    else
      self.timer:close()
      self.timer = nil
    end
  end)
end

--- Sends DISCONNECT and closes.
function Connection:disconnect(code, ...)
  self:write(code and codec.disconnect(code, ...) or "\xe0\0")
  self:close()
end

--- Reads no more: the peer has vanished as far as the client can tell.
function Connection:vanish()
  self.socket:read_stop()
  self.wire.stall = self.written
end

--- Delivers what the session holds, as far as the client's window goes.
function Connection:deliver()
  local session = self.session
  for _, message in ipairs(session.queue) do
    if not self.open or #self.unacked >= self.receive_max then return end
    if self.sent[message] == nil then
      if message.qos > 0 then
        if not message.id then
          message.id = session.next_id
          session.next_id = session.next_id % 65535 + 1
        end
        self.unacked[#self.unacked + 1] = message.id
      end
      self.sent[message] = true
      self:write(codec.publish(message))
      message.dup = message.qos > 0
    end
  end
  for index = #session.queue, 1, -1 do
    if session.queue[index].qos == 0 then table.remove(session.queue, index) end
  end
end

-- --------------------------------------------------------------- sessions --

local function note(self, ...)
  if not self.journal then return end
  local record = string.pack(">s2s4s4s4", ...)
  assert(uv.fs_write(self.journal, string.pack(">s4", record), -1))
end

function Broker:forget(session)
  if self.sessions[session.client_id] == session then
    self.sessions[session.client_id] = nil
    note(self, "forget", session.client_id, "", "")
  end
end

local function session_new(self, client_id, expiry)
  local session = {
    client_id = client_id, expiry = expiry, filters = {}, queue = {}, next_id = 1, key = 0,
  }
  self.sessions[client_id] = session
  return session
end

local function enqueue(self, session, message)
  session.key = session.key + 1
  message.key = session.key
  session.queue[#session.queue + 1] = message
  if message.qos > 0 then
    note(self, "message", session.client_id, message.topic,
      string.pack(">I4s4s4", message.key, message.properties, message.payload))
  end
end

local function acknowledged(self, session, id)
  for index, message in ipairs(session.queue) do
    if message.id == id then
      table.remove(session.queue, index)
      note(self, "done", session.client_id, tostring(message.key), "")
      return true
    end
  end
end

-- What the journal of an earlier life says.
local function replay(self, path)
  local file = io.open(path, "rb")
  if not file then return end
  local bytes, at = file:read("a"), 1
  file:close()
  while #bytes - at >= 3 do
    local size = string.unpack(">I4", bytes, at)
    if #bytes - at - 3 < size then break end
    local kind, client_id, text, more = string.unpack(">s2s4s4s4", bytes, at + 4)
    at = at + 4 + size
    local session = self.sessions[client_id]
    if kind == "session" then
      session_new(self, client_id, tonumber(text))
    elseif kind == "forget" then
      self.sessions[client_id] = nil
    elseif kind == "subscribe" then
      local qos, id = string.unpack(">BI4", more)
      session.filters[text] = { qos = qos, id = id > 0 and id or nil }
    elseif kind == "unsubscribe" then
      session.filters[text] = nil
    elseif kind == "message" then
      local key, properties, payload = string.unpack(">I4s4s4", more)
      session.key = key
      session.queue[#session.queue + 1] = {
        key = key, topic = text, payload = payload, properties = properties, qos = 1,
      }
    elseif kind == "done" then
      for index, message in ipairs(session.queue) do
        if message.key == tonumber(text) then table.remove(session.queue, index) break end
      end
    end
  end
  for _, session in pairs(self.sessions) do
    for _, message in ipairs(session.queue) do message.dup = nil end
    session.next_id = math.random(1, 60000)
  end
end

--- Puts a message where its subscribers are.
---@param message {topic: string, payload: string, qos: integer?, properties: string?}
function Broker:route(message)
  local groups = {}
  for _, session in pairs(self.sessions) do
    local qos, ids = nil, ""
    for filter, options in pairs(session.filters) do
      local group, rest = filter:match("^%$share/([^/]+)/(.*)$")
      if codec.matches(rest or filter, message.topic) then
        local id = options.id and codec.property(0x0b, options.id) or ""
        if group then
          local members = groups[filter] or {}
          groups[filter] = members
          members[#members + 1] = { session = session, id = id, qos = options.qos }
        else
          qos, ids = math.max(qos or 0, options.qos), ids .. id
        end
      end
    end
    if qos then
      enqueue(self, session, {
        topic = message.topic, payload = message.payload,
        qos = math.min(qos, message.qos or 1), properties = (message.properties or "") .. ids,
      })
    end
  end
  for _, members in pairs(groups) do
    self.turn = self.turn + 1
    local member = members[self.turn % #members + 1]
    enqueue(self, member.session, {
      topic = message.topic, payload = message.payload,
      qos = math.min(member.qos, message.qos or 1),
      properties = (message.properties or "") .. member.id,
    })
  end
  for _, session in pairs(self.sessions) do
    if session.connection then session.connection:deliver() end
  end
end

-- ---------------------------------------------------------------- packets --

local function number(text)
  return text and (tonumber(text) or tonumber(text, 16))
end

-- What the user properties of a packet ask for; nil when nothing, or when the
-- request was seen before.
local function asked(self, packet)
  local user = packet.properties and packet.properties.user or {}
  local request = user["fault:requestid"]
  if request then
    if self.requests[request] then return {} end
    self.requests[request] = true
  end
  return user
end

-- Answers, or drops the connection instead or some time after.
local function answer(self, connection, faults, bytes)
  local code = number(faults["fault:disconnect"])
  local delay = number(faults["fault:delay"])
  if not code then return connection:write(bytes) end
  if not delay then return connection:disconnect(code) end
  connection:write(bytes)
  local timer = uv.new_timer()
  self.timers[timer] = true
  timer:start(math.floor(delay * 1000), 0, function()
    self.timers[timer] = nil
    timer:close()
    connection:disconnect(code)
  end)
end

local handlers = {}

local function refuse(connection, code)
  connection:write(codec.connack(false, code))
  connection:close()
end

function handlers.connect(self, connection, packet)
  local properties = packet.properties
  local faults = asked(self, packet)
  local say = table.remove(self.first_connacks, 1) or self.connack or {}
  local code = number(faults["fault:rejectconnect"]) or say.code or 0
  if code ~= 0 then return refuse(connection, code) end
  if self.sat then
    if properties[0x15] ~= "K8S-SAT" then return refuse(connection, 0x8c) end
    if not self.sat(properties[0x16]) then return refuse(connection, 0x87) end
  end
  local session = self.sessions[packet.client_id]
  if session and session.connection then
    local old = session.connection
    session.connection = nil
    old:disconnect(0x8e)
  end
  if session and packet.clean_start then
    self:forget(session)
    session = nil
  end
  local present = session ~= nil
  local expiry = properties[0x11] or 0
  if not session then
    session = session_new(self, packet.client_id, expiry)
    note(self, "session", packet.client_id, tostring(expiry), "")
  end
  session.expiry, session.connection = expiry, connection
  connection.session = session
  connection.receive_max = properties[0x21] or 65535
  if say.present ~= nil then present = say.present end
  connection:write(codec.connack(present, 0, say.properties or ""))
  connection:deliver()
end

function handlers.publish(self, connection, packet)
  local faults = asked(self, packet)
  local code = number(faults["fault:rejectpublish"])
  local dropped = faults["fault:disconnect"] and not faults["fault:delay"]
  if not code and not dropped then
    self:route {
      topic = packet.topic, payload = packet.payload, qos = packet.qos,
      properties = packet.properties.raw,
    }
  end
  if packet.qos > 0 then
    answer(self, connection, faults, codec.answer("puback", packet.id, code or 0))
  elseif faults["fault:disconnect"] then
    answer(self, connection, faults, "")
  end
end

function handlers.puback(self, connection, packet)
  if connection.unacked[1] ~= packet.id then
    self.disorder = self.disorder + 1
    if self.strict then return connection:close() end
  end
  for index, id in ipairs(connection.unacked) do
    if id == packet.id then table.remove(connection.unacked, index) break end
  end
  acknowledged(self, connection.session, packet.id)
  connection:deliver()
end

function handlers.subscribe(self, connection, packet)
  local faults = asked(self, packet)
  local code = number(faults["fault:rejectsubscribe"])
  if not code then
    local id = packet.properties[0x0b]
    code = packet.options & 3
    connection.session.filters[packet.filter] = { qos = code, id = id }
    note(self, "subscribe", connection.session.client_id, packet.filter,
      string.pack(">BI4", code, id or 0))
  end
  answer(self, connection, faults, codec.answer("suback", packet.id, code))
end

function handlers.unsubscribe(self, connection, packet)
  local faults = asked(self, packet)
  local code = number(faults["fault:rejectunsubscribe"])
  if not code then
    code = connection.session.filters[packet.filter] and 0 or 0x11
    connection.session.filters[packet.filter] = nil
    note(self, "unsubscribe", connection.session.client_id, packet.filter, "")
  end
  answer(self, connection, faults, codec.answer("unsuback", packet.id, code))
end

function handlers.auth(self, connection, packet)
  if packet.code ~= 0x19 or not self.sat then return connection:disconnect(0x82) end
  if self.on_reauth == "silent" then return end
  if type(self.on_reauth) == "number" then return connection:disconnect(self.on_reauth) end
  if not self.sat(packet.properties[0x16]) then return connection:disconnect(0x87) end
  connection:write(codec.auth(0, codec.property(0x15, "K8S-SAT")))
end

function handlers.pingreq(_, connection) connection:write("\xd0\0") end

function handlers.disconnect(self, connection, packet)
  local expiry = packet.properties[0x11]
  if expiry and connection.session then connection.session.expiry = expiry end
  connection:close()
  connection.farewell = packet
  return self
end

-- ------------------------------------------------------------------- life --

local function take(self, connection, packet)
  codec.read(packet)
  packet.at, packet.from = fault_broker.now(), connection.number
  self.packets[#self.packets + 1] = packet
  connection.packets[#connection.packets + 1] = packet
  if self.hook and self.hook(connection, packet) then return end
  local handler = handlers[packet.type]
  local first = packet.type == "connect" or packet.type == "disconnect"
  if handler and (connection.session or first) then
    handler(self, connection, packet)
  else
    connection:close()
  end
end

local function accept(self)
  local socket = uv.new_tcp()
  if not self.listener:accept(socket) then return end
  socket:nodelay(true)
  local connection = setmetatable({
    broker = self, socket = socket, number = #self.connections + 1, open = true,
    at = fault_broker.now(), packets = {}, unacked = {}, sent = {}, written = 0, read = 0,
    waiting = "", wire = self.wire and self.wire(#self.connections + 1) or {},
  }, Connection)
  self.connections[connection.number] = connection
  if self.on_accept and self.on_accept(connection) then return end
  local rest = ""
  socket:read_start(function(err, data)
    if err or not data then
      if connection.open then connection:close() end
      if not socket:is_closing() then socket:close() end
      connection.ended = true
      return
    end
    connection.read = connection.read + #data
    if self.read_cut and connection.read > (self.read_cut[connection.number] or math.huge) then
      return connection:close(true)
    end
    rest = codec.cut(rest .. data, function(packet)
      take(self, connection, packet)
      return connection.open
    end)
  end)
end

--- Begins to accept connections, at the same port as before.
function Broker:listen()
  self.listener = uv.new_tcp()
  assert(self.listener:bind("127.0.0.1", self.port))
  assert(self.listener:listen(64, function() accept(self) end))
end

--- Refuses connections from now on.
function Broker:deaf()
  if self.listener then self.listener:close() end
  self.listener = nil
end

--- Closes every connection, as a broker that ends.
function Broker:drop(reset)
  for _, connection in ipairs(self.connections) do connection:close(reset) end
end

function Broker:close()
  self:deaf()
  for timer in pairs(self.timers) do timer:close() end
  for _, connection in ipairs(self.connections) do
    connection.open = false
    if not connection.socket:is_closing() then connection.socket:close() end
    if connection.timer then connection.timer:close() connection.timer = nil end
  end
  if self.journal then uv.fs_close(self.journal) self.journal = nil end
end

--- The connection that is open now.
---@return FaultConnection?
function Broker:current()
  for index = #self.connections, 1, -1 do
    if self.connections[index].open then return self.connections[index] end
  end
end

--- All packets of a kind so far.
function Broker:received(kind, from)
  local list = {}
  for _, packet in ipairs(self.packets) do
    if packet.type == kind and (not from or packet.from == from) then list[#list + 1] = packet end
  end
  return list
end

---@param options? {port: integer?, journal: string?, strict: boolean?}
---@return FaultBroker
function fault_broker.new(options)
  options = options or {}
  local self = setmetatable({
    port = options.port or ports.take(),
    packets = {}, connections = {}, first_connacks = {}, sessions = {},
    requests = {}, timers = {}, turn = 0, disorder = 0, strict = options.strict,
    on_reauth = "accept",
  }, Broker)
  if options.journal then
    replay(self, options.journal)
    self.journal = assert(uv.fs_open(options.journal, "a", 384))
  end
  self:listen()
  return self
end

return fault_broker
