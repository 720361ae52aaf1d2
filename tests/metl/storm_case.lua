--- One storm of storm.lua, in a Lua state of its own.

package.path = "tests/?.lua;" .. package.path

local options = ...
local failure = require "metl.failure"
local stub = require "metl.stub"

local problem = stub.open({
  level = math.tointeger(tonumber(options.level)),
  client_id = "storm",
})
if problem then
  return problem
end

local bench = require "metl.own_bench"
local iotops = require "iotops"
local trace = require "metl.trace"
stub.start()

math.randomseed(math.tointeger(tonumber(options.seed)))
local random = math.random

local function one_in(n)
  return random(n) == 1
end

-- ------------------------------------------------------------- handlers --

-- By packet id: how many packets had passed when the handler ended.
local handled_at = {}
local executed = {} -- times, by the payload of the request
local calls = {}

local function take_time()
  if one_in(3) then
    iotops.sleep(random() * 2)
  end
end

local function handle(_, message)
  take_time()
  if message.packet_id then
    handled_at[message.packet_id] = stub.packet_count()
  end
  if one_in(8) then
    error("the storm has it so")
  end
end

local function execute(value, request)
  executed[value] = (executed[value] or 0) + 1
  take_time()
  if request.packet_id then
    handled_at[request.packet_id] = stub.packet_count()
  end
  if one_in(8) then
    error("the storm has it so")
  end
  return value
end

local session = bench.session

local function started(envoy)
  bench.must(function()
    return envoy:start()
  end)
  return envoy
end

started(assert(session:executor({
  command_name = "one", request_topic_pattern = "cmd/one/{x}",
  handler = execute,
})))
started(assert(session:executor({
  command_name = "few", request_topic_pattern = "cmd/few/{x}",
  concurrency = 2, execution_timeout = 1.5, handler = execute,
})))
started(assert(session:receiver({
  topic_pattern = "tel/{x}", handler = handle,
})))
started(assert(session:receiver({
  topic_pattern = "tel/wide", concurrency = 4, handler = handle,
})))
-- Some come and go.
local passing = {}

local function come()
  local envoy
  if one_in(2) then
    envoy = assert(session:executor({
      command_name = "passing", request_topic_pattern = "go/{x}",
      service_group_id = one_in(2) and "crowd" or nil,
      handler = function(value)
        take_time()
        return value
      end,
    }))
  else
    envoy = assert(session:receiver({
      topic_pattern = one_in(2) and "go/{x}" or "go/1",
      handler = take_time,
    }))
  end
  passing[#passing + 1] = envoy
  calls[#calls + 1] = bench.begin(function()
    return envoy:start()
  end)
end

local function go()
  local at = random(math.max(#passing, 1))
  local envoy = passing[at]
  if not envoy then
    return
  end
  table.remove(passing, at)
  if one_in(3) then
    collectgarbage() -- it may go without a word
    return
  end
  calls[#calls + 1] = bench.begin(function()
    return envoy:stop()
  end)
end

local function call_passing()
  if one_in(2) then
    calls[#calls + 1] = bench.begin(function()
      local passing_by = assert(session:invoker({
        command_name = "passing", request_topic_pattern = "away/{x}",
      }))
      local value, err = passing_by:invoke(1,
        { timeout = 1, tokens = { x = "a" } })
      if one_in(2) then
        passing_by:stop()
      end
      return value, err
    end)
  end
end

local sender = assert(session:sender({ topic_pattern = "out/{x}" }))
local invoker = assert(session:invoker({
  command_name = "far", request_topic_pattern = "far/away",
  response_topic_prefix = "answers",
}))

-- -------------------------------------------------------------- actions --

local requests, asked = {}, {}
local sequence = 0
local expected = {} -- packet ids whose message some handler must have had

local function deliver(message, is_for_handler)
  message.packet_id = stub.packet_id()
  message.user_properties = message.user_properties or {}
  expected[message.packet_id] = is_for_handler
  stub.deliver(message)
end

local function new_request()
  sequence = sequence + 1
  local request = {
    topic = (one_in(2) and "cmd/one/" or "cmd/few/") .. random(3),
    payload = tostring(sequence),
    response_topic = "reply/" .. random(2),
    correlation_data = (stub.uuid()),
    expiry = random(1, 12),
    qos = one_in(6) and 0 or 1,
  }
  requests[#requests + 1] = request
  deliver(request, false)
end

local function old_request()
  local old = requests[random(math.max(#requests, 1))]
  if old then
    local again = {}
    for key, value in pairs(old) do
      again[key] = value
    end
    again.qos = 1
    deliver(again, false)
  end
end

local function telemetry()
  local readable = not one_in(6)
  local qos = one_in(6) and 0 or 1
  deliver({
    topic = one_in(2) and "tel/wide" or "tel/" .. random(3),
    payload = readable and "1" or "{",
    qos = qos,
  }, readable and qos == 1)
end

local function begin(work)
  calls[#calls + 1] = bench.begin(work)
end

local function crowd()
  deliver({
    topic = "go/" .. random(2),
    payload = "1",
    response_topic = "reply/crowd",
    correlation_data = (stub.uuid()),
    expiry = random(1, 5),
  }, false)
end

local function send()
  begin(function()
    return sender:send(1, { tokens = { x = "a" }, qos = random(0, 1) })
  end)
end

local function invoke()
  begin(function()
    return invoker:invoke(1, { timeout = random(1, 4) })
  end)
end

local function collect()
  while true do
    local message = stub.next_publish()
    if not message then
      return
    end
    if message.topic == "far/away" and not message.dup then
      asked[#asked + 1] = message
    end
  end
end

local function answer()
  collect()
  local request = asked[random(math.max(#asked, 1))]
  if request then
    deliver({
      topic = request.response_topic,
      correlation_data = request.correlation_data,
      payload = one_in(5) and "{" or "2",
      content_type = one_in(8) and "image/png" or nil,
      user_properties = {
        { name = "__stat", value = one_in(4) and "500" or "200" },
      },
    }, false)
  end
end

local function refuse()
  stub.answer({ publish = { one_in(2) and "fail" or "drop" } })
end

local function disconnect()
  stub.disconnect(one_in(2), one_in(2) and random(0, 100) or nil)
end

-- Packets come and go in pieces.
local function throttle()
  stub.throttle(one_in(2) and 0 or random(1, 9),
    one_in(2) and 0 or random(1, 9))
end

local function pass_time()
  bench.sleep(random(0, 700))
end

local actions = {
  new_request, new_request, old_request, telemetry, telemetry, send, invoke,
  invoke, answer, answer, answer, come, go, crowd, crowd, call_passing,
  refuse, disconnect, throttle, pass_time, pass_time,
}

-- --------------------------------------------------------------- checks --

-- Nothing is acknowledged that was not handled.
local function check_acknowledgements()
  for i, packet in ipairs(stub.trace()) do
    if packet.from_client and packet.name == "PUBACK"
      and expected[packet.packet_id] then
      local at = handled_at[packet.packet_id]
      if not at or at >= i then
        failure.raise("packet %d was acknowledged before it was handled",
          packet.packet_id)
      end
    end
  end
end

-- No request is executed twice, while it is known: a minute past its expiry.
local function check_executions()
  local known_until, allowed = {}, {}
  for _, packet in ipairs(stub.trace()) do
    local message = packet.message
    if message and not packet.from_client and message.topic:find("^cmd/") then
      local value = message.payload
      if packet.at > (known_until[value] or -1) then
        allowed[value] = (allowed[value] or 0) + 1
        known_until[value] = packet.at + message.expiry * 1000 + 60000
      end
    end
  end
  for value, count in pairs(executed) do
    if count > allowed[tostring(value)] then
      failure.raise("request %s was executed %d times", value, count)
    end
  end
end

local function run()
  stub.fail_every(math.tointeger(tonumber(options.fail_every or "0")))
  for _ = 1, math.tointeger(tonumber(options.steps)) do
    local ok, err = pcall(actions[random(#actions)])
    if not ok and not (options.fail_every and tostring(err):find("memory")) then
      error(err, 0)
    end
    if one_in(2) then
      stub.drain()
    end
  end
  stub.fail_every(0)
  stub.throttle(0, 0)
  bench.release()
  bench.sleep(200000) -- a reconnection may be a minute away
  bench.release()
  if not options.fail_every then
    check_acknowledgements() -- a message without memory is logged and lost
  end
  for i, call in ipairs(calls) do
    if call.begun or not options.fail_every then
      bench.equal("call " .. i .. " has ended", true, call.ended)
      bench.equal("times that call " .. i .. " has ended", 1, call.completions)
    end
  end
  check_executions()
end

local ran, err = xpcall(run, function(raised)
  if failure.is(raised) then
    return raised
  end
  return failure.of(debug.traceback(tostring(raised), 2))
end)
if not ran then
  return tostring(err) .. "\n" .. trace.text() .. "\n"
end
return nil
