--- Rows F16 to F23, F31 and F35 to F38: messages, their acknowledgements,
--- refusals, queues, and what a hostile broker sends.

local codec = require "codec"
local mosquitto = require "mosquitto"
local relay = require "relay"
local trial = require "trial"

local test, equal, yes, within = trial.test, trial.equal, trial.yes, trial.within

-- A broker and a session with one receiver of a/b.
local function receiving(t, mode, settings, options)
  local broker = t:broker(options)
  settings = settings or {}
  settings.policy = settings.policy or "delay 20"
  settings.before = { "receive r a/b " .. mode }
  local peer = t:connected(broker, settings)
  peer:say("subscribe s a/b"):hear("^done s 1")
  return broker, peer
end

local function send(broker, ...)
  for _, payload in ipairs { ... } do
    broker:route { topic = "a/b", payload = payload, qos = 1 }
  end
end

-- The number of the next message, and its line.
local function message(peer, payload)
  local line = peer:hear("^message %S+ %d+ a/b %d " .. payload .. "$")
  return line:match("^message %S+ (%d+)"), line
end

local function ids(broker, from)
  local list = {}
  for _, packet in ipairs(broker:received("puback", from)) do list[#list + 1] = packet.id end
  return table.concat(list, " ")
end

-- --------------------------------------------------------- acknowledgements --

test("F16: the second of two is acknowledged after the first", function(t)
  local broker, peer = receiving(t, "manual")
  send(broker, "one", "two")
  local one, two = message(peer, "one"), message(peer, "two")
  peer:say("settle %s", two):hear("^settled " .. two .. " 1")
  t:exactly(broker, "puback", 0)
  peer:say("settle %s", one)
  t:exactly(broker, "puback", 2)
  equal(ids(broker), "1 2")
end)

test("F17: a message that outlives its connection is acknowledged by its successor", function(t)
  local broker, peer = receiving(t, "manual")
  send(broker, "one")
  local old = message(peer, "one")
  broker:current():close()
  peer:hear("^connected 0 1 2")
  local new, line = message(peer, "one")
  yes(line:find(" a/b 1 one$"), "DUP is seen")
  peer:say("settle %s", old):hear("^settled " .. old .. " 0")
  t:exactly(broker, "puback", 0)
  peer:say("settle %s", new):hear("^settled " .. new .. " 1")
  t:exactly(broker, "puback", 1)
end)

test("F17: an acknowledgement that waits behind another dies with its connection", function(t)
  local broker, peer = receiving(t, "manual")
  send(broker, "one", "two")
  local _, two = message(peer, "one"), message(peer, "two")
  peer:say("settle %s", two)
  broker:current():close(true)
  peer:hear("^connected 0 1 2")
  local one_again, two_again = message(peer, "one"), message(peer, "two")
  t:exactly(broker, "puback", 0)
  peer:say("settle %s", one_again):say("settle %s", two_again)
  t:exactly(broker, "puback", 2)
end)

test("F18: three receivers of a filter make one acknowledgement, after the last", function(t)
  local broker = t:broker()
  local peer = t:connected(broker, {
    before = { "receive x a/b manual", "receive y a/b manual", "receive z a/b manual" },
  })
  peer:say("subscribe s a/b"):hear("^done s 1")
  send(broker, "one", "two")
  local numbers = { one = {}, two = {} }
  for _ = 1, 6 do
    local number, payload = peer:hear("^message"):match("^message %S+ (%d+) a/b 0 (%S+)")
    table.insert(numbers[payload], number)
  end
  equal(#numbers.one, 3)
  for _, number in ipairs { numbers.two[1], numbers.one[3], numbers.two[3], numbers.two[2],
    numbers.one[1] } do
    peer:say("settle %s", number)
  end
  t:exactly(broker, "puback", 0)
  peer:say("settle %s", numbers.one[2])
  t:exactly(broker, "puback", 2)
  equal(ids(broker), "1 2")
end)

test("F19: a handler that throws has handled its message", function(t)
  local broker = t:broker()
  local running = t:script(broker, "thrower", [[
    local iotops = require "iotops"
    iotops.on_telemetry("a/b", function(reading)
      if reading.throw then error("thrown on purpose") end
      print("handled " .. reading.number)
      io.stdout:flush()
    end)
    iotops.run()
  ]])
  t:packet(broker, "subscribe")
  send(broker, '{"throw":true}', '{"number":2}')
  t:exactly(broker, "puback", 2)
  equal(ids(broker), "1 2")
  yes(running:text():find("thrown on purpose"), "the log tells of it")
  yes(running:text():find("handled 2"))
end)

test("F20: a message for nobody is acknowledged with QoS 1 and dropped with QoS 0", function(t)
  local broker = t:broker()
  local peer = t:connected(broker)
  peer:say("subscribe s a/b"):hear("^done s 1")
  broker:route { topic = "a/b", payload = "zero", qos = 0 }
  t:exactly(broker, "puback", 0)
  send(broker, "one")
  t:exactly(broker, "puback", 1)
  equal(#peer:logged("^warn.*a/b"), 2)
end)

test("F31: an expired message that was redelivered is acknowledged in order", function(t)
  local broker, peer = receiving(t, "manual")
  broker:route { topic = "a/b", payload = "short", qos = 1, properties = codec.property(2, 1) }
  local late = message(peer, "short")
  broker:deaf()
  broker:current():close()
  t:pass(1200)
  peer:say("settle %s", late):hear("^settled " .. late .. " 0")
  broker:listen()
  peer:hear("^connected 0 1 2")
  send(broker, "next")
  local again, after = message(peer, "short"), message(peer, "next")
  peer:say("settle %s", after)
  t:exactly(broker, "puback", 0)
  peer:say("settle %s", again)
  t:exactly(broker, "puback", 2)
  equal(broker.disorder, 0)
end)

test("F31: a command that expired while its executor was away does not stall it", function(t)
  local broker = t:broker()
  local running = t:script(broker, "executor", [[
    local iotops = require "iotops"
    iotops.on_command("c/{executorId}/slow", function(request)
      print("began " .. request.number)
      io.stdout:flush()
      iotops.sleep(request.seconds)
      return { number = request.number }
    end)
    iotops.run()
  ]])
  t:packet(broker, "subscribe")
  local function invoke(number, seconds, id)
    broker:route {
      topic = "c/executor/slow", qos = 1,
      payload = ('{"number":%d,"seconds":%g}'):format(number, seconds),
      properties = codec.property(2, 1) .. codec.property(3, "application/json")
        .. codec.property(8, "answers/here") .. codec.property(9, id)
        .. codec.property(0x26, "__protVer", "1.0") .. codec.property(0x26, "__srcId", "asker"),
    }
  end
  invoke(1, 1.5, ("x"):rep(16))
  t:await("the first begins", function() return running:text():find("began 1") end)
  broker:drop()
  t:pass(1800)
  t:packet(broker, "connect", 2)
  t:packet(broker, "puback", 1)
  invoke(2, 0, ("y"):rep(16))
  t:packet(broker, "puback", 2)
  local answered = false
  for _, packet in ipairs(broker:received("publish")) do
    answered = answered or packet.payload:find('"number":2', 1, true) ~= nil
  end
  yes(answered, "the second is answered")
  equal(broker.disorder, 0)
end)

test("F35: a redelivery of a pending message is not delivered twice", function(t)
  local broker, peer = receiving(t, "manual")
  local connection = broker:current()
  connection:write(codec.publish { topic = "a/b", payload = "one", id = 7 })
  connection:write(codec.publish { topic = "a/b", payload = "one", id = 7, dup = true })
  connection.unacked = { 7 }
  local one = message(peer, "one")
  t:pass(200)
  equal(#peer:said("^message"), 1)
  peer:say("settle %s", one)
  t:exactly(broker, "puback", 1)
  equal(peer:metrics().duplicates, 1)
end)

test("F35: a new message with a pending id is a protocol error", function(t)
  local broker, peer = receiving(t, "manual")
  local connection = broker:current()
  for _ = 1, 2 do connection:write(codec.publish { topic = "a/b", payload = "one", id = 7 }) end
  equal(t:packet(broker, "disconnect").code, 0x82)
  peer:hear("^connected 0 1 2")
end)

test("F36: acknowledging in reverse does not trouble a broker that drops for it", function(t)
  local broker, peer = receiving(t, "manual", nil, { strict = true })
  send(broker, "one", "two", "three")
  local one, two, three = message(peer, "one"), message(peer, "two"), message(peer, "three")
  peer:say("settle %s", three):say("settle %s", two):say("settle %s", one)
  t:packet(broker, "puback", 3)
  t:pass(3000)
  equal(broker.disorder, 0)
  equal(#broker.connections, 1)
  equal(#peer:said("^disconnected"), 0)
end)

-- The same against a broker of another make, by its port.
local function reversed(t, where)
  local peer = t:connected(where, { before = { "receive r a/b manual" } })
  peer:say("subscribe s a/b"):hear("^done s 1")
  for number = 1, 3 do peer:say("publish p%d 1 0 a/b n%d", number, number) end
  local one, two, three = message(peer, "n1"), message(peer, "n2"), message(peer, "n3")
  peer:say("settle %s", three):say("settle %s", two):say("settle %s", one)
  t:pass(3000)
  equal(#peer:said("^disconnected"), 0)
  peer:say("publish last 1 0 a/b n4"):hear("^done last 0")
  equal(peer:metrics().acks_sent, 3)
  peer:say("exit"):hear("^ended ok")
end

test("F36: acknowledging in reverse does not trouble mosquitto", function(t)
  reversed(t, mosquitto.new(t))
end)

-- A real broker without TLS may be given, as HOST:PORT.
local host, port = (os.getenv("FAULTS_BROKER") or ""):match("^(.+):(%d+)$")
if host then
  test("F36: acknowledging in reverse does not trouble the broker given", function(t)
    local between = relay.new(math.tointeger(port), host)
    t:at_end(function() between:close() end)
    reversed(t, between)
  end)
end

-- ------------------------------------------------------ one of several --

test("F37: of two sessions that share a subscription one receives", function(t)
  local broker = mosquitto.new(t)
  local members = {}
  for index = 1, 2 do
    members[index] = t:connected(broker, {
      client_id = "member-" .. index, before = { "receive r $share/group/a/b auto" },
    })
    members[index]:say("subscribe s $share/group/a/b"):hear("^done s 1")
  end
  local sender = t:connected(broker, { client_id = "sender" })
  for number = 1, 20 do sender:say("publish p%d 1 0 a/b n%d", number, number) end
  for number = 1, 20 do sender:hear("^done p" .. number .. " 0") end
  t:pass(200)
  for number = 1, 20 do
    local line = " n" .. number .. "$"
    equal(#members[1]:said(line) + #members[2]:said(line), 1, "deliveries of " .. number)
  end
  for _, member in ipairs(members) do yes(#member:said("^message") > 0, "both have a share") end
end)

-- ---------------------------------------------------------------- refusals --

local function refusals(kind, codes, ask)
  for _, code in ipairs(codes) do
    test(("F21: %s 0x%02X is the answer, and not asked again"):format(kind:upper(), code),
      function(t)
        local broker = t:broker()
        broker.hook = function(connection, packet)
          if ({ publish = "puback", subscribe = "suback", unsubscribe = "unsuback" })[packet.type]
            == kind then
            connection:write(codec.answer(kind, packet.id, code))
            return true
          end
        end
        local peer = t:connected(broker)
        peer:say(ask)
        peer:hear("^done x " .. code .. "$")
        t:exactly(broker, ask:match("^%S+"), 1, 200)
      end)
  end
end

refusals("puback", { 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99 }, "publish x 1 0 a/b 1")
refusals("suback", { 0x00, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2 },
  "subscribe x a/b")
refusals("unsuback", { 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91 }, "unsubscribe x a/b")

test("F21: a publish that asks to be rejected is, once", function(t)
  local broker = t:broker()
  local peer = t:connected(broker)
  peer:say("publish x 1 0 a 1 fault:rejectpublish 0x97 fault:requestid r"):hear("^done x 151")
  peer:say("publish y 1 0 a 1 fault:rejectpublish 0x97 fault:requestid r"):hear("^done y 0")
end)

-- ------------------------------------------------------------------ queues --

for _, qos in ipairs { 0, 1 } do
  local queue = "publish_queue_qos" .. qos
  local function full(mode, judge)
    test(("F22: a full queue of QoS %d, mode %s"):format(qos, mode), function(t)
      local broker = t:broker()
      local peer = t:peer(broker, { run = false, [queue] = 2, publish_queue_full = mode })
      for number = 1, 3 do peer:say("publish p%d %d 0 a %d", number, qos, number) end
      local lost = judge(peer)
      peer:say("run"):hear("^connected")
      for number = 1, 3 do
        if number ~= lost then
          t:await("it is sent", function() return #peer:said("^done p" .. number .. " 0") == 1 end)
        end
      end
      t:exactly(broker, "publish", 2)
    end)
  end
  full("wait", function(peer)
    yes(peer:hear("^refused p3"):find(queue, 1, true))
    return 3
  end)
  full("drop_newest", function(peer)
    peer:hear("^failed p3 ")
    return 3
  end)
  full("drop_oldest", function(peer)
    peer:hear("^failed p1 ")
    return 1
  end)
end

for _, kind in ipairs { "publish x 1 0 a 1", "subscribe x a/b", "unsubscribe x a/b" } do
  local name = kind:match("^%S+")
  test("F23: what is cancelled while disconnected is never sent: " .. name, function(t)
    local broker = t:broker()
    local peer = t:connected(broker, { policy = "delay 200" })
    broker:current():close()
    peer:hear("^disconnected")
    peer:say(kind):say("cancel x")
    yes(peer:hear("^failed x"):find("cancel"))
    peer:hear("^connected 0 1 2")
    t:exactly(broker, name, 0)
  end)
end

-- ------------------------------------------------------------ hostile input --

local function memory(peer)
  for line in io.lines(("/proc/%d/status"):format(peer.process.pid)) do
    local kib = line:match("^VmRSS:%s+(%d+)")
    if kib then return tonumber(kib) end
  end
end

local hostile = {
  { "a packet of 256 MiB", "\x30\xff\xff\xff\x7f" .. ("x"):rep(1000), 0x95 },
  { "a length without end", "\x30\xff\xff\xff\xff\xff", 0x81 },
  { "QoS 3", "\x36\6\0\1a\0\1\0", 0x81 },
  { "QoS 2", "\x34\6\0\1a\0\1\0", 0x9b },
  { "a topic alias", "\x30\7\0\1a\3\x23\0\1", 0x82 },
  { "a wildcard in a topic", "\x30\4\0\1#\0", 0x81 },
  { "a topic that is not UTF-8", "\x30\4\0\1\xff\0", 0x81 },
  { "properties longer than their packet", "\x30\6\0\1a\x7f\1\1", 0x81 },
  { "an AUTH nobody asked for", codec.auth(0x19, codec.property(0x15, "K8S-SAT")), 0x82 },
  { "an AUTH of another method", codec.auth(0x18, codec.property(0x15, "OTHER")), 0x82 },
  { "a packet that only clients send", "\x82\6\0\1\0\0\1a", 0x82 },
  { "a reserved packet", "\0\0", 0x81 },
}

for _, case in ipairs(hostile) do
  test("F38: " .. case[1] .. " is answered and survived", function(t)
    local broker = t:broker()
    local peer = t:connected(broker, { receive_packet_size_max = 100000, policy = "delay 20" })
    local before = memory(peer)
    broker:current():write(case[2])
    local farewell = t:packet(broker, "disconnect")
    if case[3] == 0x81 then within(farewell.code, 0x81, 0x82, "the code") else
      equal(farewell.code, case[3])
    end
    peer:hear("^connected 0 1 2")
    within(memory(peer) - before, -10000, 4000, "KiB that were claimed")
  end)
end
