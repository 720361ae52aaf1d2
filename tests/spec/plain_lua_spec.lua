local broker = require "broker"
local process = require "process"

describe("a script under plain Lua", function()
  local private

  setup(function() private = broker.start() end)
  teardown(function()
    private:stop()
    process.kill_all()
  end)

  -- Starts a script; it finds the broker unless `env` says otherwise.
  local function start(text, env)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write('local iotops = require "iotops"\n', text)
    file:close()
    local all = private:environment("plain-" .. path:match "[^/_]*$")
    all.AIO_MQTT_CLEAN_START = "true"
    for name, value in pairs(env or {}) do all[name] = value end
    local running = process.start({ "lua5.4", path }, { env = all })
    return running, function() os.remove(path) end
  end

  local function run(text, env)
    local running, clean = start(text, env)
    running:wait(10)
    clean()
    return running
  end

  it("sends a message in two lines", function()
    local ended = run 'assert(iotops.send("plain/one", { n = 1 }))\nprint "sent"'
    assert.equal(0, ended.code, ended:text())
    assert.match("sent", ended:text())
  end)

  it("runs until it stops itself", function()
    local ended = run [[
      iotops.on_telemetry("plain/{x}", function(value, message)
        print("got", value.n, message.tokens.x)
        iotops.stop()
      end)
      iotops.on_start(function() iotops.send("plain/here", { n = 5 }) end)
      iotops.run()
      print "ended"
    ]]
    assert.equal(0, ended.code, ended:text())
    assert.match("got\t5\there.*ended", ended:text())
  end)

  it("finishes what it has in hand when SIGTERM comes", function()
    local running, clean = start [[
      iotops.on_telemetry("plain/slow", function()
        print "begun"
        iotops.sleep(0.5)
        print "finished"
      end)
      iotops.every(0.1, function() end)
      iotops.on_start(function() iotops.send("plain/slow", {}) end)
      iotops.run()
      print "ended"
    ]]
    running:line "begun"
    running:signal_with "sigterm"
    running:wait(10)
    clean()
    assert.equal(0, running.code, running:text())
    assert.match("finished.*ended", running:text())
  end)

  it("ends at the first Ctrl-C while its main chunk waits", function()
    local running, clean = start [[
      io.stdout:setvbuf "no"
      print "waiting"
      iotops.sleep(60)
    ]]
    running:line "waiting"
    running:signal_with "sigint"
    running:wait(5)
    clean()
    assert.equal(1, running.code, running:text())
    assert.match("interrupted!", running:text())
  end)

  it("says which settings are missing, and what brings a broker", function()
    local ended = run('iotops.send("x", 1)', {
      AIO_BROKER_HOSTNAME = false, AIO_BROKER_TCP_PORT = false, AIO_MQTT_USE_TLS = false,
      AIO_MQTT_CLIENT_ID = false, AIO_MQTT_CLEAN_START = false,
    })
    assert.equal(1, ended.code)
    assert.match("set AIO_BROKER_HOSTNAME and AIO_MQTT_CLIENT_ID", ended:text())
    assert.match("iotops dev", ended:text())
  end)

  it("takes settings from iotops.configure, before the first use only", function()
    local ended = run([[
      iotops.configure { hostname = "127.0.0.1", tcp_port = ]] .. private.port .. [[,
        use_tls = false, client_id = "configured", clean_start = true }
      print(iotops.session():client_id())
      print(pcall(iotops.configure, { client_id = "late" }))
    ]], {
      AIO_BROKER_HOSTNAME = false, AIO_BROKER_TCP_PORT = false, AIO_MQTT_USE_TLS = false,
      AIO_MQTT_CLIENT_ID = false, AIO_MQTT_CLEAN_START = false,
    })
    assert.equal(0, ended.code, ended:text())
    assert.match("configured\n", ended:text())
    assert.match("must come before", ended:text())
  end)

  it("raises what ended the session from iotops.run", function()
    local one, clean = start([[
      iotops.on_start(function()
        iotops.session():wait()
        print "connected"
      end)
      iotops.run()
    ]], { AIO_MQTT_CLIENT_ID = "taken" })
    one:line "connected"
    -- Another takes the session over and ends it.
    local other = run("assert(iotops.session():wait()) assert(iotops.session():exit())",
      { AIO_MQTT_CLIENT_ID = "taken" })
    assert.equal(0, other.code, other:text())
    one:wait(10)
    clean()
    assert.equal(1, one.code, one:text())
    assert.match("lua5.4: %a[%a ]+: ", one:text())
  end)

  it("runs luv's loop along with ours", function()
    local ended = run [[
      local uv = require "luv"
      local timer = uv.new_timer()
      local ticks = 0
      timer:start(5, 5, function()
        ticks = ticks + 1
        if ticks == 3 then
          timer:close()
          iotops.send("plain/luv", { ticks = ticks })
          print "sent from a luv callback"
          uv.fs_stat("/", function(err, stat)
            print("stat", err, stat.type)
            iotops.after(0.01, function() error "timers fail alone" end)
            uv.new_timer():start(10, 0, function() error "callbacks fail alone" end)
            iotops.after(0.05, iotops.stop)
          end)
        end
      end)
      iotops.run()
      print "ended"
    ]]
    assert.equal(0, ended.code, ended:text())
    local text = ended:text()
    assert.match("sent from a luv callback", text)
    assert.match("stat\tnil\tdirectory", text)
    assert.match("callbacks fail alone", text)
    assert.match("timers fail alone", text)
    assert.match("ended", text)
  end)

  it("finds luv opened before", function()
    local running = process.run { "lua5.4", "-e", [[
      local uv = require "luv"
      local iotops = require "iotops"
      local event = iotops.event()
      uv.new_timer():start(5, 0, function() iotops.sleep(0.001) event:set() end)
      print(event:wait(2))
    ]] }
    assert.equal(0, running.code, running:text())
    assert.match("true", running:text())
  end)

  it("does without luv", function()
    local running = process.run { "lua5.4", "-e", [[
      local iotops = require "iotops"
      package.cpath = package.cpath:match "[^;]*"
      local ok, err = pcall(require, "luv")
      print(ok, err)
    ]] }
    assert.equal(0, running.code, running:text())
    assert.match("false.*lua%-luv", running:text())
  end)

  it("may name its timers and count as it does in the host", function()
    local ended = run [[
      local parts = iotops.counter("parts_total", "parts made")
      iotops.every(0.01, function() parts:add(2) end, { name = "work" })
      iotops.after(0.1, function()
        iotops.gauge("heat"):set(-1.5)
        local same = parts == iotops.counter("parts_total")
        print(same and parts:get() > 0, iotops.gauge("heat"):get())
        iotops.stop()
      end, { name = "end" })
      print(pcall(iotops.after, 1, print, { name = "end" }))
      iotops.run()
    ]]
    assert.equal(0, ended.code, ended:text())
    assert.match("there is a timer with the name 'end' already.*true%\t%-1.5", ended:text())
  end)

  it("ends cleanly with everything under way", function()
    local ended = run [[
      local uv = require "luv"
      uv.new_timer():start(1000, 1000, function() end)
      iotops.every(100, function() end)
      iotops.on_telemetry("plain/#x" and "plain/x", function() iotops.sleep(100) end)
      iotops.spawn(function() iotops.sleep(100) end)
      iotops.spawn(function() iotops.invoke("plain/nobody", {}, { timeout = 100 }) end)
      iotops.spawn(function() iotops.event():wait() end)
      iotops.send("plain/x", 1)
      iotops.sleep(0.05)
      print "over"
    ]]
    assert.equal(0, ended.code, ended:text())
    assert.match("over", ended:text())
  end)
end)
