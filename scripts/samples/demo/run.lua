--- The demo: a simulated line of sensors, and `line_summary.lua` watching it in
--- the host while it is being changed.  Everything is real: a broker, the host
--- program, and this program as the sensors and the operator.
---
---   lua5.4 scripts/samples/demo/run.lua PROGRAM [PAUSE]
---
--- PAUSE is between two readings of a sensor, in seconds.
---
--- Ends with what was counted: S by the sensors when the broker had taken a
--- reading, H and R by the host, A by the broker when the host had acknowledged
--- a reading, C here when an answer came.

local cjson = require "cjson"
local uv = require "luv"
uv.os_setenv("IOTOPS_LOG", os.getenv("IOTOPS_LOG") or "warn")
local iotops = require "iotops"

local PROGRAM = arg[1] or "build/iotops"
local SENSORS, READINGS = 20, 400 -- of each sensor
local PAUSE = tonumber(arg[2] or 0.025)
local LIMITS = { 85, 80, 88, 84, 90 } -- the operator changes his mind

io.stdout:setvbuf("line")

local began = uv.hrtime()
local function say(format, ...)
  print(("%5.1f s  " .. format):format((uv.hrtime() - began) / 1e9, ...))
end

-- -------------------------------------------------------------- the host --

local folder = assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/iotops-demo-XXXXXX"))
local script = folder .. "/line_summary.lua"
local broker_log = folder .. "/broker.log"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

-- As an editor does it: the new text appears in one step.
local function write(path, text)
  local file = assert(io.open(path .. ".new", "w"))
  file:write(text)
  file:close()
  assert(os.rename(path .. ".new", path))
end

local sample = read((arg[0]:gsub("[^/]*/[^/]*$", "line_summary.lua")))
write(script, sample)

local host = { exited = nil, port = nil, serves = false, counters = nil, log = {} }

-- The host's own records tell us the port, when messages reach the script and,
-- at its end, what it has counted.
local function host_line(line)
  host.log[#host.log + 1] = line
  host.port = host.port or tonumber(line:match("127%.0%.0%.1 port (%d+)"))
  local ok, record = pcall(cjson.decode, line)
  if not ok then return end
  host.serves = host.serves or record.message:find("^subscribed: ") ~= nil
  if record.message == "counters" then host.counters = record end
end

local function lines_of(pipe)
  local rest = ""
  pipe:read_start(function(_, data)
    rest = (rest .. (data or "\n")):gsub("([^\n]+)\n", function(line)
      host_line(line)
      return ""
    end)
    if not data then pipe:close() end
  end)
end

local out, err = uv.new_pipe(), uv.new_pipe()
host.handle = assert(uv.spawn(PROGRAM, {
  args = { "dev", "--private", "--without", "statestore", "--log-format", "json",
    "--broker-log", broker_log, "--broker-log-type", "all", script },
  stdio = { nil, out, err },
}, function(code) host.exited = code end))
lines_of(out)
lines_of(err)

-- Waits until `done()`; a demo that hangs shows why.
local function wait_for(what, seconds, done, pause)
  local limit = uv.hrtime() + seconds * 1e9
  while not done() do
    if uv.hrtime() > limit then
      error(("demo: %s: not within %g s\n%s"):format(what, seconds,
        table.concat(host.log, "\n")), 0)
    end
    pause()
  end
end

-- ------------------------------------------------------------- the people --

local sent, asked, answered, alarms = 0, 0, 0, 0

-- One sensor: a slow wave, and a spike now and then.
local function sensor(index)
  for n = 1, READINGS do
    local celsius = 70 + 8 * math.sin(n / 30 + index)
    if (n * 7 + index) % 100 == 0 then celsius = celsius + 20 end
    iotops.send(("line1/sensor%d/temperature"):format(index), { celsius = celsius })
    sent = sent + 1
    iotops.sleep(PAUSE)
  end
end

local function ask()
  asked = asked + 1
  local summary = iotops.invoke("line1/summary", {})
  answered = answered + 1
  return summary
end

-- Changes the script while readings pour in, and asks until the new one answers.
local function change_limit(limit)
  say("edit     LIMIT = %d while %d readings have been sent", limit, sent)
  write(script, (sample:gsub("LIMIT = %d+", "LIMIT = " .. limit)))
  wait_for("the new limit", 10, function() return ask().limit == limit end,
    function() iotops.sleep(0.05) end)
  iotops.sleep(1.2)
  local summary = ask()
  say("summary  limit %d: %d readings, mean %.1f, %d alarms", summary.limit,
    summary.readings, summary.mean, summary.alarms)
end

-- Readings that the host was given and acknowledged, as the broker saw it.
local function acknowledged_readings()
  local given, count = {}, 0
  for line in io.lines(broker_log) do
    local id, topic = line:match("Sending PUBLISH to iotops%-dev %(.- m(%d+), '([^']*)'")
    if id then given[id] = topic end
    id = line:match("Received PUBACK from iotops%-dev %(Mid: (%d+)")
    if id then
      if given[id] and given[id]:find("/temperature$") then count = count + 1 end
      given[id] = nil
    end
  end
  return count
end

local function number(name)
  return math.tointeger(tonumber(host.counters[name])) or 0
end

-- What goes on while the script serves.
local function traffic()
  say("line     %d sensors, each %g readings a second", SENSORS, 1 / PAUSE)
  local running = SENSORS
  for index = 1, SENSORS do
    iotops.spawn(function()
      sensor(index)
      running = running - 1
    end)
  end
  iotops.sleep(1)
  for _, limit in ipairs(LIMITS) do change_limit(limit) end
  wait_for("the end of the readings", 2 * READINGS * PAUSE + 20,
    function() return running == 0 end, function() iotops.sleep(0.05) end)
  say("alarms   %d seen", alarms)
end

-- What was counted; true when nothing was lost.
local function report()
  local handled, acknowledged = number("handled"), acknowledged_readings()
  local lost = sent - math.min(sent, handled, acknowledged) + asked - answered
  print(("demo: %d sent, %d handled, %d acknowledged, %d commands answered, "
    .. "%d reloads, %d lost"):format(sent, handled, acknowledged, answered,
    number("reloads"), lost))
  return lost == 0 and handled == sent and number("reloads") == #LIMITS
    and host.exited == 0
end

-- ------------------------------------------------------------------- main --

local function once() uv.run("once") end

local function main()
  wait_for("the host's start", 20, function() return host.serves or host.exited end, once)
  if host.exited then
    error("demo: the host did not start\n" .. table.concat(host.log, "\n"), 0)
  end
  say("broker   on port %d, for this demo only", host.port)

  iotops.configure {
    hostname = "127.0.0.1", tcp_port = host.port, use_tls = false,
    client_id = "line1", clean_start = true,
  }
  iotops.on_telemetry("line1/{sensorId}/alarm", function(alarm, message)
    alarms = alarms + 1
    if alarms % 20 == 1 then
      say("alarm    %s reads %.1f, above %d", message.tokens.sensorId, alarm.celsius,
        alarm.limit)
    end
  end)
  local ok, trouble
  iotops.on_start(function()
    ok, trouble = xpcall(traffic, debug.traceback)
    iotops.stop()
  end)
  iotops.run()
  if not ok then error(trouble, 0) end

  host.handle:kill("sigterm")
  wait_for("the host's end", 20, function() return host.exited and host.counters end, once)
  return report()
end

local ok, result = xpcall(main, tostring)
if not ok then io.stderr:write(result, "\n") end
if not host.exited then host.handle:kill("sigkill") end
os.execute("rm -rf " .. folder)
os.exit(ok and result and 0 or 1)
