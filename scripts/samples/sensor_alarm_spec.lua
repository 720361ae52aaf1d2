local testing = require "iotops.testing"

describe("the alarm", function()
  local world, script

  before_each(function()
    world = testing.world()
    script = world:run "sensor_alarm.lua"
  end)

  after_each(function()
    assert.same({}, script:errors())
    world:close()
  end)

  it("is sent above 90 degrees", function()
    world:publish("sensors/oven/temperature", { celsius = 95 })
    local alarm = world:expect "alarms/oven"
    assert.same({ celsius = 95, limit = 90 }, alarm.payload)
  end)

  it("is not sent at 90 degrees", function()
    world:publish("sensors/oven/temperature", { celsius = 90 })
    world:expect_nothing "alarms/#"
  end)

  it("is sent once the broker is back", function()
    local reading = world:publish("sensors/oven/temperature", { celsius = 20 })
    assert.is_true(world:acknowledged(reading))
    world:disconnect()
    reading = world:publish("sensors/oven/temperature", { celsius = 95 })
    assert.is_false(world:acknowledged(reading))
    world:reconnect()
    world:expect "alarms/oven"
    assert.is_true(world:acknowledged(reading))
  end)
end)
