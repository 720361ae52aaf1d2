--- Everything is killed in mid-flow, round after round, while numbers go from
--- a sender to a receiver: nothing that was acknowledged may be missing.

local codec = require "codec"
local fault_broker = require "fault_broker"
local mosquitto = require "mosquitto"
local ports = require "ports"
local process = require "process"
local relay = require "relay"
local trial = require "trial"

local TOPIC = "soak/numbers"

local soak = {}

---@class Soak
---@field t Trial
---@field sent table<integer, true> numbers whose publish succeeded
---@field handled table<integer, true>
---@field delays number[] ms from the broker's return to each reconnection
local Soak = {}
Soak.__index = Soak

-- ------------------------------------------------------------------ actors --

-- Takes in what both have said since the last time.
function Soak:look()
  for _, peer in ipairs { self.sender, self.receiver } do
    local out = peer.process.out
    for index = peer.looked + 1, #out do
      local line = out[index]
      local number = line:match("^sent (%d+)")
      if number then
        self.last = math.max(self.last, math.tointeger(number))
        self.sent[math.tointeger(number)] = true
        self.sent_count = self.sent_count + 1
      end
      number = line:match("^message .* (%d+)$")
      if number then
        self.handled[math.tointeger(number)] = true
        self.handled_count = self.handled_count + 1
      end
      if line:find("^connected") then peer.connected_at = fault_broker.now() end
      if line:find("^ended") or line:find("^unsent") then
        error(peer.name .. ": " .. line .. "\n" .. self.t:story(), 0)
      end
    end
    peer.looked = #out
    if peer.process.code and not peer.killed then
      error(peer.name .. " has died\n" .. self.t:story(), 0)
    end
  end
end

local function forget_peer(self, peer)
  for index, known in ipairs(self.t.peers) do
    if known == peer then table.remove(self.t.peers, index) end
  end
end

function Soak:start_sender()
  self.sender = self.t:peer(self.where, {
    client_id = "soak-sender", log = "warn", policy = "fresh", keep_alive = 5,
    before = { ("stream %s %d %d 30"):format(TOPIC, self.last + 1, self.pace) },
  })
  self.sender.looked = 0
end

function Soak:start_receiver()
  self.receiver = self.t:peer(self.where, {
    client_id = "soak-receiver", log = "warn", policy = "fresh", keep_alive = 5,
    before = { "receive r " .. TOPIC .. " auto" },
  })
  self.receiver.looked = 0
end

function Soak:await(what, done, seconds)
  return self.t:await(what, function()
    self:look()
    return done()
  end, seconds or 20)
end

--- Waits until some more messages have arrived.
function Soak:flow(count)
  local wanted = self.handled_count + count
  self:await("messages flow", function() return self.handled_count >= wanted end)
end

local function kill(self, peer)
  self:look()
  peer.killed = true
  peer.process:kill()
  process.pass(0) -- what it had written is still read
  self:await("its last lines", function() return peer.process.open == 0 end)
  self:look()
  forget_peer(self, peer)
end

-- ------------------------------------------------------------------ rounds --

-- Both must come back soon after the broker has.
function Soak:come_back(up_at)
  for _, peer in ipairs { self.sender, self.receiver } do
    self:await(peer.name .. " is back", function()
      return peer.connected_at and peer.connected_at >= up_at
    end)
    self.delays[#self.delays + 1] = peer.connected_at - up_at
  end
end

local rounds = {}

function rounds.sender(self)
  kill(self, self.sender)
  self:start_sender()
end

function rounds.receiver(self)
  kill(self, self.receiver)
  self:start_receiver()
end

function rounds.broker(self)
  local since = fault_broker.now()
  self:break_broker()
  self:come_back(math.max(self.up_at, since))
end

function rounds.cut(self)
  local cuts, since = self.relay.cuts, fault_broker.now()
  self.relay.cut_up, self.relay.cut_down = math.random(0, 2000), math.random(0, 2000)
  self:await("both streams are cut", function() return self.relay.cuts >= cuts + 2 end)
  self:await("somebody is back", function()
    return (self.sender.connected_at or 0) >= since or (self.receiver.connected_at or 0) >= since
  end)
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2] or 0
end

-- Rounds of one broker.  `kinds` are taken in turn.
local function run(self, count, kinds)
  self.sent, self.handled, self.delays = {}, {}, {}
  self.sent_count, self.handled_count, self.last, self.pace = 0, 0, 0, 2
  self:start_receiver()
  self.receiver:say("subscribe s " .. TOPIC):hear("^done s 1")
  self:start_sender()
  local started = fault_broker.now()
  for round = 1, count do
    self:flow(math.random(5, 60))
    local kind = kinds[(round - 1) % #kinds + 1]
    local ok, failure = pcall(rounds[kind], self)
    if not ok then
      error(("round %d (%s), SEED=%s: %s"):format(round, kind, os.getenv("SEED") or 1, failure), 0)
    end
    if round % 100 == 0 then
      print(("%d rounds, %d sent, %d handled"):format(round, self.sent_count, self.handled_count))
      io.stdout:flush()
    end
  end
  self:flow(20)
  self.sender:say("stop")
  self:await("nothing flies any more", function()
    return self.sender:metrics().in_flight == 0
  end)
  self:await("all that was sent is handled", function()
    for number in pairs(self.sent) do
      if not self.handled[number] then return false end
    end
    return true
  end)
  local middle = median(self.delays)
  print(("%s: %d rounds in %.1f s, %d messages acknowledged, %d handled, "
    .. "back within %.0f ms (median of %d)"):format(self.name, count,
    (fault_broker.now() - started) / 1000, self.sent_count, self.handled_count, middle,
    #self.delays))
  trial.yes(middle < 1000, "it takes too long to come back")
  trial.equal(self.disorder, 0, "acknowledgements out of order")
end

-- ----------------------------------------------------------------- brokers --

-- Checks the order of acknowledgements of everything that the relay passes.
local function watch_order(self)
  self.relay.on_bytes = function(up, bytes, pair)
    local seen = pair.seen or { up = "", down = "", ids = {} }
    pair.seen = seen
    local side = up and "up" or "down"
    seen[side] = codec.cut(seen[side] .. bytes, function(packet)
      if not up and packet.type == "publish" and packet.flags & 6 ~= 0 then
        seen.ids[#seen.ids + 1] = codec.read(packet).id
      elseif up and packet.type == "puback" then
        if table.remove(seen.ids, 1) ~= codec.read(packet).id then
          self.disorder = self.disorder + 1
        end
      end
    end)
  end
end

--- Mosquitto, stopped and started again behind a relay that cuts both streams.
function soak.mosquitto(t, count)
  local broker = mosquitto.new(t, { "log_type none" })
  local self = setmetatable({ t = t, name = "mosquitto", disorder = 0 }, Soak)
  self.relay = relay.new(broker.port)
  t:at_end(function() self.relay:close() end)
  watch_order(self)
  self.where = self.relay
  self.break_broker = function()
    self.relay.cut_up, self.relay.cut_down = math.random(0, 500), math.random(0, 500)
    t:pass(math.random(0, 10))
    broker:stop()
    broker:start()
    self.relay.cut_up, self.relay.cut_down = nil, nil
    self.up_at = broker.up_at
  end
  run(self, count, { "broker", "sender", "cut", "receiver" })
end

--- The fault broker, which journals before it acknowledges, killed.
function soak.fault_broker(t, count)
  local journal = t:folder() .. "/journal"
  local self = setmetatable({ t = t, name = "fault broker", disorder = 0 }, Soak)
  local port, running = ports.take(), nil
  local actor = { name = "fault broker" } -- so that a failure tells what it said
  t.peers[1] = actor
  local function start()
    running = process.start {
      "lua5.4", "tests/faults/fault_broker_main.lua", journal, tostring(port),
    }
    actor.process = running
    t:await("the fault broker listens", function()
      return (running.out[1] or ""):find("^port")
    end)
    self.up_at = fault_broker.now()
  end
  local function count_disorder()
    for _, line in ipairs(running.out) do
      if line:find("^disorder") then self.disorder = self.disorder + 1 end
    end
  end
  start()
  t:at_end(function() running:kill() end)
  self.where = { port = port }
  self.break_broker = function()
    count_disorder()
    running:kill()
    start()
  end
  run(self, count, { "broker", "receiver", "broker", "sender" })
  count_disorder()
  trial.equal(self.disorder, 0, "acknowledgements out of order")
end

--- Adds both, with `count` rounds in all.
function soak.add(count)
  local half = count // 2
  trial.test("SOAK: mosquitto, sender and receiver are killed and nothing is lost",
    function(t) soak.mosquitto(t, count - half) end)
  trial.test("SOAK: the fault broker is killed and nothing is lost",
    function(t) soak.fault_broker(t, half) end)
end

return soak
