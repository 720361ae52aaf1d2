--- Rows F24 to F29: tokens and certificates that change.

local mosquitto = require "mosquitto"
local pki = require "pki"
local relay = require "relay"
local token = require "token"
local trial = require "trial"
local uv = require "luv"

local test, equal, yes, within = trial.test, trial.equal, trial.yes, trial.within

-- A broker that demands K8S-SAT, a mounted token, and a session that has both.
local function with_token(t, settings)
  local broker = t:broker()
  broker.tokens = { first = true, second = true, third = true, fourth = true }
  broker.sat = function(bytes) return broker.tokens[bytes] end
  local mounted = token.mount(t:folder(), { token = "first\n" })
  settings = settings or {}
  settings.sat_file = mounted.path
  settings.sat_debounce = settings.sat_debounce or 0
  settings.policy = settings.policy or "delay 20"
  return broker, mounted, t:connected(broker, settings)
end

local function presented(packet) return packet.properties[0x16] end

-- No secret in anything that was printed.
local function silent(peer)
  for _, secret in ipairs { "first", "second", "third", "fourth" } do
    equal(#peer:logged("%f[%w]" .. secret .. "%f[%W]"), 0, "log lines with a token")
  end
end

test("F24: a new token is presented once on the connection that stands", function(t)
  local broker, mounted, peer = with_token(t)
  mounted:replace { token = "second\n" }
  local auth = t:packet(broker, "auth")
  equal(auth.code, 0x19)
  equal(auth.properties[0x15], "K8S-SAT")
  equal(presented(auth), "second")
  mounted:replace { token = "second\n" }
  t:exactly(broker, "auth", 1, 500)
  equal(#broker.connections, 1)
  equal(#peer:said("^disconnected"), 0)
  equal(peer:metrics().reauths_ok, 1)
  mounted:replace { token = "third\n" }
  equal(presented(t:packet(broker, "auth", 2)), "third")
  silent(peer)
end)

test("F24: an empty token or one that cannot be read changes nothing", function(t)
  local broker, mounted, peer = with_token(t)
  mounted:replace { token = "" }
  t:exactly(broker, "auth", 0, 300)
  mounted:replace {}
  t:exactly(broker, "auth", 0, 300)
  mounted:replace { token = "second" }
  equal(presented(t:packet(broker, "auth")), "second")
  equal(#peer:said("^disconnected"), 0)
end)

test("F25: several replacements within the window make one AUTH with the last", function(t)
  local broker, mounted, peer = with_token(t, { sat_debounce = 500 })
  for _, text in ipairs { "second", "third", "fourth" } do
    mounted:replace { token = text }
    uv.sleep(30) -- nobody else may take longer meanwhile
  end
  equal(presented(t:packet(broker, "auth")), "fourth")
  t:exactly(broker, "auth", 1, 800)
  equal(#peer:said("^disconnected"), 0)
end)

test("F26: a token replaced during an outage is in the next CONNECT", function(t)
  local broker, mounted, peer = with_token(t)
  broker:deaf()
  broker:current():close()
  peer:hear("^disconnected")
  mounted:replace { token = "second\n" }
  broker.tokens.first = nil
  broker:listen()
  peer:hear("^connected 0 1 2")
  local connects = broker:received("connect")
  equal(presented(connects[1]), "first")
  equal(presented(connects[#connects]), "second")
  t:exactly(broker, "auth", 0)
end)

test("F27: exit while AUTH is unanswered says goodbye, and nothing follows", function(t)
  local broker, mounted, peer = with_token(t)
  broker.on_reauth = "silent"
  mounted:replace { token = "second" }
  t:packet(broker, "auth")
  mounted:replace { token = "third" }
  t:exactly(broker, "auth", 1) -- one exchange at a time
  peer:say("force_exit"):hear("^forced 1")
  peer:hear("^ended ok")
  equal(t:packet(broker, "disconnect").code, 0)
  local count = #broker.packets
  mounted:replace { token = "fourth" }
  t:pass(400)
  equal(#broker.packets, count)
  equal(#broker.connections, 1)
end)

test("F28: a token that is refused is presented anew by reconnecting", function(t)
  local broker, mounted, peer = with_token(t, { policy = "delay 300" })
  broker.on_reauth = 0x87
  mounted:replace { token = "second" }
  yes(peer:hear("^disconnected"):find("^disconnected 135 1 "))
  mounted:replace { token = "third" }
  peer:hear("^connected 0 1 2")
  local connects = broker:received("connect")
  equal(presented(connects[#connects]), "third")
  equal(#peer:said("^ended"), 0)
  silent(peer)
end)

test("F28: CONNACK 0x87 is tried again as long as a file holds the token", function(t)
  local broker = t:broker()
  broker.sat = function(bytes) return bytes == "good" end
  local mounted = token.mount(t:folder(), { token = "bad" })
  local peer = t:peer(broker, { sat_file = mounted.path, policy = "delay 100" })
  peer:hear("^asked 1 0")
  mounted:replace { token = "good" }
  peer:hear("^connected")
end)

test("F29: certificates replaced on disk are used by the next connection", function(t)
  local authority = pki.authority(t:folder(), "authority")
  local first = authority:issue("first-identity")
  local second = authority:issue("second-identity")
  local server = authority:issue("server", { hosts = "DNS:localhost" })
  local broker = mosquitto.new(t, {
    "cafile " .. authority.cert, "certfile " .. server.cert, "keyfile " .. server.key,
    "require_certificate true", "use_identity_as_username true",
  })
  local between = relay.new(broker.port)
  t:at_end(function() between:close() end)
  local mounted = token.mount(t:folder(), {
    ["c.pem"] = pki.read(first.cert), ["c.key"] = pki.read(first.key),
  })
  local peer = t:connected({ port = between.port }, {
    hostname = "localhost", use_tls = true, ca_file = authority.cert, policy = "delay 20",
    cert_file = mounted.folder .. "/c.pem", key_file = mounted.folder .. "/c.key",
  })
  equal(broker:users(), "first-identity")
  mounted:replace { ["c.pem"] = pki.read(second.cert), ["c.key"] = pki.read(second.key) }
  t:pass(300)
  equal(#peer:said("^disconnected"), 0, "losses for a new certificate")
  between:cut()
  peer:hear("^connected 0 1 2")
  equal(broker:users(), "first-identity second-identity")
  within(between.accepted, 2, 2, "connections")
end)
