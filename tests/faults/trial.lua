--- Tests that run side by side: each is a coroutine that waits for conditions,
--- so that forty of them cost hardly more time than the slowest.

local fault_broker = require "fault_broker"
local process = require "process"
local uv = require "luv"

local trial = {}

local build = os.getenv("BUILD") or "build"

---@class Trial
---@field private closing (fun())[]
local Trial = {}
Trial.__index = Trial

-- ---------------------------------------------------------------- waiting --

--- Waits until `done()` is true and returns what it gave.
---@param what string names it in the failure
---@param done fun(): any
---@param seconds? number 8 unless given
function Trial:await(what, done, seconds)
  local limit = fault_broker.now() + (seconds or 8) * trial.patience * 1000
  while true do
    local result = done()
    if result then return result end
    if fault_broker.now() > limit then
      error(("%s: not within %g s\n%s"):format(what, seconds or 8, self:story()), 0)
    end
    coroutine.yield()
  end
end

--- Lets so many milliseconds pass.
function Trial.pass(_, ms)
  local limit = fault_broker.now() + ms
  while fault_broker.now() < limit do coroutine.yield() end
end

--- How much longer things may take where everything is slower.
trial.patience = (os.getenv("SANITIZE") or "") ~= "" and 4 or 1

-- ------------------------------------------------------------------ peers --

---@class Peer
---@field process process.Process
---@field seen integer lines of it that were looked at
local Peer = {}
Peer.__index = Peer

--- Tells it what to do; formatted.
function Peer:say(text, ...)
  if select("#", ...) > 0 then text = text:format(...) end
  self.process:write(text .. "\n")
  return self
end

--- Waits for the next line that matches; lines before it are passed over.
function Peer:hear(pattern, seconds)
  return self.trial:await(("%s says %q"):format(self.name, pattern), function()
    local out = self.process.out
    while self.seen < #out do
      self.seen = self.seen + 1
      if out[self.seen]:find(pattern) then return out[self.seen] end
    end
    if self.process.code and self.process.open == 0 then
      error(("%s has ended before it said %q\n%s"):format(self.name, pattern,
        self.trial:story()), 0)
    end
  end, seconds)
end

--- All lines so far that match.
function Peer:said(pattern)
  local lines = {}
  for _, line in ipairs(self.process.out) do
    if line:find(pattern) then lines[#lines + 1] = line end
  end
  return lines
end

--- Lines of its log that match.
function Peer:logged(pattern)
  local lines = {}
  for _, line in ipairs(self.process.err) do
    if line:find(pattern) then lines[#lines + 1] = line end
  end
  return lines
end

--- Its metrics, by name.
function Peer:metrics()
  local found = {}
  for name, value in self:say("metrics"):hear("^metrics"):gmatch("([%w_]+)=(%d+)") do
    found[name] = tonumber(value)
  end
  return found
end

-- What is not a setting of the session but of this table.
local ours = { run = true, policy = true, before = true, properties = true, log = true }

--- A session in a program of its own.  `settings` overrides its settings; of
--- ours are `policy`, `properties` (of CONNECT), `log` (a level), `before`
--- (lines said before it runs) and `run` (false: it is only made).
---@param where FaultBroker|{port: integer}
---@param settings? table
---@return Peer
function Trial:peer(where, settings)
  settings = settings or {}
  local running = process.start({ build .. "/tests/faults/peer" }, {
    stdin = true, env = { PEER_LOG = settings.log or "debug" },
  })
  local peer = setmetatable({
    process = running, seen = 0, trial = self,
    name = settings.client_id or "me",
  }, Peer)
  self.peers[#self.peers + 1] = peer
  self:at_end(function() -- its own end shows leaks and half-open states
    if running.code then return end
    running:write(nil)
    running:wait(5 * trial.patience)
    if running.code ~= 0 then error(peer.name .. " ended badly\n" .. running:text(), 0) end
  end)
  local given = {
    hostname = "127.0.0.1", tcp_port = tostring(where.port), use_tls = "false", client_id = "me",
  }
  for name, value in pairs(settings) do
    if not ours[name] then given[name] = tostring(value) end
  end
  for name, value in pairs(given) do peer:say("set %s %s", name, value) end
  for name, value in pairs(settings.properties or {}) do
    peer:say("property %s %s", name, value)
  end
  if settings.policy then peer:say("policy %s", settings.policy) end
  peer:say("new"):hear("^made")
  for _, line in ipairs(settings.before or {}) do peer:say(line) end
  if settings.run ~= false then peer:say("run") end
  return peer
end

--- Starts a Lua program that uses the product, against a broker.
---@param where {port: integer}
---@return process.Process
---@param command? string[] instead of the interpreter
function Trial:script(where, client_id, text, command)
  local path = self:folder() .. "/script.lua"
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  command = command or { "lua5.4" }
  local running = process.start({ command[1], command[2] or path, command[2] and path }, {
    env = {
      AIO_BROKER_HOSTNAME = "127.0.0.1", AIO_BROKER_TCP_PORT = tostring(where.port),
      AIO_MQTT_USE_TLS = "false", AIO_MQTT_CLIENT_ID = client_id,
    },
  })
  self.peers[#self.peers + 1] = { name = client_id, process = running }
  self:at_end(function() running:kill() end)
  return running
end

--- Starts `iotops run` with a script, against a broker.
---@return process.Process
function Trial:host(where, client_id, text)
  return self:script(where, client_id, text, { build .. "/iotops", "run" })
end

--- A session as Trial:peer makes it, and connected.
function Trial:connected(where, settings)
  local peer = self:peer(where, settings)
  peer:hear("^connected")
  return peer
end

-- ---------------------------------------------------------------- brokers --

---@param options? table for fault_broker.new
---@return FaultBroker
function Trial:broker(options)
  local broker = fault_broker.new(options)
  self.brokers[#self.brokers + 1] = broker
  self:at_end(function() broker:close() end)
  return broker
end

--- Waits for the `nth` packet of a kind that a broker receives.
function Trial:packet(broker, kind, nth, seconds)
  nth = nth or 1
  return self:await(("%s number %d arrives"):format(kind, nth), function()
    return broker:received(kind)[nth]
  end, seconds)
end

--- Makes sure that `count` packets of a kind arrive and stay all there are.
function Trial:exactly(broker, kind, count, ms)
  if count > 0 then self:packet(broker, kind, count) end
  self:pass(ms or 300)
  trial.equal(#broker:received(kind), count, kind .. " packets")
end

-- -------------------------------------------------------------------- ends --

function Trial:at_end(call) table.insert(self.closing, 1, call) end

--- A new folder, gone at the end.
function Trial:folder()
  local folder = process.folder()
  self:at_end(function() os.execute("rm -rf '" .. folder .. "'") end)
  return folder
end

-- What happened, for a failure.
function Trial:story()
  local lines = {}
  for _, peer in ipairs(self.peers) do
    lines[#lines + 1] = ("    -- %s (exit status %s, signal %s):"):format(peer.name,
      peer.process.code, peer.process.signal)
    for _, list in ipairs { peer.process.out, peer.process.err } do
      for index = math.max(1, #list - 12), #list do lines[#lines + 1] = "    " .. list[index] end
    end
  end
  for _, broker in ipairs(self.brokers) do
    lines[#lines + 1] = ("    -- broker, %d connections:"):format(#broker.connections)
    for index = math.max(1, #broker.packets - 12), #broker.packets do
      local packet = broker.packets[index]
      lines[#lines + 1] = ("    %d: %s %s"):format(packet.from, packet.type, packet.id or "")
    end
  end
  return table.concat(lines, "\n")
end

-- -------------------------------------------------------------- judgements --

function trial.equal(actual, expected, what)
  if actual ~= expected then
    error(("%s: %s where %s was expected"):format(what or "value", tostring(actual),
      tostring(expected)), 2)
  end
end

function trial.yes(value, what)
  if not value then error(what or "it is not so", 2) end
  return value
end

function trial.within(value, low, high, what)
  if value < low or value > high then
    error(("%s: %s is not between %s and %s"):format(what, value, low, high), 2)
  end
end

-- ----------------------------------------------------------------- running --

local tests = {} ---@type {name: string, run: fun(t: Trial)}[]

--- Adds a test.  Names begin with the row or the group: "F7: ...".
function trial.test(name, run) tests[#tests + 1] = { name = name, run = run } end

local function begin(test)
  local t = setmetatable({ closing = {}, peers = {}, brokers = {} }, Trial)
  test.t, test.started = t, fault_broker.now()
  test.routine = coroutine.create(function()
    local ok, failure = xpcall(test.run, function(err)
      if type(err) == "string" and err:find("\n    --", 1, true) then return err end
      return debug.traceback(tostring(err), 2) .. "\n" .. t:story()
    end, t)
    if not ok then test.failure = failure end
  end)
end

local function finish(test)
  for _, call in ipairs(test.t.closing) do
    local ok, failure = pcall(call)
    if not ok then test.failure = test.failure or failure end
  end
  test.seconds = (fault_broker.now() - test.started) / 1000
end

--- Runs what was added, `width` at a time; only names that contain one of
--- `wanted`, when there are any.  Returns the tests with `failure` and `seconds`.
function trial.run(width, wanted)
  local waiting, running, done = {}, {}, {}
  for _, test in ipairs(tests) do
    local chosen = #wanted == 0
    for _, part in ipairs(wanted) do chosen = chosen or test.name:find(part, 1, true) end
    if chosen then waiting[#waiting + 1] = test end
  end
  local tick = uv.new_timer()
  tick:start(5, 5, function() end)
  while #waiting > 0 or #running > 0 do
    while #running < width and #waiting > 0 do
      local test = table.remove(waiting, 1)
      begin(test)
      running[#running + 1] = test
    end
    for index = #running, 1, -1 do
      local test = running[index]
      coroutine.resume(test.routine)
      if coroutine.status(test.routine) == "dead" then
        table.remove(running, index)
        finish(test)
        done[#done + 1] = test
      end
    end
    uv.run("once")
  end
  tick:close()
  uv.run("nowait")
  return done
end

return trial
