--- Measures us and bare libmosquitto side by side, on the same broker and with
--- the same 64-byte payloads, and prints the ratios.  Rounds alternate between
--- the two, so that what else the machine does meets both; the medians count.
---
--- ROUNDS (5) and SCALE (1: of the message counts) in the environment;
--- OUT names the file that takes the raw figures as JSON.  Arguments select rows:
--- those whose name contains one.

package.path = "tests/?.lua;tests/bench/?.lua;" .. package.path
local cjson = require "cjson"
local uv = require "luv"
local brokers = require "broker"
local process = require "process"
local reloads = require "reloads"
local stops = require "stops"
local worst = require "worst_rows"

local build = os.getenv("BUILD") or "build"
local rounds = tonumber(os.getenv("ROUNDS")) or 5
local scale = tonumber(os.getenv("SCALE")) or 1

local MESSAGES = math.floor(100000 * scale)
local CALLS = math.floor(5000 * scale)
local SLOW_CALLS = math.floor(40 * scale) -- where each may take 44 ms
local TURNS = math.floor(100 * scale)
local RELOADS = math.floor(200 * scale)
local WINDOW = 100

local topics = 0
local function fresh_topic()
  topics = topics + 1
  return "bench/t" .. topics
end

-- --------------------------------------------------------- the programs --

local function bare(mode, broker, count, topic, ...)
  local running = process.start(
    { build .. "/tests/bench/bare", mode, tostring(broker.port), tostring(count), topic, ... },
    { env = { NODELAY = "1" } }) -- libmosquitto at its best
  running.ready = "^ready"
  return running
end

local SERVES = "subscribed: messages reach it" -- as the host's log says it

-- A script of ours in the host, with what it needs in its environment.
local function ours(script, broker, count, topic, more, options)
  local env = broker:environment(script .. "-" .. topic:gsub("/", "-"))
  env.COUNT, env.TOPIC = tostring(count), topic
  for name, value in pairs(more or {}) do env[name] = tostring(value) end
  local command = { build .. "/iotops", "run", ("tests/bench/%s.lua"):format(script) }
  table.move(options or {}, 1, #(options or {}), #command + 1, command)
  local running = process.start(command, { env = env })
  running.ready = SERVES
  return running
end

local function figures(running, pattern)
  local _, first, second = running:line(pattern, 300)
  return tonumber(first), tonumber(second)
end

local function stop(running)
  running:signal_with("sigterm")
  running:wait(30)
end

-- ------------------------------------------------------------- the rows --

-- The receiver is held while the broker's queue fills, so that it is what is
-- measured and not the sender.
local function receiving(start)
  return function(broker)
    local topic = fresh_topic()
    local receiver = start(broker, MESSAGES, topic)
    receiver:line(receiver.ready, 60)
    receiver:signal_with("sigstop")
    bare("send", broker, MESSAGES, topic, "1000"):wait(120)
    receiver:signal_with("sigcont")
    local seconds = figures(receiver, "([%d.]+) seconds")
    stop(receiver)
    return MESSAGES / seconds
  end
end

local function sending(start)
  return function(broker)
    local sender = start(broker, MESSAGES, fresh_topic())
    local seconds = figures(sender, "([%d.]+) seconds")
    stop(sender)
    return MESSAGES / seconds
  end
end

local function round_trips(start_answerer, start_asker, count)
  return function(broker)
    local topic = fresh_topic()
    local answerer = start_answerer(broker, count, topic)
    answerer:line(answerer.ready, 30)
    local asker = start_asker(broker, count, topic)
    local p50, p99 = figures(asker, "([%d.]+) p50 ([%d.]+) p99")
    stop(asker)
    stop(answerer)
    return p50, p99
  end
end

local function scripted(name, more)
  return function(broker, count, topic) return ours(name, broker, count, topic, more) end
end

local function unaided(mode, ...)
  local more = { ... }
  return function(broker, count, topic)
    return bare(mode, broker, count, topic, table.unpack(more))
  end
end

local function concurrent(broker)
  local topic = fresh_topic()
  local answerer = ours("answer", broker, CALLS, topic)
  answerer:line(answerer.ready, 30)
  local asker = ours("ask", broker, CALLS * 4, topic, { WINDOW = WINDOW })
  local seconds = figures(asker, "([%d.]+) seconds")
  stop(asker)
  stop(answerer)
  return CALLS * 4 / seconds
end

-- The state store's stand-in, or a bare command, from a script of ours: p50 and
-- p99 of one at a time, or how many a second with WINDOW under way.
local function stored(operation, window)
  return function(broker)
    local topic = fresh_topic()
    local server
    if operation == "command" then
      server = ours("echo", broker, 0, topic)
      server:line(server.ready, 30)
    else
      server = process.start({ build .. "/iotops", "standin", "statestore" },
        { env = broker:environment("iotops-statestore") })
      server:line("ready", 30)
    end
    local count = window == 1 and CALLS or CALLS * 4
    local asker = ours("store", broker, count, topic, { OPERATION = operation, WINDOW = window })
    local first, second
    if window == 1 then
      first, second = figures(asker, "([%d.]+) p50 ([%d.]+) p99")
    else
      first = count / figures(asker, "([%d.]+) seconds")
    end
    stop(asker)
    stop(server)
    return first, second
  end
end

-- Memory that is the process's own, in KiB.
local function private_memory(pid)
  local total = 0
  for line in io.lines(("/proc/%d/smaps_rollup"):format(pid)) do
    total = total + (tonumber(line:match("^Private_%a+:%s+(%d+) kB")) or 0)
  end
  return total
end

-- A host with so many idle scripts.
local function idle(broker, scripts)
  local folder = process.folder()
  for index = 1, scripts do
    uv.fs_copyfile("tests/bench/idle.lua", ("%s/idle%d.lua"):format(folder, index))
  end
  local topic = fresh_topic()
  local host = process.start({ build .. "/iotops", "run", folder },
    { env = broker:tls_environment("idle-" .. topic:gsub("/", "-")) })
  for _ = 1, scripts do host:line(SERVES, 30) end
  process.pass(0.5)
  return host
end

local function idle_memory(broker)
  local host = idle(broker, 1)
  local memory = private_memory(host.pid)
  stop(host)
  return memory
end

-- Both hosts run at a time, so that pages of the program are shared in both.
local function further_memory(broker)
  local FURTHER = 32
  local few, many = idle(broker, 1), idle(broker, 1 + FURTHER)
  local memory = private_memory(many.pid) - private_memory(few.pid)
  stop(few)
  stop(many)
  return memory / FURTHER
end

-- Seconds of the processor, with a guard or without.
local function computing(...)
  local options = { ... }
  return function(broker)
    local host = ours("compute", broker, TURNS, fresh_topic(), nil, options)
    local seconds = figures(host, "([%d.]+) seconds")
    stop(host)
    return seconds * 1e3
  end
end

-- The same by a Lua without us.
local function plainly(name)
  return function()
    local lua = process.start({ "lua5.4", ("tests/bench/%s.lua"):format(name) },
      { env = { PLAIN = "1", COUNT = tostring(TURNS) } })
    local seconds = figures(lua, "([%d.]+) seconds")
    lua:wait(30)
    return seconds * 1e3
  end
end

local function matching(broker)
  local host = ours("patterns", broker, TURNS, fresh_topic())
  local seconds = figures(host, "([%d.]+) seconds")
  stop(host)
  return seconds * 1e3
end

-- Scripts that run away, in a host of their own, and what makes them.
local function limited(broker, folder)
  return process.start({ build .. "/iotops", "run", folder, "--memory-limit", "32",
    "--turn-limit", tostring(stops.LIMIT) }, { env = broker:environment("runaways") })
end

local function published(broker, topic)
  process.run({ "mosquitto_pub", "-V", "5", "-q", "1", "-p", tostring(broker.port),
    "-t", topic, "-m", "{}" })
end

-- The longest turn of scripts that run away.
local function stopping(broker)
  return stops.measure(function(folder) return limited(broker, folder) end,
    function(topic) published(broker, topic) end)
end

-- The pause that a reload makes, with a state of so many records to hand over;
-- `still` is the same run without reloads.
local function reloading(still, records)
  return function(broker)
    return reloads.measure {
      count = RELOADS, still = still,
      start = function(folder)
        local topic = fresh_topic()
        local env = broker:environment("paused-" .. topic:gsub("/", "-"))
        env.TOPIC, env.FOLDER, env.RECORDS = topic, folder, records and tostring(records)
        local host = process.start({ build .. "/iotops", "run", folder .. "/paused.lua" },
          { env = env })
        host:line(SERVES, 30)
        return host, bare("pace", broker, 0, topic, tostring(reloads.RATE))
      end,
    }
  end
end

---@class Row
---@field name string
---@field unit string
---@field nagle boolean? the broker in its default configuration
---@field bare (fun(broker): number, number?)?
---@field ours fun(broker): number, number?
---@field goal string the design's, of ours / bare

local rows = {
  { name = "telemetry in, JSON decoded", unit = "messages/s", goal = ">= 1.0 x",
    bare = receiving(unaided("receive")), ours = receiving(scripted("receive")) },
  { name = "10 000 receivers (left: 10)", unit = "messages/s", goal = ">= 1/1.2 x",
    bare = receiving(scripted("receive", { RECEIVERS = 10 })),
    ours = receiving(scripted("receive", { RECEIVERS = 10000 })) },
  { name = "telemetry out, window 100", unit = "messages/s", goal = ">= 0.9 x",
    bare = sending(unaided("send", tostring(WINDOW))),
    ours = sending(scripted("send", { WINDOW = WINDOW })) },
  { name = "command round trip", unit = "us p50", second = "us p99", goal = "<= 1.0 x",
    bare = round_trips(unaided("pong"), unaided("ping"), CALLS),
    ours = round_trips(scripted("answer"), scripted("ask"), CALLS) },
  { name = "the same, default broker", unit = "us p50", second = "us p99", nagle = true,
    goal = "<= 1/200",
    bare = round_trips(unaided("pong"), unaided("ping"), SLOW_CALLS),
    ours = round_trips(scripted("answer"), scripted("ask"), SLOW_CALLS) },
  { name = "concurrent commands", unit = "calls/s", goal = "-", ours = concurrent },
  { name = "state store get, not a command", unit = "us p50", second = "us p99",
    goal = "<= 1.15 x", bare = stored("command", 1), ours = stored("get", 1) },
  { name = "state store set, not a command", unit = "us p50", second = "us p99",
    goal = "<= 1.15 x", bare = stored("command", 1), ours = stored("set", 1) },
  { name = "the same, 32 at a time: get", unit = "calls/s", goal = "-",
    bare = stored("command", 32), ours = stored("get", 32) },
  { name = "and set", unit = "calls/s", goal = "-",
    bare = stored("command", 32), ours = stored("set", 32) },
  { name = "computing, guarded or not", unit = "ms", goal = "<= 1.02 x",
    bare = computing("--turn-limit", "0", "--load-limit", "0", "--memory-limit", "0"),
    ours = computing() },
  { name = "the same, not a plain lua5.4", unit = "ms", goal = "-",
    bare = plainly "compute", ours = computing() },
  { name = "patterns, not a plain lua5.4", unit = "ms", goal = "<= 1.3 x",
    bare = plainly "patterns", ours = matching },
  { name = "stopping a runaway (left: limit)", unit = "ms, longest", goal = "<= 250",
    bare = function() return stops.LIMIT * 1e3 end, ours = stopping },
  { name = "reload at 10 000 messages/s", unit = "us p99", second = "us p50",
    goal = "<= 3000", bare = reloading(true), ours = reloading(false) },
  { name = "the same, handing over 1 000", unit = "us p99", second = "us p50",
    goal = "<= 3000", bare = reloading(true, 1000), ours = reloading(false, 1000) },
  { name = "idle host, one script, TLS", unit = "KiB private", goal = "<= 6144",
    ours = idle_memory },
  { name = "each further script", unit = "KiB private", goal = "<= 64",
    ours = further_memory },
}

table.move(worst.rows(limited, published), 1, 100, #rows + 1, rows)

-- ------------------------------------------------------------ measuring --

local function median(values)
  local sorted = { table.unpack(values) }
  table.sort(sorted)
  return sorted[(#sorted + 1) // 2]
end

local brokers_up = {}
local function broker_for(row)
  local kind = row.nagle and "default" or "nodelay"
  brokers_up[kind] = brokers_up[kind] or brokers.start {
    nagle = row.nagle, tls = not row.nagle }
  return brokers_up[kind]
end

local function selected(row)
  for _, part in ipairs(arg) do
    if row.name:find(part, 1, true) then return true end
  end
  return #arg == 0
end

local raw = {}
local function measure(row)
  local record = { name = row.name, unit = row.unit, goal = row.goal,
    bare = {}, ours = {}, bare_second = {}, ours_second = {} }
  for _ = 1, rounds do
    for _, side in ipairs { "bare", "ours" } do
      if row[side] then
        local first, second = row[side](broker_for(row))
        table.insert(record[side], first)
        table.insert(record[side .. "_second"], second)
      end
    end
  end
  raw[#raw + 1] = record
  return record
end

local function number(value)
  return value and ("%.0f"):format(value) or "-"
end

local function ratio(a, b)
  if not a or not b or a == 0 then return "-" end
  local r = a / b
  return r < 0.05 and ("1/%.0f"):format(1 / r) or ("%.2f x"):format(r)
end

print(("%-28s %-12s %12s %12s %9s   %s"):format(
  "", "", "libmosquitto", "iotops", "ratio", "goal"))
local function line(name, unit, theirs, mine, goal)
  print(("%-28s %-12s %12s %12s %9s   %s"):format(
    name, unit, number(theirs), number(mine), ratio(mine, theirs), goal))
  io.stdout:flush()
end

local ok, err = pcall(function()
  for _, row in ipairs(rows) do
    if not selected(row) then goto next_row end
    local record = measure(row)
    line(row.name, row.unit, median(record.bare), median(record.ours), row.goal)
    if row.second then
      local spread = median(record.ours_second) / median(record.ours)
      line("", row.second, median(record.bare_second), median(record.ours_second),
        row.second == "us p99" and ("p99/p50 %.1f (<= 2)"):format(spread) or "")
    end
    ::next_row::
  end
end)
for _, broker in pairs(brokers_up) do broker:stop() end
process.kill_all()
if not ok then error(err, 0) end

print("\nluamqtt is not measured: Debian has no package of it.")
local out = os.getenv("OUT") or ""
if out ~= "" then
  local file = assert(io.open(out, "w"))
  file:write(cjson.encode { rounds = rounds, scale = scale, rows = raw }, "\n")
  file:close()
end
