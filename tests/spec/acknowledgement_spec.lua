local hosting = require "hosting"
local process = require "process"

describe("a message to the host", function()
  local place

  before_each(function() place = hosting.place { log_all = true } end)
  after_each(function() place:close() end)

  local function acknowledged(topic)
    return (select(2, place:acknowledgements(topic)))
  end

  it("is handled again after the host was killed, and only then acknowledged", function()
    local script = place:script("slow", [[
      local iotops = require "iotops"
      io.stdout:setvbuf("no")
      iotops.on_telemetry("slow/test", function()
        print("begun")
        iotops.sleep(5)
        print("ended")
      end)
    ]])
    local first = place:run { script }
    place:publish("slow/test", "{}")
    first:line("^begun")
    first:kill()
    assert.same({}, acknowledged())

    local second = place:run { script }
    second:line("^begun")
    process.pass(1)
    assert.same({}, acknowledged())
    second:line("^ended")
    process.eventually("the PUBACK", function() return #acknowledged() > 0 end)
    assert.equal(1, #acknowledged("slow/test"))
    hosting.stop(second)
  end)

  it("is acknowledged in order of receipt though handlers end in reverse", function()
    local host = place:run { place:script("order", [[
      local iotops = require "iotops"
      io.stdout:setvbuf("no")
      iotops.on_telemetry("order/{n}", { concurrency = 10 }, function(_, message)
        iotops.sleep((11 - tonumber(message.tokens.n)) * 0.15)
        print("ended " .. message.tokens.n)
      end)
    ]]) }
    for n = 1, 10 do place:publish("order/" .. n, "{}") end
    process.eventually("ten ends", function() return #host.out == 10 end)
    assert.not_equal("ended 1", host.out[1]) -- else nothing was out of order
    process.eventually("ten PUBACKs", function() return #acknowledged() == 10 end)
    local sent, seen = place:acknowledgements()
    assert.equal(10, #sent)
    assert.same(sent, seen)
    hosting.stop(host)
  end)

  it("that is published while the host is away is handled by the next one", function()
    local script = place:script("away", [[
      local iotops = require "iotops"
      io.stdout:setvbuf("no")
      iotops.on_telemetry("away/{n}", function(_, message)
        print("handled " .. message.tokens.n)
      end)
    ]])
    hosting.stop(place:run { script })
    for n = 1, 5 do place:publish("away/" .. n, "{}") end
    local host = place:run { script }
    for n = 1, 5 do
      local _, handled = host:line("^handled (%d+)")
      assert.equal(tostring(n), handled)
    end
    hosting.stop(host)
  end)
end)
