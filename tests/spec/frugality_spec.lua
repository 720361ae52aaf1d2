local hosting = require "hosting"
local iotops = require "iotops"
local process = require "process"

describe("the module", function()
  it("shows all of itself to whoever looks through it", function()
    local found = {}
    for name, value in pairs(iotops) do found[name] = type(value) end
    assert.equal("function", found.send)
    assert.equal("function", found.state_store)
    assert.equal("function", found.sleep)
    assert.equal("table", found.json)
    assert.equal("table", found.log)
    assert.equal("userdata", found.any)
    assert.equal(iotops.version, rawget(iotops, "version"))
  end)

  it("has nothing under a name that is not its own", function()
    assert.is_nil(iotops.sned)
    assert.is_nil(iotops.core)
    assert.is_nil(iotops[1])
    assert.is_nil(iotops["calls: send"])
  end)

  it("takes what a script adds to it", function()
    iotops.of_the_test = 7
    assert.equal(7, iotops.of_the_test)
    iotops.of_the_test = nil
    assert.is_nil(iotops.of_the_test)
  end)
end)

describe("a script of the host", function()
  local place

  after_each(function()
    place:close()
    process.kill_all()
  end)

  -- What a generation holds is counted by its allocator: the same every time.
  it("holds at most 48 KiB in Lua while it has nothing to do", function()
    place = hosting.place()
    local script = place:script("idle", [[
      local iotops = require "iotops"
      iotops.on_telemetry("idle/{sensorId}/temperature", function(reading, message)
        if reading.celsius > 90 then
          iotops.send("idle/{sensorId}/alarm", reading, { tokens = message.tokens })
        end
      end)
    ]])
    local host = place:run { script }
    hosting.stop(host)
    local held = hosting.record(host, "counters").memory
    assert.is_true(held > 16 * 1024 and held <= 48 * 1024, held .. " bytes")
  end)
end)
