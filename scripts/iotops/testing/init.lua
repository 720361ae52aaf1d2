--- Tests of scripts: a world with a broker, hosts and a clock in memory.
---
---   local testing = require "iotops.testing"
---   local world <close> = testing.world()
---   local line = world:run "line1.lua"
---   world:publish("sensors/1/temperature", { celsius = 95 })
---   assert.equal(95, world:expect("alarms/1").payload.celsius)
---   assert.same({}, line:errors())
---
--- Scripts run as `iotops run` runs them.  Time stands still until the test says
--- `advance`; all that can be done at one time has been done when a method of the
--- world returns.

local core = require "iotops.world"
local message = require "iotops.testing.message"
local script = require "iotops.testing.script"
local store = require "iotops.testing.entries"
local traffic = require "iotops.testing.traffic"

local testing = {}

local TESTER, STORE = "tester", "statestore"
local HOST = "host"
local BEGINS = 1767225600 -- 2026-01-01T00:00:00Z
local TIMEOUT = 10        -- seconds, for answers

---@class iotops.testing.World
---@field private core iotops.World
---@field private peer lightuserdata the test's own program
---@field private number integer of its last call
---@field private seen table<integer, true> messages that were expected
---@field private unseen table<string, integer> by filter: where to look from
---@field private hosts table<string, true> by client id
---@field private rules function[] commands that the test answers
---@field store iotops.testing.Store that scripts find, for the test to fill and to look at
---@field private scripts iotops.testing.Script[]
local World = {}
World.__index = World

for name, method in pairs(traffic) do
  World[name] = method
end

-- --------------------------------------------------------------- errors --

local Failure = {}
Failure.__index = Failure
Failure.__tostring = function(failure) return failure.text or failure.message end

local function failed(fields)
  return setmetatable(fields, Failure)
end

-- ------------------------------------------------------------- settling --

--- Answers one request that waits for the test; false when there is none.
---@private
function World:answer_one()
  local asked = self.core:take(self.peer, "request")
  if not asked then
    return false
  end
  local answer = self.rules[asked.rule]
  local ok, value, options = pcall(answer, asked.value, message.with_user_data(asked.request))
  if ok then
    ok, options = pcall(self.core.call, self.core, self.peer, nil, "respond", asked.number, value,
      options)
  else
    self.core:call(self.peer, nil, "respond", asked.number, nil, nil, tostring(value))
    return true
  end
  if not ok then
    self.core:call(self.peer, nil, "respond", asked.number, nil, nil, tostring(options))
  end
  return true
end

---@private
function World:settle()
  repeat
    self.core:settle()
  until not self:answer_one()
end

--- Moves on to the next timer, at most by `left` milliseconds.
---@private
function World:step(left)
  left = self.core:step(left)
  self:settle()
  return left
end

--- Begins a function of the test's program and waits in the world's time.
---@private
function World:do_it(seconds, name, ...)
  self.number = self.number + 1
  local number = self.number
  self.core:call(self.peer, number, name, ...)
  self:settle()
  local left = math.ceil(seconds * 1000)
  local result = self.core:take(self.peer, "result", number)
  while not result and left > 0 do
    left = self:step(left)
    result = self.core:take(self.peer, "result", number)
  end
  if not result then
    return nil, failed { kind = "timeout", message = name .. " has not ended" }
  elseif not result[1] then
    return nil, failed(result[2])
  end
  return table.unpack(result, 2, result.n)
end

--- The same for what cannot fail but by a mistake of the test.
---@private
function World:must(name, ...)
  local value, err = self:do_it(TIMEOUT, name, ...)
  if value == nil and getmetatable(err) == Failure then
    error(tostring(err), 3)
  end
  return value
end

-- -------------------------------------------------------------- scripts --

-- The folder of the file that called a method of the world.
local function folder_of_caller()
  local here = debug.getinfo(1, "S").source:match "^(.*)init%.lua$"
  for level = 3, 20 do
    local info = debug.getinfo(level, "S")
    if not info then
      break
    end
    local folder = info.source:match "^@(.*/)[^/]*$"
    if info.source:sub(1, 1) == "@" and not (here and info.source:sub(1, #here) == here) then
      return folder or ""
    end
  end
  return ""
end

local function find_file(path)
  for _, folder in ipairs { path:sub(1, 1) == "/" and "" or folder_of_caller(), "" } do
    local file = io.open(folder .. path, "rb")
    if file then
      file:close()
      return folder .. path
    end
  end
  return path
end

local LIMITS = { "turn_limit", "load_limit", "drain", "memory_limit", "allow" }

---@private
function World:host(client_id, options)
  if self.hosts[client_id] then
    return
  end
  local limits = {}
  for _, name in ipairs(LIMITS) do
    limits[name] = options[name]
  end
  self.core:host(client_id, limits)
  self.hosts[client_id] = true
end

local RUN_OPTIONS = {
  client_id = true, topic_namespace = true, env = true, turn_limit = true, load_limit = true,
  drain = true, memory_limit = true, allow = true,
}

---@private
function World:start(shown, path, options)
  options = options or {}
  for name in pairs(options) do
    if not RUN_OPTIONS[name] then
      error(("there is no option '%s'"):format(tostring(name)), 3)
    end
  end
  local client_id = options.client_id or HOST
  if client_id == TESTER or client_id == STORE then
    error(("the client id %s is taken"):format(client_id), 3)
  end
  self:host(client_id, options)
  for name, value in pairs(options.env or {}) do
    self.core:variable(client_id, name, tostring(value))
  end
  if options.topic_namespace then
    self.core:variable(client_id, "IOTOPS_TOPIC_NAMESPACE", options.topic_namespace)
  end
  local from = #self.core:log(1) + 1
  local added, why = self.core:add(client_id, path)
  if not added then
    error(why, 3)
  end
  self.core:look(client_id)
  self:settle()
  local made = script.new(self, self.core, client_id, path, from)
  if made.generation == 0 then
    error(("%s cannot be loaded:\n%s"):format(shown, made:failure()), 3)
  end
  self.scripts[#self.scripts + 1] = made
  return made
end

--- Runs a script.  Its file is looked for beside the test's file, then in the
--- working directory.  Scripts with one client id are scripts of one host; the
--- options of the first are the host's.
---@param path string
---@param options? iotops.testing.RunOptions
---@return iotops.testing.Script
function World:run(path, options)
  return (self:start(path, find_file(path), options))
end

--- Runs a script whose text the test has, called `name`.
---@param name string
---@param text string
---@param options? iotops.testing.RunOptions
---@return iotops.testing.Script
function World:run_text(name, text, options)
  local made = self:start(name, self.core:write(name .. ".lua", text), options)
  made.is_own = true
  return made
end

-- ------------------------------------------------------------- commands --

--- Invokes a command, as another program would; waits in the world's time.
---@param topic string all of it, without tokens
---@param value any
---@param options? iotops.testing.InvokeOptions
---@return any value nil: failed
---@return iotops.Response|iotops.Error
function World:invoke(topic, value, options)
  local timeout = options and options.timeout or TIMEOUT
  local answer, response = self:do_it(timeout + 1, "invoke", topic, value, options)
  if answer ~= nil then
    message.with_user_data(response)
  end
  return answer, response
end

--- Answers a command that scripts invoke: `answer` gets the request's value and
--- returns the response's; an error of it is an execution error to the script.
---@param pattern string
---@param answer fun(value: any, request: iotops.Request): any, iotops.ResponseOptions?
---@param options? iotops.testing.CommandOptions
function World:on_command(pattern, answer, options)
  self.rules[#self.rules + 1] = answer
  self:must("serve", pattern, #self.rules, options)
end

-- ----------------------------------------------------------------- time --

--- Lets `seconds` pass: timers fire and time-outs expire, each at its time.
---@param seconds number
function World:advance(seconds)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0 then
    error("world:advance: seconds, not negative, expected", 2)
  end
  local left = math.floor(seconds * 1000 + 0.5)
  self:settle()
  while left > 0 do
    left = self:step(left)
  end
end

--- Unix time of the world, in seconds.
---@return number
function World:now()
  return self.core:now() / 1000
end

--- Stops a host's scripts as SIGTERM does: on_stop functions run, calls in hand
--- end, messages stay with the broker.
---@param client_id? string "host" unless given
function World:stop(client_id)
  self.core:stop(client_id or HOST)
  self:settle()
end

-- ----------------------------------------------------------- connection --

--- What scripts have subscribed to: topic filters, in order.
---@param client_id? string of one host
---@return string[]
function World:subscriptions(client_id)
  local filters = {}
  for _, each in ipairs(self.core:subscriptions()) do
    if each.client ~= TESTER and each.client ~= STORE
      and (client_id == nil or each.client == client_id) then
      filters[#filters + 1] = each.filter
    end
  end
  table.sort(filters)
  return filters
end

--- Takes the connection to the broker away from a host.  What was not
--- acknowledged is delivered again once it is back.
---@param client_id? string "host" unless given
function World:disconnect(client_id)
  self.core:connect(client_id or HOST, false)
  self:settle()
end

---@param client_id? string
function World:reconnect(client_id)
  self.core:connect(client_id or HOST, true)
  self:settle()
end

--- From now on the broker refuses what is published on `filter`, or subscribed
--- to, with a reason code of MQTT (0x87: not authorized); 0 ends that.
---@param filter string
---@param reason_code? integer
function World:refuse(filter, reason_code)
  local ok, why = pcall(self.core.refuse, self.core, filter, reason_code or 0x87)
  if not ok then
    error(why, 2)
  end
end

-- ---------------------------------------------------------------- world --

--- Records of the world's log from the level on.
---@param level? "debug"|"info"|"warn"|"error" default "info"
---@return iotops.testing.Record[]
function World:log(level)
  return script.records(self.core:log(1), level or "info")
end

--- Ends it; what is in hand is given up.  `local world <close> =` does that.
function World:close()
  self.core:close()
end

World.__close = World.close

--- A new world: nothing is real in it, and nothing is left of it.
---@param options? {time: number?} Unix time at which it begins
---@return iotops.testing.World
function testing.world(options)
  local begins = options and options.time or BEGINS
  local made = setmetatable({
    core = core.new(math.floor(begins * 1000)),
    number = 0, seen = {}, unseen = {}, rules = {}, scripts = {}, hosts = {},
  }, World)
  made.core:call(made.core:peer(STORE, "iotops.testing.store"))
  made.peer = made.core:peer(TESTER, "iotops.testing.peer")
  made.store = store.new(made)
  made:settle()
  return made
end

return testing
