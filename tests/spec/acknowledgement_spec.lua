local brokers = require "broker"
local host = require "host"
local process = require "process"

describe("a message to the host", function()
  local broker, folder, script

  before_each(function()
    broker, folder = brokers.start { log_all = true }, process.folder()
    script = folder .. "/script.lua"
  end)

  after_each(function()
    process.kill_all()
    os.execute("rm -rf " .. folder)
  end)

  local function publish(topic, payload)
    local sent = process.run { "mosquitto_pub", "-V", "5", "-p", tostring(broker.port),
      "-q", "1", "-t", topic, "-m", payload, "-D", "publish", "content-type", "application/json" }
    assert.equal(0, sent.code, sent:text())
  end

  -- What the broker's log says of `client`: topics as they were delivered and
  -- as they were acknowledged, in order.
  local function traffic(client)
    local delivered, acknowledged, topics = {}, {}, {}
    for _, line in ipairs(broker:lines()) do
      local id, topic = line:match("Sending PUBLISH to " .. client .. " %(.- m(%d+), '([^']*)'")
      if id then
        topics[id] = topic
        delivered[#delivered + 1] = topic
      end
      id = line:match("Received PUBACK from " .. client .. " %(Mid: (%d+)")
      if id then acknowledged[#acknowledged + 1] = topics[id] end
    end
    return delivered, acknowledged
  end

  it("is handled again after the host was killed, and only then acknowledged", function()
    host.write(script, [[
      local iotops = require "iotops"
      io.stdout:setvbuf("no")
      iotops.on_telemetry("slow/test", function()
        print("begun")
        iotops.sleep(3)
        print("ended")
      end)
      iotops.run()
    ]])
    local first = host.run(broker, "keeper", script)
    publish("slow/test", "{}")
    first:line("^begun")
    first:kill()
    local _, acknowledged = traffic("keeper")
    assert.same({}, acknowledged)

    local second = host.run(broker, "keeper", script)
    second:line("^begun")
    process.pass(1)
    _, acknowledged = traffic("keeper")
    assert.same({}, acknowledged)
    second:line("^ended")
    process.eventually("the PUBACK", function()
      _, acknowledged = traffic("keeper")
      return #acknowledged > 0
    end)
    assert.same({ "slow/test" }, acknowledged)
    host.stop(second)
  end)

  it("is acknowledged in order of receipt though handlers end in reverse", function()
    host.write(script, [[
      local iotops = require "iotops"
      io.stdout:setvbuf("no")
      iotops.on_telemetry("order/{n}", function(_, message)
        iotops.sleep((11 - tonumber(message.tokens.n)) * 0.1)
        print("ended " .. message.tokens.n)
      end, { concurrency = 10 })
      iotops.run()
    ]])
    local running = host.run(broker, "orderly", script)
    local expected = {}
    for n = 1, 10 do
      expected[n] = "order/" .. n
      publish(expected[n], "{}")
    end
    running:line("^ended 1$")
    local reversed = {}
    for _, line in ipairs(running.out) do
      reversed[#reversed + 1] = tonumber(line:match("^ended (%d+)"))
    end
    assert.is_true(reversed[1] > 1) -- else nothing was out of order
    local acknowledged
    process.eventually("ten PUBACKs", function()
      acknowledged = select(2, traffic("orderly"))
      return #acknowledged == 10
    end)
    assert.same(expected, acknowledged)
    host.stop(running)
  end)

  it("that is published while the host is away is handled by the next one", function()
    host.write(script, [[
      local iotops = require "iotops"
      io.stdout:setvbuf("no")
      iotops.on_telemetry("away/{n}", function(_, message)
        print("handled " .. message.tokens.n)
      end)
      iotops.run()
    ]])
    host.stop(host.run(broker, "away", script))
    for n = 1, 5 do publish("away/" .. n, "{}") end
    local running = host.run(broker, "away", script)
    for n = 1, 5 do
      local _, handled = running:line("^handled (%d+)")
      assert.equal(tostring(n), handled)
    end
    host.stop(running)
  end)
end)
