local process = require "process"
local hosting = require "hosting"
local flow = require "flow"
local uv = require "luv"

-- Counts what each sensor sends, in tables that only a hand-off keeps.
local COUNTING = [[
  local iotops = require "iotops"
  local sensors = {}
  for n = 1, 1000 do sensors["s" .. n] = { count = 0, tags = { "a", n } } end
  iotops.on_command("sensors/{sensorId}/count", function(request)
    return sensors[request.sensor]
  end)
  iotops.on_telemetry("count", function(value)
    local sensor = sensors[value.sensor]
    sensor.count = sensor.count + 1
  end)
]]

local NOTES = [[
  local iotops = require "iotops"
  local function note(...)
    local file = assert(io.open("FOLDER/done", "a"))
    file:write(table.concat({ ... }, " "), "\n")
    file:close()
  end
]]

describe("handing the state of a script over", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  local function asked(sensor)
    local answer = place:tool { "invoke", "sensors/x/count", ('{"sensor":"%s"}'):format(sensor) }
    assert(answer.code == 0, answer:text())
    return answer.out[1]
  end

  it("keeps 1 000 records, and through a change of their layout", function()
    place = hosting.place()
    local first = COUNTING .. [[
      iotops.handoff {
        version = 1,
        save = function() return sensors end,
        restore = function(data) sensors = data end,
      }
    ]]
    local script = place:script("work", first)
    local host = place:run { script }
    for _ = 1, 3 do place:publish("count", '{"sensor":"s7"}') end
    place:script("work", first .. "-- touched\n")
    local record = hosting.record(host, "reloaded")
    assert.truthy(record.message:find("2001 tables handed over", 1, true), record.message)
    place:publish("count", '{"sensor":"s7"}')
    -- Version 2 keeps counts apart from tags, and reads the layout before.
    place:script("work", [[
      local iotops = require "iotops"
      local counts, tags = {}, {}
      iotops.handoff {
        version = 2,
        save = function() return { counts = counts, tags = tags } end,
        restore = function(data, version)
          if version == 1 then
            for name, sensor in pairs(data) do
              counts[name], tags[name] = sensor.count, sensor.tags
            end
          else
            counts, tags = data.counts, data.tags
          end
        end,
      }
      iotops.on_command("sensors/{sensorId}/count", function(request)
        return { count = counts[request.sensor], tags = tags[request.sensor], version = 2 }
      end)
      iotops.on_telemetry("count", function(value)
        counts[value.sensor] = counts[value.sensor] + 1
      end)
    ]])
    hosting.record(host, "reloaded", 2)
    place:publish("count", '{"sensor":"s7"}')
    local answer = asked "s7"
    assert.truthy(answer:find('"count":5', 1, true), answer)
    assert.truthy(answer:find('"version":2', 1, true), answer)
    assert.truthy(asked("s999"):find('999]', 1, true))
  end)

  it("leaves the old version and its state serving when restore throws", function()
    place = hosting.place()
    local first = COUNTING .. [[
      iotops.handoff { version = 1, save = function() return sensors end }
    ]]
    local script = place:script("work", first)
    local host = place:run { script }
    place:publish("count", '{"sensor":"s1"}')
    place:script("work", COUNTING .. [[
      iotops.handoff { version = 2, restore = function(data, version)
        error("no way from version " .. version)
      end }
    ]])
    local record = hosting.record(host, "the state cannot be restored")
    assert.truthy(record.message:find("still serving generation 1", 1, true))
    assert.truthy(record.message:find("work.lua:12: no way from version 1", 1, true),
      record.message)
    place:publish("count", '{"sensor":"s1"}')
    assert.truthy(asked("s1"):find('"count":2', 1, true))
  end)

  it("names the path of what cannot be copied, and changes nothing", function()
    place = hosting.place()
    local function text(saved)
      return NOTES .. ([[
        local state = %s
        iotops.handoff { save = function() return state end, restore = function() end }
        iotops.on_telemetry("work", function(value) note(value.n) end)
      ]]):format(saved)
    end
    for _, case in ipairs {
      { "{ rooms = { a = { cb = print } } }", "rooms.a.cb is a function" },
      { "{ rooms = { { 'x', coroutine.create(print) } } }", "rooms[1][2] is a coroutine" },
      { "{ ['my file'] = io.stdout }", '["my file"] is a userdata' },
      { "(function() local a = {} a.b = { c = a } return a end)()",
        "b.c is a table that contains itself" },
      { "{ list = setmetatable({}, {}) }", "list has a metatable" },
      { "print", "what save returned is a function" },
    } do
      local script = place:script("work", text(case[1]))
      local host = place:run { script }
      place:script("work", text "{}")
      local record = hosting.record(host, "its state cannot be saved")
      assert.truthy(record.message:find(case[2], 1, true), record.message)
      place:publish("work", '{"n":1}')
      place:await_notes("done", 1)
      hosting.stop(host)
      os.remove(place.folder .. "/done")
    end
  end)

  it("fails when save or restore wait or do not end, and serves on", function()
    place = hosting.place()
    local function text(save, restore)
      return NOTES .. ([[
        iotops.handoff { save = function() %s return 1 end, restore = function() %s end }
        iotops.on_telemetry("work", function(value) note(value.n) end)
      ]]):format(save, restore)
    end
    local script = place:script("work", text("", ""))
    local host = place:run({ script }, { args = { "--turn-limit", "0.2" } })
    local failures = 0
    for _, case in ipairs {
      { "", "iotops.sleep(0)", "cannot wait in save or restore of iotops.handoff" },
      { "", "while true do end", "stopped: ran longer than 200 ms" },
      { "", "iotops.on_telemetry('more', print)", "declare them in the main chunk" },
      { "", "local t = {} while true do t[#t + 1] = t end", "stopped: " },
    } do
      place:script("work", text(case[1], case[2]))
      failures = failures + 1
      local record = hosting.record(host, "the state cannot be restored", failures)
      assert.truthy(record.message:find(case[3], 1, true), record.message)
    end
    place:publish("work", '{"n":1}')
    assert.same({ "1" }, place:await_notes("done", 1))
    -- What serves now cannot save.
    place:script("work", text("while true do end", ""))
    hosting.record(host, "reloaded")
    place:script("work", text("", ""))
    hosting.record(host, "its state cannot be saved")
    place:publish("work", '{"n":2}')
    assert.same({ "1", "2" }, place:await_notes("done", 2))
  end)

  it("waits for calls in hand, holds what comes meanwhile, and keeps the order", function()
    place = hosting.place()
    local function text(version)
      return NOTES .. ([[
        local seen = 0
        iotops.handoff { save = function() return seen end, restore = function(n) seen = n end }
        iotops.on_telemetry("work", function(value)
          if value.n == 1 then iotops.sleep(0.4) end
          seen = seen + 1
          note(value.n, seen, "%s")
        end)
      ]]):format(version)
    end
    local script = place:script("work", text "a")
    local host = place:run { script }
    -- One is being handled, two wait behind it, two come while it is waited for.
    for n = 1, 3 do place:publish("work", ('{"n":%d}'):format(n)) end
    place:script("work", text "b")
    host:signal_with("sighup")
    for n = 4, 5 do place:publish("work", ('{"n":%d}'):format(n)) end
    hosting.record(host, "reloaded")
    assert.same({ "1 1 a", "2 2 b", "3 3 b", "4 4 b", "5 5 b" }, place:await_notes("done", 5))
    hosting.stop(host)
    assert.equal(5, tonumber(hosting.record(host, "counters").acknowledged))
  end)

  it("cuts what has not ended by --handoff-timeout, after the commit", function()
    place = hosting.place()
    local function text(version)
      return NOTES .. ([[
        local begun = 0
        iotops.handoff { save = function() return begun end, restore = function(n) begun = n end }
        iotops.on_telemetry("work", function(value)
          begun = begun + 1
          note("begun", value.n, begun, "%s")
          if value.n == 1 then iotops.sleep(60) note("never") end
        end)
      ]]):format(version)
    end
    local script = place:script("work", text "a")
    local host = place:run({ script }, { args = { "--handoff-timeout", "0.2" } })
    place:publish("work", '{"n":1}')
    place:await_notes("done", 1)
    place:publish("work", '{"n":2}')
    place:script("work", text "b")
    hosting.record(host, "1 calls have not ended within 0.2 s")
    hosting.record(host, "reloaded")
    assert.same({ "begun 1 1 a", "begun 2 2 b" }, place:await_notes("done", 2))
    hosting.record(host, "the telemetry handler has not ended; it is given up")
    hosting.stop(host)
  end)

  it("gives a request that it cuts to the new version, if that may run twice", function()
    place = hosting.place()
    local function text(version)
      return NOTES .. ([[
        local asked = 0
        iotops.handoff { save = function() return asked end, restore = function(n) asked = n end }
        local function answer()
          asked = asked + 1
          note("asked", asked, "%s")
          if "%s" == "a" then iotops.sleep(60) end
          return { by = "%s" }
        end
        iotops.on_command("twice", { is_idempotent = true }, answer)
        iotops.on_command("once", answer)
      ]]):format(version, version, version)
    end
    local script = place:script("work", text "a")
    local host = place:run({ script }, { args = { "--handoff-timeout", "0.2" } })
    local env = place.broker:environment "asking"
    local twice = process.start({ hosting.program, "invoke", "twice", "null" }, { env = env })
    place:await_notes("done", 1)
    local once = process.start({ hosting.program, "invoke", "once", "null" }, { env = env })
    place:await_notes("done", 2)
    place:script("work", text "b")
    host:signal_with("sighup")
    assert.equal(0, (twice:wait(10)), twice:text())
    assert.truthy(twice:text():find('"by":"b"', 1, true), twice:text())
    assert.is_true(once:wait(10) ~= 0)
    assert.same({ "asked 1 a", "asked 2 a", "asked 3 b" }, place:noted("done"))
    hosting.stop(host)
  end)

  it("does not wait for loops that sleep, nor for those that wait for a lock", function()
    place = hosting.place()
    local function text(version)
      return NOTES .. ([[
        iotops.handoff { save = function() return 1 end, restore = function() end }
        iotops.on_start(function() while true do iotops.sleep(30) end end)
        iotops.on_start(function() iotops.lock("nobody gives it"):lock() end)
        iotops.on_telemetry("work", function(value) note(value.n, "%s") end)
      ]]):format(version)
    end
    local script = place:script("work", text "a")
    local host = place:run { script }
    local began = uv.hrtime()
    place:script("work", text "b")
    host:signal_with("sighup")
    hosting.record(host, "reloaded")
    assert.is_true(uv.hrtime() - began < 1.5e9)
    place:publish("work", '{"n":1}')
    assert.same({ "1 b" }, place:await_notes("done", 1))
  end)

  it("takes messages along to an endpoint with other options", function()
    place = hosting.place()
    local function text(version, options)
      return NOTES .. ([[
        iotops.handoff { save = function() return 1 end, restore = function() end }
        iotops.on_telemetry("work", { %s }, function(value)
          if value.n == 1 then iotops.sleep(0.3) end
          note(value.n, "%s")
        end)
      ]]):format(options, version)
    end
    local script = place:script("work", text("a", ""))
    local host = place:run { script }
    for n = 1, 3 do place:publish("work", ('{"n":%d}'):format(n)) end
    place:script("work", text("b", "concurrency = 2"))
    host:signal_with("sighup")
    for n = 4, 5 do place:publish("work", ('{"n":%d}'):format(n)) end
    hosting.record(host, "reloaded")
    assert.same({ "1 a", "2 b", "3 b", "4 b", "5 b" }, place:await_notes("done", 5))
    process.pass(0.1)
    assert.equal(5, #place:noted("done"))
  end)

  it("begins anew when the file changes while calls are waited for", function()
    place = hosting.place()
    local function text(version)
      return NOTES .. ([[
        local seen = 0
        iotops.handoff { save = function() return seen end, restore = function(n) seen = n end }
        iotops.on_telemetry("work", function(value)
          if value.n == 1 then iotops.sleep(0.6) end
          seen = seen + 1
          note(value.n, seen, "%s")
        end)
      ]]):format(version)
    end
    local script = place:script("work", text "a")
    local host = place:run { script }
    for n = 1, 2 do place:publish("work", ('{"n":%d}'):format(n)) end
    place:script("work", text "b")
    host:signal_with("sighup")
    place:publish("work", '{"n":3}')
    place:script("work", text "c")
    host:signal_with("sighup")
    place:publish("work", '{"n":4}')
    hosting.record(host, "reloaded")
    assert.same({ "1 1 a", "2 2 c", "3 3 c", "4 4 c" }, place:await_notes("done", 4))
    assert.equal(2, tonumber(hosting.record(host, "reloaded").generation))
  end)

  it("leaves what it holds to the next start when the host is stopped", function()
    place = hosting.place()
    local function text(version)
      return NOTES .. ([[
        local seen = 0
        iotops.handoff { save = function() return seen end, restore = function(n) seen = n end }
        iotops.on_telemetry("work", function(value)
          if value.n == 1 then note("begun", 1) iotops.sleep(0.5) end
          note(value.n, "%s")
        end)
      ]]):format(version)
    end
    local script = place:script("work", text "a")
    local host = place:run { script }
    place:publish("work", '{"n":1}')
    place:await_notes("done", 1)
    place:script("work", text "b")
    host:signal_with("sighup")
    place:publish("work", '{"n":2}')
    process.pass(0.1)
    hosting.stop(host)
    assert.same({ "begun 1", "1 a" }, place:noted("done"))
    host = place:run { script }
    assert.same({ "begun 1", "1 a", "2 b" }, place:await_notes("done", 3))
    hosting.stop(host)
  end)

  it("hands over what a connection that was lost delivers again, once and in order", function()
    local broker = require "broker"
    local kept = process.folder()
    place = hosting.place { folder = kept }
    local function text(version)
      return NOTES .. ([[
        local seen = 0
        iotops.handoff { save = function() return seen end, restore = function(n) seen = n end }
        iotops.on_telemetry("work", function(value)
          if value.n == 1 then iotops.sleep(1.2) end
          note(value.n, "%s")
        end)
      ]]):format(version)
    end
    local script = place:script("work", text "a")
    local host = place:run({ script }, { args = { "--handoff-timeout", "20" } })
    local port = place.broker.port
    place:publish("work", '{"n":0}')
    place:await_notes("done", 1)
    place:publish("work", '{"n":1}')
    place:script("work", text "b")
    host:signal_with("sighup")
    process.pass(0.2)
    for n = 2, 4 do place:publish("work", ('{"n":%d}'):format(n)) end
    process.pass(0.1)
    place.broker:stop()
    place.broker = broker.start { port = port, folder = kept }
    hosting.record(host, "reloaded", 1, 30)
    place:await_notes("done", 5, 30)
    process.pass(0.3)
    local done = place:noted("done")
    local after = {}
    for _, line in ipairs(done) do
      -- The one in hand was not acknowledged: it comes again.
      if not line:find("^1 ") then after[#after + 1] = line end
    end
    assert.same({ "0 a", "2 b", "3 b", "4 b" }, after)
    hosting.stop(host)
    os.execute("rm -rf " .. kept)
  end)

  it("drops a state that the next version does not take, with a warning", function()
    place = hosting.place()
    local script = place:script("work", NOTES .. [[
      iotops.handoff { save = function() return { 1 } end }
      iotops.on_telemetry("work", function() end)
    ]])
    local host = place:run { script }
    place:script("work", NOTES .. [[
      iotops.on_telemetry("work", function() end)
    ]])
    local record = hosting.record(host, "the state of generation 1 is dropped")
    assert.equal("warn", record.level)
    hosting.record(host, "reloaded")
  end)

  it("is declared once, in the main chunk, with fields that are checked", function()
    place = hosting.place()
    for _, case in ipairs {
      { "iotops.handoff()", "iotops.handoff takes a table, got no value" },
      { "iotops.handoff { save = 1 }", "field 'save' of iotops.handoff: a function expected" },
      { "iotops.handoff { saev = print }", "iotops.handoff has no field 'saev'" },
      { "iotops.handoff { version = 1.5, save = print }", "a whole number" },
      { "iotops.handoff { version = 2 }", "needs 'save', 'restore' or both" },
      { "for _ = 1, 2 do iotops.handoff { save = print } end", "was called before" },
    } do
      for _, program in ipairs { "lua5.4", "host" } do
        local script = place:script("work", "local iotops = require 'iotops'\n" .. case[1])
        local text
        if program == "host" then
          local host = place:run({ script }, { unconnected = true })
          text = hosting.record(host, "cannot load").message
          hosting.stop(host)
        else
          text = process.run({ "lua5.4", script }):text()
        end
        assert.truthy(text:find("work.lua:2: ", 1, true), text)
        assert.truthy(text:find(case[2], 1, true), text)
      end
    end
    local script = place:script("work", [[
      local iotops = require "iotops"
      iotops.handoff { version = 1, save = error, restore = error }
      print "fine"
    ]])
    assert.equal("fine", process.run({ "lua5.4", script }).out[1])
  end)

  it("loses, doubles and disorders nothing at 1 000 messages a second", function()
    place = hosting.place()
    local function text(version)
      return ([[
        local iotops = require "iotops"
        local notes = assert(io.open("FOLDER/done", "a"))
        notes:setvbuf("line")
        local count = 0
        iotops.handoff {
          save = function() return { count = count } end,
          restore = function(data) count = data.count end,
        }
        iotops.on_telemetry("work", function(value)
          count = count + 1
          notes:write(value.n, " ", count, " %s\n")
        end)
      ]]):format(version)
    end
    local script = place:script("work", text(1))
    local host = place:run { script }
    local stream = flow.start(place, "work")
    for version = 2, 31 do
      place:script("work", text(version))
      host:signal_with("sighup")
      host:line('"reloaded: ', 20)
      process.pass(0.02)
    end
    local sent = stream:finish()
    local done = place:await_notes("done", sent, 20)
    process.pass(0.1)
    assert.equal(sent, #place:noted("done"))
    for index, line in ipairs(done) do
      local n, count = line:match("^(%d+) (%d+) %d+$")
      assert.equal(index, tonumber(n))
      assert.equal(index, tonumber(count))
    end
    assert.equal(31, tonumber(done[#done]:match(" (%d+)$")))
    hosting.stop(host)
  end)
end)
