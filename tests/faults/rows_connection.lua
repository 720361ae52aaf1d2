--- Rows F1 to F15, F30, F32 to F34, F39 and F40: connecting, losing a
--- connection, coming back, leaving.

local codec = require "codec"
local trial = require "trial"

local test, equal, yes, within = trial.test, trial.equal, trial.yes, trial.within

local function each(codes, run)
  for _, code in ipairs(codes) do run(code) end
end

-- ---------------------------------------------------------------- connect --

test("F1: a busy broker is tried again and nobody is told", function(t)
  local broker = t:broker()
  broker.first_connacks = { { code = 0x89 } }
  local peer = t:connected(broker)
  t:exactly(broker, "connect", 2)
  equal(#peer:said("^ended"), 0)
  equal(#peer:said("^disconnected"), 0)
end)

test("F1: a CONNECT that asks to be refused once is refused once", function(t)
  local broker = t:broker()
  t:connected(broker, {
    properties = { ["fault:rejectconnect"] = "0x89", ["fault:requestid"] = "one" },
  })
  equal(#broker:received("connect"), 2)
end)

each({
  0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x8a, 0x8c, 0x90, 0x95, 0x99, 0x9a, 0x9b, 0x9c, 0x9d,
}, function(code)
  test(("F2: CONNACK 0x%02X ends the session after one attempt"):format(code), function(t)
    local broker = t:broker()
    broker.connack = { code = code }
    local peer = t:peer(broker)
    yes(peer:hear("^ended"):find("^ended " .. code .. " "))
    t:exactly(broker, "connect", 1)
  end)
end)

each({ 0x80, 0x88, 0x89, 0x97, 0x9f }, function(code)
  test(("F3: CONNACK 0x%02X is tried again"):format(code), function(t)
    local broker = t:broker()
    broker.first_connacks = { { code = code } }
    t:connected(broker)
    t:exactly(broker, "connect", 2)
  end)
end)

-- -------------------------------------------------------------- disconnect --

local function survives(t, break_it, reason)
  local broker = t:broker()
  local peer = t:connected(broker, { clean_start = true, policy = "delay 20" })
  yes(broker:received("connect")[1].clean_start)
  break_it(broker:current())
  yes(peer:hear("^disconnected"):find("^disconnected " .. reason .. " 1 "))
  yes(peer:hear("^connected"):find("^connected 0 1 2"))
  equal(broker:received("connect")[2].clean_start, false)
  equal(#peer:said("^ended"), 0)
end

each({
  0x00, 0x04, 0x80, 0x83, 0x89, 0x8b, 0x8d, 0x93, 0x96, 0x97, 0x98, 0x9c, 0x9f, 0xa0, 0xfe,
}, function(code)
  test(("F4: DISCONNECT 0x%02X is survived, without Clean Start"):format(code), function(t)
    survives(t, function(connection) connection:disconnect(code) end, code)
  end)
end)

test("F4: a DISCONNECT of no length is survived", function(t)
  survives(t, function(connection) connection:disconnect() end, 0)
end)

test("F4: a stream that just ends is survived", function(t)
  survives(t, function(connection) connection:close() end, "%-1")
end)

test("F4: a reset is survived", function(t)
  survives(t, function(connection) connection:close(true) end, "%-1")
end)

each({
  0x81, 0x82, 0x87, 0x8c, 0x8e, 0x8f, 0x90, 0x94, 0x95, 0x99, 0x9a, 0x9b, 0x9d, 0x9e, 0xa1, 0xa2,
}, function(code)
  test(("F5: DISCONNECT 0x%02X ends the session, and no CONNECT follows"):format(code), function(t)
    local broker = t:broker()
    local peer = t:connected(broker, { policy = "delay 20" })
    broker:current():disconnect(code)
    yes(peer:hear("^disconnected"):find("^disconnected " .. code .. " 0 "))
    yes(peer:hear("^ended"):find("^ended " .. code .. " "))
    t:exactly(broker, "connect", 1)
  end)
end)

each({ 0x98, 0x89 }, function(code)
  test(("F6: DISCONNECT 0x%02X while idle loses nothing"):format(code), function(t)
    local broker = t:broker()
    local peer = t:connected(broker, { policy = "delay 20" })
    peer:say("publish one 1 0 a 1 fault:disconnect %d fault:delay 1", code)
    peer:hear("^done one 0")
    yes(peer:hear("^disconnected"):find("^disconnected " .. code .. " 1 "))
    peer:hear("^connected")
    peer:say("publish two 1 0 a 2"):hear("^done two 0")
    equal(#broker:received("publish"), 2)
  end)
end)

-- -------------------------------------------------------- across an outage --

each({ 0x98, 0x80 }, function(code)
  test(("F7: DISCONNECT 0x%02X instead of PUBACK: sent again, DUP, same id"):format(code),
    function(t)
      local broker = t:broker()
      local peer = t:connected(broker, { policy = "delay 20" })
      peer:say("publish one 1 0 a 1 fault:disconnect %d fault:requestid x", code)
      peer:hear("^done one 0")
      t:exactly(broker, "publish", 2)
      local first, second = table.unpack(broker:received("publish"))
      equal(second.id, first.id)
      equal(first.dup, false)
      equal(second.dup, true)
      equal(second.payload, "1")
      equal(#peer:said("^done one"), 1)
    end)
end)

each({ 0x98, 0x9f }, function(code)
  each({ "subscribe", "unsubscribe" }, function(kind)
    test(("F8: DISCONNECT 0x%02X instead of the answer: %s again"):format(code, kind), function(t)
      local broker = t:broker()
      local peer = t:connected(broker, { policy = "delay 20" })
      if kind == "unsubscribe" then peer:say("subscribe s a/b"):hear("^done s 1") end
      broker.hook = function(connection, packet)
        if packet.type == kind then
          broker.hook = nil
          connection:disconnect(code)
          return true
        end
      end
      peer:say("%s x a/b", kind)
      peer:hear("^done x")
      t:exactly(broker, kind, 2)
      equal(#peer:said("^done x"), 1)
    end)
  end)
end)

test("F9: what is asked while refused is sent in order afterwards", function(t)
  local broker = t:broker()
  broker:deaf()
  local peer = t:peer(broker, { policy = "delay 20" })
  peer:hear("^asked 1")
  peer:say("subscribe s a/b")
  for number = 1, 10 do peer:say("publish p%d 1 0 a/b %d", number, number) end
  peer:say("publish zero 0 0 a/c 0")
  peer:hear("^asked 4")
  broker:listen()
  for number = 1, 10 do peer:hear("^done p" .. number .. " 0") end
  equal(broker:received("subscribe")[1].filter, "a/b")
  local order = {}
  for _, packet in ipairs(broker:received("publish")) do
    if packet.qos == 1 then order[#order + 1] = packet.payload end
    equal(packet.dup, false)
  end
  equal(table.concat(order, " "), "1 2 3 4 5 6 7 8 9 10")
end)

-- ------------------------------------------------- attempts that go nowhere --

test("F10: a name that is not known is tried again", function(t)
  local peer = t:peer({ port = 1 }, {
    hostname = "no-such-host.invalid", policy = "delay 20", connection_timeout = 2,
  })
  peer:hear("^asked 2 0", 12)
end)

test("F10: a port that refuses is tried again", function(t)
  local peer = t:peer({ port = 1 }, { policy = "delay 20" })
  peer:hear("^asked 3 0")
end)

test("F10: a broker that never answers CONNECT is given up and tried again", function(t)
  local broker = t:broker()
  broker.hook = function(_, packet)
    if packet.type == "connect" then
      broker.hook = nil
      return true
    end
  end
  t:connected(broker, { connection_timeout = 1, policy = "delay 20" })
  local first, second = table.unpack(broker:received("connect"))
  within(second.at - first.at, 950, 1800 * trial.patience, "ms between the attempts")
end)

test("F10: a broker that never answers PINGREQ is lost and tried again", function(t)
  local broker = t:broker()
  broker.hook = function(connection, packet)
    return packet.type == "pingreq" and connection.number == 1
  end
  local peer = t:connected(broker, {
    keep_alive = 1, ping_response_timeout = 1, policy = "delay 20",
  })
  yes(peer:hear("^disconnected"):lower():find("ping"))
  peer:hear("^connected 0 1 2")
end)

test("F11: a broker without our session ends it, and all that is pending fails", function(t)
  local broker = t:broker()
  broker.hook = function(_, packet)
    return packet.type == "publish" or packet.type == "subscribe" or packet.type == "unsubscribe"
  end
  local peer = t:connected(broker, { policy = "delay 100" })
  peer:say("publish flying 1 0 a 1")
  peer:say("subscribe s a/b")
  peer:say("unsubscribe u a/c")
  t:packet(broker, "publish")
  broker.connack = { present = false }
  broker:current():close(true)
  peer:hear("^disconnected")
  peer:say("publish queued 1 0 a 2")
  yes(peer:hear("^ended"):find("session lost"))
  for _, tag in ipairs { "flying", "queued", "s", "u" } do
    t:await(tag .. " fails", function() return #peer:said("^failed " .. tag .. " ") == 1 end)
  end
  local farewell = t:packet(broker, "disconnect")
  equal(farewell.code, 0)
  equal(farewell.properties[0x11], 0)
  t:exactly(broker, "connect", 2)
  yes(peer:logged("session lost")[1])
end)

test("F12: a policy that gives up after three failures saw three attempts", function(t)
  local broker = t:broker()
  broker.connack = { code = 0x88 }
  local peer = t:peer(broker, { policy = "give_up 3", before = { "publish p 1 0 a 1" } })
  yes(peer:hear("^ended"):find("reconnect"))
  t:exactly(broker, "connect", 3)
  equal(#peer:said("^asked"), 3)
  equal(#peer:said("^failed p "), 1)
end)

test("F12: after a loss it is asked once more than there are attempts", function(t)
  local broker = t:broker()
  local peer = t:connected(broker, { policy = "give_up 4" })
  broker.connack = { code = 0x88 }
  broker:current():close()
  peer:hear("^ended")
  t:exactly(broker, "connect", 4)
  equal(#peer:said("^asked"), 4)
end)

test("F13: a delay of three seconds is kept", function(t)
  local broker = t:broker()
  broker.first_connacks = { { code = 0x88 } }
  t:connected(broker, { policy = "delay 3000" })
  local first, second = table.unpack(broker:received("connect"))
  within(second.at - first.at, 3000, 4000, "ms between the attempts")
end)

test("F14: leaving while waiting to reconnect sends no CONNECT", function(t)
  local broker = t:broker()
  local peer = t:connected(broker, { policy = "delay 500" })
  broker:current():close()
  peer:hear("^asked")
  yes(peer:say("exit"):hear("^refused exit"):find("invalid state"))
  peer:say("force_exit"):hear("^forced 0")
  yes(peer:hear("^ended"):find("force exit"))
  t:exactly(broker, "connect", 1, 800)
  equal(peer.process.code, nil)
end)

test("F14: detaching while waiting to reconnect sends no CONNECT", function(t)
  local broker = t:broker()
  local peer = t:connected(broker, { policy = "delay 500" })
  broker:current():close()
  peer:hear("^asked")
  peer:say("detach"):hear("^ended")
  t:exactly(broker, "connect", 1, 800)
end)

test("F15: a DISCONNECT, an end and a failed write are one loss", function(t)
  local broker = t:broker()
  local peer = t:connected(broker, { policy = "delay 100" })
  peer:say("stream a 1 0 50")
  t:packet(broker, "publish", 20)
  broker:current():write(codec.disconnect(0x98))
  broker:current():close(true)
  peer:hear("^connected 0 1 2")
  peer:say("stop")
  t:exactly(broker, "connect", 2)
  equal(#peer:said("^disconnected"), 1)
end)

-- ------------------------------------------------------------------- leave --

test("F30: exit before it was run is refused", function(t)
  local peer = t:peer(t:broker(), { run = false })
  yes(peer:say("exit"):hear("^refused exit"):find("invalid state"))
end)

test("F30: exit while connected ends the broker's session", function(t)
  local broker = t:broker()
  local peer = t:connected(broker)
  peer:say("exit"):hear("^ended ok")
  local farewell = t:packet(broker, "disconnect")
  equal(farewell.code, 0)
  equal(farewell.properties[0x11], 0)
  equal(#peer:said("^disconnected"), 1)
end)

test("F30: exit while disconnected is refused and the session goes on", function(t)
  local broker = t:broker()
  local peer = t:connected(broker, { policy = "delay 300" })
  broker:current():close()
  peer:hear("^disconnected")
  yes(peer:say("exit"):hear("^refused exit"):find("invalid state"))
  peer:hear("^connected")
end)

test("F30: force exit before it was run ends at once", function(t)
  local broker = t:broker()
  local peer = t:peer(broker, { run = false })
  peer:say("force_exit"):hear("^forced 0")
  peer:hear("^ended")
  equal(#broker.connections, 0)
end)

test("F30: force exit while connected says goodbye", function(t)
  local broker = t:broker()
  local peer = t:connected(broker)
  peer:say("force_exit"):hear("^forced 1")
  peer:hear("^ended ok")
  equal(t:packet(broker, "disconnect").properties[0x11], 0)
end)

test("F30: force exit while disconnected ends without a packet", function(t)
  local broker = t:broker()
  local peer = t:connected(broker, { policy = "delay 300" })
  broker:current():close()
  peer:hear("^disconnected")
  peer:say("force_exit"):hear("^forced 0")
  yes(peer:hear("^ended"):find("force exit"))
  t:exactly(broker, "connect", 1, 500)
  yes(broker.sessions.me)
end)

-- ----------------------------------------------------- streams that go wrong --

test("F32: a peer that vanished is lost in time, and what flew is replayed", function(t)
  local broker = t:broker()
  local peer = t:connected(broker, {
    keep_alive = 1, ping_response_timeout = 1, policy = "delay 20",
  })
  broker.hook = function(connection, packet)
    return packet.type == "publish" and connection.number == 1
  end
  peer:say("publish one 1 0 a 1")
  local first = t:packet(broker, "publish")
  broker:current():vanish()
  local lost = t:packet(broker, "connect", 2)
  within(lost.at - first.at, 1800, 3200 * trial.patience, "ms until it was noticed")
  peer:hear("^done one 0")
  local second = t:packet(broker, "publish", 2)
  equal(second.id, first.id)
  equal(second.dup, true)
end)

test("F33: a write that fails in the middle of a packet is replayed", function(t)
  local broker = t:broker()
  broker.read_cut = { [1] = 200000 }
  local peer = t:connected(broker, { policy = "delay 20" })
  peer:say("publish before 1 0 a 1"):hear("^done before 0")
  local id = t:packet(broker, "publish").id
  peer:say("publish large 1 0 a *3000000")
  peer:say("publish after 1 0 a 2")
  peer:hear("^done after 0", 20)
  equal(#peer:said("^done large 0"), 1)
  equal(#broker.connections, 2)
  local _, large, after = table.unpack(broker:received("publish"))
  equal(#large.payload, 3000000)
  equal(large.dup, true)
  yes(large.id ~= id)
  equal(after.payload, "2")
end)

local function spaced(t, prepare)
  local broker = t:broker()
  prepare(broker)
  t:peer(broker)
  t:await("five attempts", function() return #broker.connections == 5 end, 12)
  local gaps = {}
  for index = 2, 5 do
    gaps[index - 1] = broker.connections[index].at - broker.connections[index - 1].at
  end
  for index, gap in ipairs(gaps) do
    within(gap, 128 * 2 ^ index * 0.88, 128 * 2 ^ index + 600 * trial.patience, "gap " .. index)
  end
end

test("F34: a broker that closes at once is met with growing pauses", function(t)
  spaced(t, function(broker)
    broker.on_accept = function(connection)
      connection:close()
      return true
    end
  end)
end)

test("F34: a broker that closes after CONNACK is met with growing pauses", function(t)
  spaced(t, function(broker)
    broker.wire = function() return { cut = 5 } end
  end)
end)

-- ------------------------------------------------------------ its limits --

test("F39: Receive Maximum 1 lets one publish fly, replays too", function(t)
  local broker = t:broker()
  broker.connack = { properties = codec.property(0x21, 1) }
  broker.hook = function(_, packet) return packet.type == "publish" end
  local peer = t:connected(broker, { policy = "delay 20" })
  for number = 1, 3 do peer:say("publish p%d 1 0 a %d", number, number) end
  t:exactly(broker, "publish", 1)
  broker:current():close()
  peer:hear("^connected 0 1 2")
  t:exactly(broker, "publish", 2)
  broker.hook = nil
  local flying = broker:received("publish")[2]
  equal(flying.dup, true)
  broker:current():write(codec.answer("puback", flying.id, 0))
  for number = 1, 3 do peer:hear("^done p" .. number .. " 0") end
end)

test("F39: what is over the broker's Maximum Packet Size is not sent", function(t)
  local broker = t:broker()
  broker.connack = { properties = codec.property(0x27, 60) }
  local peer = t:connected(broker)
  yes(peer:say("publish big 1 0 a *100"):hear("big"):find("exceeds the broker's maximum of 60"))
  peer:say("publish small 1 0 a *10"):hear("^done small 0")
  equal(#broker:received("publish"), 1)
end)

test("F39: Maximum QoS 0 refuses QoS 1 before it is sent", function(t)
  local broker = t:broker()
  broker.connack = { properties = codec.property(0x24, 0) }
  local peer = t:connected(broker)
  peer:say("publish one 1 0 a 1"):hear("^[rf]%l+ one ")
  peer:say("publish zero 0 0 a 1"):hear("^done zero 0")
  t:exactly(broker, "publish", 1)
end)

test("F39: no retained messages refuses retain before it is sent", function(t)
  local broker = t:broker()
  broker.connack = { properties = codec.property(0x25, 0) }
  local peer = t:connected(broker)
  peer:say("publish kept 1 1 a 1"):hear("^[rf]%l+ kept ")
  peer:say("publish plain 1 0 a 1"):hear("^done plain 0")
  t:exactly(broker, "publish", 1)
end)

-- ----------------------------------------------------------------- CONNECT --

local function connect_bytes(flags, keep_alive, properties, payload)
  return codec.packet(0x10, "\0\4MQTT\5" .. string.char(flags) .. string.pack(">I2", keep_alive)
    .. codec.section(properties) .. payload)
end

local metric = codec.property(0x26, "metriccategory", "aiosdk-lua")

test("F40: CONNECT is byte-exact without authentication", function(t)
  local broker = t:broker()
  t:connected(broker, { client_id = "device-1", keep_alive = 33, clean_start = true,
    session_expiry = 4000, receive_max = 100, receive_packet_size_max = 70000 })
  local properties = codec.property(0x11, 4000) .. codec.property(0x21, 100)
    .. codec.property(0x27, 70000) .. metric
  equal(broker:received("connect")[1].bytes,
    connect_bytes(2, 33, properties, string.pack(">s2", "device-1")))
end)

test("F40: CONNECT is byte-exact with a user name and a password file", function(t)
  local broker, folder = t:broker(), t:folder()
  local file = assert(io.open(folder .. "/password", "w"))
  file:write("secret\n")
  file:close()
  t:connected(broker, { username = "user", password_file = folder .. "/password",
    properties = { own = "value" }, aio_persistence = true })
  equal(broker:received("connect")[1].bytes, connect_bytes(0xc0, 60,
    codec.property(0x11, 3600) .. metric .. codec.property(0x26, "aio-persistence", "true")
      .. codec.property(0x26, "own", "value"),
    string.pack(">s2s2s2", "me", "user", "secret\n")))
end)

test("F40: CONNECT is byte-exact with a token", function(t)
  local broker, folder = t:broker(), t:folder()
  local file = assert(io.open(folder .. "/token", "w"))
  file:write("a.b.c\n")
  file:close()
  broker.sat = function(token) return token == "a.b.c" end
  t:connected(broker, { sat_file = folder .. "/token" })
  equal(broker:received("connect")[1].bytes, connect_bytes(0, 60,
    codec.property(0x11, 3600) .. metric .. codec.property(0x15, "K8S-SAT")
      .. codec.property(0x16, "a.b.c"), string.pack(">s2", "me")))
end)
