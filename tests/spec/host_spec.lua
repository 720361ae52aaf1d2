local process = require "process"
local hosting = require "hosting"
local uv = require "luv"

local NOTES = [[
local iotops = require "iotops"
local function note(name, text)
  local file = assert(io.open("FOLDER/" .. name, "a"))
  file:write(text, "\n")
  file:close()
end
]]

describe("iotops run", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  it("handles each message once over restarts under 1 000 messages a second", function()
    place = hosting.place()
    local script = place:script("work", [[
      local iotops = require "iotops"
      local notes = assert(io.open("FOLDER/done", "a"))
      notes:setvbuf("line")
      iotops.on_telemetry("work", function(value)
        iotops.sleep(0.0005) -- so that some are in hand when it is told to stop
        notes:write(value.n, "\n")
      end)
    ]])
    local host = place:run { script }
    local publisher = process.start({ "mosquitto_pub", "-V", "5", "-q", "1", "-l", "-p",
      tostring(place.broker.port), "-t", "work" }, { stdin = true })
    local sent, began, timer = 0, uv.hrtime(), uv.new_timer()
    finally(function()
      if not timer:is_closing() then timer:close() end
    end)
    timer:start(10, 10, function()
      local lines = {}
      while sent < (uv.hrtime() - began) // 1000000 do
        sent = sent + 1
        lines[#lines + 1] = ('{"n":%d}\n'):format(sent)
      end
      if #lines > 0 then publisher:write(table.concat(lines)) end
    end)
    for _ = 1, 4 do
      process.pass(0.4)
      hosting.stop(host)
      host = place:run { script }
    end
    timer:close()
    publisher:write(nil)
    assert.equal(0, (publisher:wait(10)))
    place:await_notes("done", sent, 20)
    process.pass(0.2)
    local seen = {}
    for _, n in ipairs(place:noted("done")) do
      assert.is_nil(seen[n], "handled twice: " .. n)
      seen[n] = true
    end
    for n = 1, sent do assert.is_true(seen[tostring(n)], "lost: " .. n) end
    hosting.stop(host)
  end)

  it("finishes running handlers before it leaves", function()
    place = hosting.place { log_all = true }
    local script = place:script("slow", NOTES .. [[
      iotops.on_telemetry("slow/work", function()
        note("begun", "x")
        iotops.sleep(0.7)
        iotops.send("slow/done", {})
        note("ended", "x")
      end)
    ]])
    local host = place:run { script }
    place:publish("slow/work", "{}")
    place:await_notes("begun", 1)
    hosting.stop(host)
    assert.equal(1, #place:noted("ended"))
    assert.equal(1, #select(2, place:acknowledgements("slow/work")))
  end)

  it("leaves at once when told twice, and the broker delivers again", function()
    place = hosting.place { log_all = true }
    local script = place:script("slow", NOTES .. [[
      iotops.on_telemetry("slow/work", function()
        note("begun", "x")
        iotops.sleep(60)
      end)
    ]])
    local host = place:run { script }
    place:publish("slow/work", "{}")
    place:await_notes("begun", 1)
    host:signal_with("sigterm")
    hosting.record(host, "stopping")
    host:signal_with("sigterm")
    assert.equal(130, (host:wait(5)))
    assert.same({}, (select(2, place:acknowledgements("slow/work"))))
    place:run { script }
    place:await_notes("begun", 2)
  end)

  it("gives handlers no longer than --drain", function()
    place = hosting.place()
    local script = place:script("slow", NOTES .. [[
      iotops.on_telemetry("slow/work", function()
        note("begun", "x")
        iotops.sleep(60)
      end)
    ]])
    local host = place:run({ script }, { args = { "--drain", "0.5" } })
    place:publish("slow/work", "{}")
    place:await_notes("begun", 1)
    local before = uv.hrtime()
    hosting.stop(host)
    assert.is_true((uv.hrtime() - before) / 1e9 < 3)
    hosting.record(host, "have not ended within 0.5 s")
  end)

  it("has the broker forget the session with --end-session", function()
    place = hosting.place()
    local script = place:script("work", NOTES .. [[
      iotops.on_telemetry("work", function(value) note("done", tostring(value.n)) end)
    ]])
    hosting.stop(place:run({ script }, { args = { "--end-session" } }))
    place:publish("work", '{"n":1}')
    local host = place:run { script }
    place:publish("work", '{"n":2}')
    assert.same({ "2" }, place:await_notes("done", 1))
    hosting.stop(host)
  end)

  it("survives a handler that throws, and says where", function()
    place = hosting.place { log_all = true }
    local script = place:script("throws", NOTES .. [[
      iotops.on_telemetry("work", function(value)
        if value.n == 1 then error("no such thing") end
        note("done", tostring(value.n))
      end)
    ]])
    local host = place:run { script }
    place:publish("work", '{"n":1}')
    place:publish("work", '{"n":2}')
    assert.same({ "2" }, place:await_notes("done", 1))
    local record = hosting.record(host, "no such thing")
    assert.equal("error", record.level)
    assert.equal("throws", record.script)
    assert.equal("work", record.topic)
    assert.truthy(record.message:find("throws.lua:%d+:"))
    process.eventually("both acknowledged", function()
      return #select(2, place:acknowledgements("work")) == 2
    end)
  end)

  it("acknowledges a payload that is not JSON, with a warning", function()
    place = hosting.place { log_all = true }
    local script = place:script("work", NOTES .. [[
      iotops.on_telemetry("work", function(value) note("done", tostring(value.n)) end)
    ]])
    local host = place:run { script }
    place:publish("work", "{nonsense")
    place:publish("work", '{"n":2}')
    assert.same({ "2" }, place:await_notes("done", 1))
    process.eventually("both acknowledged", function()
      return #select(2, place:acknowledgements("work")) == 2
    end)
    local warned
    for _, record in ipairs(hosting.records(host)) do
      warned = warned or record.level == "warn" and record
    end
    assert.truthy(warned)
  end)

  it("runs the others when one script cannot be loaded, and that one once it can", function()
    place = hosting.place()
    local good = place:script("good", NOTES .. [[
      iotops.on_telemetry("good", function() note("done", "good") end)
    ]])
    local bad = place:script("bad", "local x = = 1\n")
    local host = place:run { good, bad }
    local record = hosting.record(host, "cannot load")
    assert.equal("bad", record.script)
    assert.truthy(record.message:find("bad.lua:1:", 1, true))
    place:publish("good", "{}")
    place:await_notes("done", 1)
    place:script("bad", NOTES .. [[
      iotops.on_telemetry("bad", function() note("done", "bad") end)
    ]])
    hosting.record(host, "subscribed: ", 2)
    place:publish("bad", "{}")
    assert.same({ "good", "bad" }, place:await_notes("done", 2))
  end)

  it("names the line of a topic pattern that is malformed", function()
    place = hosting.place()
    local script = place:script("pattern", 'local iotops = require "iotops"\n'
      .. 'iotops.on_telemetry("a//b", function() end)\n')
    local host = place:run({ script }, { unconnected = true })
    local record = hosting.record(host, "cannot load")
    assert.truthy(record.message:find("pattern.lua:2:", 1, true), record.message)
    assert.truthy(record.message:find("a//b", 1, true), record.message)
  end)

  it("names the line where a script misuses the module", function()
    place = hosting.place()
    for text, what in pairs {
      ['iotops.on_telemetry("a", "b")'] = "a function expected",
      ['iotops.on_telemetry({}, print)'] = "a topic pattern expected",
      ['iotops.on_command("{a}/{b}", print)'] = "name of the command",
      ['iotops.send("a", {})'] = "iotops.on_start",
      ['iotops.sleep(1)'] = "iotops.on_start",
    } do
      local script = place:script("misuse", 'local iotops = require "iotops"\n' .. text .. "\n")
      local host = place:run({ script }, { unconnected = true })
      local record = hosting.record(host, "cannot load")
      assert.truthy(record.message:find("misuse.lua:2:", 1, true), record.message)
      assert.truthy(record.message:find(what, 1, true), record.message)
      host:kill()
    end
  end)

  it("keeps scripts apart and itself alive", function()
    place = hosting.place()
    local one = place:script("one", NOTES .. [[
      shared = "one"
      iotops.on_telemetry("ask", function()
        note("one", tostring(shared) .. " " .. tostring(pcall(os.exit, 3)))
      end)
    ]])
    local two = place:script("two", NOTES .. [[
      iotops.on_telemetry("ask", function() note("two", tostring(shared)) end)
    ]])
    local host = place:run { one, two }
    place:publish("ask", "{}")
    assert.same({ "one false" }, place:await_notes("one", 1))
    assert.same({ "nil" }, place:await_notes("two", 1))
    hosting.stop(host)
  end)

  it("passes on at once what a script prints", function()
    place = hosting.place()
    local host = place:run({ place:script("talk", 'print("good morning")\n') },
      { unconnected = true })
    host:line("^good morning$", 5)
    assert.is_nil(host.code)
    hosting.stop(host)
  end)

  it("carries its own module and takes no part of it from elsewhere", function()
    place = hosting.place()
    os.execute("mkdir -p " .. place.folder .. "/iotops")
    hosting.write(place.folder .. "/iotops/other.lua", "return 'of another version'\n")
    hosting.write(place.folder .. "/iotops.lua", "return 'of another version'\n")
    local script = place:script("mixed", [[
      local iotops = require "iotops"
      print(type(iotops), pcall(require, "iotops.other"))
    ]])
    local host = place:run({ script }, { unconnected = true })
    local line = host:line("^table")
    assert.truthy(line:find("module 'iotops.other' is not part of iotops 0.1.0", 1, true), line)
    hosting.stop(host)
  end)

  it("counts what its scripts did, on SIGUSR1 and at its end", function()
    place = hosting.place()
    local script = place:script("count", [[
      local iotops = require "iotops"
      iotops.on_telemetry("work", function() iotops.send("done", {}) end)
      iotops.on_command("ask", function() return {} end)
    ]])
    local host = place:run { script }
    for _ = 1, 3 do place:publish("work", "{}") end
    assert.equal(0, place:tool({ "invoke", "ask", "{}" }).code)
    host:signal_with("sigusr1")
    hosting.record(host, "counters")
    hosting.stop(host)
    local record = hosting.record(host, "counters", 2)
    assert.equal(3, record.handled)
    assert.equal(1, record.commands)
    -- Three sends and one response.
    assert.equal(4, record.sent)
    assert.equal(4, record.acknowledged)
    assert.equal(0, record.errors)
  end)

  it("runs the callbacks of a script's luv, over reloads and to its end", function()
    place = hosting.place()
    local text = [[
      local iotops = require "iotops"
      local uv = require "luv"
      local timer, n = uv.new_timer(), 0
      timer:start(5, 5, function()
        n = n + 1
        iotops.send("tick/VERSION", { n = n })
        iotops.sleep(0.01)
      end)
      iotops.on_command("ask/{executorId}", function() return { n = n } end)
    ]]
    local script = place:script("ticks", (text:gsub("VERSION", "0")))
    local host = place:run { script }
    for version = 1, 5 do
      process.pass(0.1)
      place:script("ticks", (text:gsub("VERSION", tostring(version))))
      hosting.record(host, "reloaded", version)
    end
    process.pass(0.2)
    local asked = place:tool { "invoke", "ask/" .. place.client_id, "{}" }
    assert.equal(0, asked.code, asked:text())
    hosting.stop(host)
    local counters = hosting.record(host, "counters")
    assert.equal(0, counters.errors)
    assert.is_true(counters.sent >= 20, counters.sent)
    for _, record in ipairs(hosting.records(host)) do
      assert.equal("info", record.level, record.message)
    end
  end)

  describe("that is not let in", function()
    local function run(env)
      place = hosting.place { lines = env.lines }
      env.lines = nil
      return place:run({ place:script("a", "return 1\n") }, { env = env, unconnected = true })
    end

    it("stays up while nobody listens, and stops when told", function()
      local host = run { AIO_BROKER_TCP_PORT = "1" }
      local record = hosting.record(host, "attempt 2 to connect failed")
      assert.equal("warn", record.level)
      assert.truthy(record.message:find("127.0.0.1:1", 1, true))
      hosting.stop(host)
    end)

    it("stays up when a peer does not speak MQTT", function()
      local server = uv.new_tcp()
      server:bind("127.0.0.1", 0)
      server:listen(8, function()
        local client = uv.new_tcp()
        server:accept(client)
        client:read_start(function(_, data)
          if data then client:write("HTTP/1.1 400 Bad Request\r\n\r\n") else client:close() end
        end)
      end)
      local host = run { AIO_BROKER_TCP_PORT = tostring(server:getsockname().port) }
      local record = hosting.record(host, "attempt 2 to connect failed")
      assert.equal("warn", record.level)
      server:close()
      hosting.stop(host)
    end)

    local function guarded(env)
      local folder = process.folder()
      process.run { "mosquitto_passwd", "-c", "-b", folder .. "/passwords", "line1", "right" }
      hosting.write(folder .. "/password", "wrong")
      env.lines = { "allow_anonymous false", "password_file " .. folder .. "/passwords" }
      if env.AIO_MQTT_USERNAME then env.AIO_MQTT_PASSWORD_FILE = folder .. "/password" end
      return run(env), folder
    end

    it("ends with status 3 when the broker wants credentials that it has not", function()
      local host, folder = guarded {}
      assert.equal(3, (host:wait(10)))
      assert.equal("error", hosting.record(host, "Not authorized", 2).level)
      os.execute("rm -rf " .. folder)
    end)

    it("stays up when its password is wrong, and is let in once the file is right", function()
      local host, folder = guarded { AIO_MQTT_USERNAME = "line1" }
      hosting.record(host, "Not authorized", 2)
      assert.falsy(host:text():find("wrong", 1, true), "the password is in the log")
      hosting.write(folder .. "/password", "right")
      hosting.record(host, "connected")
      hosting.stop(host)
      os.execute("rm -rf " .. folder)
    end)
  end)

  describe("with mistakes in its arguments", function()
    local function run(...)
      return process.run({ hosting.program, "run", ... }, { env = {
        AIO_BROKER_HOSTNAME = false, AIO_MQTT_CLIENT_ID = false,
      } })
    end

    it("says that a file does not exist", function()
      local ended = run("/nowhere/script.lua")
      assert.equal(2, ended.code)
      assert.truthy(ended:text():find("/nowhere/script.lua: No such file", 1, true))
    end)

    it("says which settings are missing, and of `iotops dev`", function()
      local folder = process.folder()
      hosting.write(folder .. "/a.lua", "return 1\n")
      local ended = run(folder .. "/a.lua")
      os.execute("rm -rf " .. folder)
      assert.equal(2, ended.code)
      assert.truthy(ended:text():find("AIO_BROKER_HOSTNAME", 1, true))
      assert.truthy(ended:text():find("iotops dev " .. folder, 1, true))
    end)

    it("refuses two scripts of one name", function()
      local one, two = process.folder(), process.folder()
      hosting.write(one .. "/a.lua", "return 1\n")
      hosting.write(two .. "/a.lua", "return 1\n")
      local ended = run(one .. "/a.lua", two .. "/a.lua")
      os.execute("rm -rf " .. one .. " " .. two)
      assert.equal(2, ended.code)
      assert.truthy(ended:text():find('script "a"', 1, true))
    end)

    it("names the setting that does not fit", function()
      local folder = process.folder()
      hosting.write(folder .. "/a.lua", "return 1\n")
      local ended = process.run({ hosting.program, "run", folder .. "/a.lua" }, { env = {
        AIO_BROKER_HOSTNAME = "localhost", AIO_MQTT_CLIENT_ID = "x",
        AIO_BROKER_TCP_PORT = "many",
      } })
      os.execute("rm -rf " .. folder)
      assert.equal(2, ended.code)
      assert.truthy(ended:text():find("AIO_BROKER_TCP_PORT", 1, true))
    end)

    it("explains itself when it gets nothing to run", function()
      local ended = run()
      assert.equal(2, ended.code)
      assert.truthy(ended:text():find("iotops run --help", 1, true))
      assert.equal(0, run("--help").code)
    end)
  end)
end)
