local brokers = require "broker"
local host = require "host"
local process = require "process"
local uv = require "luv"

local RELOADS = 100
local RATE = 1000 -- messages a second

local SCRIPT = [[
local iotops = require "iotops"
local VERSION = %d
io.stdout:setvbuf("line")
iotops.on_telemetry("load/test", function(n)
  print(VERSION, n)
end)
iotops.run()
]]

describe("a script that is reloaded under load", function()
  after_each(process.kill_all)

  it("handles every message once, in order, by the old version or the new", function()
    local broker, folder = brokers.start(), process.folder()
    local script = folder .. "/load.lua"
    host.write(script, SCRIPT:format(0))
    local running = host.run(broker, "loaded", script)
    local publisher = process.start({ "mosquitto_pub", "-V", "5", "-p", tostring(broker.port),
      "-q", "1", "-t", "load/test", "-l", "-D", "publish", "content-type", "application/json" },
      { stdin = true })

    local sent, timer, started = 0, uv.new_timer(), uv.hrtime()
    timer:start(10, 10, function()
      local due = math.floor((uv.hrtime() - started) / 1e9 * RATE)
      local lines = {}
      while sent < due do
        sent = sent + 1
        lines[#lines + 1] = sent .. "\n"
      end
      publisher:write(table.concat(lines))
    end)
    for version = 1, RELOADS do
      host.write(script, SCRIPT:format(version))
      running:line("reloaded: ", 20)
    end
    process.pass(0.5)
    timer:close()
    publisher:write(nil)
    assert.equal(0, (publisher:wait(20)))
    process.eventually("the last message", function()
      return running.out[#running.out]
        and tonumber(running.out[#running.out]:match("\t(%d+)$")) == sent
    end, 20)
    host.stop(running)

    local last_version = 0
    for index, line in ipairs(running.out) do
      local version, n = line:match("^(%d+)\t(%d+)$")
      assert.equal(index, tonumber(n), line)
      assert.is_true(tonumber(version) >= last_version, line)
      last_version = tonumber(version)
    end
    assert.equal(sent, #running.out)
    assert.equal(RELOADS, last_version)
    local counters = host.counters(running)
    assert.equal(RELOADS, counters.reloads)
    assert.equal(sent, counters.handled)
    os.execute("rm -rf " .. folder)
  end)
end)
