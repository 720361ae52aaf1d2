local testing = require "iotops.testing"

describe("iotops.testing", function()
  local world

  before_each(function() world = testing.world() end)
  after_each(function() world:close() end)

  local ALARM = [[
    local iotops = require "iotops"
    iotops.on_telemetry("sensors/{sensorId}/temperature", function(reading, message)
      if reading.celsius > 90 then
        iotops.send("alarms/{sensorId}", { celsius = reading.celsius }, { tokens = message.tokens })
      end
    end)
  ]]

  it("hands a script what is published, and the test what the script sends", function()
    local line = world:run_text("line", ALARM)
    assert.same({ "sensors/+/temperature" }, world:subscriptions())
    local cool = world:publish("sensors/1/temperature", { celsius = 20 })
    local hot = world:publish("sensors/2/temperature", { celsius = 95 })
    local alarm = world:expect "alarms/+"
    assert.equal("alarms/2", alarm.topic)
    assert.same({ celsius = 95 }, alarm.payload)
    assert.equal("integer", math.type(alarm.payload.celsius))
    assert.equal("host", alarm.from)
    assert.equal("host", alarm.user_data.__srcId)
    world:expect_nothing "#"
    assert.is_true(world:acknowledged(cool) and world:acknowledged(hot))
    assert.equal(2, line:counters().handled)
    assert.same({}, line:errors())
  end)

  it("says what came instead of what was expected, and which scripts have failed", function()
    world:run_text("line", ALARM)
    world:publish("sensors/2/temperature", { celsius = 95 })
    world:publish("sensors/2/temperature", "no table")
    local ok, why = pcall(world.expect, world, "alarms/7", { within = 5 })
    assert.is_false(ok)
    assert.match("no message on alarms/7 within 5 s; scripts have sent:", why, 1, true)
    assert.match("alarms/2 { celsius = 95 }", why, 1, true)
    assert.match("error of line: the telemetry handler failed: .*line.lua:3: attempt to", why)
    assert.has_error(function() world:expect "a/#/b" end)
  end)

  it("fails when a script cannot be loaded, naming the line", function()
    local ok, why = pcall(world.run_text, world, "broken", "local x = 1\nx.y.z = 2")
    assert.is_false(ok)
    assert.match("broken cannot be loaded:.*broken.lua:2: attempt to index a number value", why)
    assert.has_error(function() world:run "nowhere.lua" end)
    assert.has_error(function() world:run_text("line", ALARM, { clientid = "x" }) end)
  end)

  it("counts a handler that throws among the errors, and acknowledges its message", function()
    local line = world:run_text("line", [[
      require("iotops").on_telemetry("in", function() error "on purpose" end)
    ]])
    local sent = world:publish("in", 1)
    assert.equal(1, #line:errors())
    assert.match("line.lua:1: on purpose", line:errors()[1].message)
    assert.equal("in", line:errors()[1].topic)
    assert.is_true(world:acknowledged(sent))
  end)

  it("invokes commands as another program, and gives errors as they are told", function()
    world:run_text("fan", [[
      local iotops = require "iotops"
      iotops.on_command("fans/{executorId}/setSpeed", function(request, message)
        if request.rpm > 3000 then error "too fast" end
        return { accepted = true, by = message.invoker_id }, { user_data = { unit = "rpm" } }
      end)
    ]], { client_id = "f1" })
    local answer, response = world:invoke("fans/f1/setSpeed", { rpm = 1200 })
    assert.same({ accepted = true, by = "tester" }, answer)
    assert.equal("rpm", response.user_data.unit)
    local nothing, err = world:invoke("fans/f1/setSpeed", { rpm = 9000 })
    assert.is_nil(nothing)
    assert.equal("execution error", err.kind)
    local began = world:now()
    nothing, err = world:invoke("fans/f2/setSpeed", { rpm = 1 }, { timeout = 30 })
    assert.is_nil(nothing)
    assert.equal("timeout", err.kind)
    assert.equal(30, world:now() - began)
  end)

  it("answers the commands that a script invokes", function()
    local line = world:run_text("line", [[
      local iotops = require "iotops"
      iotops.on_telemetry("in", function(value)
        local ok, answer = pcall(iotops.invoke, "pumps/p1/start", value)
        iotops.send("out", ok and answer or answer.kind)
      end)
    ]])
    world:on_command("pumps/{executorId}/start", function(value, request)
      assert.equal("host", request.invoker_id)
      assert.equal("p1", request.tokens.executorId)
      if value.litres > 10 then error "no more" end
      return { running = true }
    end)
    world:publish("in", { litres = 5 })
    assert.same({ running = true }, world:expect("out").payload)
    world:publish("in", { litres = 50 })
    assert.equal("execution error", world:expect("out").payload)
    assert.same({}, line:errors())
  end)

  it("lets time pass at once, each timer at its time", function()
    world:run_text("clock", [[
      local iotops = require "iotops"
      iotops.every(60, function() iotops.send("minute", os.date("!%H:%M")) end)
      iotops.after(90, function() iotops.send("once", os.time()) end)
      iotops.on_start(function()
        iotops.sleep(3600)
        iotops.send("hour", iotops.now())
      end)
    ]])
    local began, real = world:now(), os.time()
    world:advance(59.999)
    world:expect_nothing "#"
    world:advance(0.001)
    assert.equal("00:01", world:expect("minute").payload)
    assert.equal(began + 90, world:expect("once", { within = 40 }).payload)
    world:advance(3600)
    assert.equal(began + 3600, world:expect("hour").payload)
    assert.equal(61, #world:published "minute")
    local order = world:published()
    for index = 2, #order do assert.is_true(order[index - 1].time <= order[index].time) end
    assert.is_true(os.time() - real < 5)
  end)

  it("brings a state store, which a test fills and looks at", function()
    world.store:set("fans/limit", "3000")
    local line = world:run_text("line", [[
      local iotops = require "iotops"
      iotops.on_start(function()
        local store = assert(iotops.state_store())
        store:observe("fans/limit", function(change) iotops.send("seen", change.value) end)
        iotops.send("limit", (store:get("fans/limit")))
        assert(store:set("fans/seen", "yes", { expiry_ms = 5000 }))
      end)
    ]])
    assert.equal("3000", world:expect("limit").payload)
    assert.same({ "fans/limit", "fans/seen" }, world.store:keys())
    assert.equal("yes", world.store:get "fans/seen")
    world:advance(5)
    assert.is_nil(world.store:get "fans/seen")
    world.store:set("fans/limit", "2000")
    assert.equal("2000", world:expect("seen").payload)
    world.store:del "fans/limit"
    assert.same({}, world.store:keys())
    assert.same({}, line:errors())
  end)

  it("keeps two hosts apart that contend for a lock, until the first lets go", function()
    local text = [[
      local iotops = require "iotops"
      iotops.on_start(function()
        local lock = assert(iotops.lock "line")
        assert(lock:lock { lease = 10, timeout = 60 })
        iotops.send("held", iotops.session():client_id())
        iotops.sleep(3)
        assert(lock:release())
      end)
    ]]
    world:run_text("first", text, { client_id = "a" })
    world:run_text("second", text, { client_id = "b" })
    assert.equal("a", world:expect("held").payload)
    world:advance(2)
    world:expect_nothing "held"
    world:advance(1)
    assert.equal("b", world:expect("held", { within = 1 }).payload)
  end)

  it("delivers again after a reconnection what was not acknowledged, in order", function()
    local line = world:run_text("line", [[
      local iotops = require "iotops"
      iotops.on_telemetry("in", function(value, message)
        iotops.sleep(1)
        iotops.send("out", { value = value, dup = message.dup })
      end)
    ]])
    local first = world:publish("in", 1)
    world:disconnect()
    local second = world:publish("in", 2)
    world:advance(5)
    world:expect_nothing "out"
    assert.is_false(world:acknowledged(first))
    world:reconnect()
    world:advance(10)
    local got = {}
    for index, sent in ipairs(world:published "out") do
      got[index] = ("%d %s"):format(sent.payload.value, sent.payload.dup)
    end
    assert.same({ "1 false", "1 true", "2 false" }, got)
    assert.is_true(world:acknowledged(first) and world:acknowledged(second))
    assert.same({}, line:errors())
  end)

  it("stops scripts as a signal does", function()
    local line = world:run_text("line", [[
      local iotops = require "iotops"
      iotops.on_telemetry("in", function(value) iotops.sleep(1); iotops.send("out", value) end)
      iotops.every(1, function() iotops.send("tick", 1) end)
      iotops.on_stop(function(reason) iotops.send("bye", reason) end)
    ]])
    local begun = world:publish("in", 1)
    world:stop()
    assert.equal("stop", world:expect("bye").payload)
    local late = world:publish("in", 2)
    world:advance(10)
    assert.equal(1, world:expect("out").payload)
    world:expect_nothing "#"
    assert.is_true(world:acknowledged(begun))
    assert.is_false(world:acknowledged(late))
    assert.same({}, line:errors())
  end)

  it("has the broker refuse what the test says", function()
    local line = world:run_text("line", ALARM)
    world:refuse "alarms/#"
    world:publish("sensors/1/temperature", { celsius = 95 })
    assert.equal(1, #line:errors())
    assert.match("0x87", line:errors()[1].message)
    world:refuse("alarms/#", 0)
    world:publish("sensors/1/temperature", { celsius = 95 })
    assert.equal(1, #line:errors())
  end)

  it("replaces a script as the host does, and a broken version changes nothing", function()
    local text = [[
      local iotops = require "iotops"
      iotops.on_telemetry("in", function() iotops.send("out", %d) end)
    ]]
    local line = world:run_text("line", text:format(1))
    world:publish("in", 1)
    assert.equal(1, world:expect("out").payload)
    assert.is_true(line:reload(text:format(2)))
    assert.equal(2, line.generation)
    world:publish("in", 1)
    assert.equal(2, world:expect("out").payload)
    local ok, why = line:reload "this is not Lua"
    assert.is_false(ok)
    assert.match("line.lua:1: syntax error", why)
    assert.equal(2, line.generation)
    world:publish("in", 1)
    assert.equal(2, world:expect("out").payload)
  end)

  it("hands a script's state to its next version, as the host does", function()
    local text = [[
      local iotops = require "iotops"
      local count = 0
      iotops.handoff { version = 1, save = function() return count end,
        restore = function(old) count = old end }
      iotops.on_telemetry("in", function() count = count + 1; iotops.send("out", %s) end)
      iotops.on_telemetry("in/%s", function() end)
    ]]
    local line = world:run_text("line", text:format("count", "old"))
    world:publish("in", 1)
    assert.equal(1, world:expect("out").payload)
    assert.is_true(line:reload(text:format("{ n = count }", "new")))
    assert.same({ "in", "in/new" }, world:subscriptions())
    world:publish("in", 1)
    assert.same({ n = 2 }, world:expect("out").payload)
    assert.is_true(line:rollback())
    world:publish("in", 1)
    assert.equal(3, world:expect("out").payload)
    assert.same({}, line:errors())
  end)

  it("lets a bad version be given back by itself, and what is named go on", function()
    local text = [[
      local iotops = require "iotops"
      iotops.every(10, function() iotops.send("tick", %d) end, { name = "tick" })
      iotops.on_telemetry("in", function() iotops.send("out", %s) end)
    ]]
    local line = world:run_text("line", text:format(1, "'good'"))
    world:advance(6)
    assert.is_true(line:reload(text:format(2, "nil + 1")))
    world:expect_nothing "tick"
    world:advance(4)
    assert.equal(2, world:expect("tick").payload)
    for _ = 1, 20 do world:publish("in", 1) end
    assert.equal("good", world:expect("out").payload)
    assert.equal(3, line.generation)
    assert.equal("rolled back", line:counters().last_reload.outcome)
    world:advance(10)
    assert.equal(1, world:expect("tick").payload)
  end)

  it("does not overwrite a file that is not the test's", function()
    local script = world:run "scripts/samples/sensor_alarm.lua"
    assert.has_error(function() script:reload "" end)
    assert.is_false((script:reload()))
  end)

  it("stops a script that does not end, as the host does", function()
    local line = world:run_text("line", [[
      require("iotops").on_telemetry("in", function() while true do end end)
    ]], { turn_limit = 0.05 })
    world:publish("in", 1)
    assert.match("line.lua:1: stopped: ran longer than 50 ms", line:errors()[1].message)
    assert.equal(1, line:counters().stopped)
  end)

  it("gives a script's own sessions a client of the world's broker", function()
    world:run_text("line", [[
      local iotops = require "iotops"
      local own = assert(iotops.session { hostname = "cloud.example", client_id = "bridge",
        use_tls = false })
      own:on_telemetry("cloud/in", function(value) iotops.send("plant/out", value) end)
      iotops.on_telemetry("plant/in", function(value) own:send("cloud/out", value) end)
      iotops.on_stop(function() assert(own:state() == "connected" and own:exit()) end)
    ]])
    world:publish("cloud/in", 1)
    assert.equal("host", world:expect("plant/out").from)
    world:publish("plant/in", 2)
    local sent = world:expect "cloud/out"
    assert.equal("bridge", sent.from)
    assert.equal(2, sent.payload)
    assert.same({ "cloud/in" }, world:subscriptions "bridge")
    world:stop()
    assert.same({}, world:log "error")
  end)

  it("lets a script load what it is allowed, as the host does", function()
    local text = [[ require "cjson"; require("iotops").on_start(print) ]]
    world:run_text("line", text)
    local ok, why = pcall(world.run_text, world, "other", text,
      { client_id = "b", allow = "lpeg" })
    assert.is_false(ok)
    assert.match("cjson", why)
    assert.match("%-%-allow", why)
  end)

  it("gives a script the environment of the test, and nothing of ours from outside", function()
    world:run_text("line", [[
      local iotops = require "iotops"
      iotops.on_start(function()
        iotops.send("env", { line = os.getenv "LINE", host = os.getenv "AIO_BROKER_HOSTNAME",
          path = os.getenv "PATH" ~= nil, random = math.random(1000000) })
      end)
      iotops.on_telemetry("in", function() end)
    ]], { env = { LINE = "7" }, topic_namespace = "factory" })
    local first = world:expect("factory/env").payload
    assert.same({ line = "7", path = true, random = first.random }, first)
    assert.same({ "factory/in" }, world:subscriptions())
    local other <close> = testing.world()
    other:run_text("line", [[
      require("iotops").on_start(function() require("iotops").send("r", math.random(1000000)) end)
    ]])
    assert.equal(first.random, other:expect("r").payload)
  end)

  it("shares out what a group subscribes to, retains, and forgets what has expired", function()
    local text = [[
      local iotops = require "iotops"
      iotops.on_telemetry("work", { service_group_id = "g" },
        function(value) iotops.send("done", value) end)
      iotops.on_telemetry("news", function(value) iotops.send("heard", value) end)
    ]]
    world:publish("news", "kept", { retain = true })
    world:run_text("one", text, { client_id = "a" })
    world:run_text("two", text, { client_id = "b" })
    local heard = world:published "heard"
    assert.equal(2, #heard)
    local by = { a = 0, b = 0 }
    for value = 1, 6 do
      world:publish("work", value)
      local done = world:expect "done"
      assert.equal(value, done.payload)
      by[done.from] = by[done.from] + 1
    end
    world:expect_nothing "done"
    assert.same({ a = 3, b = 3 }, by)
    world:disconnect "a"
    world:publish("news", "old", { expiry = 5 })
    world:advance(6)
    world:reconnect "a"
    assert.equal(3, #world:published "heard")
  end)

  it("ends what has no end, with an error that says so", function()
    world:run_text("echo", [[
      local iotops = require "iotops"
      iotops.on_telemetry("ping", function(value) iotops.send("ping", value) end)
    ]])
    assert.has_error(function() world:publish("ping", 1) end,
      "more than 100000 messages at one moment: scripts answer each other without end")
  end)

  it("passes on only plain data, and says what is none", function()
    local ok, why = pcall(world.publish, world, "in", { a = { b = print } })
    assert.is_false(ok)
    assert.match("a%.b is a function", why)
    local loop = {}
    loop.loop = loop
    assert.has_error(function() world:publish("in", loop) end)
  end)

  it("cannot be used once it is closed", function()
    world:close()
    assert.has_error(function() world:publish("in", 1) end)
    assert.has_error(function() world:advance(1) end)
  end)
end)
