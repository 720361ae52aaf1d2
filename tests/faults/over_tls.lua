--- A service account token as it is used in a cluster, in one piece: over TLS
--- with the cluster's CA, by K8S-SAT, from a projected volume.

local pki = require "pki"
local process = require "process"
local token = require "token"
local trial = require "trial"
local under_load = require "under_load"

local test, equal, yes = trial.test, trial.equal, trial.yes
local build = os.getenv("BUILD") or "build"

-- A broker that demands tokens behind TLS, a mounted token, and what reaches it.
local function cluster(t)
  local authority = pki.authority(t:folder(), "cluster")
  local server = authority:issue("server", { hosts = "DNS:localhost" })
  local broker = t:broker()
  broker.good = function(bytes) return bytes:find("^token%-%d+$") ~= nil end
  broker.sat = function(bytes) return broker.good(bytes) end
  local running = process.start({
    build .. "/tests/faults/terminator", server.cert, server.key, tostring(broker.port),
  }, { stdin = true })
  t:at_end(function() running:kill() end)
  local port = t:await("TLS is there", function() return tonumber(running.out[1] or "") end)
  local mounted = token.mount(t:folder(), { token = "token-0\n" })
  return broker, mounted, { port = port }, {
    hostname = "localhost", use_tls = true, ca_file = authority.cert, sat_file = mounted.path,
    sat_debounce = 0, log = "trace", policy = "delay 20",
  }
end

local function presented(packet) return packet.properties[0x16] end

-- No token in anything that was printed, however it may have been written.
local function silent(peer)
  for _, form in ipairs { "token%-%d", "746f6b656e2d", "dG9rZW4t" } do
    equal(#peer:logged(form), 0, "log lines with a token")
    equal(#peer:said(form), 0, "lines with a token")
  end
end

test("CLUSTER: tokens rotate over TLS and under load; the connection stands", function(t)
  local broker, mounted, where, settings = cluster(t)
  local peer = under_load(t, where, settings, function()
    for number = 1, 8 do
      mounted:replace { token = ("token-%d\n"):format(number) }
      local auth = t:packet(broker, "auth", number)
      equal(auth.code, 0x19)
      equal(auth.properties[0x15], "K8S-SAT")
      equal(presented(auth), "token-" .. number)
    end
  end)
  local connect = broker:received("connect")[1]
  equal(connect.properties[0x15], "K8S-SAT")
  equal(presented(connect), "token-0")
  equal(#broker.connections, 1)
  equal(broker.disorder, 0)
  equal(peer:metrics().reauths_ok, 8)
  equal(#peer:said("^disconnected"), 0)
  for _, line in ipairs(peer:said("^message")) do yes(line:find(" a/b 0 "), "no DUP") end
  silent(peer)
end)

test("CLUSTER: an expired token is refused over TLS until the next one is mounted", function(t)
  local broker, mounted, where, settings = cluster(t)
  local peer = under_load(t, where, settings, function(peer)
    broker.good = function(bytes) return bytes == "token-2" end
    mounted:replace { token = "token-1\n" } -- expired when it comes
    yes(peer:hear("^disconnected"):find("^disconnected 135 1 "), "refused with 0x87")
    t:await("the expired token is presented again", function()
      return #broker:received("connect") >= 3
    end)
    mounted:replace { token = "token-2\n" }
    peer:hear("^connected 0 1 2")
  end)
  local connects = broker:received("connect")
  equal(presented(connects[2]), "token-1")
  equal(presented(connects[#connects]), "token-2")
  equal(#peer:said("^ended"), 0)
  silent(peer)
end)

test("CLUSTER: without the cluster's CA no token leaves", function(t)
  local broker, _, where, settings = cluster(t)
  settings.ca_file = pki.authority(t:folder(), "other").cert
  local peer = t:peer(where, settings)
  peer:hear("^asked 2 0")
  equal(#broker:received("connect"), 0)
  silent(peer)
end)
