--- What belongs to no row of the table: the wire cut at every byte, TLS and
--- credentials at the session, rotation under load, brokers that die for good
--- or stand still, what an idle session does, and a short form of the soak.

local codec = require "codec"
local fault_broker = require "fault_broker"
local mosquitto = require "mosquitto"
local pki = require "pki"
local relay = require "relay"
local token = require "token"
local trial = require "trial"
local under_load = require "under_load"

local test, equal, yes, within = trial.test, trial.equal, trial.yes, trial.within

require "soak".add(tonumber(os.getenv("ROUNDS")) or 25)

-- ------------------------------------------------------------------- wire --

-- The longest that a broker writes on a connection in these tests.
local LONGEST = 40

test("WIRE: what the broker writes may be cut at every byte", function(t)
  local broker = t:broker()
  broker.wire = function(number) return number <= LONGEST and { cut = number } or {} end
  local peer = t:connected(broker, {
    policy = "delay 1", before = { "receive r a/b auto", "subscribe s a/b" },
  })
  for number = 1, 5 do peer:say("publish p%d 1 0 a/b n%d", number, number) end
  for number = 1, 5 do
    t:await("all are sent", function() return #peer:said("^done p" .. number .. " 0") == 1 end)
    t:await("all arrive", function() return #peer:said("^message .* n" .. number .. "$") > 0 end)
  end
  t:await("every cut was met", function() return #broker.connections > LONGEST end)
  t:await("all is acknowledged", function() return #broker.sessions.me.queue == 0 end)
  equal(#peer:said("^done s 1"), 1)
  equal(#peer:said("^ended"), 0)
  equal(broker.disorder, 0)
end)

test("WIRE: what the client writes may be cut at every byte", function(t)
  local broker = t:broker()
  local peer = t:connected(broker, { policy = "delay 1", before = { "receive r a/b auto" } })
  peer:say("subscribe s a/b"):hear("^done s 1")
  broker.read_cut = {}
  for number = 1, 120 do broker.read_cut[number + 1] = number end
  broker:current():close()
  for number = 1, 5 do peer:say("publish p%d 1 0 a/b n%d", number, number) end
  for number = 1, 5 do
    t:await("all are sent", function() return #peer:said("^done p" .. number .. " 0") == 1 end)
    t:await("all arrive", function() return #peer:said("^message .* n" .. number .. "$") > 0 end)
  end
  yes(#broker.connections > 100, "most of the cuts were met")
  equal(broker.disorder, 0)
  equal(#peer:said("^ended"), 0)
end)

-- The answers that the first two tests do not meet, and what asks for them.
local answers = {
  { kind = "unsubscribe", size = 6, ask = function(peer) peer:say("unsubscribe x a/b") end },
  { kind = "auth", size = 14, ask = function(_, mounted) mounted:replace { token = "second" } end },
  { kind = "pingreq", size = 2, ask = function() end },
}

for _, answer in ipairs(answers) do
  test("WIRE: the answer may be cut at every byte: " .. answer.kind, function(t)
    for cut = 0, answer.size - 1 do
      local broker = t:broker()
      broker.sat = function() return true end
      local mounted = token.mount(t:folder(), { token = "first" })
      local peer = t:connected(broker, {
        policy = "delay 1", keep_alive = 1, sat_file = mounted.path, sat_debounce = 0,
      })
      peer:say("subscribe s a/b"):hear("^done s 1")
      broker.hook = function(connection, packet)
        if packet.type == answer.kind and connection.number == 1 then
          connection.wire.cut = connection.written + cut
          if cut == 0 then connection:close() end
        end
      end
      answer.ask(peer, mounted)
      peer:hear("^connected 0 1 2")
      if answer.kind == "unsubscribe" then peer:hear("^done x 17") end -- it is gone by now
      peer:say("publish p 1 0 a 1"):hear("^done p 0")
      equal(#peer:said("^disconnected"), 1)
    end
  end)
end

test("WIRE: a farewell may be cut at every byte", function(t)
  for cut = 1, 3 do
    local broker = t:broker()
    local peer = t:connected(broker, { policy = "delay 1" })
    broker:current():write(codec.disconnect(0x98):sub(1, cut))
    broker:current():close()
    peer:hear("^connected 0 1 2")
    equal(#peer:said("^disconnected"), 1)
  end
end)

test("WIRE: a broker that trickles its bytes is understood", function(t)
  local broker = t:broker()
  broker.wire = function() return { trickle = true } end
  local peer = t:connected(broker, { before = { "receive r a/b auto" } })
  peer:say("subscribe s a/b"):hear("^done s 1")
  peer:say("publish p 1 0 a/b hello"):hear("^done p 0")
  t:await("it arrives", function() return #peer:said("^message .* hello$") == 1 end)
end)

test("WIRE: a broker that stalls within CONNACK is given up", function(t)
  local broker = t:broker()
  broker.wire = function(number) return number == 1 and { stall = 3 } or {} end
  t:connected(broker, { connection_timeout = 1, policy = "delay 10" })
  equal(#broker.connections, 2)
end)

test("WIRE: no turned bit in what the broker writes stops the session for ever", function(t)
  local broker = t:broker()
  broker.wire = function(number)
    return number <= 24 and { corrupt = { [number] = 1 << number % 8 } } or {}
  end
  local ends = {}
  for attempt = 1, 24 do
    local peer = t:peer(broker, {
      client_id = "turned-" .. attempt, policy = "delay 5", connection_timeout = 1,
      keep_alive = 1, before = { "receive r a/b auto", "subscribe s a/b" },
    })
    peer:say("publish p 1 0 a/b hello")
    t:await("a connection", function() return #broker.connections >= attempt end)
    ends[attempt] = peer
  end
  for _, peer in ipairs(ends) do -- a fatal code in CONNACK is an answer, too
    t:await("it ends or goes on", function()
      return #peer:said("^done p") > 0 or #peer:said("^failed p") > 0
    end, 12)
    equal(peer.process.code, nil, "the exit code of " .. peer.name)
  end
end)

test("WIRE: half of the stream closed is a loss", function(t)
  local broker = t:broker()
  local between = relay.new(broker.port)
  t:at_end(function() between:close() end)
  for round, towards_client in ipairs { true, false } do
    local peer = t:connected(between, { policy = "delay 20", client_id = "half-" .. round })
    between:half_close(towards_client)
    peer:hear("^disconnected")
    peer:hear("^connected 0 1 2")
    peer:say("publish p 1 0 a 1"):hear("^done p 0")
  end
end)

test("WIRE: a relay that delays each way changes nothing but the time", function(t)
  local broker = t:broker()
  local between = relay.new(broker.port)
  t:at_end(function() between:close() end)
  between.delay = 100
  local peer = t:connected(between, { before = { "receive r a/b auto" } })
  peer:say("subscribe s a/b"):hear("^done s 1")
  for number = 1, 20 do peer:say("publish p%d 1 0 a/b n%d", number, number) end
  for number = 1, 20 do peer:hear("^done p" .. number .. " 0") end
  t:await("all arrive", function() return #peer:said("^message") == 20 end)
end)

-- -------------------------------------------------------------- mosquitto --

test("BROKER: mosquitto killed has lost the session, and that is said at once", function(t)
  local broker = mosquitto.new(t)
  local peer = t:connected(broker, { policy = "delay 100" })
  local host = t:host(broker, "host", 'require "iotops".on_telemetry("a/b", function() end)')
  t:await("the host is subscribed", function() return host:text():find("subscribed: ") end)
  broker:kill()
  broker:start()
  yes(peer:hear("^ended"):find("session lost"))
  within(fault_broker.now() - broker.up_at, 0, 1000 * trial.patience, "ms until it was said")
  yes(peer:logged("session lost")[1])
  t:await("the host ends", function() return host.code and host.open == 0 end)
  equal(host.code, 5, "the host's exit status")
  yes(host:text():find("session lost: the broker has no state"))
end)

test("BROKER: mosquitto that stands still is left, and found again", function(t)
  local broker = mosquitto.new(t)
  local peer = t:connected(broker, {
    keep_alive = 1, ping_response_timeout = 1, connection_timeout = 1, policy = "delay 20",
  })
  broker:freeze()
  peer:say("publish p 1 0 a 1")
  peer:hear("^disconnected", 12)
  peer:hear("^asked 2")
  broker:thaw()
  peer:hear("^connected 0 1 2")
  peer:hear("^done p %d+")
end)

-- -------------------------------------------------------------------- TLS --

local function tls_lines(server, authority, ...)
  return { "cafile " .. authority.cert, "certfile " .. server.cert, "keyfile " .. server.key, ... }
end

-- A session that must not get in, and says why.
local function kept_out(t, port, settings, reason)
  settings.use_tls, settings.policy = true, "delay 30"
  settings.hostname = settings.hostname or "localhost"
  local peer = t:peer({ port = port }, settings)
  peer:hear("^asked 2 0")
  equal(#peer:said("^connected"), 0)
  yes(#peer:logged("^error: .*" .. reason) > 0, "the log says why")
  return peer
end

local function tls_place(t, options, ...)
  local authority = pki.authority(t:folder(), "authority")
  local server = authority:issue("server", options or { hosts = "DNS:localhost" })
  return authority, mosquitto.new(t, tls_lines(server, authority, ...)), server
end

test("TLS: another host's certificate keeps us out", function(t)
  local authority, broker = tls_place(t, { hosts = "DNS:elsewhere.example" })
  kept_out(t, broker.port, { ca_file = authority.cert }, "another host")
end)

test("TLS: an address that is not in the certificate keeps us out", function(t)
  local authority, broker = tls_place(t)
  kept_out(t, broker.port, { ca_file = authority.cert, hostname = "127.0.0.1" }, "another host")
end)

test("TLS: an unknown authority keeps us out", function(t)
  local _, broker = tls_place(t)
  local other = pki.authority(t:folder(), "other")
  kept_out(t, broker.port, { ca_file = other.cert }, "certificate")
end)

test("TLS: without a bundle the system's roots count, not nothing", function(t)
  local _, broker = tls_place(t)
  kept_out(t, broker.port, {}, "certificate")
end)

test("TLS: an expired certificate keeps us out", function(t)
  local authority, broker = tls_place(t, { hosts = "DNS:localhost", days = -1 })
  kept_out(t, broker.port, { ca_file = authority.cert }, "expired")
end)

for _, version in ipairs { "1.2", "1.3" } do
  test("TLS: version " .. version .. " with a chain and an encrypted key", function(t)
    local root = pki.authority(t:folder(), "root")
    local middle = root:issue("middle", { authority = true })
    local server = middle:issue("server", { hosts = "DNS:localhost,IP:127.0.0.1" })
    local own = middle:issue("device", { password = "open sesame" })
    pki.write(server.cert, pki.read(server.cert), pki.read(middle.cert))
    pki.write(own.cert, pki.read(own.cert), pki.read(middle.cert))
    local password = pki.write(root.folder .. "/password", "open sesame\r\nsecond line\n")
    local broker = mosquitto.new(t, tls_lines(server, root, "tls_version tlsv" .. version,
      "require_certificate true", "use_identity_as_username true"))
    for _, name in ipairs { "localhost", "127.0.0.1" } do
      local peer = t:connected(broker, {
        hostname = name, use_tls = true, ca_file = root.cert, cert_file = own.cert,
        key_file = own.key, key_password_file = password,
      })
      peer:say("publish p 1 0 a 1"):hear("^done p")
      equal(#peer:logged("sesame"), 0)
      peer:say("exit"):hear("^ended ok")
    end
    equal(broker:users(), "device device")
  end)
end

test("TLS: a trust bundle replaced on disk counts from the next connection", function(t)
  local old = pki.authority(t:folder(), "old")
  local new = pki.authority(t:folder(), "new")
  local first = old:issue("server", { hosts = "DNS:localhost" })
  local second = new:issue("server", { hosts = "DNS:localhost" })
  local server = { cert = t:folder() .. "/server.pem", key = first.key }
  pki.write(server.cert, pki.read(first.cert))
  local broker = mosquitto.new(t, tls_lines(server, old))
  local bundle = token.mount(t:folder(), { ["ca.crt"] = pki.read(old.cert) })
  local peer = t:connected(broker, {
    hostname = "localhost", use_tls = true, ca_file = bundle.path, policy = "delay 50",
  })
  broker:stop()
  pki.write(server.cert, pki.read(second.cert))
  pki.write(server.key, pki.read(second.key))
  broker:start()
  t:await("it is refused", function() return #peer:logged("^error: .*certificate") > 1 end)
  equal(#peer:said("^connected"), 1)
  bundle:replace { ["ca.crt"] = "half a bundle" }
  t:pass(150)
  equal(#peer:said("^connected"), 1, "connections without a usable bundle")
  bundle:replace { ["ca.crt"] = pki.read(new.cert) }
  peer:hear("^connected 0 1 2")
  equal(#peer:said("^ended"), 0)
end)

test("TLS: a certificate that is revoked by rotation is replaced and let in", function(t)
  local authority = pki.authority(t:folder(), "authority")
  local old = pki.authority(t:folder(), "old-clients")
  local new = pki.authority(t:folder(), "new-clients")
  local server = authority:issue("server", { hosts = "DNS:localhost" })
  local trusted = pki.write(t:folder() .. "/clients.pem", pki.read(old.cert))
  local first, second = old:issue("first"), new:issue("second")
  local broker = mosquitto.new(t, {
    "cafile " .. trusted, "certfile " .. server.cert, "keyfile " .. server.key,
    "require_certificate true", "use_identity_as_username true",
  })
  local mounted = token.mount(t:folder(), {
    ["c.pem"] = pki.read(first.cert), ["c.key"] = pki.read(first.key),
  })
  local peer = t:connected(broker, {
    hostname = "localhost", use_tls = true, ca_file = authority.cert, policy = "delay 50",
    cert_file = mounted.folder .. "/c.pem", key_file = mounted.folder .. "/c.key",
  })
  broker:stop()
  pki.write(trusted, pki.read(new.cert))
  broker:start()
  t:await("it is kept out", function() return #peer:said("^asked") > 3 end)
  equal(#peer:said("^connected"), 1)
  mounted:replace { ["c.pem"] = pki.read(second.cert), ["c.key"] = pki.read(second.key) }
  peer:hear("^connected 0 1 2")
  equal(broker:users(), "first second")
  equal(#peer:said("^ended"), 0)
end)

test("TLS: a half-rotated pair of files is tried again until it fits", function(t)
  local authority = pki.authority(t:folder(), "authority")
  local server = authority:issue("server", { hosts = "DNS:localhost" })
  local first, second = authority:issue("first"), authority:issue("second")
  local broker = mosquitto.new(t, tls_lines(server, authority, "require_certificate true",
    "use_identity_as_username true"))
  local between = relay.new(broker.port)
  t:at_end(function() between:close() end)
  local mounted = token.mount(t:folder(), {
    ["c.pem"] = pki.read(first.cert), ["c.key"] = pki.read(first.key),
  })
  local peer = t:connected(between, {
    hostname = "localhost", use_tls = true, ca_file = authority.cert, policy = "delay 50",
    cert_file = mounted.folder .. "/c.pem", key_file = mounted.folder .. "/c.key",
  })
  mounted:replace { ["c.pem"] = pki.read(second.cert), ["c.key"] = pki.read(first.key) }
  between:cut()
  peer:hear("^asked 3 0")
  mounted:replace { ["c.pem"] = pki.read(second.cert), ["c.key"] = pki.read(second.key) }
  peer:hear("^connected 0 1 2")
  equal(broker:users(), "first second")
end)

-- --------------------------------------------------------- authentication --

test("AUTH: the password file is read for each connection and never logged", function(t)
  local broker, folder = t:broker(), t:folder()
  local path = pki.write(folder .. "/password", "hush-one")
  broker.hook = function(connection, packet)
    if packet.type == "connect" and packet.password ~= "hush-two" then
      connection:write(codec.connack(false, 0x86))
      connection:close()
      return true
    end
  end
  local peer = t:peer(broker, {
    username = "user", password_file = path, policy = "delay 50", log = "trace",
  })
  peer:hear("^asked 2 0")
  pki.write(path, "hush-two")
  peer:hear("^connected")
  equal(#peer:logged("hush"), 0)
  equal(broker:received("connect")[1].username, "user")
end)

test("AUTH: a broker that asks for the token again gets it once an attempt", function(t)
  local broker = t:broker()
  local mounted = token.mount(t:folder(), { token = "first" })
  local asks = codec.auth(0x18, codec.property(0x15, "K8S-SAT"))
  broker.sat = function() return true end
  broker.hook = function(connection, packet)
    if packet.type == "connect" then
      connection:write(asks)
      return true
    elseif packet.type == "auth" then
      if connection.number == 1 then connection:write(asks) else
        connection:write(codec.connack(false, 0))
      end
      return true
    end
  end
  local peer = t:peer(broker, { sat_file = mounted.path, policy = "delay 20" })
  peer:hear("^connected 0 0 1")
  local auths = broker:received("auth")
  equal(#auths, 2)
  for _, auth in ipairs(auths) do
    equal(auth.code, 0x18)
    equal(auth.properties[0x16], "first")
  end
  equal(#broker:received("disconnect"), 1)
  equal(broker:received("disconnect")[1].code, 0x82)
end)

test("AUTH: tokens rotate under load, the connection stands, nothing is lost", function(t)
  local broker = t:broker()
  broker.sat = function(bytes) return bytes:find("^token%-%d+$") ~= nil end
  local mounted = token.mount(t:folder(), { token = "token-0\n" })
  local peer = under_load(t, broker, { sat_file = mounted.path, sat_debounce = 0 }, function()
    for number = 1, 8 do
      mounted:replace { token = ("token-%d\n"):format(number) }
      equal(t:packet(broker, "auth", number).properties[0x16], "token-" .. number)
    end
  end)
  equal(#broker.connections, 1)
  equal(broker.disorder, 0)
  equal(peer:metrics().reauths_ok, 8)
  equal(#peer:logged("token%-%d"), 0)
  for _, line in ipairs(peer:said("^message")) do yes(line:find(" a/b 0 "), "no DUP") end
end)

test("AUTH: a certificate rotates under load, with one new connection", function(t)
  local authority = pki.authority(t:folder(), "authority")
  local server = authority:issue("server", { hosts = "DNS:localhost" })
  local first, second = authority:issue("first"), authority:issue("second")
  local broker = mosquitto.new(t, tls_lines(server, authority, "require_certificate true",
    "use_identity_as_username true"))
  local between = relay.new(broker.port)
  t:at_end(function() between:close() end)
  local mounted = token.mount(t:folder(), {
    ["c.pem"] = pki.read(first.cert), ["c.key"] = pki.read(first.key),
  })
  under_load(t, between, {
    hostname = "localhost", use_tls = true, ca_file = authority.cert,
    cert_file = mounted.folder .. "/c.pem", key_file = mounted.folder .. "/c.key",
  }, function(peer)
    mounted:replace { ["c.pem"] = pki.read(second.cert), ["c.key"] = pki.read(second.key) }
    t:pass(200)
    equal(between.accepted, 1, "connections before the cut")
    between.cut_down = 300
    peer:hear("^connected 0 1 2")
  end)
  equal(between.accepted, 2)
  equal(broker:users(), "first second")
end)

-- ------------------------------------------------------------------- idle --

local function wake_ups(peer)
  for line in io.lines(("/proc/%d/status"):format(peer.process.pid)) do
    local count = line:match("^voluntary_ctxt_switches:%s+(%d+)")
    if count then return tonumber(count) end
  end
end

test("IDLE: a connected session wakes at most once a second", function(t)
  local broker = t:broker()
  local mounted = token.mount(t:folder(), { token = "t" })
  broker.sat = function() return true end
  local peer = t:connected(broker, {
    sat_file = mounted.path, before = { "receive r a/b auto", "subscribe s a/b" },
  })
  peer:hear("^done s")
  t:pass(1500) -- what connecting left to do
  local before, since = wake_ups(peer), fault_broker.now()
  t:pass(4000)
  within(wake_ups(peer) - before, 0, (fault_broker.now() - since) / 1000, "wake-ups")
end)
